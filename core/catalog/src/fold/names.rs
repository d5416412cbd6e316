//! What each name means, and which names mean an object.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::ops::Bound;

use hashbrown::HashTable;

use super::seeded::Seed;
use crate::digest::Digest;
use crate::name::{FilePath, Name, Repository, Tag};
use crate::object::Ordinal;

/// What a name means, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRecord {
    /// The object.
    pub ordinal: Ordinal,
    /// Index in the log of the `NameSet` entry that is in force.
    pub set_at: u64,
}

/// Number of a repository, in order of its first name; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RepositoryId(u32);

impl RepositoryId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Number of a name that is in force; reused when it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NameId(u32);

/// All names in force.
pub(super) struct Names {
    seed: Seed,
    slots: Vec<Option<Slot>>,
    free: Vec<NameId>,
    files: BTreeMap<FilePath, NameId>,
    /// The same files, found by the hash of their path: requests ask here.
    files_by_hash: HashTable<NameId>,
    repositories: Vec<RepositoryNames>,
    repository_ids: BTreeMap<Repository, RepositoryId>,
    by_object: BTreeSet<(Ordinal, NameId)>,
}

struct Slot {
    key: Key,
    record: NameRecord,
}

/// A name without what its slot and tables say already.
enum Key {
    File(FilePath),
    Tag(RepositoryId, Tag),
    /// The digest is that of the object.
    Root(RepositoryId),
}

struct RepositoryNames {
    repository: Repository,
    tags: BTreeMap<Tag, NameId>,
    roots: BTreeMap<Digest, NameId>,
}

/// A name in force, where the catalog has it: nothing of it is copied or looked
/// up before it is asked for. Who looks through millions pays for what they take.
#[derive(Clone, Copy)]
pub struct NameEntry<'a> {
    names: &'a Names,
    id: NameId,
    parts: Parts<'a>,
}

#[derive(Clone, Copy)]
enum Parts<'a> {
    File(&'a FilePath),
    Tag(&'a Repository, &'a Tag),
    Root(&'a Repository, &'a Digest),
}

impl NameEntry<'_> {
    /// The name.
    #[must_use]
    pub fn name(&self) -> Name {
        match self.parts {
            Parts::File(path) => Name::File(path.clone()),
            Parts::Tag(repository, tag) => Name::Tag(repository.clone(), tag.clone()),
            Parts::Root(repository, digest) => Name::Root(repository.clone(), *digest),
        }
    }

    /// Whether it is the path of a file.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        matches!(self.parts, Parts::File(_))
    }

    /// What it means.
    #[must_use]
    pub fn record(&self) -> Option<NameRecord> {
        self.names.record(self.id)
    }

    /// Appends it, as [`Name`] is displayed.
    pub fn write_to(&self, text: &mut String) {
        match self.parts {
            Parts::File(path) => text.push_str(path.as_str()),
            Parts::Tag(repository, tag) => {
                text.push_str(repository.as_str());
                text.push(':');
                text.push_str(tag.as_str());
            }
            Parts::Root(repository, digest) => {
                text.push_str(repository.as_str());
                text.push('@');
                // Writing to a string does not fail.
                let _ = write!(text, "{digest}");
            }
        }
    }
}

impl fmt::Debug for NameEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())
    }
}

/// What setting a name changed.
pub(super) struct Set {
    /// The name's repository, if it has one.
    pub(super) repository: Option<RepositoryId>,
    /// What it meant before.
    pub(super) replaced: Option<NameRecord>,
}

impl Names {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            seed,
            slots: Vec::new(),
            free: Vec::new(),
            files: BTreeMap::new(),
            files_by_hash: HashTable::new(),
            repositories: Vec::new(),
            repository_ids: BTreeMap::new(),
            by_object: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn get(&self, name: &Name) -> Option<NameRecord> {
        self.find(name).and_then(|id| self.record(id))
    }

    pub(super) fn file(&self, path: &str) -> Option<NameRecord> {
        self.record(self.find_file(path)?)
    }

    pub(super) fn tag(&self, repository: &str, tag: &str) -> Option<NameRecord> {
        self.names_in(repository)?
            .tags
            .get(tag)
            .and_then(|id| self.record(*id))
    }

    /// The repository's number, if it ever had a name.
    pub(super) fn repository_id(&self, repository: &str) -> Option<RepositoryId> {
        self.repository_ids.get(repository).copied()
    }

    /// Repositories with at least one name, sorted.
    pub(super) fn repositories(&self) -> impl Iterator<Item = &Repository> {
        self.repository_ids
            .iter()
            .filter(|(_, id)| !self.repositories[id.index()].is_empty())
            .map(|(repository, _)| repository)
    }

    pub(super) fn has_repository(&self, repository: &str) -> bool {
        self.names_in(repository)
            .is_some_and(|names| !names.is_empty())
    }

    pub(super) fn tags(&self, repository: &str) -> impl Iterator<Item = (&Tag, NameRecord)> {
        self.names_in(repository)
            .into_iter()
            .flat_map(|names| &names.tags)
            .filter_map(|(tag, id)| Some((tag, self.record(*id)?)))
    }

    pub(super) fn roots(&self, repository: &str) -> impl Iterator<Item = (&Digest, NameRecord)> {
        self.names_in(repository)
            .into_iter()
            .flat_map(|names| &names.roots)
            .filter_map(|(digest, id)| Some((digest, self.record(*id)?)))
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&FilePath, NameRecord)> {
        self.files
            .iter()
            .filter_map(|(path, id)| Some((path, self.record(*id)?)))
    }

    /// Names after `after`, or all: those of images by repository, tags before
    /// roots, then files. The digest of a root is that of its object.
    pub(super) fn after(&self, after: Option<&Name>) -> impl Iterator<Item = NameEntry<'_>> {
        let (repository, path) = match after {
            None => (Some(""), ""),
            Some(Name::Tag(repository, _) | Name::Root(repository, _)) => {
                (Some(repository.as_str()), "")
            }
            Some(Name::File(path)) => (None, path.as_str()),
        };
        let from = repository.map(|from| (Bound::Included(from), Bound::Unbounded));
        let repositories = from.into_iter().flat_map(|from| {
            let ids = self.repository_ids.range::<str, _>(from);
            ids.map(|(_, id)| &self.repositories[id.index()])
        });
        let images = repositories.flat_map(move |names| {
            let (tags, roots) = match after {
                Some(Name::Tag(repository, tag)) if *repository == names.repository => {
                    (Some(Bound::Excluded(tag)), Bound::Unbounded)
                }
                Some(Name::Root(repository, digest)) if *repository == names.repository => {
                    (None, Bound::Excluded(digest))
                }
                Some(_) | None => (Some(Bound::Unbounded), Bound::Unbounded),
            };
            let tags = tags.into_iter();
            let tags = tags.flat_map(|from| names.tags.range::<Tag, _>((from, Bound::Unbounded)));
            let tags = tags.map(|(tag, id)| (Parts::Tag(&names.repository, tag), *id));
            let roots = names.roots.range::<Digest, _>((roots, Bound::Unbounded));
            let roots = roots.map(|(digest, id)| (Parts::Root(&names.repository, digest), *id));
            tags.chain(roots)
        });
        let files = self
            .files
            .range::<str, _>((Bound::Excluded(path), Bound::Unbounded));
        images
            .chain(files.map(|(path, id)| (Parts::File(path), *id)))
            .map(|(parts, id)| NameEntry {
                names: self,
                id,
                parts,
            })
    }

    /// Files in the folder `folder` and below it, sorted.
    pub(super) fn files_below(
        &self,
        folder: &str,
    ) -> impl Iterator<Item = (&FilePath, NameRecord)> {
        let prefix = format!("{folder}/");
        self.files
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .take_while(move |(path, _)| path.as_str().starts_with(&prefix))
            .filter_map(|(path, id)| Some((path, self.record(*id)?)))
    }

    /// Names that mean `ordinal`; `digest` is its object's.
    pub(super) fn of_object(&self, ordinal: Ordinal, digest: Digest) -> impl Iterator<Item = Name> {
        let of_it = (ordinal, NameId(0))..=(ordinal, NameId(u32::MAX));
        self.by_object.range(of_it).filter_map(move |(_, id)| {
            let repository = |id: &RepositoryId| self.repositories[id.index()].repository.clone();
            Some(match &self.slot(*id)?.key {
                Key::File(path) => Name::File(path.clone()),
                Key::Tag(id, tag) => Name::Tag(repository(id), tag.clone()),
                Key::Root(id) => Name::Root(repository(id), digest),
            })
        })
    }

    pub(super) fn set(&mut self, name: &Name, record: NameRecord) -> Set {
        let (key, repository) = match name {
            Name::File(path) => (Key::File(path.clone()), None),
            Name::Tag(repository, tag) => {
                let id = self.intern(repository);
                (Key::Tag(id, tag.clone()), Some(id))
            }
            Name::Root(repository, _) => {
                let id = self.intern(repository);
                (Key::Root(id), Some(id))
            }
        };
        let known = self.find(name);
        let replaced = known.and_then(|id| self.record(id));
        let id = match known {
            Some(id) => {
                if let Some(slot) = &mut self.slots[id.0 as usize] {
                    slot.record = record;
                }
                id
            }
            None => self.insert(name, Slot { key, record }),
        };
        if let Some(old) = replaced {
            self.by_object.remove(&(old.ordinal, id));
        }
        self.by_object.insert((record.ordinal, id));
        Set {
            repository,
            replaced,
        }
    }

    pub(super) fn remove(&mut self, name: &Name) -> Option<(Option<RepositoryId>, NameRecord)> {
        let id = self.find(name)?;
        let slot = self.slots[id.0 as usize].take()?;
        self.free.push(id);
        self.by_object.remove(&(slot.record.ordinal, id));
        let repository = match (slot.key, name) {
            (Key::File(path), _) => {
                self.files.remove(&path);
                let hash = self.seed.hash_text(path.as_str());
                if let Ok(found) = self.files_by_hash.find_entry(hash, |known| *known == id) {
                    found.remove();
                }
                None
            }
            (Key::Tag(repository, tag), _) => {
                self.repositories[repository.index()].tags.remove(&tag);
                Some(repository)
            }
            (Key::Root(repository), Name::Root(_, digest)) => {
                self.repositories[repository.index()].roots.remove(digest);
                Some(repository)
            }
            (Key::Root(repository), Name::Tag(..) | Name::File(_)) => Some(repository),
        };
        Some((repository, slot.record))
    }

    fn insert(&mut self, name: &Name, slot: Slot) -> NameId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            #[allow(
                clippy::cast_possible_truncation,
                reason = "names are checked to be at most MAX_NAMES"
            )]
            NameId((self.slots.len() - 1) as u32)
        });
        match (&slot.key, name) {
            (Key::File(path), _) => {
                self.files.insert(path.clone(), id);
                let (seed, slots) = (self.seed, &self.slots);
                let hash_of =
                    |known: &NameId| path_in(slots, *known).map_or(0, |path| seed.hash_text(path));
                self.files_by_hash
                    .insert_unique(seed.hash_text(path.as_str()), id, hash_of);
            }
            (Key::Tag(repository, tag), _) => {
                let tags = &mut self.repositories[repository.index()].tags;
                tags.insert(tag.clone(), id);
            }
            (Key::Root(repository), Name::Root(_, digest)) => {
                let roots = &mut self.repositories[repository.index()].roots;
                roots.insert(*digest, id);
            }
            (Key::Root(_), Name::Tag(..) | Name::File(_)) => {}
        }
        self.slots[id.0 as usize] = Some(slot);
        id
    }

    fn find(&self, name: &Name) -> Option<NameId> {
        match name {
            Name::File(path) => self.find_file(path.as_str()),
            Name::Tag(repository, tag) => {
                let names = self.names_in(repository.as_str())?;
                names.tags.get(tag).copied()
            }
            Name::Root(repository, digest) => {
                let names = self.names_in(repository.as_str())?;
                names.roots.get(digest).copied()
            }
        }
    }

    fn find_file(&self, path: &str) -> Option<NameId> {
        let is_it = |id: &NameId| path_in(&self.slots, *id) == Some(path);
        self.files_by_hash
            .find(self.seed.hash_text(path), is_it)
            .copied()
    }

    fn names_in(&self, repository: &str) -> Option<&RepositoryNames> {
        let id = self.repository_id(repository)?;
        self.repositories.get(id.index())
    }

    fn intern(&mut self, repository: &Repository) -> RepositoryId {
        if let Some(id) = self.repository_ids.get(repository) {
            return *id;
        }
        #[allow(
            clippy::cast_possible_truncation,
            reason = "each repository took a log entry of its own to appear, and 2^32 entries with new ones do not fit in memory"
        )]
        let id = RepositoryId(self.repositories.len() as u32);
        self.repositories.push(RepositoryNames {
            repository: repository.clone(),
            tags: BTreeMap::new(),
            roots: BTreeMap::new(),
        });
        self.repository_ids.insert(repository.clone(), id);
        id
    }

    fn slot(&self, id: NameId) -> Option<&Slot> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    fn record(&self, id: NameId) -> Option<NameRecord> {
        self.slot(id).map(|slot| slot.record)
    }
}

/// The path of a file's name.
fn path_in(slots: &[Option<Slot>], id: NameId) -> Option<&str> {
    match &slots.get(id.0 as usize)?.as_ref()?.key {
        Key::File(path) => Some(path.as_str()),
        Key::Tag(..) | Key::Root(_) => None,
    }
}

impl RepositoryNames {
    fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.roots.is_empty()
    }
}
