use proptest::prelude::*;

use super::*;

fn digest(content: &str) -> Digest {
    Digest::of(content.as_bytes())
}

/// `name@content:tag`.
fn rows(list: &[&str]) -> Vec<ImageRow> {
    list.iter()
        .map(|text| {
            let (name, rest) = text.split_once('@').unwrap();
            let (content, tag) = rest.split_once(':').unwrap();
            ImageRow {
                name: name.parse().unwrap(),
                digest: digest(content),
                tag: tag.parse().unwrap(),
            }
        })
        .collect()
}

fn check(existing: &str, new: &[&str], expected: &str) {
    // `$a` is the digest of `a`.
    let full = |text: &str| {
        ["a", "b", "c", "d"]
            .iter()
            .fold(text.to_owned(), |text, content| {
                text.replace(&format!("${content}"), &digest(content).to_string())
            })
    };
    let merged = merge_images(&full(existing), &rows(new)).unwrap();
    assert_eq!(merged.text, full(expected));
    assert_eq!(merged.added + merged.present, new.len());
    let again = merge_images(&merged.text, &rows(new)).unwrap();
    assert_eq!((again.added, again.text), (0, merged.text));
}

#[test]
fn a_new_list_is_sorted_and_comments_above_it_stay() {
    // By digest: that of `b` is the smaller.
    let list = "- name: app\n  dmap:\n    \"$b\": [\"v2\", \"v2.0\"]\n    \"$a\": [\"v1\"]\n- name: zoo\n  dmap:\n    \"$c\": [\"v1\"]\n";
    assert!(digest("b") < digest("a"));
    let new = ["zoo@c:v1", "app@b:v2.0", "app@a:v1", "app@b:v2"];
    check("", &new, list);
    check(
        "# No images yet\n",
        &new,
        &format!("# No images yet\n{list}"),
    );
    check("[]\n", &new, list);
    check("[]", &new, &format!("\n{list}"));
    check(
        "# none\n[] # yet\n",
        &new,
        &format!("# none\n # yet\n{list}"),
    );
}

#[test]
fn what_is_there_stays_as_it_is_written() {
    check(
        "# Mine.\n- name: b   # the app\n  dmap:\n    $a: [v1]\n    # newer\n    \"$c\":\n    - 'v3'   # good\n\n# another\n- dmap: {\"$d\": [v1]}\n  name: d\n",
        &[
            "b@a:v1.0", "b@a:u", "b@c:v4", "b@b:v2", "a@a:v1", "c@a:v1", "d@d:v1", "d@c:v2",
        ],
        "# Mine.\n- name: a\n  dmap:\n    \"$a\": [\"v1\"]\n- name: b   # the app\n  dmap:\n    $a: [\"u\", v1, \"v1.0\"]\n    # newer\n    \"$c\":\n    - 'v3'   # good\n    - \"v4\"\n    \"$b\": [\"v2\"]\n- name: c\n  dmap:\n    \"$a\": [\"v1\"]\n\n# another\n- dmap: {\"$d\": [v1]}\n  name: d\n- name: d\n  dmap:\n    \"$c\": [\"v2\"]\n",
    );
}

#[test]
fn a_tag_goes_below_the_last_one_of_a_block_list_and_every_other_byte_stays() {
    for (list, more) in [
        ("    $a:\n    - v1.1\n", "    - \"v1.2\"\n"),
        ("    $a:\n        - v1.1\n", "        - \"v1.2\"\n"),
        (
            "    \"$a\":   # x-y\n      -   'v1.1' # z\n",
            "      - \"v1.2\"\n",
        ),
        ("    $a:\r\n    - v1.1\r\n", "    - \"v1.2\"\r\n"),
    ] {
        for mark in ["", "\u{feff}"] {
            for rest in ["", "    # next\n    $b:\n    - v0\n", "- name: b\n"] {
                let begin = format!("{mark}- name: app\n  dmap:\n{list}");
                let existing = format!("{begin}{rest}");
                check(&existing, &["app@a:v1.2"], &format!("{begin}{more}{rest}"));
            }
        }
    }
}

#[test]
fn a_byte_order_mark_stays_first() {
    let list = "- name: app\n  dmap:\n    \"$a\": [\"v1\"]\n";
    for existing in ["", "[]\n"] {
        let marked = format!("\u{feff}{existing}");
        check(&marked, &["app@a:v1"], &format!("\u{feff}{list}"));
    }
    let zoo = list.replace("app", "zoo");
    let both = format!("\u{feff}{list}{zoo}");
    check(&format!("\u{feff}{zoo}"), &["app@a:v1"], &both);
}

#[test]
fn a_tag_list_that_cannot_be_added_to_is_named_by_its_line() {
    for (list, line) in [
        (": v1.1", 3),
        (": [v1.1,]", 3),
        (": # none", 3),
        (":\n    - !!str v1.1", 4),
        (":\n    - v1.0\n    - &x v1.1", 5),
    ] {
        let existing = format!("- name: app\n  dmap:\n    {}{list}\n", digest("a"));
        let error = merge_images(&existing, &rows(&["app@a:v1.2"])).unwrap_err();
        assert_eq!(error, MergeError::Style { line }, "{list}");
    }
}

#[test]
fn a_row_may_come_before_the_name_and_may_have_no_tags() {
    check(
        "- dmap:\n    \"$a\": []\n    \"$b\":\n    \"$c\": [ ]\n  name: app\n",
        &["app@a:v1", "app@b:v2", "app@c:v3", "app@d:v4"],
        "- dmap:\n    \"$a\": [\"v1\"]\n    \"$b\": [\"v2\"]\n    \"$c\": [\"v3\" ]\n    \"$d\": [\"v4\"]\n  name: app\n",
    );
}

#[test]
fn rows_in_the_order_of_their_digests_stay_so() {
    let mut digests = ["a", "b", "c"].map(|content| (digest(content), content));
    digests.sort();
    let [(_, first), (_, second), (_, third)] = digests;
    check(
        &format!("- name: app\n  dmap:\n    \"${first}\": [\"v1\"]\n    \"${third}\": [\"v3\"]\n"),
        &[&format!("app@{second}:v2")],
        &format!(
            "- name: app\n  dmap:\n    \"${first}\": [\"v1\"]\n    \"${second}\": [\"v2\"]\n    \"${third}\": [\"v3\"]\n"
        ),
    );
}

#[test]
fn a_tag_never_gets_a_second_digest() {
    let existing = format!("- name: app\n  dmap:\n    {}: [v1]\n", digest("a"));
    let error = merge_images(&existing, &rows(&["app@b:v1", "app@b:v2"])).unwrap_err();
    assert!(matches!(error, MergeError::Conflicts(all) if all.len() == 1));
}

#[test]
fn what_cannot_be_added_to_is_refused_and_faults_that_are_there_stay() {
    let flow = format!("[{{name: app, dmap: {{\"{}\": [v1]}}}}]\n", digest("a"));
    assert_eq!(
        merge_images(&flow, &rows(&["b@a:v1"])),
        Err(MergeError::Style { line: 1 })
    );
    for text in ["images: []\n", "- {\n"] {
        let error = merge_images(text, &rows(&["b@a:v1"])).unwrap_err();
        assert!(
            matches!(error, MergeError::Unreadable { .. }),
            "{text}: {error:?}"
        );
    }
    let faulty = "- name: app\n  dmap:\n    \"sha256:12\": [\"v1\"]\n";
    let merged = merge_images(faulty, &rows(&["app@a:v1"])).unwrap();
    assert!(merged.text.starts_with(faulty));
}

proptest! {
    /// The lines of the list are still there, but for tags that were added to
    /// some of them; and nothing else is said.
    #[test]
    fn merging_adds_and_changes_nothing_else(
        old in proptest::collection::btree_set(("[a-c]", 0_u8..4, 0_u8..3), 0..10),
        new in proptest::collection::btree_set(("[a-c]", 0_u8..4, 0_u8..3), 0..10),
    ) {
        // A tag belongs to one digest: it has the digest in its name.
        let list = |set: &BTreeSet<(String, u8, u8)>| -> Vec<ImageRow> {
            let texts: Vec<String> = set
                .iter()
                .map(|(name, content, tag)| format!("{name}@{content}:v{content}.{tag}"))
                .collect();
            rows(&texts.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let existing = merge_images("# top\n", &list(&old)).unwrap().text;
        let merged = merge_images(&existing, &list(&new)).unwrap();
        prop_assert_eq!(merged.added, new.difference(&old).count());
        let at_once: BTreeSet<_> = old.union(&new).cloned().collect();
        let at_once = merge_images("# top\n", &list(&at_once)).unwrap();
        prop_assert_eq!(listed(&merged.text), listed(&at_once.text));
    }
}
