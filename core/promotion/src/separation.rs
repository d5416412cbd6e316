//! Who may change what: a change is to the sensitive half or to the delegated
//! half, and a delegated half says who owns it.
//!
//! The sensitive half (registries, filestores) says where content comes from and
//! goes to; whoever may merge a change of images or files must not be able to
//! carry a change of that along.

use crate::finding::{Finding, Position, Reporter, Source, Spot, finding};
use crate::manifest::layout::{FileRole, place, single, wanted};
use crate::manifest::yaml::{Value, read};
use crate::parse::{Tree, groups, owner};
use crate::project::Kind;
use crate::rules;

/// Files that are named in one message, of each half.
const MAX_NAMED: usize = 50;

/// A manifest that a change touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Path relative to the directory of the manifests.
    pub path: String,
    /// Its text before the change; none if it was not there.
    pub before: Option<String>,
    /// Its text after the change; none if it is gone.
    pub after: Option<String>,
}

/// The finding that a change touches both halves, if it does. It fails strict
/// and lenient validations and cannot be acknowledged.
///
/// A delegated manifest that asks for nothing, before and after, is not counted:
/// a project begins with its registries and an empty list, and ends so.
#[must_use]
pub fn separation(changes: &[Change]) -> Option<Finding> {
    let mut sensitive = Vec::new();
    let mut delegated = Vec::new();
    for change in changes {
        match place(&change.path).map(|place| place.role) {
            Some(role) if role.is_sensitive() => sensitive.push(change.path.as_str()),
            Some(role) => {
                let asks =
                    |text: &Option<String>| text.as_deref().is_some_and(|text| asks(role, text));
                if asks(&change.before) || asks(&change.after) {
                    delegated.push(change.path.as_str());
                }
            }
            None => {}
        }
    }
    sensitive.sort_unstable();
    delegated.sort_unstable();
    let (first, _) = sensitive.first().zip(delegated.first())?;
    let at = Position {
        file: (*first).into(),
        line: 1,
        column: 1,
    };
    let message = format!(
        "the change touches the sensitive half ({}) and the delegated half ({})",
        named(&sensitive),
        named(&delegated)
    );
    let about: Vec<&str> = sensitive.iter().chain(&delegated).copied().collect();
    let rule = &rules::MIXED_HALVES;
    Some(finding(rule, &at, "", message, String::new(), &about))
}

/// The manifests in a list of relative paths that each end with a NUL, as git
/// prints them for `-z`.
#[must_use]
pub fn manifests_in(list: &[u8]) -> Vec<String> {
    list.split(|byte| *byte == 0)
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .filter(|path| wanted(path).is_some())
        .collect()
}

fn named(paths: &[&str]) -> String {
    let named = paths.iter().take(MAX_NAMED).copied().collect::<Vec<_>>();
    match paths.len().saturating_sub(MAX_NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Whether a delegated manifest asks for anything. What can't be read may.
fn asks(role: FileRole, text: &str) -> bool {
    let Ok(node) = read(text) else {
        return true;
    };
    match (&node.value, role) {
        (Value::Null, _) => false,
        (Value::Sequence(items), FileRole::Images) => !items.is_empty(),
        (Value::Mapping(pairs), FileRole::Files) => {
            pairs.iter().any(|(_, value)| match &value.value {
                Value::Null => false,
                Value::Sequence(items) => !items.is_empty(),
                Value::Scalar { .. } | Value::Mapping(_) | Value::Alias => true,
            })
        }
        _ => true,
    }
}

/// A finding for each project without an `OWNERS` file beside its delegated
/// half: `images/<project>/OWNERS`, or `manifests/<project>/OWNERS` of a project
/// of files. `present` says whether there is a file at a relative path.
#[must_use]
pub fn missing_owners(tree: &Tree, present: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut reporter = Reporter::default();
    for ((root, project), group) in groups(tree) {
        let lists = match (group.images, group.filestores) {
            (Some(images), _) => Some((images, "images", Kind::Images)),
            (None, Some(_)) => {
                let first = group.files.first();
                first.map(|first| (*first, "manifests", Kind::Files))
            }
            (None, None) => None,
        };
        let Some((manifest, folder, kind)) = lists else {
            continue;
        };
        let slash = if root.is_empty() { "" } else { "/" };
        let owners = format!("{root}{slash}{folder}/{project}/OWNERS");
        if !present(&owners) {
            let source = Source::new(&manifest.path, &manifest.text, owner(project, kind));
            let message = format!("project {project} has no {owners}");
            reporter.report(&source, Spot::START, &rules::MISSING_OWNERS, message, &[]);
        }
    }
    reporter.into_findings()
}

/// The project that a manifest belongs to.
pub(crate) fn project_of(path: &str) -> Option<&str> {
    place(path)
        .map(|place| place.project)
        .or_else(|| single(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::SourceFile;

    fn change(path: &str, before: Option<&str>, after: Option<&str>) -> Change {
        Change {
            path: path.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        }
    }

    const REGISTRIES: &str = "r/manifests/p/promoter-manifest.yaml";
    const IMAGES: &str = "r/images/p/images.yaml";

    #[test]
    fn a_change_of_both_halves_names_the_files_of_each() {
        let images = change(IMAGES, Some("[]"), Some("- name: a"));
        let files = change("a/manifests/q/1.yaml", Some("files: [x]"), None);
        let registries = change(REGISTRIES, Some("x"), Some("y"));
        let found = separation(&[images.clone(), files, registries.clone()]).unwrap();
        let message = format!(
            "the change touches the sensitive half ({REGISTRIES}) and the delegated half \
             (a/manifests/q/1.yaml, {IMAGES})"
        );
        assert_eq!(found.message, message);
        assert!(found.fails(true) && found.fails(false));
        assert_eq!(separation(&[images]), None);
        assert_eq!(separation(&[registries]), None);
        assert_eq!(separation(&[]), None);
    }

    #[test]
    fn a_project_begins_and_ends_with_an_empty_list() {
        let registries = change(REGISTRIES, None, Some("registries: []"));
        for (path, before, after, mixed) in [
            (IMAGES, None, Some("# No images yet\n"), false),
            (IMAGES, Some("[]"), None, false),
            (IMAGES, None, Some("- name: a"), true),
            (IMAGES, Some("- name: a"), Some("[]"), true),
            (IMAGES, None, Some("{"), true),
            (IMAGES, None, Some("images: []"), true),
            ("manifests/q/1.yaml", None, Some("files: []\n"), false),
            (
                "manifests/q/1.yaml",
                None,
                Some("files:\n- name: a\n"),
                true,
            ),
            ("README.md", Some("a"), Some("b"), false),
        ] {
            let changes = [change(path, before, after), registries.clone()];
            assert_eq!(separation(&changes).is_some(), mixed, "{path} {after:?}");
        }
    }

    #[test]
    fn owners_are_wanted_beside_the_delegated_half() {
        let file = |path: &str| SourceFile {
            path: path.to_owned(),
            text: "[]".to_owned(),
        };
        let tree = Tree {
            files: [
                REGISTRIES,
                IMAGES,
                "filestores/q/filepromoter-manifest.yaml",
                "manifests/q/v1.yaml",
                "filestores/mirror/filepromoter-manifest.yaml",
            ]
            .map(file)
            .to_vec(),
            ..Tree::default()
        };
        let missing = |present: &str| {
            let found = missing_owners(&tree, |path| path == present);
            found
                .into_iter()
                .map(|finding| finding.message)
                .collect::<Vec<_>>()
        };
        let (p, q) = ("r/images/p/OWNERS", "manifests/q/OWNERS");
        assert_eq!(missing(p), [format!("project q has no {q}")]);
        assert_eq!(missing(q), [format!("project p has no {p}")]);
    }
}
