use super::*;
use landfall_catalog::{Commit, Entry, MediaType, Object, Referrer, Revision};

fn of(content: &str) -> Digest {
    Digest::of(content.as_bytes())
}

fn object(content: &str, children: &[&str]) -> Entry {
    Entry::ObjectAdded(Object {
        digest: of(content),
        size: content.len() as u64,
        media_type: MediaType::octet_stream(),
        children: children.iter().map(|child| of(child)).collect(),
        referrer: None,
        pieces: None,
    })
}

fn set(name: &str, content: &str) -> Entry {
    Entry::NameSet {
        name: name.parse().unwrap(),
        digest: of(content),
    }
}

fn apply(catalog: &mut Catalog, mut entries: Vec<Entry>) {
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

/// Two images that share a layer, an index over one of them, a signature, files.
fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let signature = Entry::ObjectAdded(Object {
        digest: of("sig"),
        size: 3,
        media_type: MediaType::octet_stream(),
        children: Vec::new(),
        referrer: Some(Referrer {
            subject: of("index"),
            artifact_type: "signature".into(),
            annotations: BTreeMap::new(),
        }),
        pieces: None,
    });
    let entries = vec![
        object("shared", &[]),
        object("own", &[]),
        object("amd64", &["shared", "own"]),
        object("arm64", &["shared"]),
        object("index", &["amd64", "arm64"]),
        object("other", &["shared"]),
        signature,
        object("file", &[]),
        object("file2", &[]),
        set("test/app:v1", "index"),
        set("test/app:latest", "index"),
        set("test/app:v1-arm64", "arm64"),
        set("team/other:v1", "other"),
        set(&format!("test/app@{}", of("sig")), "sig"),
        set("rel/1.0/a", "file"),
        set("rel/1.0/b", "file2"),
        set("rel/1.1/a", "file"),
    ];
    apply(&mut catalog, entries);
    catalog
}

fn withdrawn(catalog: &Catalog, what: &str, with_parents: bool) -> Result<Change, ChangeError> {
    withdrawal(catalog, &Choice::parse(what).unwrap(), with_parents)
}

fn texts(names: &[Name]) -> Vec<String> {
    names.iter().map(Name::to_string).collect()
}

#[test]
fn what_only_it_needs_goes_with_it_and_what_others_need_stays() {
    let catalog = catalog();
    let change = withdrawn(&catalog, "test/app:v1", false).unwrap();
    // `arm64` has a name, `shared` is needed by it and by `other`.
    // `own` only it needs: that goes without being withdrawn.
    assert_eq!(change.objects, [of("amd64"), of("index")]);
    assert_eq!(change.bytes, 5 + 5);
    assert_eq!(texts(&change.names), ["test/app:v1"]);
    assert_eq!(texts(&change.others), ["test/app:latest"]);
    assert_eq!(change.referrers, [of("sig")]);
    assert_eq!(change.parents, []);
}

#[test]
fn a_named_child_goes_alone_and_its_parents_are_told() {
    let catalog = catalog();
    let change = withdrawn(&catalog, "test/app:v1-arm64", false).unwrap();
    assert_eq!(change.objects, [of("arm64")]);
    assert_eq!(change.parents.len(), 1);
    let (parent, names) = &change.parents[0];
    assert_eq!(*parent, of("index"));
    assert_eq!(texts(names), ["test/app:latest", "test/app:v1"]);
    // Who may do this owns the parents' names, too.
    assert!(change.reach.contains(&"test/app:v1".parse().unwrap()));
}

#[test]
fn a_nameless_child_of_something_live_is_refused_unless_the_parents_go_too() {
    let catalog = catalog();
    let what = of("shared").to_string();
    let refused = withdrawn(&catalog, &what, false).unwrap_err();
    let ChangeError::Needed { digest, parents } = refused else {
        panic!("{refused}");
    };
    assert_eq!(digest, of("shared"));
    for parent in ["amd64", "arm64", "other"] {
        assert!(parents.contains(&of(parent).to_string()), "{parents}");
    }
    assert!(parents.contains("team/other:v1"), "{parents}");
    let change = withdrawn(&catalog, &what, true).unwrap();
    let all = ["shared", "amd64", "arm64", "index", "other"].map(of);
    assert_eq!(change.objects, all);
    assert_eq!(change.parents, []);
}

#[test]
fn a_release_goes_by_its_prefix_and_a_repository_by_its_name() {
    let catalog = catalog();
    let change = withdrawn(&catalog, "rel/1.0/", false).unwrap();
    assert_eq!(change.objects, [of("file"), of("file2")]);
    assert_eq!(texts(&change.names), ["rel/1.0/a", "rel/1.0/b"]);
    assert_eq!(texts(&change.others), ["rel/1.1/a"]);
    for what in ["test/app", "test/"] {
        let change = withdrawn(&catalog, what, false).unwrap();
        let all = ["amd64", "arm64", "index", "sig"].map(of);
        assert_eq!(change.objects, all, "{what}");
    }
    for unknown in [
        "rel/1.2/",
        "rel/1.0/c",
        "test/app:v9",
        "te/",
        &of("?").to_string(),
    ] {
        let refused = withdrawn(&catalog, unknown, false);
        assert!(matches!(refused, Err(ChangeError::Unknown(_))), "{unknown}");
    }
}

#[test]
fn withdrawing_again_changes_nothing_and_reinstating_brings_the_same_back() {
    let mut catalog = catalog();
    let change = withdrawn(&catalog, "test/app:v1", false).unwrap();
    let entry = |digest: &Digest, reason: &str| Entry::Withdrawn {
        digest: *digest,
        reason: reason.into(),
    };
    let entries = change.objects.iter().map(|digest| entry(digest, "cve"));
    apply(&mut catalog, entries.collect());
    assert_eq!(
        withdrawn(&catalog, "test/app:v1", false).unwrap().objects,
        []
    );
    let back = reinstatement(&catalog, &Choice::parse("test/app:latest").unwrap()).unwrap();
    assert_eq!(back.objects, change.objects);

    // What was withdrawn for another reason does not come back by the way.
    apply(&mut catalog, vec![entry(&of("arm64"), "another")]);
    let refused = reinstatement(&catalog, &Choice::parse("test/app:v1").unwrap());
    assert!(matches!(refused, Err(ChangeError::OtherReason { .. })));
    let nothing = reinstatement(&catalog, &Choice::parse("rel/1.0/a").unwrap()).unwrap();
    assert_eq!(nothing.objects, []);
}

#[test]
fn the_repaired_image_and_another_project_may_have_the_same_base() {
    let mut catalog = catalog();
    let change = withdrawn(&catalog, "team/other:v1", false).unwrap();
    let entries = ["test/app:v1", "test/app:v1-arm64"].map(|name| {
        let change = withdrawn(&catalog, name, false).unwrap();
        change.objects.into_iter()
    });
    let all: BTreeSet<Digest> = entries
        .into_iter()
        .flatten()
        .chain(change.objects)
        .collect();
    let entries = all.iter().map(|digest| Entry::Withdrawn {
        digest: *digest,
        reason: "cve".into(),
    });
    apply(&mut catalog, entries.collect());
    let shared = catalog.ordinal(&of("shared")).unwrap();
    assert!(!catalog.is_live(shared) && !catalog.is_withdrawn(shared));
    let gone = gone_with(&catalog, &[of("other")]);
    assert_eq!(gone, [of("shared"), of("other")]);
    let repaired = vec![object("repaired", &["shared"]), set("f/app:v1", "repaired")];
    apply(&mut catalog, repaired);
    assert!(catalog.is_live(shared));
    assert_eq!(gone_with(&catalog, &[of("other")]), [of("other")]);
    let back = coming_back(&catalog, &[of("other")]);
    assert_eq!(back, [of("shared"), of("other")]);
    assert_eq!(gone_with(&catalog, &[of("repaired")]), []);
}

#[test]
fn who_can_take_something_away_can_bring_it_back() {
    for what in ["team/other:v1".to_owned(), of("own").to_string()] {
        let mut catalog = catalog();
        let change = withdrawn(&catalog, &what, true).unwrap();
        let entries = change.objects.iter().map(|digest| Entry::Withdrawn {
            digest: *digest,
            reason: "cve".into(),
        });
        apply(&mut catalog, entries.collect());
        let back = reinstatement(&catalog, &Choice::parse(&what).unwrap()).unwrap();
        assert!(!back.reach.is_empty());
        assert!(back.reach.is_subset(&change.reach), "{what}");
    }
}

/// Against a model: whatever is withdrawn, everything that stays live and was
/// not already broken keeps all that it needs, named children apart.
#[test]
fn nothing_that_stays_loses_a_nameless_child() {
    let names = [
        "test/app:v1",
        "test/app:v1-arm64",
        "team/other:v1",
        "test/",
        "rel/1.1/a",
    ];
    for what in names {
        let mut catalog = catalog();
        let change = withdrawn(&catalog, what, false).unwrap();
        let entries = change.objects.iter().map(|digest| Entry::Withdrawn {
            digest: *digest,
            reason: "r".into(),
        });
        apply(&mut catalog, entries.collect());
        for ordinal in catalog.live().iter().map(Ordinal::new) {
            for child in catalog.object(ordinal).unwrap().children() {
                assert!(
                    catalog.is_live(*child) || catalog.names_of(*child).next().is_some(),
                    "{what}: {ordinal:?} lost {child:?}"
                );
            }
        }
    }
}
