//! How far an audit is: enough to carry it on, and no more.
//!
//! Everything is looked at in stages, and in each stage in the order of its keys,
//! some at a time. So one key has everything before it, and a few beyond it are done,
//! too. What has come into the catalog since the audit began, before that key, is not
//! looked at: it would not have been without an interruption either.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What is looked at together, in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Objects; of a registry those of one repository, first its blobs.
    Objects {
        repository: Option<String>,
        documents: bool,
    },
    /// Names that the store keeps.
    Names,
    /// What a folder's `index.json` says.
    References,
    /// What should not be seen.
    Withdrawn,
    /// What nobody knows.
    Unknown,
}

/// One thing of a stage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Key {
    Ordinal(u32),
    Text(String),
}

/// What of an audit is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The stage that was begun last; all before it are done.
    stage: Option<Stage>,
    /// Of that stage all up to this one is done …
    up_to: Option<Key>,
    /// … and these.
    beyond: BTreeSet<Key>,
}

impl Cursor {
    /// Whether that was looked at.
    pub(super) fn has(&self, stage: &Stage, key: &Key) -> bool {
        match &self.stage {
            None => false,
            Some(at) if at != stage => stage < at,
            Some(_) => {
                let is_before = self.up_to.as_ref().is_some_and(|up_to| key <= up_to);
                is_before || self.beyond.contains(key)
            }
        }
    }

    /// That was looked at.
    pub(super) fn add(&mut self, stage: &Stage, key: Key) {
        self.enter(stage);
        self.beyond.insert(key);
    }

    /// Everything up to that was.
    pub(super) fn settle(&mut self, stage: &Stage, up_to: Key) {
        self.enter(stage);
        self.beyond.retain(|key| *key > up_to);
        self.up_to = Some(up_to);
    }

    fn enter(&mut self, stage: &Stage) {
        if self.stage.as_ref() != Some(stage) {
            *self = Self {
                stage: Some(stage.clone()),
                ..Self::default()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(repository: &str, documents: bool) -> Stage {
        Stage::Objects {
            repository: Some(repository.to_owned()),
            documents,
        }
    }

    #[test]
    fn stages_have_the_order_in_which_they_are_looked_at() {
        let stages = [
            Stage::Objects {
                repository: None,
                documents: false,
            },
            objects("a", false),
            objects("a", true),
            objects("a/b", false),
            objects("b", false),
            Stage::Names,
            Stage::References,
            Stage::Withdrawn,
            Stage::Unknown,
        ];
        assert!(stages.is_sorted());
    }

    #[test]
    fn what_was_looked_at_is_known_however_it_was_interrupted() {
        let (blobs, documents) = (objects("b", false), objects("b", true));
        let mut cursor = Cursor::default();
        assert!(!cursor.has(&blobs, &Key::Ordinal(1)));
        cursor.settle(&blobs, Key::Ordinal(7));
        cursor.add(&blobs, Key::Ordinal(9));
        let text = serde_json::to_string(&cursor).unwrap();
        let cursor: Cursor = serde_json::from_str(&text).unwrap();
        for (ordinal, expected) in [(1, true), (7, true), (8, false), (9, true), (10, false)] {
            assert_eq!(cursor.has(&blobs, &Key::Ordinal(ordinal)), expected);
        }
        // Another repository that came meanwhile is before, or after.
        assert!(cursor.has(&objects("a", true), &Key::Ordinal(20)));
        assert!(!cursor.has(&documents, &Key::Ordinal(1)));
        assert!(!cursor.has(&Stage::Names, &Key::Text("a".to_owned())));
    }

    #[test]
    fn a_settled_stage_keeps_nothing_but_its_key() {
        let mut cursor = Cursor::default();
        for ordinal in [3, 1, 2] {
            cursor.add(&Stage::Names, Key::Ordinal(ordinal));
        }
        cursor.settle(&Stage::Names, Key::Ordinal(2));
        assert_eq!(cursor.beyond, BTreeSet::from([Key::Ordinal(3)]));
        cursor.settle(&Stage::Names, Key::Ordinal(3));
        assert_eq!(cursor.beyond, BTreeSet::new());
        cursor.add(&Stage::Withdrawn, Key::Text("x".to_owned()));
        assert!(cursor.has(&Stage::Names, &Key::Ordinal(100)));
        assert!(!cursor.has(&Stage::Withdrawn, &Key::Text("a".to_owned())));
    }
}
