//! What can be asked of the state. Nothing here changes it, and nothing costs
//! more than its answer.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::Catalog;
use super::names::{NameEntry, NameRecord};
use super::objects::ObjectRef;
use super::pending::PendingRecord;
use crate::digest::Digest;
use crate::entry::Commit;
use crate::name::{FilePath, Name, Repository, Tag};
use crate::object::{Object, Ordinal, Revision};

/// The catalog as a whole.
impl Catalog {
    /// The revision that is in force; 0 before the first.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.last_commit
            .as_ref()
            .map_or(Revision::ZERO, |commit| commit.revision)
    }

    /// Number of log entries applied.
    #[must_use]
    pub const fn log_size(&self) -> u64 {
        self.log_size
    }

    /// The commit of the revision that is in force.
    #[must_use]
    pub const fn last_commit(&self) -> Option<&Commit> {
        self.last_commit.as_ref()
    }

    /// Number of entries of kinds that this version does not know.
    #[must_use]
    pub const fn unknown_entries(&self) -> u64 {
        self.unknown_entries
    }
}

/// Objects.
impl Catalog {
    /// Number of objects ever added, and so the next ordinal.
    #[must_use]
    pub fn object_count(&self) -> u32 {
        self.objects.len()
    }

    /// The number of the object with that digest.
    #[must_use]
    pub fn ordinal(&self, digest: &Digest) -> Option<Ordinal> {
        self.objects.ordinal(digest)
    }

    /// The object with that number.
    #[must_use]
    pub fn object(&self, ordinal: Ordinal) -> Option<ObjectRef<'_>> {
        self.objects.get(ordinal)
    }

    /// Objects that are live and not withdrawn: what a full mirror wants. What
    /// pending names reach is among them.
    #[must_use]
    pub const fn live(&self) -> &RoaringBitmap {
        self.liveness.live()
    }

    /// Number of live objects.
    #[must_use]
    pub fn live_count(&self) -> u64 {
        self.live().len()
    }

    /// Length of all live objects, in bytes.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.liveness.live_bytes()
    }

    /// True if the object is in [`Catalog::live`].
    #[must_use]
    pub fn is_live(&self, ordinal: Ordinal) -> bool {
        self.live().contains(ordinal.get())
    }

    /// True if a name, in force or pending, means the object or something live
    /// needs it, withdrawn or not.
    #[must_use]
    pub fn is_reachable(&self, ordinal: Ordinal) -> bool {
        self.liveness.is_reachable(ordinal)
    }

    /// Why the object with that digest is withdrawn, if it is.
    #[must_use]
    pub fn withdrawn(&self, digest: &Digest) -> Option<&str> {
        self.liveness.withdrawn(self.ordinal(digest)?)
    }

    /// True if the object is withdrawn.
    #[must_use]
    pub fn is_withdrawn(&self, ordinal: Ordinal) -> bool {
        self.liveness.withdrawn(ordinal).is_some()
    }

    /// Log index of the entry that withdrew the object, if it is withdrawn. Who has
    /// applied the log beyond it knows of the withdrawal.
    #[must_use]
    pub fn withdrawn_at(&self, ordinal: Ordinal) -> Option<u64> {
        self.liveness.withdrawn_at(ordinal)
    }

    /// All withdrawn objects with the reason, by ordinal.
    pub fn all_withdrawn(&self) -> impl Iterator<Item = (Ordinal, &str)> {
        self.liveness.all_withdrawn()
    }
}

/// Objects with what they need.
impl Catalog {
    /// These and everything that they need, each once, children first.
    #[must_use]
    pub fn closure(&self, roots: impl IntoIterator<Item = Ordinal>) -> Vec<Ordinal> {
        let mut closure = Vec::new();
        let mut seen = RoaringBitmap::new();
        let mut open: Vec<_> = roots.into_iter().map(|root| (root, false)).collect();
        while let Some((ordinal, has_children_before)) = open.pop() {
            if has_children_before {
                closure.push(ordinal);
            } else if let Some(object) = self.object(ordinal)
                && seen.insert(ordinal.get())
            {
                open.push((ordinal, true));
                let children = object.children().iter().rev();
                open.extend(children.map(|child| (*child, false)));
            }
        }
        closure
    }

    /// Everything that is known of an object, as its entry would say it now.
    #[must_use]
    pub fn facts(&self, ordinal: Ordinal) -> Option<Object> {
        let object = self.object(ordinal)?;
        let digest = |child: &Ordinal| self.object(*child).map(|child| *child.digest());
        Some(Object {
            digest: *object.digest(),
            size: object.size(),
            media_type: object.media_type().clone(),
            children: object.children().iter().filter_map(digest).collect(),
            referrer: object.referrer().cloned(),
            pieces: object.pieces().copied(),
        })
    }
}

/// What withdrawn objects take with them.
impl Catalog {
    /// These withdrawn objects, and what they need through children and nothing
    /// live does: what is purged because of them. At a cost in proportion to
    /// what they need.
    #[must_use]
    pub fn gone_with(&self, withdrawn: impl IntoIterator<Item = Ordinal>) -> RoaringBitmap {
        let mut gone = RoaringBitmap::new();
        let mut open: Vec<Ordinal> = withdrawn.into_iter().collect();
        while let Some(ordinal) = open.pop() {
            if !self.is_live(ordinal)
                && ordinal.get() < self.object_count()
                && gone.insert(ordinal.get())
            {
                open.extend(self.objects.children(ordinal));
            }
        }
        gone
    }

    /// Live objects that need, through children, something that is withdrawn:
    /// nobody can hold all of one. Mostly there are none, and that costs next to
    /// nothing; else it looks at the children of all live objects.
    #[must_use]
    pub fn incomplete(&self) -> RoaringBitmap {
        let is_needed = |ordinal: &Ordinal| {
            let named = self.names_of(*ordinal).count() + self.pending_of(*ordinal).count();
            self.liveness.holders(*ordinal) as usize > named
        };
        let withdrawn = self.all_withdrawn().map(|(ordinal, _)| ordinal);
        let needed = withdrawn.filter(is_needed).map(Ordinal::get);
        let mut lacking: RoaringBitmap = needed.collect();
        let mut before = 0;
        // Parents mostly have larger ordinals: a pass upwards mostly finds all.
        while lacking.len() > before {
            before = lacking.len();
            for ordinal in self.live() {
                let mut children = self.objects.children(Ordinal::new(ordinal)).iter();
                if children.any(|child| lacking.contains(child.get())) {
                    lacking.insert(ordinal);
                }
            }
        }
        lacking & self.live()
    }

    /// [`Catalog::gone_with`] everything that is withdrawn.
    #[must_use]
    pub fn gone(&self) -> RoaringBitmap {
        self.gone_with(self.all_withdrawn().map(|(ordinal, _)| ordinal))
    }
}

/// Names.
impl Catalog {
    /// Number of names in force.
    #[must_use]
    pub fn name_count(&self) -> usize {
        self.names.len()
    }

    /// All names in force after `after`, or from the first: those of images by
    /// repository, tags before roots, then files by path. `after` need not be in
    /// force.
    pub fn names_after(&self, after: Option<&Name>) -> impl Iterator<Item = NameEntry<'_>> {
        self.names.after(after)
    }

    /// What `name` means.
    #[must_use]
    pub fn name(&self, name: &Name) -> Option<NameRecord> {
        self.names.get(name)
    }

    /// What the file path means. Allocates nothing; `path` need not be valid.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<NameRecord> {
        self.names.file(path)
    }

    /// What the tag means. Allocates nothing; the texts need not be valid.
    #[must_use]
    pub fn tag(&self, repository: &str, tag: &str) -> Option<NameRecord> {
        self.names.tag(repository, tag)
    }

    /// All files, sorted by path.
    pub fn files(&self) -> impl Iterator<Item = (&FilePath, NameRecord)> {
        self.names.files()
    }

    /// The files in a folder and in those below it, sorted by path. `folder` is
    /// without a slash at its end.
    pub fn files_below(&self, folder: &str) -> impl Iterator<Item = (&FilePath, NameRecord)> {
        self.names.files_below(folder)
    }

    /// A file that cannot be there together with `path`, because one of the two
    /// would be a folder of the other.
    #[must_use]
    pub fn colliding_file(&self, path: &FilePath) -> Option<FilePath> {
        let is_folder = |folder: &&str| self.file(folder).is_some();
        let above = path
            .folders()
            .find(is_folder)
            .and_then(|folder| folder.parse().ok());
        let below = || self.files_below(path.as_str()).next();
        above.or_else(|| below().map(|(path, _)| path.clone()))
    }

    /// The names that mean the object.
    pub fn names_of(&self, ordinal: Ordinal) -> impl Iterator<Item = Name> {
        self.object(ordinal)
            .into_iter()
            .flat_map(move |object| self.names.of_object(ordinal, *object.digest()))
    }
}

/// Names that are pending: none of them answers anywhere above or below.
impl Catalog {
    /// Number of pending names.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// What `name` will mean, if it is pending.
    #[must_use]
    pub fn pending_name(&self, name: &Name) -> Option<PendingRecord> {
        self.pending.get(name)
    }

    /// All pending names, in order. Who selects by name (a mirror's filter)
    /// wants what its names mean and what its pending ones will.
    pub fn pending_names(&self) -> impl Iterator<Item = (&Name, PendingRecord)> {
        self.pending.iter()
    }

    /// The pending names that will mean the object, in order.
    pub fn pending_of(&self, ordinal: Ordinal) -> impl Iterator<Item = &Name> {
        self.pending.of_object(ordinal)
    }

    /// What pending names reach through children, by the repository that they are
    /// of: nobody sees it there, and it is kept there. Costs as much as that is.
    #[must_use]
    pub fn announced(&self) -> BTreeMap<&Repository, RoaringBitmap> {
        let mut roots: BTreeMap<&Repository, Vec<Ordinal>> = BTreeMap::new();
        for (name, pending) in self.pending_names() {
            if let Name::Tag(repository, _) | Name::Root(repository, _) = name {
                roots.entry(repository).or_default().push(pending.ordinal);
            }
        }
        let reached = |roots| self.closure(roots).into_iter().map(Ordinal::get).collect();
        let roots = roots.into_iter();
        roots
            .map(|(repository, roots)| (repository, reached(roots)))
            .collect()
    }

    /// A pending file that cannot be there together with `path`, as
    /// [`Catalog::colliding_file`] says it of those in force.
    #[must_use]
    pub fn colliding_pending_file(&self, path: &FilePath) -> Option<&FilePath> {
        self.pending.colliding_file(path)
    }
}

/// Repositories.
impl Catalog {
    /// True if a tag or a root of that repository is in force.
    #[must_use]
    pub fn has_repository(&self, repository: &str) -> bool {
        self.names.has_repository(repository)
    }

    /// The repositories that have a tag or a root, sorted.
    pub fn repositories(&self) -> impl Iterator<Item = &Repository> {
        self.names.repositories()
    }

    /// The tags of a repository, sorted.
    pub fn tags(&self, repository: &str) -> impl Iterator<Item = (&Tag, NameRecord)> {
        self.names.tags(repository)
    }

    /// The roots of a repository, sorted by digest.
    pub fn roots(&self, repository: &str) -> impl Iterator<Item = (&Digest, NameRecord)> {
        self.names.roots(repository)
    }

    /// True if a name of that repository reaches the object through children.
    #[must_use]
    pub fn contains(&self, repository: &str, ordinal: Ordinal) -> bool {
        self.names
            .repository_id(repository)
            .is_some_and(|id| self.membership.contains(id, ordinal))
    }

    /// All objects that names of that repository reach through children, withdrawn
    /// ones too. Costs as much as they are.
    #[must_use]
    pub fn members(&self, repository: &str) -> RoaringBitmap {
        let id = self.names.repository_id(repository);
        let members = id.into_iter().flat_map(|id| self.membership.members(id));
        members.map(Ordinal::get).collect()
    }

    /// All objects that refer to `subject`, wherever they are, live or not, by ordinal.
    #[must_use]
    pub fn referring_to(&self, subject: &Digest) -> &[Ordinal] {
        self.objects.referrers_of(subject)
    }

    /// The objects in that repository that refer to `subject`, by ordinal.
    #[must_use]
    pub fn referrers(&self, repository: &str, subject: &Digest) -> Vec<Ordinal> {
        let referrers = self.objects.referrers_of(subject).iter().copied();
        referrers
            .filter(|ordinal| self.contains(repository, *ordinal))
            .collect()
    }
}
