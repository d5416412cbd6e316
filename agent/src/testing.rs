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

/// Manifest 0, known as bytes, and index 1 over it; then the same when it is
/// known that the manifest needs layer 2 and config 3.
pub(crate) fn described_image() -> (Catalog, Catalog) {
    let catalogs = [1, 2].map(|revisions| {
        let mut catalog = Catalog::default();
        let index = "application/vnd.oci.image.index.v1+json";
        let unread = vec![
            added("manifest", "application/octet-stream", &[]),
            added("index", index, &["manifest"]),
            Entry::NameSet {
                name: "kube-proxy:v1".parse().unwrap(),
                digest: Digest::of(b"index"),
            },
        ];
        catalog.apply(&with_commit(unread, 1)).unwrap();
        if revisions == 2 {
            catalog.apply(&with_commit(description(), 2)).unwrap();
        }
        catalog
    });
    let [before, after] = catalogs;
    (before, after)
}

/// Layer and config, and that the manifest needs them.
pub(crate) fn description() -> Vec<Entry> {
    let mut entries: Vec<_> = image().into_iter().take(3).collect();
    if let Some(Entry::ObjectAdded(manifest)) = entries.pop() {
        entries.push(Entry::ObjectDescribed(manifest));
    }
    entries
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
