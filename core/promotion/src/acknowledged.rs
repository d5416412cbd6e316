//! Known faults: findings that somebody has looked at and lives with.
//!
//! An acknowledgement names a finding by its content hash, so it survives moved
//! lines and renamed folders, and is void as soon as the values at fault are
//! others. It mends nothing: what a fault leaves out stays left out, and the
//! finding is still shown. It only no longer fails a validation.

use std::collections::{BTreeMap, BTreeSet};

use landfall_catalog::Digest;
use serde::Deserialize;

use crate::excerpt::of_line;
use crate::finding::{Finding, Position, finding};
use crate::rules;

/// Name of the file that holds them, in the directory of the manifests.
pub const ACKNOWLEDGED_FILE: &str = ".landfall-acknowledged.toml";

/// One `[[acknowledged]]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Acknowledgement {
    /// [`Finding::content_hash`] of the fault.
    pub hash: Digest,
    /// Id of the rule that it breaks.
    pub rule: String,
    /// Why it is lived with.
    pub why: String,
    /// Who decided that.
    pub who: String,
}

/// What is acknowledged; each hash once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledgements {
    by_hash: BTreeMap<Digest, Acknowledgement>,
}

impl Acknowledgements {
    /// Checks a list of them.
    ///
    /// # Errors
    /// Every fault, as the index in the list and what is wrong: a rule that is
    /// none or can't be acknowledged, nothing said in `why` or `who`, a hash that was acknowledged before.
    pub fn try_new(list: Vec<Acknowledgement>) -> Result<Self, Vec<(usize, String)>> {
        let mut by_hash = BTreeMap::new();
        let mut faults = Vec::new();
        for (index, item) in list.into_iter().enumerate() {
            // Resolving has rules of its own, so only the form can be checked.
            let is_id =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if item.rule.is_empty() || !item.rule.bytes().all(is_id) {
                faults.push((index, format!("rule \"{}\" is no rule's id", item.rule)));
            }
            // Else a change could excuse itself.
            if item.rule == rules::MIXED_HALVES.id {
                faults.push((index, format!("`{}` cannot be acknowledged", item.rule)));
            }
            for (key, text) in [("why", &item.why), ("who", &item.who)] {
                if text.trim().is_empty() {
                    faults.push((index, format!("`{key}` says nothing")));
                }
            }
            let hash = item.hash;
            if by_hash.insert(hash, item).is_some() {
                faults.push((index, format!("{hash} was acknowledged before")));
            }
        }
        if faults.is_empty() {
            Ok(Self { by_hash })
        } else {
            Err(faults)
        }
    }

    /// The acknowledgement of a fault, if there is one. The rule has to agree
    /// too: it is what people read.
    #[must_use]
    pub fn of(&self, rule: &str, hash: &Digest) -> Option<&Acknowledgement> {
        self.by_hash.get(hash).filter(|found| found.rule == rule)
    }

    /// Whether a finding fails a validation (see [`Finding::fails`]) and is not
    /// acknowledged.
    #[must_use]
    pub fn leave_failing(&self, finding: &Finding, strict: bool) -> bool {
        finding.fails(strict) && self.of(finding.rule, &finding.content_hash).is_none()
    }

    /// A note for each acknowledgement that matches none of `findings`. `file`
    /// and `text` are the file that they came from, for the place.
    #[must_use]
    pub fn stale(&self, findings: &[Finding], file: &str, text: &str) -> Vec<Finding> {
        let found: BTreeSet<_> = findings
            .iter()
            .map(|finding| (finding.rule, finding.content_hash))
            .collect();
        let stale = self
            .by_hash
            .values()
            .filter(|item| !found.contains(&(item.rule.as_str(), item.hash)));
        stale
            .map(|item| {
                let hash = item.hash.to_string();
                let (at, excerpt) = locate(file, text, &hash);
                let rule = &rules::STALE_ACKNOWLEDGEMENT;
                let message = format!("no {} with this hash is found here", item.rule);
                finding(rule, &at, "", message, excerpt, &[&item.rule, &hash])
            })
            .collect()
    }
}

fn locate(file: &str, text: &str, hash: &str) -> (Position, String) {
    let found = text
        .lines()
        .zip(1_u32..)
        .find_map(|(line, number)| Some((line, number, line.find(hash)?)));
    let (line, number, byte) = found.unwrap_or(("", 1, 0));
    let characters = line.get(..byte).unwrap_or_default().chars().count();
    let at = Position {
        file: file.into(),
        line: number,
        column: u32::try_from(characters).unwrap_or(u32::MAX - 1) + 1,
    };
    let excerpt = of_line(line, at.column);
    (at, excerpt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(content: &str) -> Acknowledgement {
        Acknowledgement {
            hash: Digest::of(content.as_bytes()),
            rule: "malformed-digest".to_owned(),
            why: "published so in 2023".to_owned(),
            who: "release team".to_owned(),
        }
    }

    #[test]
    fn every_fault_of_a_list_is_told_with_its_index() {
        let silent = Acknowledgement {
            why: "  ".to_owned(),
            rule: "No Rule".to_owned(),
            ..item("b")
        };
        let faults = Acknowledgements::try_new(vec![item("a"), silent, item("a")]).unwrap_err();
        let indexes: Vec<usize> = faults.iter().map(|(index, _)| *index).collect();
        assert_eq!(indexes, [1, 1, 2], "{faults:?}");
    }

    #[test]
    fn an_acknowledgement_covers_its_hash_under_its_rule_alone() {
        let known = Acknowledgements::try_new(vec![item("a")]).unwrap();
        let of = |rule, content: &str| known.of(rule, &Digest::of(content.as_bytes()));
        assert!(of("malformed-digest", "a").is_some());
        assert!(of("malformed-digest", "b").is_none());
        assert!(of("bad-tag", "a").is_none());
    }

    #[test]
    fn what_matches_nothing_is_a_note_at_its_place() {
        let known = Acknowledgements::try_new(vec![item("a")]).unwrap();
        let text = format!("[[acknowledged]]\nhash = \"{}\"\n", Digest::of(b"a"));
        let stale = known.stale(&[], "known.toml", &text);
        assert_eq!(stale.len(), 1);
        assert_eq!((stale[0].line, stale[0].column), (2, 9));
        assert!(!stale[0].fails(true));
    }
}
