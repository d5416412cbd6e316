//! Small catalogs for tests.

use landfall_catalog::{
    Catalog, Commit, Digest, Entry, MediaType, Name, Object, Repository, Revision, Tag,
};
use roaring::RoaringBitmap;

pub(crate) fn ordinals(set: &RoaringBitmap) -> Vec<u32> {
    set.iter().collect()
}

/// The image `kube-proxy:v1`: layer 0, config 1, manifest 2.
pub(crate) fn catalog_of_image() -> Catalog {
    let mut catalog = Catalog::default();
    catalog.apply(&with_commit(image(), 1)).unwrap();
    catalog
}

/// The same, and object 3 as the file `binaries/a/b`.
pub(crate) fn catalog_of_image_and_file() -> Catalog {
    let mut catalog = Catalog::default();
    let mut entries = image();
    entries.push(added("file", "application/octet-stream", &[]));
    entries.push(Entry::NameSet {
        name: Name::File("binaries/a/b".parse().unwrap()),
        digest: Digest::of(b"file"),
    });
    catalog.apply(&with_commit(entries, 1)).unwrap();
    catalog
}

fn image() -> Vec<Entry> {
    vec![
        added("layer", "application/vnd.oci.image.layer.v1.tar", &[]),
        added("config", "application/vnd.oci.image.config.v1+json", &[]),
        added(
            "manifest",
            "application/vnd.oci.image.manifest.v1+json",
            &["layer", "config"],
        ),
        Entry::NameSet {
            name: Name::Tag(
                Repository::try_new("kube-proxy").unwrap(),
                Tag::try_new("v1").unwrap(),
            ),
            digest: Digest::of(b"manifest"),
        },
    ]
}

fn added(content: &str, media_type: &str, children: &[&str]) -> Entry {
    Entry::ObjectAdded(Object {
        digest: Digest::of(content.as_bytes()),
        size: content.len() as u64,
        media_type: MediaType::try_new(media_type).unwrap(),
        children: children
            .iter()
            .map(|child| Digest::of(child.as_bytes()))
            .collect(),
        referrer: None,
        pieces: None,
    })
}

/// Ends a revision.
pub(crate) fn with_commit(mut entries: Vec<Entry>, revision: u64) -> Vec<Entry> {
    entries.push(Entry::Commit(Commit {
        revision: Revision::new(revision),
        time: 1,
        who: String::new(),
        why: String::new(),
        source: String::new(),
        plan: None,
        operation: String::new(),
    }));
    entries
}
