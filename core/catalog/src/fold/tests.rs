//! The fold against its model, and case by case.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::model::Model;
use super::*;
use crate::name::{FilePath, Repository};
use crate::object::{MediaType, Object, Referrer};

const REPOSITORIES: [&str; 3] = ["a", "b/c", "d"];
const TAGS: [&str; 3] = ["v1", "v2", "latest"];
const PATHS: [&str; 4] = ["x", "f/one", "f/two", "f/two/three"];

fn digest(number: u8) -> Digest {
    Digest::of(&[number])
}

fn tag(repository: &str, tag: &str) -> Name {
    Name::Tag(repository.parse().unwrap(), tag.parse().unwrap())
}

fn root(repository: &str, number: u8) -> Name {
    Name::Root(repository.parse().unwrap(), digest(number))
}

fn file(path: &str) -> Name {
    Name::File(path.parse().unwrap())
}

/// Every fourth object refers to the one before it.
fn object(number: u8, children: &[u8]) -> Entry {
    let referrer = number % 4 == 3;
    Entry::ObjectAdded(Object {
        digest: digest(number),
        size: u64::from(number) * 1000,
        media_type: MediaType::try_new(format!("test/{}", number % 2)).unwrap(),
        children: children.iter().copied().map(digest).collect(),
        referrer: referrer.then(|| Referrer {
            subject: digest(number - 1),
            artifact_type: "test/signature".to_owned(),
            annotations: BTreeMap::from([("by".to_owned(), number.to_string())]),
        }),
        pieces: number.is_multiple_of(3).then(|| Digest::of(&[number, 0])),
    })
}

fn set(name: Name, number: u8) -> Entry {
    Entry::NameSet {
        name,
        digest: digest(number),
    }
}

fn remove(name: Name) -> Entry {
    Entry::NameRemoved {
        name,
        reason: "gone".to_owned(),
    }
}

fn withdraw(number: u8) -> Entry {
    Entry::Withdrawn {
        digest: digest(number),
        reason: format!("bad {number}"),
    }
}

fn reinstate(number: u8) -> Entry {
    Entry::Reinstated {
        digest: digest(number),
        reason: "good".to_owned(),
    }
}

fn commit(revision: u64) -> Entry {
    Entry::Commit(Commit {
        revision: Revision::new(revision),
        time: 1_800_000_000,
        who: "tester".to_owned(),
        why: "test".to_owned(),
        source: String::new(),
        plan: None,
        operation: revision.to_string(),
    })
}

/// Applies entries and a commit of the next revision.
fn apply(catalog: &mut Catalog, mut entries: Vec<Entry>) -> Result<(), FoldError> {
    entries.push(commit(catalog.revision().next().get()));
    catalog.apply(&entries)
}

fn ordinals(digests: &BTreeSet<Digest>, catalog: &Catalog) -> Vec<u32> {
    let mut ordinals: Vec<u32> = digests
        .iter()
        .map(|digest| catalog.ordinal(digest).unwrap().get())
        .collect();
    ordinals.sort_unstable();
    ordinals
}

/// Asks both everything.
fn assert_same(catalog: &Catalog, model: &Model) {
    assert_eq!(catalog.revision().get(), model.revision);
    assert_eq!(catalog.log_size(), model.log_size);
    assert_eq!(catalog.unknown_entries(), model.unknown);
    assert_eq!(catalog.object_count() as usize, model.objects.len());
    assert_eq!(catalog.name_count(), model.names.len());

    let reachable = model.reached(|_| true);
    let live: BTreeSet<Digest> = reachable
        .iter()
        .filter(|digest| !model.withdrawn.contains_key(digest))
        .copied()
        .collect();
    let live_ordinals = ordinals(&live, catalog);
    assert_eq!(catalog.live().iter().collect::<Vec<_>>(), live_ordinals);
    assert_eq!(catalog.live_count(), live.len() as u64);
    let sizes = model.objects.iter().filter(|o| live.contains(&o.digest));
    assert_eq!(catalog.live_bytes(), sizes.map(|o| o.size).sum::<u64>());
    assert_eq!(catalog.all_withdrawn().count(), model.withdrawn.len());

    for number in 0..=40 {
        let known = catalog.ordinal(&digest(number)).is_some();
        assert_eq!(known, model.knows(&digest(number)));
        assert_eq!(
            catalog.withdrawn(&digest(number)),
            model.withdrawn.get(&digest(number)).map(String::as_str)
        );
    }
    assert!(
        catalog
            .object(Ordinal::new(catalog.object_count()))
            .is_none()
    );
    for (number, object) in (0_u32..).zip(&model.objects) {
        let ordinal = Ordinal::new(number);
        let found = catalog.object(ordinal).unwrap();
        assert_eq!(catalog.ordinal(&object.digest), Some(ordinal));
        assert_eq!(found.ordinal(), ordinal);
        assert_eq!(*found.digest(), object.digest);
        assert_eq!(found.size(), object.size);
        assert_eq!(*found.media_type(), object.media_type);
        assert_eq!(found.referrer(), object.referrer.as_ref());
        assert_eq!(found.pieces(), object.pieces.as_ref());
        let children: Vec<Digest> = found
            .children()
            .iter()
            .map(|child| *catalog.object(*child).unwrap().digest())
            .collect();
        assert_eq!(children, object.children);
        assert_eq!(catalog.is_live(ordinal), live.contains(&object.digest));
        assert_eq!(
            catalog.is_reachable(ordinal),
            reachable.contains(&object.digest)
        );
        assert_eq!(
            catalog.is_withdrawn(ordinal),
            model.withdrawn.contains_key(&object.digest)
        );
        let names: BTreeSet<Name> = catalog.names_of(ordinal).collect();
        let expected = model.names.iter().filter(|(_, (d, _))| *d == object.digest);
        assert_eq!(names, expected.map(|(name, _)| name.clone()).collect());
    }

    for (name, (digest, set_at)) in &model.names {
        let record = NameRecord {
            ordinal: catalog.ordinal(digest).unwrap(),
            set_at: *set_at,
        };
        assert_eq!(catalog.name(name), Some(record));
    }
    let of_model = |name: Name| model.names.get(&name).map(|(_, set_at)| *set_at);
    let set_at = |record: Option<NameRecord>| record.map(|record| record.set_at);
    for path in PATHS {
        assert_eq!(set_at(catalog.file(path)), of_model(file(path)));
    }
    let files: Vec<&str> = catalog.files().map(|(path, _)| path.as_str()).collect();
    let expected: Vec<String> = model
        .names
        .keys()
        .filter(|name| matches!(name, Name::File(_)))
        .map(ToString::to_string)
        .collect();
    assert_eq!(files, expected);

    let in_repository = |name: &Name, wanted: &str| match name {
        Name::Tag(repository, _) | Name::Root(repository, _) => repository.as_str() == wanted,
        Name::File(_) => false,
    };
    for repository in REPOSITORIES {
        let members = model.reached(|name| in_repository(name, repository));
        for object in &model.objects {
            let ordinal = catalog.ordinal(&object.digest).unwrap();
            assert_eq!(
                catalog.contains(repository, ordinal),
                members.contains(&object.digest)
            );
            let referring = model.objects.iter().filter(|other| {
                let subject = other.referrer.as_ref().map(|referrer| referrer.subject);
                subject == Some(object.digest) && members.contains(&other.digest)
            });
            let expected: Vec<_> = referring
                .map(|other| catalog.ordinal(&other.digest).unwrap())
                .collect();
            assert_eq!(catalog.referrers(repository, &object.digest), expected);
        }
        let names: Vec<&Name> = model
            .names
            .keys()
            .filter(|name| in_repository(name, repository))
            .collect();
        assert_eq!(catalog.has_repository(repository), !names.is_empty());
        assert_eq!(
            catalog
                .repositories()
                .any(|known| known.as_str() == repository),
            !names.is_empty()
        );
        let parsed: Repository = repository.parse().unwrap();
        let tags = catalog
            .tags(repository)
            .map(|(tag, _)| Name::Tag(parsed.clone(), tag.clone()));
        let roots = catalog
            .roots(repository)
            .map(|(digest, _)| Name::Root(parsed.clone(), *digest));
        assert_eq!(
            tags.chain(roots).collect::<Vec<_>>(),
            names.into_iter().cloned().collect::<Vec<_>>()
        );
        for wanted in TAGS {
            assert_eq!(
                set_at(catalog.tag(repository, wanted)),
                of_model(tag(repository, wanted))
            );
        }
    }
    assert!(catalog.repositories().is_sorted());
}

fn any_name() -> impl Strategy<Value = Name> {
    let repository = prop::sample::select(&REPOSITORIES[..]);
    prop_oneof![
        3 => (repository.clone(), prop::sample::select(&TAGS[..])).prop_map(|(r, t)| tag(r, t)),
        1 => (repository, 0_u8..24).prop_map(|(r, n)| root(r, n)),
        2 => prop::sample::select(&PATHS[..]).prop_map(file),
    ]
}

fn any_entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        8 => (0_u8..24, prop::collection::vec(0_u8..24, 0..4))
            .prop_map(|(number, children)| object(number, &children)),
        8 => (any_name(), 0_u8..24).prop_map(|(name, number)| match name {
            Name::Root(repository, digest) => Entry::NameSet {
                name: Name::Root(repository, digest),
                digest,
            },
            name @ (Name::Tag(..) | Name::File(_)) => set(name, number),
        }),
        3 => any_name().prop_map(remove),
        1 => (0_u8..24).prop_map(withdraw),
        1 => (0_u8..24).prop_map(reinstate),
        1 => Just(Entry::Unknown),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_fold_says_what_recomputing_everything_says(
        seed in any::<u64>(),
        revisions in prop::collection::vec((prop::collection::vec(any_entry(), 0..24), any::<bool>()), 1..12),
    ) {
        let mut catalog = Catalog::with_seed(seed);
        let mut model = Model::default();
        for (mut entries, keep_mistakes) in revisions {
            if !keep_mistakes {
                let mut so_far = model.clone();
                entries.retain(|entry| so_far.step(entry));
            }
            entries.push(commit(model.revision + 1));
            match (catalog.apply(&entries), model.after(&entries)) {
                (Ok(()), Ok(next)) => model = next,
                (Err(error), Err(entry)) => prop_assert_eq!(error.entry, entry),
                (found, expected) => {
                    let expected = expected.map(|_| ());
                    prop_assert!(false, "{:?} instead of {:?}", found, expected);
                }
            }
            assert_same(&catalog, &model);
        }
    }
}

#[test]
fn the_empty_catalog_is_before_the_first_revision() {
    let catalog = Catalog::default();
    assert_eq!(catalog.revision(), Revision::ZERO);
    assert_eq!(catalog.last_commit(), None);
    assert_same(&catalog, &Model::default());
}

#[test]
fn a_name_that_moves_takes_its_repository_along() {
    let mut catalog = Catalog::default();
    let image = vec![
        object(0, &[]),
        object(1, &[]),
        object(2, &[0, 1, 1]),
        object(4, &[1]),
        set(tag("a", "latest"), 2),
    ];
    apply(&mut catalog, image).unwrap();
    let at = |catalog: &Catalog, number| {
        let ordinal = catalog.ordinal(&digest(number)).unwrap();
        (catalog.contains("a", ordinal), catalog.is_live(ordinal))
    };
    assert_eq!(at(&catalog, 0), (true, true));
    apply(&mut catalog, vec![set(tag("a", "latest"), 4)]).unwrap();
    assert_eq!(at(&catalog, 0), (false, false));
    assert_eq!(at(&catalog, 1), (true, true));
    assert_eq!(catalog.tag("a", "latest").unwrap().set_at, 6);
    apply(&mut catalog, vec![remove(tag("a", "latest"))]).unwrap();
    assert_eq!(at(&catalog, 1), (false, false));
    assert!(!catalog.has_repository("a"));
}

#[test]
fn a_withdrawn_object_keeps_its_names_and_is_not_live_until_reinstated() {
    let mut catalog = Catalog::default();
    apply(&mut catalog, vec![object(0, &[]), set(file("x"), 0)]).unwrap();
    apply(&mut catalog, vec![withdraw(0)]).unwrap();
    let ordinal = catalog.file("x").unwrap().ordinal;
    assert!(catalog.is_withdrawn(ordinal) && catalog.is_reachable(ordinal));
    assert!(!catalog.is_live(ordinal));
    assert_eq!(catalog.withdrawn(&digest(0)), Some("bad 0"));
    assert_eq!((catalog.live_count(), catalog.live_bytes()), (0, 0));
    apply(&mut catalog, vec![reinstate(0)]).unwrap();
    assert!(catalog.is_live(ordinal));
    assert_eq!(catalog.withdrawn(&digest(0)), None);
}

#[test]
fn each_contradiction_is_refused_with_its_entry_and_changes_nothing() {
    let mut catalog = Catalog::default();
    let mut entries = vec![
        object(0, &[]),
        object(1, &[0]),
        object(2, &[]),
        set(tag("a", "v1"), 1),
        withdraw(2),
    ];
    let mut model = Model::default();
    entries.push(commit(1));
    catalog.apply(&entries).unwrap();
    model = model.after(&entries).unwrap();
    let (size, known) = (catalog.log_size(), digest(0));

    for (entry, fault) in [
        (object(0, &[]), FoldFault::DuplicateObject(known)),
        (
            object(9, &[0, 9]),
            FoldFault::UnknownChild {
                parent: digest(9),
                child: digest(9),
            },
        ),
        (set(file("x"), 9), FoldFault::UnknownObject(digest(9))),
        (
            set(root("a", 0), 1),
            FoldFault::RootMismatch {
                name: root("a", 0),
                digest: digest(1),
            },
        ),
        (
            set(file("x"), 2),
            FoldFault::NamedWhileWithdrawn {
                name: file("x"),
                digest: digest(2),
            },
        ),
        (remove(file("x")), FoldFault::UnknownName(file("x"))),
        (
            remove(tag("a", "v2")),
            FoldFault::UnknownName(tag("a", "v2")),
        ),
        (withdraw(2), FoldFault::AlreadyWithdrawn(digest(2))),
        (withdraw(9), FoldFault::UnknownObject(digest(9))),
        (reinstate(0), FoldFault::NotWithdrawn(known)),
        (commit(2), FoldFault::EarlyCommit),
    ] {
        // Each after entries that are fine by themselves.
        let entries = vec![object(7, &[0]), set(tag("b/c", "v1"), 7), entry];
        let error = apply(&mut catalog, entries).unwrap_err();
        assert_eq!((error.entry, &error.fault), (size + 2, &fault));
        assert_same(&catalog, &model);
    }

    for (entries, entry, fault) in [
        (vec![], size, FoldFault::NoCommit),
        (vec![object(7, &[])], size, FoldFault::NoCommit),
        (
            vec![commit(2), object(7, &[])],
            size + 1,
            FoldFault::NoCommit,
        ),
        (
            vec![object(7, &[]), commit(3)],
            size + 1,
            FoldFault::Revision {
                expected: Revision::new(2),
                found: Revision::new(3),
            },
        ),
    ] {
        let error = catalog.apply(&entries).unwrap_err();
        assert_eq!((error.entry, error.fault), (entry, fault));
        assert_same(&catalog, &model);
    }
}

#[test]
fn entries_of_one_revision_see_those_before_them() {
    let mut catalog = Catalog::default();
    let entries = vec![
        object(0, &[]),
        set(file("x"), 0),
        remove(file("x")),
        set(file("x"), 0),
        withdraw(0),
        reinstate(0),
        set(tag("a", "v1"), 0),
        remove(tag("a", "v1")),
    ];
    apply(&mut catalog, entries).unwrap();
    assert_eq!(catalog.name_count(), 1);
    assert_eq!(catalog.file("x").unwrap().set_at, 3);
    let twice = vec![remove(file("x")), remove(file("x"))];
    assert_eq!(
        apply(&mut catalog, twice).unwrap_err().fault,
        FoldFault::UnknownName(file("x"))
    );
}

#[test]
fn files_that_would_be_folders_of_each_other_are_found() {
    let mut catalog = Catalog::default();
    apply(
        &mut catalog,
        vec![object(0, &[]), set(file("a/b"), 0), set(file("a/b.c"), 0)],
    )
    .unwrap();
    for (path, collision) in [
        ("a", Some("a/b")),
        ("a/b/c", Some("a/b")),
        ("a/b/c/d", Some("a/b")),
        ("a/b", None),
        ("a/bc", None),
        ("a/b.c/d", Some("a/b.c")),
        ("b", None),
    ] {
        let path: FilePath = path.parse().unwrap();
        let found = catalog.colliding_file(&path);
        assert_eq!(found.as_ref().map(FilePath::as_str), collision, "{path}");
    }
    let below: Vec<_> = catalog
        .files_below("a")
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(below, ["a/b", "a/b.c"]);
    assert_eq!(catalog.files_below("a/b").count(), 0);
}

/// A catalog of `images` images, each an OCI manifest over three layers of its
/// own and one that all have.
fn catalog_of(images: u32) -> Catalog {
    let mut catalog = Catalog::default();
    let number = |image: u32, part: u8| Digest::of(&[&image.to_be_bytes()[..], &[part]].concat());
    let base = Digest::of(b"base");
    let add = |digest, children| {
        Entry::ObjectAdded(Object {
            digest,
            size: 1,
            media_type: MediaType::octet_stream(),
            children,
            referrer: None,
            pieces: None,
        })
    };
    let mut entries = vec![add(base, vec![])];
    for image in 0..images {
        let layers: Vec<Digest> = (1..4).map(|part| number(image, part)).collect();
        entries.extend(layers.iter().map(|layer| add(*layer, vec![])));
        let children = layers.into_iter().chain([base]).collect();
        entries.push(add(number(image, 0), children));
        entries.push(Entry::NameSet {
            name: tag("a", &format!("v{image}")),
            digest: number(image, 0),
        });
    }
    apply(&mut catalog, entries).unwrap();
    catalog
}

#[test]
fn the_work_of_a_commit_does_not_grow_with_the_catalog() {
    let work_of_commits = |images| {
        let mut catalog = catalog_of(images);
        let before = catalog.touched;
        let newest = Digest::of(&[&(images - 1).to_be_bytes()[..], &[0]].concat());
        let moved = Entry::NameSet {
            name: tag("a", "v0"),
            digest: newest,
        };
        apply(&mut catalog, vec![moved]).unwrap();
        apply(&mut catalog, vec![remove(tag("a", "v0"))]).unwrap();
        apply(&mut catalog, vec![object(0, &[]), set(file("x"), 0)]).unwrap();
        catalog.touched - before
    };
    let small = work_of_commits(2);
    assert_eq!(small, work_of_commits(2000));
    assert!(small < 40, "{small}");
}

#[test]
fn the_seed_changes_nothing_that_can_be_seen() {
    let entries = [
        object(0, &[]),
        object(1, &[0]),
        set(tag("a", "v1"), 1),
        set(file("x"), 0),
        commit(1),
    ];
    let mut model = Model::default();
    model = model.after(&entries).unwrap();
    for seed in [0, 1, 0x9e37_79b9_7f4a_7c15, u64::MAX] {
        let mut catalog = Catalog::with_seed(seed);
        catalog.apply(&entries).unwrap();
        assert_same(&catalog, &model);
    }
}
