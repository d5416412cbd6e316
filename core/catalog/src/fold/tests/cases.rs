//! The fold case by case.

use super::*;
use crate::name::FilePath;

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
    let at = catalog.withdrawn_at(ordinal).unwrap();
    assert_eq!(at, catalog.log_size() - 2, "the entry before the commit");
    assert_eq!((catalog.live_count(), catalog.live_bytes()), (0, 0));
    apply(&mut catalog, vec![reinstate(0)]).unwrap();
    assert!(catalog.is_live(ordinal));
    assert_eq!(catalog.withdrawn(&digest(0)), None);
    assert_eq!(catalog.withdrawn_at(ordinal), None);
}

#[test]
fn what_only_a_withdrawn_object_needs_is_not_live_until_something_else_needs_it() {
    let mut catalog = Catalog::default();
    let entries = vec![
        object(0, &[]),
        object(1, &[]),
        object(2, &[0, 1]),
        object(4, &[1]),
        set(tag("a", "v1"), 2),
        set(tag("d", "v1"), 4),
    ];
    apply(&mut catalog, entries).unwrap();
    let live = |catalog: &Catalog| {
        let of = |number| catalog.ordinal(&digest(number)).unwrap();
        [0, 1, 2].map(|number| catalog.is_live(of(number)))
    };
    apply(&mut catalog, vec![withdraw(2)]).unwrap();
    assert_eq!(live(&catalog), [false, true, false]);
    assert_eq!(catalog.gone().iter().collect::<Vec<_>>(), [0, 2]);
    let leaf = catalog.ordinal(&digest(0)).unwrap();
    assert!(!catalog.is_withdrawn(leaf) && catalog.contains("a", leaf));
    // The repaired one, on the same base.
    let repaired = vec![object(5, &[0]), set(tag("a", "v2"), 5)];
    apply(&mut catalog, repaired).unwrap();
    assert_eq!(live(&catalog), [true, true, false]);
    assert_eq!(catalog.gone().iter().collect::<Vec<_>>(), [2]);
    apply(&mut catalog, vec![remove(tag("a", "v2")), reinstate(2)]).unwrap();
    assert_eq!(live(&catalog), [true, true, true]);
    assert!(catalog.gone().is_empty());
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
        pend(file("p"), 0),
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
        (pend(file("y"), 9), FoldFault::UnknownObject(digest(9))),
        (
            pend(root("a", 0), 1),
            FoldFault::RootMismatch {
                name: root("a", 0),
                digest: digest(1),
            },
        ),
        (
            pend(file("y"), 2),
            FoldFault::NamedWhileWithdrawn {
                name: file("y"),
                digest: digest(2),
            },
        ),
        (pend(file("p"), 0), FoldFault::AlreadyPending(file("p"))),
        (pend(file("p"), 1), FoldFault::AlreadyPending(file("p"))),
        (drop_name(file("x")), FoldFault::NotPending(file("x"))),
        (
            drop_name(tag("a", "v1")),
            FoldFault::NotPending(tag("a", "v1")),
        ),
        (remove(file("p")), FoldFault::UnknownName(file("p"))),
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
fn a_pending_name_keeps_its_content_live_and_answers_nowhere() {
    let mut catalog = Catalog::default();
    let image = vec![
        object(0, &[]),
        object(2, &[0]),
        object(3, &[]),
        pend(tag("a", "v1"), 2),
        pend(root("a", 3), 3),
        pend(file("x/y"), 0),
    ];
    apply(&mut catalog, image).unwrap();
    let ordinal = |catalog: &Catalog, number| catalog.ordinal(&digest(number)).unwrap();
    for number in [0, 2, 3] {
        let ordinal = ordinal(&catalog, number);
        assert!(catalog.is_live(ordinal) && catalog.is_reachable(ordinal));
        assert!(!catalog.contains("a", ordinal));
        assert_eq!(catalog.names_of(ordinal).count(), 0);
    }
    assert_eq!(catalog.name_count(), 0);
    assert!(!catalog.has_repository("a"));
    assert_eq!(catalog.repositories().count(), 0);
    assert_eq!(catalog.tags("a").count() + catalog.roots("a").count(), 0);
    assert_eq!(catalog.name(&tag("a", "v1")), None);
    assert_eq!(catalog.tag("a", "v1"), None);
    assert_eq!(catalog.file("x/y"), None);
    assert_eq!(catalog.files().count(), 0);
    assert!(catalog.referrers("a", &digest(2)).is_empty());
    let record = catalog.pending_name(&tag("a", "v1")).unwrap();
    assert_eq!(
        (record.ordinal, record.since),
        (ordinal(&catalog, 2), 3),
        "the index of its entry"
    );

    apply(&mut catalog, vec![set(tag("a", "v1"), 2)]).unwrap();
    assert_eq!(catalog.pending_name(&tag("a", "v1")), None);
    assert!(catalog.contains("a", ordinal(&catalog, 0)));
    let dropped = vec![drop_name(root("a", 3)), drop_name(file("x/y"))];
    apply(&mut catalog, dropped).unwrap();
    assert_eq!(catalog.pending_count(), 0);
    assert!(!catalog.is_live(ordinal(&catalog, 3)));
    assert!(catalog.is_live(ordinal(&catalog, 0)), "of the image");
}

#[test]
fn a_name_that_is_set_to_anything_is_pending_no_more() {
    let mut catalog = Catalog::default();
    let entries = vec![
        object(0, &[]),
        object(1, &[]),
        set(file("x"), 0),
        pend(file("x"), 1),
    ];
    apply(&mut catalog, entries).unwrap();
    let current = |catalog: &Catalog| catalog.file("x").unwrap().ordinal.get();
    assert_eq!(current(&catalog), 0, "it means what it meant");
    apply(&mut catalog, vec![remove(file("x"))]).unwrap();
    assert_eq!(
        catalog.pending_count(),
        1,
        "removal is of the name in force"
    );
    apply(&mut catalog, vec![set(file("x"), 0)]).unwrap();
    assert_eq!((current(&catalog), catalog.pending_count()), (0, 0));
    assert!(!catalog.is_live(catalog.ordinal(&digest(1)).unwrap()));
}

#[test]
fn withdrawn_content_stays_pending_and_comes_back_with_its_reinstatement() {
    let mut catalog = Catalog::default();
    apply(&mut catalog, vec![object(0, &[]), pend(file("x"), 0)]).unwrap();
    let ordinal = catalog.pending_name(&file("x")).unwrap().ordinal;
    apply(&mut catalog, vec![withdraw(0)]).unwrap();
    assert!(!catalog.is_live(ordinal) && catalog.is_reachable(ordinal));
    let error = apply(&mut catalog, vec![set(file("x"), 0)]).unwrap_err();
    assert!(matches!(error.fault, FoldFault::NamedWhileWithdrawn { .. }));
    apply(&mut catalog, vec![reinstate(0)]).unwrap();
    assert!(catalog.is_live(ordinal));
}

#[test]
fn entries_of_one_revision_see_what_is_pending_by_then() {
    let mut catalog = Catalog::default();
    let x = || file("x");
    let entries = vec![
        object(0, &[]),
        pend(x(), 0),
        drop_name(x()),
        pend(x(), 0),
        set(x(), 0),
        pend(x(), 0),
    ];
    apply(&mut catalog, entries).unwrap();
    assert_eq!(catalog.pending_name(&x()).unwrap().since, 5);
    for (entries, fault) in [
        (
            vec![drop_name(x()), drop_name(x())],
            FoldFault::NotPending(x()),
        ),
        (
            vec![set(x(), 0), drop_name(x())],
            FoldFault::NotPending(x()),
        ),
        (
            vec![drop_name(x()), pend(x(), 0), pend(x(), 0)],
            FoldFault::AlreadyPending(x()),
        ),
        (
            vec![withdraw(0), drop_name(x()), pend(x(), 0)],
            FoldFault::NamedWhileWithdrawn {
                name: x(),
                digest: digest(0),
            },
        ),
    ] {
        assert_eq!(apply(&mut catalog, entries).unwrap_err().fault, fault);
        assert_eq!(catalog.pending_count(), 1);
    }
}

#[test]
fn a_description_gives_children_to_whoever_holds_the_object() {
    let mut catalog = Catalog::default();
    let first = vec![unread(3), set(file("x"), 3), set(tag("a", "v1"), 3)];
    apply(&mut catalog, first).unwrap();
    // The children come later than what turns out to need them.
    let read = vec![object(0, &[]), object(1, &[0]), described(3, &[1])];
    apply(&mut catalog, read).unwrap();
    let ordinal = |number| catalog.ordinal(&digest(number)).unwrap();
    let manifest = catalog.object(ordinal(3)).unwrap();
    assert_eq!(manifest.children(), [ordinal(1)]);
    assert_eq!(manifest.media_type().as_str(), "test/1");
    assert_eq!(catalog.referrers("a", &digest(2)), [ordinal(3)]);
    for number in [0, 1, 3] {
        assert!(catalog.is_live(ordinal(number)), "{number}");
        assert!(catalog.contains("a", ordinal(number)), "{number}");
    }
    let gone = vec![remove(file("x")), remove(tag("a", "v1"))];
    apply(&mut catalog, gone).unwrap();
    assert_eq!(catalog.live_count(), 0);
}

#[test]
fn a_description_takes_nothing_back_and_makes_no_circle() {
    let mut catalog = Catalog::default();
    let entries = vec![object(0, &[]), object(1, &[0]), object(2, &[1])];
    apply(&mut catalog, entries).unwrap();
    let changed = |change: &dyn Fn(&mut Object)| {
        let Entry::ObjectDescribed(mut object) = described(1, &[0]) else {
            unreachable!("it is a description");
        };
        change(&mut object);
        Entry::ObjectDescribed(object)
    };
    let contradicted = |what| FoldFault::Contradicted {
        digest: digest(1),
        what,
    };
    for (entry, fault) in [
        (described(9, &[]), FoldFault::UnknownObject(digest(9))),
        (described(1, &[]), contradicted("children")),
        (changed(&|object| object.size += 1), contradicted("size")),
        (
            changed(&|object| object.media_type = MediaType::octet_stream()),
            contradicted("media type"),
        ),
        (described(1, &[0, 1]), FoldFault::Cycle(digest(1))),
        (described(1, &[0, 2]), FoldFault::Cycle(digest(1))),
        (
            described(1, &[0, 9]),
            FoldFault::UnknownChild {
                parent: digest(1),
                child: digest(9),
            },
        ),
    ] {
        let refused = apply(&mut catalog, vec![entry]).unwrap_err();
        assert_eq!(refused.fault, fault);
        let child = catalog.ordinal(&digest(1)).unwrap();
        assert_eq!(catalog.object(child).unwrap().children().len(), 1);
    }
    // Two that are harmless alone.
    let mut catalog = Catalog::default();
    apply(&mut catalog, vec![unread(0), unread(1)]).unwrap();
    let circle = vec![described(0, &[1]), described(1, &[0])];
    let refused = apply(&mut catalog, circle).unwrap_err();
    assert_eq!(refused.fault, FoldFault::Cycle(digest(1)));
}

#[test]
fn pending_files_that_would_be_folders_of_each_other_are_found() {
    let mut catalog = Catalog::default();
    let entries = vec![
        object(0, &[]),
        pend(file("a/b"), 0),
        pend(file("c-d"), 0),
        pend(file("c/d"), 0),
        pend(file("c/d/e/f"), 0),
        pend(tag("c", "d"), 0),
    ];
    apply(&mut catalog, entries).unwrap();
    for (path, collision) in [
        ("a", Some("a/b")),
        ("a/b/c", Some("a/b")),
        ("a/b", None),
        ("c", Some("c/d")),
        ("c/d", Some("c/d/e/f")),
        ("c/d/e/f/g", Some("c/d")),
        ("d", None),
    ] {
        let path: FilePath = path.parse().unwrap();
        let found = catalog.colliding_pending_file(&path);
        assert_eq!(found.map(FilePath::as_str), collision, "{path}");
    }
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
        let pending = Entry::NamePending {
            name: tag("a", "v0"),
            digest: newest,
        };
        apply(&mut catalog, vec![pending]).unwrap();
        apply(&mut catalog, vec![drop_name(tag("a", "v0"))]).unwrap();
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
