//! Names that are announced and not in force: content that is wanted before
//! anybody can ask for it by name.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::name::{FilePath, Name};
use crate::object::Ordinal;

/// What a name will mean, and since when that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingRecord {
    /// The object.
    pub ordinal: Ordinal,
    /// Index in the log of its `NamePending` entry.
    pub since: u64,
}

/// All pending names. They are few beside those in force: a promotion's, while
/// it waits.
#[derive(Default)]
pub(super) struct PendingNames {
    by_name: BTreeMap<Name, PendingRecord>,
    by_object: BTreeMap<Ordinal, BTreeSet<Name>>,
    files: BTreeSet<FilePath>,
}

impl PendingNames {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn get(&self, name: &Name) -> Option<PendingRecord> {
        self.by_name.get(name).copied()
    }

    /// By name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, PendingRecord)> {
        self.by_name.iter().map(|(name, record)| (name, *record))
    }

    /// Those of one object, sorted.
    pub(super) fn of_object(&self, ordinal: Ordinal) -> impl Iterator<Item = &Name> {
        self.by_object.get(&ordinal).into_iter().flatten()
    }

    /// A pending file that cannot be there together with `path`.
    pub(super) fn colliding_file(&self, path: &FilePath) -> Option<&FilePath> {
        let above = path.folders().find_map(|folder| self.files.get(folder));
        let prefix = format!("{path}/");
        let below = || {
            let from = Bound::Included(prefix.as_str());
            let next = self.files.range::<str, _>((from, Bound::Unbounded)).next();
            next.filter(|next| next.as_str().starts_with(&prefix))
        };
        above.or_else(below)
    }

    /// Of a name that is not pending yet.
    pub(super) fn insert(&mut self, name: &Name, record: PendingRecord) {
        self.by_name.insert(name.clone(), record);
        if let Name::File(path) = name {
            self.files.insert(path.clone());
        }
        let of_object = self.by_object.entry(record.ordinal).or_default();
        of_object.insert(name.clone());
    }

    pub(super) fn remove(&mut self, name: &Name) -> Option<PendingRecord> {
        let record = self.by_name.remove(name)?;
        if let Name::File(path) = name {
            self.files.remove(path);
        }
        if let Some(names) = self.by_object.get_mut(&record.ordinal) {
            names.remove(name);
            if names.is_empty() {
                self.by_object.remove(&record.ordinal);
            }
        }
        Some(record)
    }
}
