//! What every store promises, asked of each kind of store on real peers.

mod claims;
mod peers;
mod special;
mod translator;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use landfall_catalog::Digest;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use url::Url;

use super::bucket::Connection;
use super::{BucketStore, DirectoryStore, Item, Store};
use peers::Peer;

/// Opens a store in a corner of its own, for an owner.
type Open = Box<dyn Fn(String, &'static str) -> BoxFuture<'static, Store> + Send + Sync>;

/// Somewhere that stores can be.
struct Ground {
    open: Open,
}

impl Ground {
    async fn open(&self, corner: &str, owner: &'static str) -> Store {
        (self.open)(corner.to_owned(), owner).await
    }

    fn peer(peer: &Peer) -> Self {
        let (url, environment) = (peer.url.clone(), peer.environment.clone());
        Self {
            open: Box::new(move |corner, owner| {
                let url: Url = format!("{url}/{corner}").parse().unwrap();
                let environment = environment.clone();
                Box::pin(async move { Store::open(&url, environment, owner).await.unwrap() })
            }),
        }
    }

    fn object_store<S: ObjectStore + Clone>(store: S, describes: bool) -> Self {
        Self {
            open: Box::new(move |corner, owner| {
                let connection = Connection {
                    store: Arc::new(store.clone()),
                    multipart: None,
                    prefix: Path::from(corner.as_str()),
                };
                let store = BucketStore::new(connection, corner, owner, describes);
                Box::pin(async move { Store::Bucket(store) })
            }),
        }
    }
}

/// An object as it is put into a store of any kind.
fn item(bytes: &Bytes) -> Item {
    Item {
        repository: Some("team/app".parse().unwrap()),
        ..Item::new(Digest::of(bytes), bytes.len() as u64)
    }
}

#[tokio::test]
async fn a_directory_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    let ground = Ground {
        open: Box::new(move |corner, _| {
            let store = DirectoryStore::open(&root.join(corner)).unwrap();
            Box::pin(async move { Store::Directory(store) })
        }),
    };
    claims::all(&ground).await;
}

#[tokio::test]
async fn a_bucket_in_memory_keeps_every_promise() {
    let ground = Ground::object_store(Arc::new(InMemory::new()), true);
    claims::all(&ground).await;
    special::what_is_withheld_is_found_by_nobody_until_it_is_restored(&ground).await;
}

#[tokio::test]
async fn a_bucket_in_a_folder_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let local = Arc::new(local.with_fsync(true));
    claims::all(&Ground::object_store(local, false)).await;
}

#[tokio::test]
async fn an_s3_bucket_keeps_every_promise() {
    landfall_runtime::install_crypto();
    let peer = Peer::s3().await;
    let ground = Ground::peer(&peer);
    claims::all(&ground).await;
    special::what_is_withheld_is_found_by_nobody_until_it_is_restored(&ground).await;
    special::leftovers_of_a_killed_writer_are_aborted(&ground, &peer).await;
}

#[tokio::test]
async fn a_google_bucket_keeps_every_promise() {
    landfall_runtime::install_crypto();
    let (peer, _translator) = Peer::google().await;
    let ground = Ground::peer(&peer);
    claims::all(&ground).await;
    special::what_is_withheld_is_found_by_nobody_until_it_is_restored(&ground).await;
}

#[tokio::test]
async fn an_azure_bucket_keeps_every_promise() {
    landfall_runtime::install_crypto();
    let peer = Peer::azure().await;
    let ground = Ground::peer(&peer);
    claims::all(&ground).await;
    special::what_is_withheld_is_found_by_nobody_until_it_is_restored(&ground).await;
}

#[tokio::test]
async fn a_registry_keeps_every_promise() {
    landfall_runtime::install_crypto();
    let peer = Peer::registry().await;
    let ground = Ground::peer(&peer);
    claims::all(&ground).await;
    special::an_image_is_pulled_by_tag_and_its_signature_found(&ground, &peer).await;
    special::what_goes_from_a_registry_cannot_be_pulled_and_comes_back(&ground, &peer).await;
}
