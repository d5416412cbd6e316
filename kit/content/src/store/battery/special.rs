//! What only some stores have to promise.

use bytes::Bytes;
use landfall_catalog::{Digest, MediaType, Name, Repository};
use landfall_runtime::dial::http_client;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::peers::Peer;
use super::{Ground, item};
use crate::oci::{INDEX, MANIFEST, Registry, RegistryAuth};
use crate::source::HttpSource;
use crate::store::{Item, NameChange, Store};
use crate::testing::{Behaviour, TestServer, content};
use crate::transfer::{TransferLimits, Want, transfer};

/// Uploads that the S3 peer has under way.
async fn uploads(peer: &Peer) -> usize {
    let url = format!("{}/battery?uploads", peer.address);
    let answer = http_client().unwrap().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap().matches("<UploadId>").count()
}

pub(super) async fn leftovers_of_a_killed_writer_are_aborted(ground: &Ground, peer: &Peer) {
    assert_eq!(uploads(peer).await, 0, "the other tests left something");
    let bytes = content(30 << 20);
    let store = ground.open("killed", "battery").await;
    let stalls = TestServer::start(&bytes, Behaviour::StallsAfter(29 << 20)).await;
    let want = Want {
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        pieces: None,
        make_pieces: false,
    };
    let source = HttpSource::new(http_client().unwrap(), stalls.url.clone());
    let far = Notify::new();
    let progress = |there| {
        if there == 29 << 20 {
            far.notify_one();
        }
    };
    let (sources, limits) = (
        [std::sync::Arc::new(source) as _],
        TransferLimits::default(),
    );
    let destination = store.destination(&item(&bytes));
    // Nearly all of it has come, and so parts were sent: only then is there
    // anything to leave.
    tokio::select! {
        ended = transfer(destination, &want, &sources, &limits, progress) => {
            panic!("a source that stalls delivered: {ended:?}")
        }
        () = far.notified() => {}
    }
    assert_eq!(uploads(peer).await, 1, "it was killed in the middle");
    // Who goes on without a restart: not before it is old, nor what is written.
    let now = landfall_runtime::Clock::unix_seconds(&landfall_runtime::SystemClock);
    assert_eq!(store.tidy(now - 60).await.unwrap(), 0, "it is young");
    let Store::Bucket(bucket) = &store else {
        panic!("a bucket")
    };
    let claim = bucket.claim(&want.digest).await;
    assert_eq!(store.tidy(now + 60).await.unwrap(), 0, "somebody writes it");
    drop(claim);
    assert_eq!(uploads(peer).await, 1);
    let other = ground.open("killed", "somebody else").await;
    assert_eq!(other.tidy(now + 60).await.unwrap(), 0);
    assert_eq!(store.tidy(now + 60).await.unwrap(), 1);
    assert_eq!(
        (uploads(peer).await, store.tidy(now + 60).await.unwrap()),
        (0, 0)
    );

    let destination = store.destination(&item(&bytes));
    tokio::select! {
        ended = transfer(destination, &want, &sources, &limits, progress) => {
            panic!("a source that stalls delivered: {ended:?}")
        }
        () = far.notified() => {}
    }
    drop((store, other));
    assert_eq!(uploads(peer).await, 1, "it was killed in the middle");
    drop(ground.open("killed", "somebody else").await);
    assert_eq!(uploads(peer).await, 1, "that is nobody else's business");
    drop(ground.open("killed", "battery").await);
    assert_eq!(uploads(peer).await, 0);
}

pub(super) async fn what_is_withheld_is_found_by_nobody_until_it_is_restored(ground: &Ground) {
    let store = ground.open("withheld", "battery").await;
    let Store::Bucket(bucket) = &store else {
        panic!("this is for buckets");
    };
    let (bad, good) = (content(100_000), content(99_999));
    for bytes in [&bad, &good] {
        store.put_bytes(&item(bytes), bytes.clone()).await.unwrap();
    }
    assert!(bucket.withhold(&item(&bad)).await.unwrap());
    assert!(!bucket.withhold(&item(&bad)).await.unwrap());
    assert!(!store.has(&item(&bad)).await.unwrap());
    assert_eq!(store.list().await.unwrap(), [(Digest::of(&good), 99_999)]);
    assert!(bucket.restore(&item(&bad)).await.unwrap());
    assert!(!bucket.restore(&item(&bad)).await.unwrap());
    assert_eq!(store.read(&item(&bad), 100_000).await.unwrap(), bad);
    assert!(store.has(&item(&good)).await.unwrap());
}

fn document(value: &Value, media_type: &str, repository: &Repository) -> (Item, Bytes) {
    let bytes = Bytes::from(value.to_string());
    let item = Item {
        media_type: MediaType::try_new(media_type).unwrap(),
        repository: Some(repository.clone()),
        ..Item::new(Digest::of(&bytes), bytes.len() as u64)
    };
    (item, bytes)
}

fn descriptor(item: &Item) -> Value {
    json!({"mediaType": item.media_type, "digest": item.digest, "size": item.size})
}

pub(super) async fn an_image_is_pulled_by_tag_and_its_signature_found(
    ground: &Ground,
    peer: &Peer,
) {
    let store = ground.open("images", "battery").await;
    let app: Repository = "team/app".parse().unwrap();
    let layer = content(123_456);
    let config = Bytes::from("{}");
    for bytes in [&layer, &config] {
        store.put_bytes(&item(bytes), bytes.clone()).await.unwrap();
    }
    let image = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor(&item(&config)), "layers": [descriptor(&item(&layer))],
    });
    let (manifest, manifest_bytes) = document(&image, MANIFEST, &app);
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(&manifest)],
    });
    let (index, index_bytes) = document(&index, INDEX, &app);
    assert!(!store.has(&index).await.unwrap());
    for (item, bytes) in [(&manifest, &manifest_bytes), (&index, &index_bytes)] {
        store.put_bytes(item, bytes.clone()).await.unwrap();
        assert!(store.has(item).await.unwrap());
        assert_eq!(store.read(item, item.size).await.unwrap(), bytes);
    }
    let mut signatures = Vec::new();
    for number in 0..2 {
        let signature = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "artifactType": "application/vnd.example.signature",
            "config": descriptor(&item(&config)), "layers": [],
            "subject": descriptor(&index), "annotations": {"number": number.to_string()},
        });
        let (item, bytes) = document(&signature, MANIFEST, &app);
        store.put_bytes(&item, bytes).await.unwrap();
        signatures.push(item);
    }
    let tag = NameChange {
        name: Name::Tag(app.clone(), "v1".parse().unwrap()),
        target: Some(index.clone()),
    };
    let report = store.set_names(vec![tag]).await.unwrap();
    assert!(report.failed.is_empty(), "{report:?}");

    // As somebody else sees it.
    let url = format!("{}/images", peer.address).parse().unwrap();
    let registry = Registry::new(&url, RegistryAuth::Anonymous).unwrap();
    let pulled = registry.manifest(&app, &"v1".parse().unwrap()).await;
    let pulled = pulled.unwrap().unwrap();
    assert_eq!((pulled.digest, &pulled.bytes), (index.digest, &index_bytes));
    assert_eq!(pulled.media_type.as_str(), INDEX);
    let listed = |registry: Registry| {
        let (app, subject) = (app.clone(), index.digest);
        async move {
            let found = registry.referrers(&app, &subject).await.unwrap();
            found
                .into_iter()
                .map(|found| found.digest)
                .collect::<Vec<_>>()
        }
    };
    let expected: Vec<_> = signatures.iter().map(|item| item.digest).collect();
    assert_eq!(listed(registry.clone()).await, expected);
    assert!(store.remove(&signatures[0]).await.unwrap());
    assert_eq!(listed(registry.clone()).await, expected[1..]);

    // Another repository has the layer without its bytes being sent again.
    let other: Repository = "team/other".parse().unwrap();
    let elsewhere = Item {
        repository: Some(other.clone()),
        ..item(&layer)
    };
    assert!(!store.has(&elsewhere).await.unwrap());
    let want = Want {
        digest: elsewhere.digest,
        size: elsewhere.size,
        pieces: None,
        make_pieces: false,
    };
    let limits = TransferLimits::default();
    let fetched = transfer(store.destination(&elsewhere), &want, &[], &limits, |_| {});
    assert_eq!(fetched.await.unwrap().received, 0, "it was mounted");
    assert_eq!(
        registry.blob_size(&other, &elsewhere.digest).await.unwrap(),
        Some(elsewhere.size)
    );
    assert!(matches!(store, Store::Registry(_)));
}

pub(super) async fn what_goes_from_a_registry_cannot_be_pulled_and_comes_back(
    ground: &Ground,
    peer: &Peer,
) {
    let store = ground.open("images", "battery").await;
    let Store::Registry(withholding) = &store else {
        panic!("this is for registries");
    };
    let app: Repository = "team/app".parse().unwrap();
    let (layer, config) = (content(54_321), Bytes::from("{\"os\": \"linux\"}"));
    for bytes in [&layer, &config] {
        store.put_bytes(&item(bytes), bytes.clone()).await.unwrap();
    }
    let (layer, config) = (item(&layer), item(&config));
    let image = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor(&config), "layers": [descriptor(&layer)],
    });
    let (image, bytes) = document(&image, MANIFEST, &app);
    store.put_bytes(&image, bytes).await.unwrap();
    let url = format!("{}/images", peer.address).parse().unwrap();
    let registry = Registry::new(&url, RegistryAuth::Anonymous).unwrap();
    let seen = |reference: &str| {
        let (registry, app, reference) = (registry.clone(), app.clone(), reference.parse());
        async move {
            let found = registry.manifest(&app, &reference.unwrap()).await;
            found.unwrap().is_some()
        }
    };
    let name = |tag: &str, target: Option<&Item>| {
        let name = Name::Tag(app.clone(), tag.parse().unwrap());
        let target = target.cloned();
        let store = store.clone();
        async move {
            let changes = vec![NameChange { name, target }];
            let report = store.set_names(changes).await.unwrap();
            assert!(report.failed.is_empty(), "{report:?}");
        }
    };

    // A tag goes, and the other one of the same image stays.
    name("one", Some(&image)).await;
    name("two", Some(&image)).await;
    for _ in 0..2 {
        name("two", None).await;
        assert!(seen("one").await && !seen("two").await);
    }

    let (tags, by_digest) = (["one".parse().unwrap()], image.digest.to_string());
    let closure = [config.clone(), layer.clone(), image.clone()];
    let blob = [layer.clone()];
    for _ in 0..2 {
        assert!(withholding.withhold(&image, &closure, &tags).await.unwrap());
        assert!(!withholding.withhold(&image, &closure, &tags).await.unwrap());
        assert!(withholding.withhold(&layer, &blob, &[]).await.unwrap());
        assert!(!seen("one").await && !seen(&by_digest).await);
        assert!(!store.has(&layer).await.unwrap() && store.has(&config).await.unwrap());

        for part in [&layer, &image] {
            assert!(withholding.restore(part).await.unwrap());
            assert!(!withholding.restore(part).await.unwrap());
        }
        assert!(seen(&by_digest).await && store.verify(&layer).await.unwrap());
        name("one", Some(&image)).await;
        assert!(seen("one").await);
    }
}
