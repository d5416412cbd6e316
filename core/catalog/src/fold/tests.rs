//! The fold against its model: the same questions to both.

mod cases;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::model::Model;
use super::*;
use crate::name::Repository;
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

/// The object as somebody saw it who only saw its bytes.
fn unread(number: u8) -> Entry {
    let Entry::ObjectAdded(object) = object(number, &[]) else {
        unreachable!("it is an object");
    };
    Entry::ObjectAdded(Object {
        media_type: MediaType::octet_stream(),
        referrer: None,
        ..object
    })
}

fn described(number: u8, children: &[u8]) -> Entry {
    let Entry::ObjectAdded(object) = object(number, children) else {
        unreachable!("it is an object");
    };
    Entry::ObjectDescribed(object)
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

fn pend(name: Name, number: u8) -> Entry {
    Entry::NamePending {
        name,
        digest: digest(number),
    }
}

fn drop_name(name: Name) -> Entry {
    Entry::NameDropped {
        name,
        reason: "not now".to_owned(),
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

    let reachable = model.reachable();
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
    let below = model.below(model.withdrawn.keys().copied().collect(), |_| true);
    let gone = catalog.gone();
    for digest in below.difference(&live) {
        // Unless something live stands between.
        let ordinal = catalog.ordinal(digest).unwrap();
        let holders = model.objects.iter().filter(|o| o.children.contains(digest));
        let by_what_is_gone = holders
            .filter_map(|holder| catalog.ordinal(&holder.digest))
            .any(|holder| gone.contains(holder.get()));
        let expected = by_what_is_gone || model.withdrawn.contains_key(digest);
        assert_eq!(gone.contains(ordinal.get()), expected);
    }
    assert!(gone.is_disjoint(catalog.live()));
    let lacks = |digest: &&Digest| {
        let needs = model.below(vec![**digest], |_| true);
        needs
            .iter()
            .any(|needed| model.withdrawn.contains_key(needed))
    };
    let incomplete: BTreeSet<Digest> = live.iter().filter(lacks).copied().collect();
    let incomplete = ordinals(&incomplete, catalog);
    assert_eq!(catalog.incomplete().iter().collect::<Vec<_>>(), incomplete);

    let announced = catalog.announced();
    let mut expected: BTreeMap<&Repository, BTreeSet<Digest>> = BTreeMap::new();
    for (name, (digest, _)) in &model.pending {
        if let Name::Tag(repository, _) | Name::Root(repository, _) = name {
            let reached = expected.entry(repository).or_default();
            reached.extend(model.below(vec![*digest], |_| true));
        }
    }
    assert_eq!(announced.len(), expected.len());
    for (repository, reached) in announced {
        let expected = ordinals(&expected[repository], catalog);
        assert_eq!(reached.iter().collect::<Vec<_>>(), expected);
    }

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
        let pending = catalog.pending_of(ordinal).count();
        let expected = model.pending.values().filter(|(d, _)| *d == object.digest);
        assert_eq!(pending, expected.count());
    }

    let pending: Vec<(Name, PendingRecord)> = catalog
        .pending_names()
        .map(|(name, record)| (name.clone(), record))
        .collect();
    let expected = model.pending.iter().map(|(name, (digest, since))| {
        let ordinal = catalog.ordinal(digest).unwrap();
        let since = *since;
        (name.clone(), PendingRecord { ordinal, since })
    });
    assert_eq!(pending, expected.collect::<Vec<_>>());
    assert_eq!(catalog.pending_count(), pending.len());
    for (name, record) in &pending {
        assert_eq!(catalog.pending_name(name), Some(*record));
        assert!(catalog.pending_of(record.ordinal).any(|of| of == name));
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
        3 => (0_u8..24).prop_map(unread),
        5 => (0_u8..24, prop::collection::vec(0_u8..24, 0..5))
            .prop_map(|(number, children)| described(number, &children)),
        8 => (any_name(), 0_u8..24, 0_u8..3).prop_map(|(name, number, pending)| {
            let digest = match &name {
                Name::Root(_, digest) => *digest,
                Name::Tag(..) | Name::File(_) => digest(number),
            };
            match pending {
                0 => Entry::NamePending { name, digest },
                _ => Entry::NameSet { name, digest },
            }
        }),
        1 => any_name().prop_map(drop_name),
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
            let checked = catalog.check(&entries);
            assert_same(&catalog, &model);
            let applied = catalog.apply(&entries);
            prop_assert_eq!(&checked, &applied);
            match (applied, model.after(&entries)) {
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
