//! The grammars, case by case and against plain readings of them.

use std::path::{Component, Path};

use proptest::prelude::*;

use super::*;

#[test]
fn repositories_follow_the_oci_grammar() {
    for good in [
        "a",
        "kube-apiserver",
        "coredns/coredns",
        "a.b_c__d---e/0",
        "e2e-test-images/sample.device__plugin",
        &"a".repeat(255),
    ] {
        assert!(Repository::try_new(good).is_ok(), "{good}");
    }
    for bad in [
        "", "A", "a/", "/a", "a//b", "a..b", "a___b", "a._b", "-a", "a-", "a/-b", "a b", "a:b",
        "é", "a\n", "a.-b", "..", "a/../b",
    ] {
        assert!(Repository::try_new(bad).is_err(), "{bad:?}");
        assert!(!Repository::is_valid(bad));
    }
    assert!(Repository::try_new("a".repeat(256)).is_err());
}

#[test]
fn tags_follow_the_oci_grammar() {
    for good in ["latest", "v1.2.3", "_", "A-b_c.d", &"x".repeat(128)] {
        assert!(Tag::try_new(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        ".a",
        "-a",
        "a:b",
        "a/b",
        "a b",
        "é",
        "a\0",
        &"x".repeat(129),
    ] {
        assert!(Tag::try_new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn paths_that_escape_or_are_reserved_are_refused() {
    for good in [
        "a",
        "binaries/kops/1.2.3/linux/amd64/kops",
        "x/blobs/y",
        "blobs2/x",
        "v20/x",
        "sub/index.json",
        "a b/ü+~%.txt",
        "...",
    ] {
        assert!(FilePath::try_new(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/./b",
        "a/../b",
        "../a",
        "a\\b",
        "a\0b",
        "a\nb",
        "a\u{85}b",
        "blobs/sha256/x",
        "blobs",
        "v2/",
        "v2",
        "v2/x",
        ".landfall/x",
        ".well-known/x",
        "origin/x",
        "origin",
        "index.json",
        "oci-layout",
        "index.yaml",
    ] {
        assert!(FilePath::try_new(bad).is_err(), "{bad:?}");
        assert!(!FilePath::is_valid(bad));
    }
    assert!(FilePath::try_new("a/".repeat(512) + "a").is_err());
    assert!(FilePath::try_new("a".repeat(256)).is_err());
}

#[test]
fn names_read_back_as_they_are_shown() {
    let digest = Digest::of(b"x");
    let repository: Repository = "a/b".parse().unwrap();
    for (name, text) in [
        (
            Name::Tag(repository.clone(), "v1".parse().unwrap()),
            "a/b:v1".to_owned(),
        ),
        (Name::Root(repository, digest), format!("a/b@{digest}")),
        (Name::File("a/b".parse().unwrap()), "a/b".to_owned()),
        (
            Name::File("a@sha256:12".parse().unwrap()),
            "a@sha256:12".to_owned(),
        ),
    ] {
        assert_eq!(name.to_string(), text);
        assert_eq!(text.parse(), Ok(name));
    }
    assert!("a/../b".parse::<Name>().is_err());
}

#[test]
fn folders_of_a_path_are_its_proper_prefixes() {
    let path: FilePath = "a/b/c".parse().unwrap();
    assert_eq!(path.folders().collect::<Vec<_>>(), ["a", "a/b"]);
}

#[test]
fn errors_quote_bounded_text() {
    let error = Tag::try_new("\u{7}".repeat(5000)).unwrap_err();
    assert!(error.to_string().len() < 1000);
    assert!(!error.to_string().contains('\u{7}'));
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` read from left to right.
fn naive_segment(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let rest = text.trim_start_matches(is_word);
    if rest.len() == text.len() {
        return false;
    }
    let dashes = rest.trim_start_matches('-');
    rest.is_empty()
        || (dashes.len() < rest.len() && naive_segment(dashes))
        || [".", "_", "__"]
            .iter()
            .filter_map(|joint| rest.strip_prefix(joint))
            .any(naive_segment)
}

proptest! {
    #[test]
    fn repositories_are_what_the_grammar_reads(text in "[a0._/A-]{0,9}") {
        let expected = text.split('/').all(naive_segment);
        prop_assert_eq!(Repository::is_valid(&text), expected, "{}", text);
    }

    #[test]
    fn tags_are_what_the_grammar_generates(text in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", bad in "[^a-zA-Z0-9._-]") {
        prop_assert!(Tag::is_valid(&text));
        let (head, tail) = text.split_at(text.len() / 2);
        let spoilt = format!("{head}{bad}{tail}");
        prop_assert!(!Tag::is_valid(&spoilt));
    }

    #[test]
    fn an_accepted_path_stays_below_its_folder(text in "(\\PC|[./]|\\.\\.|/|\\\\|blobs|v2|\n){0,12}") {
        if let Ok(path) = FilePath::try_new(text.clone()) {
            let parts: Vec<_> = Path::new(path.as_str()).components().collect();
            prop_assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))));
            prop_assert_eq!(parts.len(), text.split('/').count());
            prop_assert!(!RESERVED_FOLDERS.iter().any(|folder| parts[0].as_os_str() == *folder));
        }
    }

    #[test]
    fn every_accepted_name_reads_back(text in "[a-c]{1,3}([:@/][a-z0-9:@.]{0,5}){0,2}") {
        if let Ok(name) = text.parse::<Name>() {
            prop_assert_eq!(name.to_string(), text);
        }
    }
}
