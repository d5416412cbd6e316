//! What a change makes of names that were listed before it.
//!
//! Whoever reviews a change sees lines come and go; that a published name would
//! mean something else, or is listed no more, shows only when both trees are
//! planned. Said before the merge it is one line to mend; after it, it is refused
//! at every promotion until somebody takes the line back.

use std::collections::{BTreeMap, HashMap};

use landfall_catalog::Name;

use crate::asked::Asked;
use crate::finding::{Finding, Position, finding};
use crate::parse::{SourceFile, Tree, owner};
use crate::plain::quoted;
use crate::plan::Plan;
use crate::rules;
use crate::separation::Change;

/// Names that are listed no more and are named in one message.
const MAX_NAMED: usize = 6;

/// The tree as it was before `changes`. What cannot be read now is as it is.
#[must_use]
pub fn before(tree: &Tree, changes: &[Change]) -> Tree {
    let changed: HashMap<&str, &Change> = changes
        .iter()
        .map(|change| (change.path.as_str(), change))
        .collect();
    let untouched = tree.files.iter();
    let untouched = untouched.filter(|file| !changed.contains_key(&*file.path));
    let then = changes.iter().filter_map(|change| {
        Some(SourceFile {
            path: change.path.clone(),
            text: change.before.clone()?,
        })
    });
    let mut files: Vec<_> = untouched.cloned().chain(then).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Tree {
        files,
        ..tree.clone()
    }
}

/// What a change makes of the names that were listed before it, each plan made
/// against the empty catalog: a finding for each name that is given other content
/// and may not move, and one for each manifest whose names are listed no more.
#[must_use]
pub fn compared(before: &Plan, after: &Plan) -> Vec<Finding> {
    let now: HashMap<&Name, &Asked> = after.set.iter().map(|asked| (&asked.name, asked)).collect();
    // What is refused is told as that, and is still listed.
    let refused = after.refused.iter();
    let refused: HashMap<&Name, &Asked> = refused.map(|(asked, _)| (&asked.name, asked)).collect();
    let mut findings = Vec::new();
    let mut gone: BTreeMap<&str, Vec<&Asked>> = BTreeMap::new();
    for then in &before.set {
        match now.get(&then.name) {
            Some(now) if now.digest != then.digest && !now.mutable => {
                findings.push(moved(then, now))
            }
            Some(_) => {}
            None if refused.contains_key(&then.name) => {}
            None => gone.entry(&then.at.file).or_default().push(then),
        }
    }
    findings.extend(gone.into_values().filter_map(|gone| unlisted(&gone)));
    findings
}

fn moved(then: &Asked, now: &Asked) -> Finding {
    let name = then.name.to_string();
    let message = format!(
        "{} means {} in the base, and is given {}",
        quoted(&name),
        then.digest,
        now.digest
    );
    let about = [&*name, &then.digest.to_string(), &now.digest.to_string()];
    let owner = owner(&now.project, now.kind);
    finding(
        &rules::MOVED_NAME,
        &now.at,
        &owner,
        message,
        String::new(),
        &about,
    )
}

fn unlisted(gone: &[&Asked]) -> Option<Finding> {
    let first = gone.first()?;
    let mut names: Vec<String> = gone.iter().map(|asked| asked.name.to_string()).collect();
    names.sort_unstable();
    let named: Vec<String> = names
        .iter()
        .take(MAX_NAMED)
        .map(|name| quoted(name))
        .collect();
    let more = match names.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = match names.len() {
        1 => format!("{} is listed no more", named.join(", ")),
        count => format!(
            "{count} names are listed no more: {}{more}",
            named.join(", ")
        ),
    };
    // Its line is gone, and perhaps its manifest.
    let at = Position {
        line: 1,
        column: 1,
        ..first.at.clone()
    };
    let about: Vec<&str> = names.iter().map(String::as_str).collect();
    let owner = owner(&first.project, first.kind);
    Some(finding(
        &rules::UNLISTED_NAMES,
        &at,
        &owner,
        message,
        String::new(),
        &about,
    ))
}

#[cfg(test)]
mod tests {
    use landfall_catalog::{Catalog, Digest};

    use super::*;
    use crate::{MutableNames, PlanOptions, parse, plan};

    const REGISTRIES: &str = "manifests/p/promoter-manifest.yaml";
    const IMAGES: &str = "images/p/images.yaml";

    fn tree(rows: &[(&str, &str)]) -> Tree {
        let rows = rows.iter().map(|(digest, tags)| {
            let digest = Digest::of(digest.as_bytes());
            format!("    \"{digest}\": [{tags}]\n")
        });
        let rows: String = rows.collect();
        let file = |path: &str, text: String| SourceFile {
            path: path.to_owned(),
            text,
        };
        Tree {
            files: vec![
                file(IMAGES, format!("- name: app\n  dmap:\n{rows}")),
                file(
                    REGISTRIES,
                    "registries:\n- {name: gcr.io/s, src: true}\n- name: eu.example/prod\n".into(),
                ),
            ],
            ..Tree::default()
        }
    }

    fn planned(tree: &Tree) -> Plan {
        let options = PlanOptions {
            mutable: MutableNames::new(["latest"]),
            ..PlanOptions::default()
        };
        plan(&parse(tree), &[], &Catalog::default(), &options)
    }

    fn told(then: &[(&str, &str)], now: &[(&str, &str)]) -> Vec<(&'static str, String, u32)> {
        let findings = compared(&planned(&tree(then)), &planned(&tree(now)));
        let told = findings.into_iter();
        told.map(|finding| (finding.rule, finding.message, finding.line))
            .collect()
    }

    #[test]
    fn a_name_that_is_given_other_content_is_told_where_it_is_listed_now() {
        let then = [("a", "v1, latest"), ("b", "v2")];
        assert_eq!(told(&then, &then), []);
        let more = [("c", "v3"), ("a", "v1, latest"), ("b", "v2")];
        assert_eq!(told(&then, &more), []);
        let message = format!(
            "`prod/app:v1` means {} in the base, and is given {}",
            Digest::of(b"a"),
            Digest::of(b"c")
        );
        assert_eq!(
            told(&then, &[("b", "v2"), ("c", "v1, latest")]),
            [("moved-name", message, 4)],
            "and not of one that may move"
        );
    }

    #[test]
    fn what_is_listed_no_more_is_a_note_for_each_manifest() {
        let then = [("a", "v1, v2, v3"), ("b", "v4, v5"), ("c", "v6, v7, v8")];
        let all = "7 names are listed no more: `prod/app:v1`, `prod/app:v2`, `prod/app:v3`, \
                   `prod/app:v4`, `prod/app:v5`, `prod/app:v6` and 1 more";
        assert_eq!(
            told(&then, &[("c", "v8")]),
            [("unlisted-names", all.to_owned(), 1)]
        );
        let one = "`prod/app:v8` is listed no more";
        let left = [("a", "v1, v2, v3"), ("b", "v4, v5"), ("c", "v6, v7")];
        assert_eq!(told(&then, &left), [("unlisted-names", one.to_owned(), 1)]);
    }

    #[test]
    fn the_tree_before_a_change_is_the_one_now_with_the_change_undone() {
        let (then, now) = (tree(&[("a", "v1")]), tree(&[("b", "v1")]));
        let change = |path: &str, before: Option<&SourceFile>| Change {
            path: path.to_owned(),
            before: before.map(|file| file.text.clone()),
            after: Some("x".to_owned()),
        };
        let undone = before(&now, &[change(IMAGES, Some(&then.files[0]))]);
        assert_eq!(undone, then);
        let new = before(&now, &[change(IMAGES, None)]);
        let paths: Vec<_> = new.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, [REGISTRIES], "it was not there");
    }
}
