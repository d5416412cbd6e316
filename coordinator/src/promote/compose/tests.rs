use super::*;
use landfall_catalog::{Commit, MediaType, Revision};

fn object(content: &str, children: &[&str]) -> Arc<Object> {
    Arc::new(Object {
        digest: Digest::of(content.as_bytes()),
        size: content.len() as u64,
        media_type: MediaType::octet_stream(),
        children: children
            .iter()
            .map(|child| Digest::of(child.as_bytes()))
            .collect(),
        referrer: None,
        pieces: None,
    })
}

fn set(position: u32, name: &str, expected: Option<&str>, objects: &[Arc<Object>]) -> Proposal {
    Proposal {
        position,
        name: name.parse().unwrap(),
        expected: expected.map(|content| Digest::of(content.as_bytes())),
        change: Change::Set {
            objects: objects.to_vec(),
            copied: true,
        },
    }
}

fn remove(position: u32, name: &str, expected: &str) -> Proposal {
    Proposal {
        position,
        name: name.parse().unwrap(),
        expected: Some(Digest::of(expected.as_bytes())),
        change: Change::Remove {
            reason: "not listed any more".into(),
        },
    }
}

fn commit(catalog: &mut Catalog, composed: &Composed) {
    let mut entries = composed.entries.clone();
    entries.push(Entry::Commit(Commit {
        revision: Revision::new(catalog.revision().get() + 1),
        time: 1,
        who: String::new(),
        why: String::new(),
        source: String::new(),
        plan: None,
        operation: String::new(),
    }));
    catalog.apply(&entries).unwrap();
}

fn promote(catalog: &mut Catalog, proposals: &[Proposal]) {
    let composed = compose(catalog, proposals);
    commit(catalog, &composed);
}

fn outcomes(composed: &Composed) -> Vec<(u32, &str, &str)> {
    composed
        .decisions
        .iter()
        .map(|decision| {
            (
                decision.position,
                decision.outcome,
                decision.detail.as_str(),
            )
        })
        .collect()
}

#[test]
fn a_shared_child_is_added_once_and_before_its_parents() {
    let (layer, a, b) = (
        object("layer", &[]),
        object("a", &["layer"]),
        object("b", &["layer"]),
    );
    let mut catalog = Catalog::default();
    let composed = compose(
        &catalog,
        &[
            set(0, "r:a", None, &[layer.clone(), a.clone()]),
            set(1, "r:b", None, &[layer.clone(), b]),
        ],
    );
    assert_eq!(outcomes(&composed), [(0, "copied", ""), (1, "copied", "")]);
    assert_eq!(composed.entries.len(), 5);
    assert_eq!(composed.entries.len(), composed.encoded.len());
    commit(&mut catalog, &composed);
    assert_eq!(catalog.object_count(), 3);
    let again = compose(&catalog, &[set(0, "r:a", None, &[layer, a])]);
    assert!(again.entries.is_empty(), "it means that already");
    assert_eq!(again.decisions[0].outcome, "copied");
}

#[test]
fn a_name_that_moved_since_the_plan_is_refused_and_holds_up_nothing() {
    let (one, two, three) = (object("one", &[]), object("two", &[]), object("three", &[]));
    let mut catalog = Catalog::default();
    promote(&mut catalog, &[set(0, "r:latest", None, &[one])]);
    let composed = compose(
        &catalog,
        &[
            set(0, "r:latest", None, std::slice::from_ref(&two)),
            set(1, "r:other", Some("gone"), std::slice::from_ref(&two)),
            remove(2, "r:latest", "two"),
            set(3, "r:good", None, &[three]),
            set(4, "r:latest", Some("one"), &[two]),
        ],
    );
    let moved: Vec<_> = outcomes(&composed)
        .into_iter()
        .map(|(position, outcome, detail)| (position, outcome, detail.contains("moved")))
        .collect();
    assert_eq!(
        moved,
        [
            (2, "refused", true),
            (0, "refused", true),
            (1, "refused", true),
            (3, "copied", false),
            (4, "copied", false)
        ]
    );
    commit(&mut catalog, &composed);
}

#[test]
fn paths_that_collide_with_others_or_each_other_are_refused() {
    let content = object("content", &[]);
    let objects = std::slice::from_ref(&content);
    let mut catalog = Catalog::default();
    promote(&mut catalog, &[set(0, "a/b", None, objects)]);
    let composed = compose(
        &catalog,
        &[
            set(0, "a", None, objects),
            set(1, "a/b/c", None, objects),
            set(2, "x/y", None, objects),
            set(3, "x", None, objects),
            set(4, "x/y/z", None, objects),
            set(5, "x.txt", None, objects),
        ],
    );
    let seen: Vec<_> = outcomes(&composed)
        .iter()
        .map(|(_, outcome, _)| *outcome)
        .collect();
    assert_eq!(
        seen,
        [
            "refused", "refused", "copied", "refused", "refused", "copied"
        ]
    );
    commit(&mut catalog, &composed);
}

#[test]
fn a_path_may_take_the_place_of_one_that_goes() {
    let (old, new) = (object("old", &[]), object("new", &[]));
    let mut catalog = Catalog::default();
    promote(&mut catalog, &[set(0, "a/b", None, &[old])]);
    let composed = compose(
        &catalog,
        &[set(0, "a", None, &[new]), remove(1, "a/b", "old")],
    );
    assert_eq!(outcomes(&composed), [(1, "removed", ""), (0, "copied", "")]);
    commit(&mut catalog, &composed);
    assert!(catalog.file("a").is_some() && catalog.file("a/b").is_none());
}

#[test]
fn withdrawn_content_and_missing_children_are_refused() {
    let (bad, good) = (object("bad", &[]), object("good", &[]));
    let mut catalog = Catalog::default();
    let mut composed = compose(
        &catalog,
        &[set(0, "r:bad", None, std::slice::from_ref(&bad))],
    );
    composed.entries.push(Entry::Withdrawn {
        digest: bad.digest,
        reason: "leaks a key".into(),
    });
    commit(&mut catalog, &composed);
    let orphan = object("orphan", &["nowhere"]);
    let composed = compose(
        &catalog,
        &[
            set(0, "r:again", None, &[bad]),
            set(1, "r:orphan", None, &[orphan]),
            set(2, "r:good", None, &[good]),
        ],
    );
    let seen = outcomes(&composed);
    assert!(seen[0].2.contains("leaks a key"), "{seen:?}");
    assert!(seen[1].2.contains("missing"), "{seen:?}");
    assert_eq!(seen[2].1, "copied");
    commit(&mut catalog, &composed);
}

fn typed(content: &str, media_type: &str, children: &[&str]) -> Arc<Object> {
    Arc::new(Object {
        media_type: media_type.parse().unwrap(),
        ..Object::clone(&object(content, children))
    })
}

/// As a file or as a layer of something else, then as an image, and the other way
/// round; in one revision and in two.
#[test]
fn what_an_object_is_does_not_depend_on_who_records_it_first() {
    use landfall_content::oci::MANIFEST;
    let layer = object("layer", &[]);
    let unread = [
        object("m", &[]),
        typed("m", "application/vnd.oci.image.layer.v1.tar", &[]),
        typed("m", MANIFEST, &[]),
    ];
    let image = [layer, typed("m", MANIFEST, &["layer"])];
    for unread in unread {
        let as_file = set(0, "f/m", None, std::slice::from_ref(&unread));
        let as_image = set(1, "r:v1", None, &image);
        let both = [as_file.clone(), as_image.clone()];
        let turned = [as_image.clone(), as_file.clone()];
        for rounds in [
            vec![&both[..1], &both[1..]],
            vec![&both[1..], &both[..1]],
            vec![&both[..]],
            vec![&turned[..]],
        ] {
            let mut catalog = Catalog::default();
            for proposals in rounds {
                let composed = compose(&catalog, proposals);
                assert!(composed.decisions.iter().all(|one| one.outcome == "copied"));
                commit(&mut catalog, &composed);
            }
            let record = catalog.tag("r", "v1").unwrap();
            let manifest = catalog.facts(record.ordinal).unwrap();
            assert_eq!(manifest, Object::clone(&image[1]));
            let layer = catalog.ordinal(&image[0].digest).unwrap();
            assert!(catalog.is_live(layer) && catalog.contains("r", layer));
        }
    }
}

#[test]
fn what_was_missing_comes_to_a_name_that_stays_as_it_is() {
    use landfall_content::oci::INDEX;
    let (amd64, arm64) = (object("amd64", &[]), object("arm64", &[]));
    let sparse = typed("index", INDEX, &["amd64"]);
    let whole = typed("index", INDEX, &["amd64", "arm64"]);
    let mut catalog = Catalog::default();
    promote(
        &mut catalog,
        &[set(0, "r:v1", None, &[amd64.clone(), sparse])],
    );
    let again = [set(
        0,
        "r:v1",
        Some("index"),
        &[amd64, arm64, whole.clone()],
    )];
    let composed = compose(&catalog, &again);
    assert_eq!(outcomes(&composed), [(0, "copied", "")]);
    assert_eq!(composed.entries.len(), 2, "the platform and what needs it");
    commit(&mut catalog, &composed);
    let record = catalog.tag("r", "v1").unwrap();
    assert_eq!(
        catalog.facts(record.ordinal).unwrap(),
        Object::clone(&whole)
    );
    assert!(compose(&catalog, &again).entries.is_empty());
}

#[test]
fn a_contradiction_is_refused_and_says_what_it_is() {
    let mut catalog = Catalog::default();
    let small = object("x", &[]);
    let large = Arc::new(Object {
        size: 99,
        ..Object::clone(&small)
    });
    promote(&mut catalog, &[set(0, "a", None, &[small])]);
    let composed = compose(&catalog, &[set(0, "b", None, &[large])]);
    let (_, outcome, why) = outcomes(&composed)[0];
    assert!(outcome == "refused" && why.contains("size"), "{why}");
    assert!(composed.entries.is_empty());
}

#[test]
fn a_name_whose_content_was_withdrawn_is_not_present() {
    let bad = object("bad", &[]);
    let mut catalog = Catalog::default();
    let mut composed = compose(&catalog, &[set(0, "a", None, std::slice::from_ref(&bad))]);
    composed.entries.push(Entry::Withdrawn {
        digest: bad.digest,
        reason: "leaks a key".into(),
    });
    commit(&mut catalog, &composed);
    let composed = compose(&catalog, &[set(0, "a", None, &[bad])]);
    let (_, outcome, why) = outcomes(&composed)[0];
    assert!(outcome == "refused" && why.contains("leaks a key"), "{why}");
}

#[test]
fn a_folder_goes_whole_before_a_file_takes_its_place() {
    let mut catalog = Catalog::default();
    let (a, b, c) = (object("a", &[]), object("b", &[]), object("c", &[]));
    let files = [set(0, "x/a", None, &[a]), set(1, "x/b", None, &[b])];
    promote(&mut catalog, &files);
    let composed = compose(
        &catalog,
        &[
            remove(0, "x/a", "a"),
            remove(1, "x/b", "moved"),
            set(2, "x", None, &[c]),
        ],
    );
    let last = composed.decisions.last().unwrap();
    assert_eq!(last.outcome, "refused");
    assert!(last.detail.contains("x/b"), "{}", last.detail);
    commit(&mut catalog, &composed);
}

const NAMES: [&str; 6] = ["a", "a/b", "a/b/c", "b", "r:x", "r:y"];
const CONTENTS: [(&str, &[&str]); 4] = [
    ("leaf", &[]),
    ("other", &[]),
    ("stem", &["leaf"]),
    ("tree", &["leaf", "stem"]),
];

/// One proposal: name, what it is thought to mean, what it is to mean, and
/// whether at once (0), later (1), after it waited (2), or not after all.
type Move = (usize, Option<usize>, Option<usize>, u8);

fn proposal((position, (name, expected, becomes, way)): (u32, Move)) -> Proposal {
    let digest = |content: usize| Digest::of(CONTENTS[content].0.as_bytes());
    let change = match becomes {
        None if way == 1 => Change::RemoveLater,
        None => Change::Remove {
            reason: "gone".into(),
        },
        Some(content) if way > 2 => Change::Drop {
            announced: Some(digest(content)),
            outcome: "failed",
            reason: "too late".into(),
        },
        Some(content) => {
            let (root, children) = CONTENTS[content];
            let with_children = CONTENTS
                .iter()
                .filter(|(below, _)| children.contains(below) || *below == root);
            let objects = with_children
                .map(|(name, children)| object(name, children))
                .collect();
            let copied = false;
            match way {
                0 => Change::Set { objects, copied },
                1 => Change::Announce { objects, copied },
                _ => Change::Open { objects, copied },
            }
        }
    };
    Proposal {
        position,
        name: NAMES[name].parse().unwrap(),
        expected: expected.map(digest),
        change,
    }
}

fn meaning_of(catalog: &Catalog, name: &Name) -> Option<Digest> {
    let record = catalog.name(name)?;
    Some(*catalog.object(record.ordinal).unwrap().digest())
}

proptest::proptest! {
    /// One bad entry never makes a revision that cannot be applied, and
    /// what was accepted is what the names mean afterwards.
    #[test]
    fn whatever_is_composed_can_be_applied(
        rounds in proptest::collection::vec(
            proptest::collection::vec(
                (0..NAMES.len(), proptest::option::of(0..CONTENTS.len()), proptest::option::of(0..CONTENTS.len()), 0_u8..4),
                1..8,
            ),
            1..6,
        )
    ) {
        let mut catalog = Catalog::default();
        for round in rounds {
            let proposals: Vec<_> = (0..).zip(round).map(proposal).collect();
            let composed = compose(&catalog, &proposals);
            assert!(composed.decisions.len() <= proposals.len());
            let before: Vec<_> = proposals.iter().map(|proposal| meaning_of(&catalog, &proposal.name)).collect();
            commit(&mut catalog, &composed);
            for (proposal, before) in proposals.iter().zip(before) {
                let after = meaning_of(&catalog, &proposal.name);
                let mut accepted = composed.decisions.iter().filter(|decision| {
                    !["refused", "failed"].contains(&decision.outcome)
                        && proposals[decision.position as usize].name == proposal.name
                });
                match accepted.next_back().map(|decision| &proposals[decision.position as usize].change) {
                    None | Some(Change::RemoveLater | Change::Drop { .. }) => assert_eq!(after, before),
                    Some(Change::Remove { .. }) => assert_eq!(after, None),
                    Some(Change::Set { objects, .. } | Change::Open { objects, .. } | Change::Announce { objects, .. }) => {
                        assert_eq!(after, objects.last().map(|root| root.digest));
                    }
                }
            }
        }
    }
}

fn announce(
    position: u32,
    name: &str,
    expected: Option<&str>,
    objects: &[Arc<Object>],
) -> Proposal {
    Proposal {
        change: Change::Announce {
            objects: objects.to_vec(),
            copied: true,
        },
        ..set(position, name, expected, objects)
    }
}

fn open(position: u32, name: &str, expected: Option<&str>, objects: &[Arc<Object>]) -> Proposal {
    Proposal {
        change: Change::Open {
            objects: objects.to_vec(),
            copied: true,
        },
        ..set(position, name, expected, objects)
    }
}

fn give_up(position: u32, name: &str, content: &str) -> Proposal {
    Proposal {
        change: Change::Drop {
            announced: Some(Digest::of(content.as_bytes())),
            outcome: "failed",
            reason: "too late".into(),
        },
        ..remove(position, name, content)
    }
}

#[test]
fn what_waits_brings_its_content_and_is_decided_when_its_gate_opens() {
    let mut catalog = Catalog::default();
    let (layer, image) = (object("layer", &[]), object("image", &["layer"]));
    let closure = [layer, image];
    let composed = compose(&catalog, &[announce(0, "r:v1", None, &closure)]);
    assert_eq!(outcomes(&composed), []);
    assert!(matches!(composed.entries[2], Entry::NamePending { .. }));
    commit(&mut catalog, &composed);
    assert_eq!((catalog.name_count(), catalog.pending_count()), (0, 1));
    let composed = compose(&catalog, &[open(0, "r:v1", None, &closure)]);
    assert_eq!(outcomes(&composed), [(0, "copied", "")]);
    assert_eq!(composed.entries.len(), 1, "no content again");
    commit(&mut catalog, &composed);
    assert_eq!((catalog.name_count(), catalog.pending_count()), (1, 0));
}

#[test]
fn what_cannot_be_set_when_the_gate_opens_is_dropped_and_holds_up_no_other() {
    let mut catalog = Catalog::default();
    let [a, b, c] = ["a", "b", "c"].map(|content| [object(content, &[])]);
    promote(&mut catalog, &[set(0, "f/moved", None, &a)]);
    let waiting = [
        announce(0, "f/moved", Some("a"), &b),
        announce(1, "f/bad", None, &c),
        announce(2, "f/good", None, &b),
    ];
    promote(&mut catalog, &waiting);
    let removed = compose(&catalog, &[remove(0, "f/moved", "a")]);
    commit(&mut catalog, &removed);
    let withdrawn = Composed {
        entries: vec![Entry::Withdrawn {
            digest: c[0].digest,
            reason: "CVE".into(),
        }],
        ..Composed::default()
    };
    commit(&mut catalog, &withdrawn);
    let opening = [
        open(0, "f/moved", Some("a"), &b),
        open(1, "f/bad", None, &c),
        open(2, "f/good", None, &b),
    ];
    let composed = compose(&catalog, &opening);
    let seen = outcomes(&composed);
    assert_eq!(
        (seen[0].1, seen[1].1, seen[2].1),
        ("refused", "refused", "copied")
    );
    assert!(seen[0].2.contains("moved since"), "{seen:?}");
    assert!(seen[1].2.contains("is withdrawn: CVE"), "{seen:?}");
    commit(&mut catalog, &composed);
    assert_eq!(catalog.pending_count(), 0);
    assert!(catalog.file("f/good").is_some() && catalog.file("f/bad").is_none());
    // Decided by now: a second time nothing happens.
    let composed = compose(&catalog, &[open(1, "f/bad", None, &c)]);
    assert!(composed.entries.is_empty());
    assert_eq!(outcomes(&composed)[0].1, "refused");
}

#[test]
fn nobody_sets_or_announces_a_name_that_waits_or_what_collides_with_it() {
    let mut catalog = Catalog::default();
    let [a, b] = ["a", "b"].map(|content| [object(content, &[])]);
    promote(&mut catalog, &[announce(0, "x/y", None, &a)]);
    for proposal in [
        set(0, "x/y", None, &b),
        set(0, "x/y", None, &a),
        announce(0, "x/y", None, &a),
        announce(0, "x/y", None, &b),
        set(0, "x", None, &b),
        set(0, "x/y/z", None, &b),
        announce(0, "x/y/z", None, &b),
    ] {
        let composed = compose(&catalog, std::slice::from_ref(&proposal));
        let seen = outcomes(&composed);
        assert_eq!(seen[0].1, "refused", "{proposal:?}");
        assert!(seen[0].2.contains("at the gate of another"), "{seen:?}");
        assert!(composed.entries.is_empty());
    }
}

#[test]
fn what_is_given_up_is_dropped_once_and_removals_go_with_it() {
    let mut catalog = Catalog::default();
    let [a, b] = ["a", "b"].map(|content| [object(content, &[])]);
    promote(&mut catalog, &[set(0, "old", None, &a)]);
    // The folder's place is free when its file has gone.
    let later = Proposal {
        change: Change::RemoveLater,
        ..remove(1, "old", "a")
    };
    let composed = compose(&catalog, &[announce(0, "old/new", None, &b), later]);
    assert_eq!(outcomes(&composed), []);
    commit(&mut catalog, &composed);
    assert!(catalog.file("old").is_some());
    let kept = Proposal {
        change: Change::Drop {
            announced: None,
            outcome: "failed",
            reason: "too late".into(),
        },
        ..remove(1, "old", "a")
    };
    let composed = compose(&catalog, &[give_up(0, "old/new", "b"), kept]);
    assert_eq!(
        outcomes(&composed),
        [(0, "failed", "too late"), (1, "failed", "too late")]
    );
    commit(&mut catalog, &composed);
    assert_eq!(catalog.pending_count(), 0);
    assert!(catalog.file("old").is_some());
    let again = compose(&catalog, &[give_up(0, "old/new", "b")]);
    assert!(again.entries.is_empty());
}
