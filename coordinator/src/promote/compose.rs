//! From what succeeded to the entries of one revision. Pure.
//!
//! This is the last look: a name is set only if it still means what it meant
//! when the plan was made. What other people promoted in between does not
//! matter otherwise.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use landfall_catalog::{Catalog, Digest, Entry, Name, Object};
use landfall_proto::model::encode_entry;

use crate::state::operations::Decision;

/// A change of one name, whose content the origin holds.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    /// The entry's position in its operation.
    pub(crate) position: u32,
    pub(crate) name: Name,
    /// What the name meant when the plan was made.
    pub(crate) expected: Option<Digest>,
    pub(crate) change: Change,
}

/// What becomes of the name.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// It means the last of these objects; children come first.
    Set {
        objects: Vec<Arc<Object>>,
        /// Whether anything had to be copied for it.
        copied: bool,
    },
    /// It means nothing.
    Remove { reason: String },
}

/// What the revision is made of, before its commit entry.
#[derive(Debug, Default)]
pub(crate) struct Composed {
    /// In the order of the log: objects before the names that need them.
    pub(crate) entries: Vec<Entry>,
    /// The same, encoded.
    pub(crate) encoded: Vec<Bytes>,
    /// One for each proposal.
    pub(crate) decisions: Vec<Decision>,
}

impl Composed {
    fn push(&mut self, entry: Entry, encoded: Bytes) {
        self.entries.push(entry);
        self.encoded.push(encoded);
    }
}

/// Decides each proposal by itself; removals first, so that a path may take
/// the place of a folder that is going.
pub(crate) fn compose(catalog: &Catalog, proposals: &[Proposal]) -> Composed {
    let mut draft = Draft {
        catalog,
        added: HashSet::new(),
        names: HashMap::new(),
        new_paths: BTreeSet::new(),
        composed: Composed::default(),
    };
    let is_removal = |proposal: &&Proposal| matches!(proposal.change, Change::Remove { .. });
    let removals = proposals.iter().filter(is_removal);
    let sets = proposals.iter().filter(|proposal| !is_removal(proposal));
    for proposal in removals.chain(sets) {
        let (outcome, detail) = match draft.take(proposal) {
            Ok(outcome) => (outcome, String::new()),
            Err(why) => ("refused", why),
        };
        draft.composed.decisions.push(Decision {
            position: proposal.position,
            outcome,
            detail,
        });
    }
    draft.composed
}

struct Draft<'a> {
    catalog: &'a Catalog,
    /// Objects that this revision adds.
    added: HashSet<Digest>,
    /// Names that this revision changes, and what they mean after it.
    names: HashMap<Name, Option<Digest>>,
    /// Paths that this revision adds.
    new_paths: BTreeSet<String>,
    composed: Composed,
}

impl Draft<'_> {
    fn take(&mut self, proposal: &Proposal) -> Result<&'static str, String> {
        let current = self.meaning(&proposal.name);
        match &proposal.change {
            Change::Set { objects, copied } => {
                let root = objects.last().ok_or("nothing is to be promoted")?;
                let outcome = if *copied { "copied" } else { "present" };
                if current == Some(root.digest) {
                    return Ok(outcome);
                }
                unchanged(proposal, current)?;
                self.set(&proposal.name, objects)?;
                Ok(outcome)
            }
            Change::Remove { reason } => {
                if current.is_none() {
                    return Ok("removed");
                }
                unchanged(proposal, current)?;
                let entry = Entry::NameRemoved {
                    name: proposal.name.clone(),
                    reason: reason.clone(),
                };
                let encoded = encode_entry(&entry).map_err(|error| error.to_string())?;
                self.composed.push(entry, encoded);
                self.names.insert(proposal.name.clone(), None);
                Ok("removed")
            }
        }
    }

    fn meaning(&self, name: &Name) -> Option<Digest> {
        if let Some(changed) = self.names.get(name) {
            return *changed;
        }
        let record = self.catalog.name(name)?;
        Some(*self.catalog.object(record.ordinal)?.digest())
    }

    fn set(&mut self, name: &Name, objects: &[Arc<Object>]) -> Result<(), String> {
        for object in objects {
            if let Some(reason) = self.catalog.withdrawn(&object.digest) {
                return Err(format!("{} is withdrawn: {reason}", object.digest));
            }
        }
        let root = objects.last().ok_or("nothing is to be promoted")?.digest;
        if let Name::Root(_, digest) = name
            && *digest != root
        {
            return Err(format!("{name} cannot mean {root}"));
        }
        if let Name::File(path) = name {
            self.check_collisions(path)?;
        }
        let mut new = Vec::new();
        let mut new_digests = HashSet::new();
        for object in objects {
            if self.is_known(&object.digest) || !new_digests.insert(object.digest) {
                continue;
            }
            for child in &object.children {
                if !self.is_known(child) && !new_digests.contains(child) {
                    return Err(format!("{} needs {child}, which is missing", object.digest));
                }
            }
            let entry = Entry::ObjectAdded(Object::clone(object));
            let encoded = encode_entry(&entry)
                .map_err(|error| format!("{} cannot be recorded: {error}", object.digest))?;
            new.push((entry, encoded));
        }
        let named = Entry::NameSet {
            name: name.clone(),
            digest: root,
        };
        let encoded = encode_entry(&named).map_err(|error| error.to_string())?;
        // Nothing below fails: an entry is taken whole or not at all.
        for (entry, encoded) in new {
            self.composed.push(entry, encoded);
        }
        self.composed.push(named, encoded);
        self.added.extend(new_digests);
        if let Name::File(path) = name {
            self.new_paths.insert(path.as_str().to_owned());
        }
        self.names.insert(name.clone(), Some(root));
        Ok(())
    }

    fn is_known(&self, digest: &Digest) -> bool {
        self.added.contains(digest) || self.catalog.ordinal(digest).is_some()
    }

    /// `x` and `x/y` cannot both be files.
    fn check_collisions(&self, path: &landfall_catalog::FilePath) -> Result<(), String> {
        let collides = |other: &str| format!("{path} collides with {other}");
        if let Some(other) = self.catalog.colliding_file(path)
            && !matches!(self.names.get(&Name::File(other.clone())), Some(None))
        {
            return Err(collides(other.as_str()));
        }
        if let Some(folder) = path
            .folders()
            .find(|folder| self.new_paths.contains(*folder))
        {
            return Err(collides(folder));
        }
        let below = format!("{path}/");
        match self.new_paths.range(below.clone()..).next() {
            Some(other) if other.starts_with(&below) => Err(collides(other)),
            Some(_) | None => Ok(()),
        }
    }
}

fn unchanged(proposal: &Proposal, current: Option<Digest>) -> Result<(), String> {
    if current == proposal.expected {
        return Ok(());
    }
    let shown =
        |digest: Option<Digest>| digest.map_or("nothing".into(), |digest| digest.to_string());
    Err(format!(
        "the name moved since the plan was made: it meant {}, and means {} now",
        shown(proposal.expected),
        shown(current)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_catalog::{Commit, MediaType, Revision};

    fn object(content: &str, children: &[&str]) -> Arc<Object> {
        Arc::new(Object {
            digest: Digest::of(content.as_bytes()),
            size: content.len() as u64,
            media_type: MediaType::octet_stream(),
            children: children
                .iter()
                .map(|child| Digest::of(child.as_bytes()))
                .collect(),
            referrer: None,
            pieces: None,
        })
    }

    fn set(position: u32, name: &str, expected: Option<&str>, objects: &[Arc<Object>]) -> Proposal {
        Proposal {
            position,
            name: name.parse().unwrap(),
            expected: expected.map(|content| Digest::of(content.as_bytes())),
            change: Change::Set {
                objects: objects.to_vec(),
                copied: true,
            },
        }
    }

    fn remove(position: u32, name: &str, expected: &str) -> Proposal {
        Proposal {
            position,
            name: name.parse().unwrap(),
            expected: Some(Digest::of(expected.as_bytes())),
            change: Change::Remove {
                reason: "not listed any more".into(),
            },
        }
    }

    fn commit(catalog: &mut Catalog, composed: &Composed) {
        let mut entries = composed.entries.clone();
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

    fn promote(catalog: &mut Catalog, proposals: &[Proposal]) {
        let composed = compose(catalog, proposals);
        commit(catalog, &composed);
    }

    fn outcomes(composed: &Composed) -> Vec<(u32, &str, &str)> {
        composed
            .decisions
            .iter()
            .map(|decision| {
                (
                    decision.position,
                    decision.outcome,
                    decision.detail.as_str(),
                )
            })
            .collect()
    }

    #[test]
    fn a_shared_child_is_added_once_and_before_its_parents() {
        let (layer, a, b) = (
            object("layer", &[]),
            object("a", &["layer"]),
            object("b", &["layer"]),
        );
        let mut catalog = Catalog::default();
        let composed = compose(
            &catalog,
            &[
                set(0, "r:a", None, &[layer.clone(), a.clone()]),
                set(1, "r:b", None, &[layer.clone(), b]),
            ],
        );
        assert_eq!(outcomes(&composed), [(0, "copied", ""), (1, "copied", "")]);
        assert_eq!(composed.entries.len(), 5);
        assert_eq!(composed.entries.len(), composed.encoded.len());
        commit(&mut catalog, &composed);
        assert_eq!(catalog.object_count(), 3);
        let again = compose(&catalog, &[set(0, "r:a", None, &[layer, a])]);
        assert!(again.entries.is_empty(), "it means that already");
        assert_eq!(again.decisions[0].outcome, "copied");
    }

    #[test]
    fn a_name_that_moved_since_the_plan_is_refused_and_holds_up_nothing() {
        let (one, two, three) = (object("one", &[]), object("two", &[]), object("three", &[]));
        let mut catalog = Catalog::default();
        promote(&mut catalog, &[set(0, "r:latest", None, &[one])]);
        let composed = compose(
            &catalog,
            &[
                set(0, "r:latest", None, std::slice::from_ref(&two)),
                set(1, "r:other", Some("gone"), std::slice::from_ref(&two)),
                remove(2, "r:latest", "two"),
                set(3, "r:good", None, &[three]),
                set(4, "r:latest", Some("one"), &[two]),
            ],
        );
        let moved: Vec<_> = outcomes(&composed)
            .into_iter()
            .map(|(position, outcome, detail)| (position, outcome, detail.contains("moved")))
            .collect();
        assert_eq!(
            moved,
            [
                (2, "refused", true),
                (0, "refused", true),
                (1, "refused", true),
                (3, "copied", false),
                (4, "copied", false)
            ]
        );
        commit(&mut catalog, &composed);
    }

    #[test]
    fn paths_that_collide_with_others_or_each_other_are_refused() {
        let content = object("content", &[]);
        let objects = std::slice::from_ref(&content);
        let mut catalog = Catalog::default();
        promote(&mut catalog, &[set(0, "a/b", None, objects)]);
        let composed = compose(
            &catalog,
            &[
                set(0, "a", None, objects),
                set(1, "a/b/c", None, objects),
                set(2, "x/y", None, objects),
                set(3, "x", None, objects),
                set(4, "x/y/z", None, objects),
                set(5, "x.txt", None, objects),
            ],
        );
        let seen: Vec<_> = outcomes(&composed)
            .iter()
            .map(|(_, outcome, _)| *outcome)
            .collect();
        assert_eq!(
            seen,
            [
                "refused", "refused", "copied", "refused", "refused", "copied"
            ]
        );
        commit(&mut catalog, &composed);
    }

    #[test]
    fn a_path_may_take_the_place_of_one_that_goes() {
        let (old, new) = (object("old", &[]), object("new", &[]));
        let mut catalog = Catalog::default();
        promote(&mut catalog, &[set(0, "a/b", None, &[old])]);
        let composed = compose(
            &catalog,
            &[set(0, "a", None, &[new]), remove(1, "a/b", "old")],
        );
        assert_eq!(outcomes(&composed), [(1, "removed", ""), (0, "copied", "")]);
        commit(&mut catalog, &composed);
        assert!(catalog.file("a").is_some() && catalog.file("a/b").is_none());
    }

    #[test]
    fn withdrawn_content_and_missing_children_are_refused() {
        let (bad, good) = (object("bad", &[]), object("good", &[]));
        let mut catalog = Catalog::default();
        let mut composed = compose(
            &catalog,
            &[set(0, "r:bad", None, std::slice::from_ref(&bad))],
        );
        composed.entries.push(Entry::Withdrawn {
            digest: bad.digest,
            reason: "leaks a key".into(),
        });
        commit(&mut catalog, &composed);
        let orphan = object("orphan", &["nowhere"]);
        let composed = compose(
            &catalog,
            &[
                set(0, "r:again", None, &[bad]),
                set(1, "r:orphan", None, &[orphan]),
                set(2, "r:good", None, &[good]),
            ],
        );
        let seen = outcomes(&composed);
        assert!(seen[0].2.contains("leaks a key"), "{seen:?}");
        assert!(seen[1].2.contains("missing"), "{seen:?}");
        assert_eq!(seen[2].1, "copied");
        commit(&mut catalog, &composed);
    }
}
