use super::*;
use crate::testing::store;

fn put(store: &DirectoryStore, bytes: &[u8]) -> Descriptor {
    let digest = Digest::of(bytes);
    store.put_bytes(&digest, bytes).unwrap();
    Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json"
            .parse()
            .unwrap(),
        digest,
        size: bytes.len() as u64,
    }
}

fn path(text: &str) -> FilePath {
    text.parse().unwrap()
}

#[test]
fn a_file_is_a_hard_link_to_its_object_and_moves_atomically() {
    let (folder, store) = store();
    let (old, new) = (put(&store, b"old"), put(&store, b"new"));
    let name = path("binaries/v1/tool");
    store.link_file(&name, &old.digest).unwrap();
    assert_eq!(
        fs::read(folder.path().join("binaries/v1/tool")).unwrap(),
        b"old"
    );
    assert!(store.is_linked(&name, &old.digest).unwrap());
    store.link_file(&name, &old.digest).unwrap();
    store.link_file(&name, &new.digest).unwrap();
    assert_eq!(
        fs::read(folder.path().join("binaries/v1/tool")).unwrap(),
        b"new"
    );
    assert!(!store.is_linked(&name, &old.digest).unwrap());
    store.unlink_file(&name).unwrap();
    store.unlink_file(&name).unwrap();
    assert!(
        !folder.path().join("binaries").try_exists().unwrap(),
        "empty folders go"
    );
    assert!(store.has(&new.digest, 3).unwrap());
    assert_eq!(
        fs::read_dir(folder.path().join(".landfall/tmp"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn names_of_objects_that_are_not_held_are_not_set() {
    let (_folder, store) = store();
    let absent = Digest::of(b"absent");
    assert!(matches!(
        store.link_file(&path("a"), &absent),
        Err(StoreError::NotFound(_))
    ));
    let mut target = put(&store, b"x");
    target.size += 1;
    let mut batch = store.names();
    batch.set_tag(&"r".parse().unwrap(), &"t".parse().unwrap(), &target);
    assert_eq!(batch.commit().unwrap().failed.len(), 1);
    assert_eq!(store.references().unwrap(), []);
}

#[test]
fn a_collision_fails_alone_and_removals_make_room() {
    let (folder, store) = store();
    let digest = put(&store, b"x").digest;
    store.link_file(&path("x"), &digest).unwrap();
    let mut batch = store.names();
    batch.link_file(&path("x/y"), &digest);
    batch.link_file(&path("z"), &digest);
    let report = batch.commit().unwrap();
    assert_eq!(report.failed.len(), 1);
    assert!(
        matches!(report.failed[0], (Name::File(ref at), StoreError::Collision { .. }) if at.as_str() == "x/y")
    );
    assert!(store.is_linked(&path("z"), &digest).unwrap());

    let mut batch = store.names();
    batch.remove(&Name::File(path("x")));
    batch.link_file(&path("x/y"), &digest);
    assert!(batch.commit().unwrap().failed.is_empty());
    assert_eq!(fs::read(folder.path().join("x/y")).unwrap(), b"x");
    assert!(matches!(
        store.link_file(&path("x"), &digest),
        Err(StoreError::Collision { .. })
    ));
}

#[test]
fn references_are_those_of_an_oci_layout_and_survive_reopening() {
    let (folder, store) = store();
    let (one, two) = (put(&store, b"one"), put(&store, b"two"));
    let (repository, tag): (Repository, Tag) = ("a/b".parse().unwrap(), "v1".parse().unwrap());
    let mut batch = store.names();
    batch.set_tag(&repository, &tag, &one);
    batch.set_root(&repository, &two);
    assert!(batch.commit().unwrap().failed.is_empty());
    drop(store);

    let store = DirectoryStore::open(folder.path()).unwrap();
    assert_eq!(
        store.references().unwrap(),
        [
            (Name::Tag(repository.clone(), tag.clone()), one.digest),
            (Name::Root(repository.clone(), two.digest), two.digest),
        ]
    );
    let text = fs::read_to_string(folder.path().join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(index["schemaVersion"], 2);
    let entry = &index["manifests"][0];
    assert_eq!(
        entry["annotations"]["org.opencontainers.image.ref.name"],
        "a/b:v1"
    );
    assert_eq!(entry["digest"], one.digest.to_string());
    assert_eq!(entry["size"], 3);

    let mut batch = store.names();
    batch.set_tag(&repository, &tag, &two);
    batch.remove(&Name::Root(repository.clone(), two.digest));
    assert!(batch.commit().unwrap().failed.is_empty());
    assert_eq!(
        store.references().unwrap(),
        [(Name::Tag(repository, tag), two.digest)]
    );
}

#[test]
fn entries_of_others_in_the_index_are_kept() {
    let (folder, store) = store();
    let target = put(&store, b"one");
    let foreign = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"a/b","digest":"{}","size":3,"platform":{{"os":"linux"}}}}]}}"#,
        target.digest
    );
    fs::write(folder.path().join("index.json"), foreign).unwrap();
    let mut batch = store.names();
    batch.set_tag(&"r".parse().unwrap(), &"t".parse().unwrap(), &target);
    assert!(batch.commit().unwrap().failed.is_empty());
    let text = fs::read_to_string(folder.path().join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(index["manifests"][0]["platform"]["os"], "linux");
}
