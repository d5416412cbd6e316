//! The reference model of the fold: keeps the entries' plain meaning and works
//! everything else out anew each time it is asked.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::entry::Entry;
use crate::name::Name;
use crate::object::Object;

#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) objects: Vec<Object>,
    pub(super) names: BTreeMap<Name, (Digest, u64)>,
    pub(super) pending: BTreeMap<Name, (Digest, u64)>,
    pub(super) withdrawn: BTreeMap<Digest, String>,
    pub(super) revision: u64,
    pub(super) log_size: u64,
    pub(super) unknown: u64,
}

impl Model {
    /// The state after the revision, or the index of the entry that is wrong.
    pub(super) fn after(&self, entries: &[Entry]) -> Result<Self, u64> {
        let mut next = self.clone();
        let last = self.log_size + (entries.len() as u64).saturating_sub(1);
        let commits = |entry: &&Entry| matches!(entry, Entry::Commit(_));
        match entries.last() {
            Some(Entry::Commit(_)) => {}
            _ => return Err(last),
        }
        if entries.iter().filter(commits).count() > 1 {
            let early = entries.iter().position(|entry| commits(&entry));
            return Err(self.log_size + early.unwrap() as u64);
        }
        match entries.last() {
            Some(Entry::Commit(commit)) if commit.revision.get() == self.revision + 1 => {}
            _ => return Err(last),
        }
        for entry in entries {
            if !next.step(entry) {
                return Err(next.log_size);
            }
            next.log_size += 1;
        }
        Ok(next)
    }

    /// Applies one entry, if it can be applied.
    pub(super) fn step(&mut self, entry: &Entry) -> bool {
        match entry {
            Entry::ObjectAdded(object) => {
                let fits = !self.knows(&object.digest)
                    && object.children.iter().all(|child| self.knows(child));
                if fits {
                    self.objects.push(object.clone());
                }
                fits
            }
            Entry::ObjectDescribed(said) => self.describe(said),
            Entry::NameSet { name, digest } => {
                let fits = self.can_mean(name, digest);
                if fits {
                    self.names.insert(name.clone(), (*digest, self.log_size));
                    self.pending.remove(name);
                }
                fits
            }
            Entry::NamePending { name, digest } => {
                let fits = self.can_mean(name, digest) && !self.pending.contains_key(name);
                if fits {
                    self.pending.insert(name.clone(), (*digest, self.log_size));
                }
                fits
            }
            Entry::NameDropped { name, .. } => self.pending.remove(name).is_some(),
            Entry::NameRemoved { name, .. } => self.names.remove(name).is_some(),
            Entry::Withdrawn { digest, reason } => {
                self.knows(digest) && self.withdrawn.insert(*digest, reason.clone()).is_none()
            }
            Entry::Reinstated { digest, .. } => self.withdrawn.remove(digest).is_some(),
            Entry::Commit(_) => {
                self.revision += 1;
                true
            }
            Entry::Unknown => {
                self.unknown += 1;
                true
            }
        }
    }

    fn describe(&mut self, said: &Object) -> bool {
        let Some(place) = self.objects.iter().position(|o| o.digest == said.digest) else {
            return false;
        };
        let known = self.objects[place].clone();
        let octets = known.media_type.as_str() == "application/octet-stream";
        let is_leaf = known.children.is_empty() && known.referrer.is_none();
        let referrer_fits = match (&known.referrer, &said.referrer) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(known), Some(said)) => {
                known.subject == said.subject
                    && (known.artifact_type.is_empty() || known.artifact_type == said.artifact_type)
                    && (known.annotations.iter())
                        .all(|(key, value)| said.annotations.get(key) == Some(value))
            }
        };
        let new: Vec<Digest> = said
            .children
            .iter()
            .filter(|child| !known.children.contains(child))
            .copied()
            .collect();
        let fits = said.size == known.size
            && (octets || is_leaf || said.media_type == known.media_type)
            && known
                .children
                .iter()
                .all(|child| said.children.contains(child))
            && (known.pieces.is_none() || said.pieces == known.pieces)
            && referrer_fits
            && said.children.iter().all(|child| self.knows(child))
            && !self.below(new.clone(), |_| true).contains(&said.digest);
        if fits {
            let mut children = known.children;
            for child in new {
                if !children.contains(&child) {
                    children.push(child);
                }
            }
            self.objects[place] = Object {
                children,
                ..said.clone()
            };
        }
        fits
    }

    fn can_mean(&self, name: &Name, digest: &Digest) -> bool {
        let is_itself = match name {
            Name::Root(_, root) => root == digest,
            Name::Tag(..) | Name::File(_) => true,
        };
        is_itself && self.knows(digest) && !self.withdrawn.contains_key(digest)
    }

    pub(super) fn knows(&self, digest: &Digest) -> bool {
        self.objects.iter().any(|object| object.digest == *digest)
    }

    /// What the names in force that pass `wanted` reach.
    pub(super) fn reached(&self, wanted: impl Fn(&Name) -> bool) -> BTreeSet<Digest> {
        let names = self.names.iter().filter(|(name, _)| wanted(name));
        self.below(names.map(|(_, (digest, _))| *digest).collect(), |_| true)
    }

    /// What any name reaches, in force or pending, through what is not withdrawn.
    pub(super) fn reachable(&self) -> BTreeSet<Digest> {
        let names = self.names.values().chain(self.pending.values());
        let through = |digest: &Digest| !self.withdrawn.contains_key(digest);
        self.below(names.map(|(digest, _)| *digest).collect(), through)
    }

    /// These and what they need `through` objects.
    pub(super) fn below(
        &self,
        mut waiting: Vec<Digest>,
        through: impl Fn(&Digest) -> bool,
    ) -> BTreeSet<Digest> {
        let mut reached = BTreeSet::new();
        while let Some(digest) = waiting.pop() {
            if reached.insert(digest) && through(&digest) {
                let object = self.objects.iter().find(|object| object.digest == digest);
                waiting.extend(object.unwrap().children.iter().copied());
            }
        }
        reached
    }
}
