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
mod tests;
