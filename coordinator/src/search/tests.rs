use landfall_catalog::{Commit, Entry, MediaType, Object};

use super::*;

fn object(content: &str, children: &[&str]) -> Object {
    let children = children.iter();
    Object {
        digest: Digest::of(content.as_bytes()),
        size: 10,
        media_type: MediaType::octet_stream(),
        children: children.map(|child| Digest::of(child.as_bytes())).collect(),
        referrer: None,
        pieces: None,
    }
}

fn name(text: &str, content: &str) -> Entry {
    Entry::NameSet {
        name: text.parse().unwrap(),
        digest: Digest::of(content.as_bytes()),
    }
}

fn apply(catalog: &mut Catalog, mut entries: Vec<Entry>) {
    entries.push(Entry::Commit(Commit {
        revision: catalog.revision().next(),
        time: 0,
        who: String::new(),
        why: String::new(),
        source: String::new(),
        plan: None,
        operation: String::new(),
    }));
    catalog.apply(&entries).unwrap();
}

fn catalog(names: &[(&str, &str)]) -> Catalog {
    let mut catalog = Catalog::default();
    let mut entries: Vec<_> = [
        object("part", &[]),
        object("image", &["part"]),
        object("file", &[]),
    ]
    .map(Entry::ObjectAdded)
    .into();
    entries.extend(names.iter().map(|(text, content)| name(text, content)));
    apply(&mut catalog, entries);
    catalog
}

impl Held for Catalog {
    fn read<T>(&self, look: impl FnOnce(&Catalog) -> T) -> T {
        look(self)
    }
}

/// All that is found, in pages of so many.
fn all(catalog: &Catalog, text: &str, kind: Kind, limit: usize) -> Vec<Found> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let query = Query {
            text: text.to_owned(),
            kind,
            after,
            limit,
        };
        // Time is over at once: it goes on all the same.
        let page = search(catalog, &query, || true);
        assert!(page.found.len() <= limit);
        found.extend(page.found);
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

fn names(found: &[Found]) -> Vec<String> {
    found.iter().map(|found| found.name.to_string()).collect()
}

#[test]
fn parts_of_names_and_digests_are_found_once_however_it_is_paged() {
    let root = format!("b/app@{}", Digest::of(b"image"));
    let catalog = catalog(&[
        ("a/app:v1", "image"),
        ("a/app:v2", "image"),
        (&root, "image"),
        ("c/part:v1", "part"),
        ("app/tool", "file"),
        ("z/app", "file"),
    ]);
    let (image, part) = (Digest::of(b"image"), Digest::of(b"part"));
    for (text, kind, expected) in [
        (
            "app",
            Kind::Any,
            vec!["a/app:v1", "a/app:v2", &root, "app/tool", "z/app"],
        ),
        ("app", Kind::Files, vec!["app/tool", "z/app"]),
        ("app:v", Kind::Images, vec!["a/app:v1", "a/app:v2"]),
        ("nothing", Kind::Any, vec![]),
        (&root[4..30], Kind::Any, vec![&root]),
        (
            &image.to_string()[..20],
            Kind::Any,
            vec!["a/app:v1", "a/app:v2", &root],
        ),
        (&image.to_string()[..21], Kind::Files, vec![]),
        (
            &part.to_string(),
            Kind::Any,
            vec!["a/app:v1", "a/app:v2", &root, "c/part:v1"],
        ),
        (&Digest::of(b"no").to_string(), Kind::Any, vec![]),
    ] {
        for limit in [1, 2, 3, 100] {
            let found = all(&catalog, text, kind, limit);
            assert_eq!(names(&found), expected, "{text} {limit}");
        }
    }
    let found = all(&catalog, &part.to_string(), Kind::Any, 100);
    let holds: Vec<_> = found
        .iter()
        .map(|found| (found.holds, found.bytes))
        .collect();
    assert_eq!(holds, [(true, 20), (true, 20), (true, 20), (false, 10)]);
}

#[test]
fn what_holds_a_part_that_was_recorded_later_is_found_through_any_number_of_levels() {
    // Each is added before what it turns out to hold.
    let mut catalog = Catalog::default();
    apply(
        &mut catalog,
        vec![
            Entry::ObjectAdded(object("first", &[])),
            Entry::ObjectAdded(object("second", &[])),
            Entry::ObjectAdded(object("above", &["second"])),
            Entry::ObjectAdded(object("third", &[])),
            name("a/first", "first"),
            name("a/above", "above"),
            name("a/third", "third"),
        ],
    );
    apply(
        &mut catalog,
        vec![
            Entry::ObjectDescribed(object("first", &["above"])),
            Entry::ObjectDescribed(object("second", &["third"])),
        ],
    );
    let third = Digest::of(b"third").to_string();
    let found = all(&catalog, &third, Kind::Any, 100);
    assert_eq!(names(&found), ["a/above", "a/first", "a/third"]);
    assert_eq!(
        names(&all(&catalog, &third[..15], Kind::Any, 1)),
        ["a/above", "a/first", "a/third"]
    );
}

#[test]
fn what_is_in_more_names_than_are_gathered_is_found_in_the_same_order() {
    let mut catalog = Catalog::default();
    let count = FEW + AT_A_TIME;
    let mut entries = vec![Entry::ObjectAdded(object("shared", &[]))];
    entries.extend((0..count).map(|number| name(&format!("f/{number:06}"), "shared")));
    entries.push(name("z/app:v1", "shared"));
    apply(&mut catalog, entries);
    let shared = Digest::of(b"shared").to_string();
    let found = names(&all(&catalog, &shared, Kind::Any, 7_000));
    assert_eq!(found.len(), count + 1);
    assert_eq!(
        (found[0].as_str(), found[1].as_str()),
        ("z/app:v1", "f/000000")
    );
    assert!(found[1..].is_sorted());
}

#[test]
fn a_digest_begins_with_an_even_or_an_odd_number_of_digits() {
    let digest = Digest::of(b"x");
    let hex = digest.to_hex();
    for length in SHORTEST_DIGEST..64 {
        assert!(Prefix::of(&hex[..length]).begins(&digest), "{length}");
        let mut other = hex[..length - 1].to_owned();
        other.push(if hex.as_bytes()[length - 1] == b'0' {
            '1'
        } else {
            '0'
        });
        assert!(!Prefix::of(&other).begins(&digest), "{length}");
    }
}
