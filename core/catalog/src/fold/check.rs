//! Whether a revision contradicts the state or itself, before it changes
//! anything but the table of objects, which can be taken back.
//!
//! The same rules run in two ways that differ in where new objects go: into the
//! table, when the revision is about to be applied and nothing should be done
//! twice; or into a list beside it, when it is only asked about.

use std::collections::{HashMap, HashSet};

use roaring::RoaringBitmap;

use super::facts::Facts;
use super::names::Names;
use super::pending::PendingNames;
use super::{Catalog, FoldError, FoldFault, MAX_EDGES, MAX_NAMES, MAX_OBJECTS, Objects};
use crate::digest::Digest;
use crate::entry::{Commit, Entry};
use crate::liveness::Liveness;
use crate::name::Name;
use crate::object::{Object, Ordinal};

impl Catalog {
    /// Whether [`Catalog::apply`] would take these entries; changes nothing.
    ///
    /// # Errors
    ///
    /// The error that `apply` would give.
    pub fn check(&self, entries: &[Entry]) -> Result<(), FoldError> {
        self.check_commit(entries)?;
        let rules = Rules {
            names: &self.names,
            pending: &self.pending,
            liveness: &self.liveness,
            objects: Beside {
                table: &self.objects,
                added: HashMap::new(),
                facts: Vec::new(),
                edges: self.objects.edge_count(),
            },
        };
        rules.check(self.log_size, entries)
    }

    /// The commit that ends `entries`, if it is the only one and the next one.
    pub(super) fn check_commit<'a>(&self, entries: &'a [Entry]) -> Result<&'a Commit, FoldError> {
        let at = |index: usize, fault| FoldError {
            entry: self.log_size + index as u64,
            fault,
        };
        let is_commit = |entry: &Entry| matches!(entry, Entry::Commit(_));
        let Some((Entry::Commit(commit), before)) = entries.split_last() else {
            let last = entries.len().saturating_sub(1);
            return Err(at(last, FoldFault::NoCommit));
        };
        if let Some(early) = before.iter().position(is_commit) {
            return Err(at(early, FoldFault::EarlyCommit));
        }
        let expected = self.revision().next();
        if commit.revision != expected {
            let found = commit.revision;
            return Err(at(before.len(), FoldFault::Revision { expected, found }));
        }
        Ok(commit)
    }

    /// Adds the objects and checks every other entry, each against the state
    /// that those before it would give. After an error the caller takes the
    /// objects back.
    pub(super) fn add_objects_and_check_the_rest(
        &mut self,
        entries: &[Entry],
    ) -> Result<(), FoldError> {
        let rules = Rules {
            names: &self.names,
            pending: &self.pending,
            liveness: &self.liveness,
            objects: &mut self.objects,
        };
        rules.check(self.log_size, entries)
    }
}

/// Where the objects of a revision go while it is checked.
trait Table {
    /// An object that is there, or that the revision has added by now.
    fn ordinal(&self, digest: &Digest) -> Option<Ordinal>;

    /// Adds an object. On an error nothing has changed.
    fn add(&mut self, object: &Object) -> Result<(), FoldFault>;

    /// What is known of an object that is there.
    fn facts(&self, ordinal: Ordinal) -> Facts;

    /// Children of an object that is there.
    fn children(&self, ordinal: Ordinal) -> &[Ordinal];

    /// Number of edges from objects to their children.
    fn edge_count(&self) -> usize;
}

impl Table for &mut Objects {
    fn ordinal(&self, digest: &Digest) -> Option<Ordinal> {
        Objects::ordinal(self, digest)
    }

    fn add(&mut self, object: &Object) -> Result<(), FoldFault> {
        self.push(object)
    }

    fn facts(&self, ordinal: Ordinal) -> Facts {
        Objects::facts(self, ordinal)
    }

    fn children(&self, ordinal: Ordinal) -> &[Ordinal] {
        Objects::children(self, ordinal)
    }

    fn edge_count(&self) -> usize {
        Objects::edge_count(self)
    }
}

/// The objects of a revision beside the table.
struct Beside<'c> {
    table: &'c Objects,
    added: HashMap<Digest, Ordinal>,
    /// What they are, by ordinal.
    facts: Vec<Facts>,
    /// Edges of the table and of what was added.
    edges: usize,
}

impl Table for Beside<'_> {
    fn ordinal(&self, digest: &Digest) -> Option<Ordinal> {
        let added = || self.added.get(digest).copied();
        self.table.ordinal(digest).or_else(added)
    }

    /// The refusals of [`Objects::push`], in its order.
    fn add(&mut self, object: &Object) -> Result<(), FoldFault> {
        let next = u32::try_from(self.added.len())
            .ok()
            .and_then(|added| self.table.len().checked_add(added))
            .filter(|next| *next < MAX_OBJECTS)
            .ok_or(FoldFault::Full("objects"))?;
        let children = ordinals(self, object)?;
        let edges = self.edges + object.children.len();
        if edges > MAX_EDGES as usize {
            return Err(FoldFault::Full("edges"));
        }
        if self.ordinal(&object.digest).is_some() {
            return Err(FoldFault::DuplicateObject(object.digest));
        }
        self.edges = edges;
        self.added.insert(object.digest, Ordinal::new(next));
        self.facts.push(Facts::of(object, children));
        Ok(())
    }

    fn facts(&self, ordinal: Ordinal) -> Facts {
        match self.beside(ordinal) {
            Some(facts) => facts.clone(),
            None => self.table.facts(ordinal),
        }
    }

    fn children(&self, ordinal: Ordinal) -> &[Ordinal] {
        match self.beside(ordinal) {
            Some(facts) => &facts.children,
            None => self.table.children(ordinal),
        }
    }

    fn edge_count(&self) -> usize {
        self.edges
    }
}

impl Beside<'_> {
    fn beside(&self, ordinal: Ordinal) -> Option<&Facts> {
        let number = ordinal.get().checked_sub(self.table.len())?;
        self.facts.get(number as usize)
    }
}

/// The children of an object, each of which is there.
fn ordinals(table: &impl Table, object: &Object) -> Result<Vec<Ordinal>, FoldFault> {
    let known = |child: &Digest| {
        table.ordinal(child).ok_or(FoldFault::UnknownChild {
            parent: object.digest,
            child: *child,
        })
    };
    object.children.iter().map(known).collect()
}

/// The rules, over what they need of a catalog.
struct Rules<'c, T> {
    names: &'c Names,
    pending: &'c PendingNames,
    liveness: &'c Liveness,
    objects: T,
}

impl<T: Table> Rules<'_, T> {
    fn check(mut self, first: u64, entries: &[Entry]) -> Result<(), FoldError> {
        let mut so_far = SoFar::of(entries);
        for (index, entry) in (first..).zip(entries) {
            self.check_entry(entry, &mut so_far)
                .map_err(|fault| FoldError {
                    entry: index,
                    fault,
                })?;
        }
        Ok(())
    }

    fn check_entry<'a>(
        &mut self,
        entry: &'a Entry,
        so_far: &mut SoFar<'a>,
    ) -> Result<(), FoldFault> {
        match entry {
            Entry::ObjectAdded(object) => self.objects.add(object),
            Entry::ObjectDescribed(object) => self.check_description(object, so_far),
            Entry::NameSet { name, digest } => {
                self.check_meaning(name, digest, so_far)?;
                self.note_one_more(so_far)?;
                so_far.note_name(name, true);
                so_far.note_pending(name, false);
                Ok(())
            }
            Entry::NamePending { name, digest } => {
                self.check_meaning(name, digest, so_far)?;
                if self.is_pending_by_then(name, so_far) {
                    return Err(FoldFault::AlreadyPending(name.clone()));
                }
                self.note_one_more(so_far)?;
                so_far.note_pending(name, true);
                Ok(())
            }
            Entry::NameDropped { name, .. } => {
                if !self.is_pending_by_then(name, so_far) {
                    return Err(FoldFault::NotPending(name.clone()));
                }
                so_far.note_pending(name, false);
                Ok(())
            }
            Entry::NameRemoved { name, .. } => {
                let in_force = match so_far.names.get(name) {
                    Some(in_force) => *in_force,
                    None => self.names.get(name).is_some(),
                };
                if !in_force {
                    return Err(FoldFault::UnknownName(name.clone()));
                }
                so_far.note_name(name, false);
                Ok(())
            }
            Entry::Withdrawn { digest, .. } => {
                let ordinal = self.known(digest)?;
                if self.is_withdrawn_by_then(ordinal, so_far) {
                    return Err(FoldFault::AlreadyWithdrawn(*digest));
                }
                so_far.withdrawn.insert(ordinal, true);
                Ok(())
            }
            Entry::Reinstated { digest, .. } => {
                let ordinal = self.known(digest)?;
                if !self.is_withdrawn_by_then(ordinal, so_far) {
                    return Err(FoldFault::NotWithdrawn(*digest));
                }
                so_far.withdrawn.insert(ordinal, false);
                Ok(())
            }
            Entry::Commit(_) | Entry::Unknown => Ok(()),
        }
    }

    /// Whether the description says what is known and perhaps more.
    fn check_description(&self, object: &Object, so_far: &mut SoFar<'_>) -> Result<(), FoldFault> {
        let ordinal = self.known(&object.digest)?;
        let children = ordinals(&self.objects, object)?;
        let known = match so_far.described.get(&ordinal) {
            Some(known) => known.clone(),
            None => self.objects.facts(ordinal),
        };
        let before = known.children.len();
        let described = known.described(object, children)?;
        let new = &described.children[before..];
        so_far.new_edges += new.len();
        if self.objects.edge_count() + so_far.new_edges > MAX_EDGES as usize {
            return Err(FoldFault::Full("edges"));
        }
        if self.reach(new, ordinal, so_far) {
            return Err(FoldFault::Cycle(object.digest));
        }
        so_far.described.insert(ordinal, described);
        Ok(())
    }

    /// Whether one of `from` is `wanted` or needs it.
    fn reach(&self, from: &[Ordinal], wanted: Ordinal, so_far: &SoFar<'_>) -> bool {
        let mut open = from.to_vec();
        let mut seen = RoaringBitmap::new();
        while let Some(ordinal) = open.pop() {
            if ordinal == wanted {
                return true;
            }
            if seen.insert(ordinal.get()) {
                open.extend(match so_far.described.get(&ordinal) {
                    Some(described) => &described.children,
                    None => self.objects.children(ordinal),
                });
            }
        }
        false
    }

    /// Whether a name may mean that object, now or later.
    fn check_meaning(
        &self,
        name: &Name,
        digest: &Digest,
        so_far: &SoFar<'_>,
    ) -> Result<(), FoldFault> {
        let ordinal = self.known(digest)?;
        if let Name::Root(_, root) = name
            && root != digest
        {
            return Err(FoldFault::RootMismatch {
                name: name.clone(),
                digest: *digest,
            });
        }
        if self.is_withdrawn_by_then(ordinal, so_far) {
            return Err(FoldFault::NamedWhileWithdrawn {
                name: name.clone(),
                digest: *digest,
            });
        }
        Ok(())
    }

    fn note_one_more(&self, so_far: &mut SoFar<'_>) -> Result<(), FoldFault> {
        so_far.names_set += 1;
        if self.names.len() + self.pending.len() + so_far.names_set > MAX_NAMES as usize {
            return Err(FoldFault::Full("names"));
        }
        Ok(())
    }

    fn is_pending_by_then(&self, name: &Name, so_far: &SoFar<'_>) -> bool {
        match so_far.pending.get(name) {
            Some(pending) => *pending,
            None => self.pending.get(name).is_some(),
        }
    }

    fn known(&self, digest: &Digest) -> Result<Ordinal, FoldFault> {
        self.objects
            .ordinal(digest)
            .ok_or(FoldFault::UnknownObject(*digest))
    }

    fn is_withdrawn_by_then(&self, ordinal: Ordinal, so_far: &SoFar<'_>) -> bool {
        match so_far.withdrawn.get(&ordinal) {
            Some(withdrawn) => *withdrawn,
            None => self.liveness.withdrawn(ordinal).is_some(),
        }
    }
}

/// What the entries checked so far would change, as far as later ones depend
/// on it.
struct SoFar<'a> {
    /// The names that the revision removes somewhere: of the others nobody
    /// asks.
    removed_somewhere: HashSet<&'a Name>,
    /// Whether each of those is in force by now.
    names: HashMap<&'a Name, bool>,
    /// The names that the revision makes pending or drops somewhere.
    pending_somewhere: HashSet<&'a Name>,
    /// Whether each of those is pending by now.
    pending: HashMap<&'a Name, bool>,
    /// Names set or made pending.
    names_set: usize,
    withdrawn: HashMap<Ordinal, bool>,
    /// What the objects that were described are by now.
    described: HashMap<Ordinal, Facts>,
    /// Edges to children that these got.
    new_edges: usize,
}

impl<'a> SoFar<'a> {
    fn of(entries: &'a [Entry]) -> Self {
        let mut so_far = Self {
            removed_somewhere: HashSet::new(),
            names: HashMap::new(),
            pending_somewhere: HashSet::new(),
            pending: HashMap::new(),
            names_set: 0,
            withdrawn: HashMap::new(),
            described: HashMap::new(),
            new_edges: 0,
        };
        for entry in entries {
            match entry {
                Entry::NameRemoved { name, .. } => {
                    so_far.removed_somewhere.insert(name);
                }
                Entry::NamePending { name, .. } | Entry::NameDropped { name, .. } => {
                    so_far.pending_somewhere.insert(name);
                }
                Entry::ObjectAdded(_)
                | Entry::ObjectDescribed(_)
                | Entry::NameSet { .. }
                | Entry::Withdrawn { .. }
                | Entry::Reinstated { .. }
                | Entry::Commit(_)
                | Entry::Unknown => {}
            }
        }
        so_far
    }

    fn note_name(&mut self, name: &'a Name, in_force: bool) {
        if !self.removed_somewhere.is_empty() && self.removed_somewhere.contains(name) {
            self.names.insert(name, in_force);
        }
    }

    fn note_pending(&mut self, name: &'a Name, pending: bool) {
        if !self.pending_somewhere.is_empty() && self.pending_somewhere.contains(name) {
            self.pending.insert(name, pending);
        }
    }
}
