//! Lists of files.

use std::collections::BTreeMap;

use landfall_catalog::Digest;

use super::edit::{Edit, document, misread, scalar, style, wrong};
use super::{MergeError, Merged};
use crate::finding::{Reporter, Source};
use crate::manifest::files::{Files, read_files};
use crate::manifest::yaml::{Node, Value};
use crate::parse::Figures;
use crate::plain::quoted;

/// Puts files (path below the project's stores, SHA-256) into a list of files;
/// `existing` is empty for a new one.
///
/// # Errors
/// [`MergeError`]; then nothing of it was done.
pub fn merge_files(
    existing: &str,
    entries: &BTreeMap<String, Digest>,
) -> Result<Merged, MergeError> {
    let before = listed(existing);
    let mut known: BTreeMap<&str, Digest> = BTreeMap::new();
    let mut conflicts = Vec::new();
    for (name, digest) in &before {
        known.entry(name).or_insert(*digest);
        if let Some(new) = entries.get(name).filter(|new| *new != digest) {
            let (old, new) = (digest.to_hex(), new.to_hex());
            conflicts.push(format!(
                "{} is listed with {old}, and is {new} now",
                quoted(name)
            ));
        }
    }
    if !conflicts.is_empty() {
        return Err(MergeError::Conflicts(conflicts));
    }
    let new: Vec<(&str, Digest)> = entries
        .iter()
        .filter(|(name, _)| !known.contains_key(name.as_str()))
        .map(|(name, digest)| (name.as_str(), *digest))
        .collect();
    let text = insert(existing, &new)?;
    let mut expected = before;
    expected.extend(
        new.iter()
            .map(|(name, digest)| ((*name).to_owned(), *digest)),
    );
    expected.sort();
    let mut after = listed(&text);
    after.sort();
    if after != expected {
        return Err(misread(existing, &text));
    }
    Ok(Merged {
        text,
        added: new.len(),
        present: entries.len() - new.len(),
    })
}

/// The sound entries of a list.
fn listed(text: &str) -> Vec<(String, Digest)> {
    let mut files = Files::default();
    let source = Source::new("", text, String::new());
    read_files(
        &source,
        &mut Reporter::default(),
        &mut Figures::default(),
        &mut files,
    );
    let entries = files.entries.into_iter();
    entries
        .map(|entry| (entry.name.to_string(), entry.digest))
        .collect()
}

fn insert(existing: &str, new: &[(&str, Digest)]) -> Result<String, MergeError> {
    let node = document(existing)?;
    let mut edit = Edit::new(existing);
    if new.is_empty() {
        return Ok(edit.finish());
    }
    let all = |indent: &str| {
        new.iter()
            .flat_map(|entry| lines(indent, entry))
            .collect::<Vec<_>>()
    };
    let pairs = match &node.value {
        Value::Null => {
            let mut lines = vec!["files:".to_owned()];
            lines.extend(all(""));
            edit.insert_at_end(&lines);
            return Ok(edit.finish());
        }
        Value::Mapping(pairs) => pairs,
        Value::Scalar { .. } | Value::Sequence(_) | Value::Alias => {
            return Err(wrong(&node, "a mapping with `files`"));
        }
    };
    let is_files =
        |key: &Node<'_>| matches!(&key.value, Value::Scalar { text, .. } if text == "files");
    let Some(index) = pairs.iter().position(|(key, _)| is_files(key)) else {
        let message = "this manifest has no `files`".to_owned();
        return Err(MergeError::Unreadable { line: 1, message });
    };
    let (key, list) = &pairs[index];
    match &list.value {
        Value::Null => edit.insert_lines_after(key.spot.line, &all("")),
        Value::Sequence(items) if items.is_empty() => {
            edit.remove_empty_list(list.spot)?;
            edit.insert_lines_after(list.spot.line, &all(""));
        }
        Value::Sequence(items) => {
            let end = pairs.get(index + 1).map(|(key, _)| key.spot.line);
            among(&mut edit, items, end, new)?;
        }
        Value::Scalar { .. } | Value::Mapping(_) | Value::Alias => {
            return Err(wrong(list, "a list of files"));
        }
    }
    Ok(edit.finish())
}

/// Each new entry after the last item that sorts before it.
fn among(
    edit: &mut Edit<'_>,
    items: &[Node<'_>],
    end: Option<u32>,
    new: &[(&str, Digest)],
) -> Result<(), MergeError> {
    let Some(first) = items.first() else {
        return Ok(());
    };
    let indent = edit.dash(first.spot).ok_or(style(first.spot))?;
    for entry in new {
        let smaller = items
            .iter()
            .rposition(|item| name(item).is_some_and(|name| name <= entry.0));
        let lines = lines(indent, entry);
        match smaller {
            Some(index) => {
                let next = items.get(index + 1).map(|item| item.spot.line).or(end);
                let last = edit.last_line(items[index].spot.line, next);
                edit.insert_lines_after(last, &lines);
            }
            None => edit.insert_lines_before(items[0].spot.line, &lines),
        }
    }
    Ok(())
}

fn name<'n>(item: &'n Node<'_>) -> Option<&'n str> {
    let Value::Mapping(pairs) = &item.value else {
        return None;
    };
    pairs
        .iter()
        .find_map(|(key, value)| match (&key.value, &value.value) {
            (Value::Scalar { text: key, .. }, Value::Scalar { text, .. }) if key == "name" => {
                Some(text.as_ref())
            }
            _ => None,
        })
}

fn lines(indent: &str, (name, digest): &(&str, Digest)) -> [String; 2] {
    [
        format!("{indent}- name: {}", scalar(name)),
        format!("{indent}  sha256: {}", scalar(&digest.to_hex())),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(content: &str) -> Digest {
        Digest::of(content.as_bytes())
    }

    fn entries(names: &[&str]) -> BTreeMap<String, Digest> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), digest(name)))
            .collect()
    }

    fn entry(name: &str) -> String {
        format!("- name: {name}\n  sha256: {}\n", digest(name).to_hex())
    }

    #[test]
    fn a_new_list_is_sorted_and_comments_above_it_stay() {
        let list = format!("files:\n{}{}", entry("v1/a"), entry("v1/b"));
        for (existing, expected) in [
            ("", list.clone()),
            ("# mine\n", format!("# mine\n{list}")),
            ("# mine", format!("# mine\n{list}")),
            ("files: []\n# end\n", format!("{list}# end\n")),
            ("files:\n", list.clone()),
            ("files:", list),
        ] {
            let merged = merge_files(existing, &entries(&["v1/b", "v1/a"])).unwrap();
            assert_eq!(merged.text, expected, "{existing:?}");
            assert_eq!((merged.added, merged.present), (2, 0));
        }
    }

    #[test]
    fn what_is_there_stays_as_it_is_written() {
        let b = digest("v1/b").to_hex();
        let existing = format!(
            "# Releases.\nfiles:\n  # the tool\n  - sha256: '{b}'   # checked\n    name: v1/b\n\n  # last\n  - {{name: v1/d, sha256: {}}}\n  # the end\n",
            digest("v1/d").to_hex()
        );
        let merged = merge_files(&existing, &entries(&["v1/a", "v1/b", "v1/c", "v1/e"])).unwrap();
        let indented = |name: &str| {
            entry(name)
                .replace("- name", "  - name")
                .replace("  sha", "    sha")
        };
        let expected = format!(
            "# Releases.\nfiles:\n  # the tool\n{}  - sha256: '{b}'   # checked\n    name: v1/b\n{}\n  # last\n  - {{name: v1/d, sha256: {}}}\n{}  # the end\n",
            indented("v1/a"),
            indented("v1/c"),
            digest("v1/d").to_hex(),
            indented("v1/e"),
        );
        assert_eq!(merged.text, expected);
        assert_eq!((merged.added, merged.present), (3, 1));
        let again = merge_files(&merged.text, &entries(&["v1/a", "v1/e"])).unwrap();
        assert_eq!((again.added, again.text), (0, merged.text));
    }

    #[test]
    fn a_last_line_without_an_end_gets_one() {
        let cut = format!("files:\n{}", entry("v1/a"));
        let merged = merge_files(cut.trim_end(), &entries(&["v1/b", "v1/c"])).unwrap();
        assert_eq!(
            merged.text,
            format!("{cut}{}{}", entry("v1/b"), entry("v1/c"))
        );
    }

    #[test]
    fn a_path_never_gets_a_second_hash() {
        let existing = format!(
            "files:\n- name: v1/a\n  sha256: {}\n",
            digest("other").to_hex()
        );
        let error = merge_files(&existing, &entries(&["v1/a", "v1/b"])).unwrap_err();
        assert!(matches!(error, MergeError::Conflicts(all) if all.len() == 1));
    }

    #[test]
    fn what_cannot_be_added_to_is_refused() {
        let flow = format!(
            "files: [{{name: v1/b, sha256: {}}}]\n",
            digest("v1/b").to_hex()
        );
        assert_eq!(
            merge_files(&flow, &entries(&["v1/a"])),
            Err(MergeError::Style { line: 1 })
        );
        for text in [
            "approvers: [x]\n",
            "- name: x\n",
            "files: {}\n",
            "files: [\n",
        ] {
            let error = merge_files(text, &entries(&["v1/a"])).unwrap_err();
            assert!(
                matches!(error, MergeError::Unreadable { .. }),
                "{text}: {error:?}"
            );
        }
    }

    #[test]
    fn names_that_yaml_would_take_for_something_else_are_quoted() {
        let odd = [
            "null",
            "yes",
            "1.10",
            "0x1f",
            "a b",
            "a: b",
            "a#b",
            "-x",
            "é",
            "12e4",
            "\u{feff}x",
        ];
        let merged = merge_files("", &entries(&odd)).unwrap();
        assert_eq!(merged.added, odd.len());
        assert!(
            merged.text.contains("- name: \"null\"\n"),
            "{}",
            merged.text
        );
    }

    proptest! {
        /// Whatever a person did to the list, either it says in the end what it said
        /// and the new entries, or it is refused; and all its lines are still there.
        #[test]
        fn merging_adds_and_changes_nothing_else(
            old in proptest::collection::btree_set("[a-d]{1,3}", 0..8),
            new in proptest::collection::btree_set("[a-d]{1,3}", 0..8),
            noise in proptest::collection::vec((0_usize..40, "(# [a-z]{1,4}|  # x|)"), 0..4),
        ) {
            let names: Vec<String> = old.iter().map(|name| format!("{name}/tool")).collect();
            let list: String = names.iter().map(|name| entry(name)).collect();
            let mut lines: Vec<String> = format!("files:\n{list}").lines().map(str::to_owned).collect();
            for (at, text) in noise {
                let at = at % (lines.len() + 1);
                lines.insert(at, text);
            }
            let existing = lines.join("\n");
            let names: Vec<String> = new.iter().map(|name| format!("{name}/tool")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let merged = merge_files(&existing, &entries(&names)).unwrap();
            prop_assert_eq!(merged.added, new.difference(&old).count());
            let mut rest = merged.text.lines();
            for line in existing.lines() {
                prop_assert!(rest.any(|other| other == line), "{line:?} is gone from\n{}", merged.text);
            }
            let names: Vec<String> = listed(&merged.text).into_iter().map(|(name, _)| name).collect();
            prop_assert!(names.is_sorted());
        }
    }
}
