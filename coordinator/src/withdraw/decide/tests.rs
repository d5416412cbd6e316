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

/// Nothing is said of what else is concerned.
const UNSAID: Terms = Terms {
    parents: Parents::Unsaid,
    others: Others::Unsaid,
};
/// What only that takes along that has the same content.
const ALONE: Terms = Terms {
    parents: Parents::Leave,
    others: Others::Take,
};
const ALL: Terms = Terms {
    parents: Parents::Take,
    others: Others::Take,
};

fn withdrawn(catalog: &Catalog, what: &str, terms: Terms) -> Result<Change, ChangeError> {
    withdrawal(catalog, &Choice::parse(what).unwrap(), terms)
}

fn withdraw(catalog: &mut Catalog, change: &Change, reason: &str) {
    let entry = |digest: &Digest| Entry::Withdrawn {
        digest: *digest,
        reason: reason.into(),
    };
    apply(catalog, change.objects.iter().map(entry).collect());
}

fn texts(names: &[Name]) -> Vec<String> {
    names.iter().map(Name::to_string).collect()
}

#[test]
fn what_only_it_needs_goes_with_it_and_what_others_need_stays() {
    let catalog = catalog();
    let change = withdrawn(&catalog, "test/app:v1", ALONE).unwrap();
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
fn what_becomes_of_parents_and_of_other_names_has_to_be_said() {
    let catalog = catalog();
    let keep = Terms {
        parents: Parents::Leave,
        others: Others::Keep,
    };
    let [own, arm64] = ["own", "arm64"].map(|content| of(content).to_string());
    let cases: [(&str, Terms, &[&str], &[&str]); 14] = [
        // Nobody else is concerned.
        ("rel/1.0/b", UNSAID, &["file2"], &[]),
        ("team/", UNSAID, &["other"], &[]),
        ("test/app", UNSAID, &["amd64", "arm64", "index", "sig"], &[]),
        // The licence that is in another release, too; by its digest it is meant.
        ("rel/1.0/", UNSAID, &["file", "file2"], &["rel/1.1/a"]),
        ("rel/1.0/a", UNSAID, &["file"], &["rel/1.1/a"]),
        ("rel/", UNSAID, &["file", "file2"], &[]),
        ("rel/1.0/", ALONE, &["file", "file2"], &[]),
        ("rel/1.0/", keep, &["file2"], &[]),
        ("rel/1.0/a", keep, &[], &[]),
        (
            "test/app:v1",
            UNSAID,
            &["amd64", "index"],
            &["test/app:latest"],
        ),
        // One platform of an image, with a name of its own and without.
        ("test/app:v1-arm64", UNSAID, &["arm64"], &["test/app:v1"]),
        (&arm64, UNSAID, &["arm64"], &["test/app:v1"]),
        (&own, UNSAID, &["own"], &["--leave-parents"]),
        (&own, ALL, &["own", "amd64", "index"], &[]),
    ];
    for (what, terms, objects, unsaid) in cases {
        let change = withdrawn(&catalog, what, terms).unwrap();
        let objects: Vec<_> = objects.iter().map(|content| of(content)).collect();
        assert_eq!(change.objects, objects, "{what} {terms:?}");
        let told = change.unsaid.join("; ");
        assert_eq!(told.is_empty(), unsaid.is_empty(), "{what}: {told}");
        for name in unsaid {
            assert!(told.contains(name), "{what}: {told}");
        }
        let kept: &[&str] = match (what, terms.others) {
            ("rel/1.0/" | "rel/1.0/a", Others::Keep) => &["rel/1.0/a"],
            _ => &[],
        };
        assert_eq!(texts(&change.kept), kept, "{what}");
    }
    let digest = withdrawn(&catalog, &of("file").to_string(), UNSAID).unwrap();
    assert!(digest.unsaid.is_empty(), "{:?}", digest.unsaid);
}

#[test]
fn a_refusal_is_no_longer_than_a_header_may_be() {
    let mut catalog = catalog();
    let long = |number| format!("test/{}:{number:0>128}", "x".repeat(250));
    let names = (0..500).map(|number| set(&long(number), "index"));
    let others = (500..1000).map(|number| set(&long(number), "arm64"));
    apply(&mut catalog, names.chain(others).collect());
    let change = withdrawn(&catalog, "test/app:v1-arm64", UNSAID).unwrap();
    let told = change.unsaid.join("; ");
    assert!(told.len() < 8000 && change.unsaid.len() == 2, "{told}");
    assert!(told.contains("more; --with-other-names"), "{told}");
}

#[test]
fn a_child_goes_alone_if_that_is_said_and_its_parents_are_told() {
    let catalog = catalog();
    let change = withdrawn(&catalog, "test/app:v1-arm64", ALONE).unwrap();
    assert_eq!(change.objects, [of("arm64")]);
    assert_eq!(change.parents.len(), 1);
    let (parent, names) = &change.parents[0];
    assert_eq!(*parent, of("index"));
    assert_eq!(texts(names), ["test/app:latest", "test/app:v1"]);
    // Who may do this owns the parents' names, too.
    assert!(change.reach.contains(&"test/app:v1".parse().unwrap()));
}

#[test]
fn all_that_needs_it_goes_too_if_that_is_said() {
    let catalog = catalog();
    let what = of("shared").to_string();
    let unsaid = withdrawn(&catalog, &what, UNSAID).unwrap().unsaid.join("");
    for parent in ["amd64", "arm64", "other"] {
        assert!(unsaid.contains(&of(parent).to_string()), "{unsaid}");
    }
    assert!(unsaid.contains("team/other:v1"), "{unsaid}");
    let change = withdrawn(&catalog, &what, ALL).unwrap();
    let all = ["shared", "amd64", "arm64", "index", "other"].map(of);
    assert_eq!(change.objects, all);
    assert_eq!(change.parents, []);
}

#[test]
fn what_stays_withdrawn_is_told_when_a_part_is_reinstated() {
    let mut catalog = catalog();
    let change = withdrawn(&catalog, "test/app:v1-arm64", ALL).unwrap();
    withdraw(&mut catalog, &change, "cve");
    let other = withdrawn(&catalog, "team/other:v1", ALONE).unwrap();
    withdraw(&mut catalog, &other, "cve");
    let still = |catalog: &Catalog, what: &str| {
        let back = reinstatement(catalog, &Choice::parse(what).unwrap()).unwrap();
        // The commits stand between the revisions of this test.
        let revision_of = |at| u64::from(at > change_end(catalog));
        let still = still_withdrawn(catalog, &back.objects, revision_of);
        still
            .into_iter()
            .map(|(digest, _)| digest)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        still(&catalog, "test/app:v1-arm64"),
        [of("amd64"), of("index")]
    );
    assert_eq!(still(&catalog, "test/app:v1"), []);
    assert_eq!(still(&catalog, "team/other:v1"), []);
    assert_eq!(still(&catalog, "rel/1.0/a"), []);
    // What holds it, by whatever revision that went.
    let shared = withdrawn(&catalog, &of("shared").to_string(), ALONE).unwrap();
    withdraw(&mut catalog, &shared, "cve");
    let all = ["amd64", "arm64", "index", "other"].map(of);
    assert_eq!(still(&catalog, &of("shared").to_string()), all);
}

/// Log index of the first commit that withdraws, in the test above.
fn change_end(catalog: &Catalog) -> u64 {
    let arm64 = catalog.ordinal(&of("arm64")).unwrap();
    catalog.withdrawn_at(arm64).unwrap() + 2
}

#[test]
fn a_release_goes_by_its_prefix_and_a_repository_by_its_name() {
    let catalog = catalog();
    let change = withdrawn(&catalog, "rel/1.0/", ALONE).unwrap();
    assert_eq!(change.objects, [of("file"), of("file2")]);
    assert_eq!(texts(&change.names), ["rel/1.0/a", "rel/1.0/b"]);
    assert_eq!(texts(&change.others), ["rel/1.1/a"]);
    for what in ["test/app", "test/"] {
        let change = withdrawn(&catalog, what, ALONE).unwrap();
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
        let refused = withdrawn(&catalog, unknown, ALONE);
        assert!(matches!(refused, Err(ChangeError::Unknown(_))), "{unknown}");
    }
}

#[test]
fn withdrawing_again_changes_nothing_and_reinstating_brings_the_same_back() {
    let mut catalog = catalog();
    let change = withdrawn(&catalog, "test/app:v1", ALONE).unwrap();
    let entry = |digest: &Digest, reason: &str| Entry::Withdrawn {
        digest: *digest,
        reason: reason.into(),
    };
    let entries = change.objects.iter().map(|digest| entry(digest, "cve"));
    apply(&mut catalog, entries.collect());
    assert_eq!(
        withdrawn(&catalog, "test/app:v1", ALONE).unwrap().objects,
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
    let change = withdrawn(&catalog, "team/other:v1", ALONE).unwrap();
    let entries = ["test/app:v1", "test/app:v1-arm64"].map(|name| {
        let change = withdrawn(&catalog, name, ALONE).unwrap();
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
        let change = withdrawn(&catalog, &what, ALL).unwrap();
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
        let change = withdrawn(&catalog, what, ALONE).unwrap();
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
