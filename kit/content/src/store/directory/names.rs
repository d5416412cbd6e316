//! Names: files at their natural paths, and the references of `index.json`.
//!
//! Changes are collected and applied together: `index.json` may hold tens of
//! thousands of entries and is rewritten once a batch.

mod index;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use landfall_catalog::{Digest, FilePath, Name, Repository, Tag};

use super::durable;
use super::{DirectoryStore, StoreError};
use crate::oci::Descriptor;
pub(crate) use index::Index;

/// How often a temporary link is made again if somebody swept it away.
const LINK_ATTEMPTS: u32 = 3;

/// Changes of names that are applied together by [`NamesBatch::commit`].
#[derive(Debug)]
#[must_use = "nothing changes before the commit"]
pub struct NamesBatch {
    store: DirectoryStore,
    references: BTreeMap<Name, Option<Descriptor>>,
    files: BTreeMap<FilePath, Option<Digest>>,
}

/// What became of a batch. What is not in `failed` is durably in place.
#[derive(Debug, Default)]
#[must_use = "names that failed are not in place"]
pub struct NamesReport {
    /// Names that could not be set or removed, and why; all others were.
    pub failed: Vec<(Name, StoreError)>,
}

impl DirectoryStore {
    /// Begins a batch of changes to names.
    pub fn names(&self) -> NamesBatch {
        NamesBatch {
            store: self.clone(),
            references: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// Every reference of `index.json` with its digest: tags and roots.
    ///
    /// # Errors
    ///
    /// [`StoreError::Layout`] if `index.json` cannot be read as one;
    /// [`StoreError::Io`].
    pub fn references(&self) -> Result<Vec<(Name, Digest)>, StoreError> {
        Ok(Index::read(&self.index_path())?.named().collect())
    }

    /// True if the file at `path` is the object `digest`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn is_linked(&self, path: &FilePath, digest: &Digest) -> Result<bool, StoreError> {
        same_file(
            &self.inner.root.join(path.as_str()),
            &self.blob_path(digest),
        )
    }

    /// Publishes one file. For many, use [`Self::names`].
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] if the object is not held;
    /// [`StoreError::Collision`]; [`StoreError::Io`].
    pub fn link_file(&self, path: &FilePath, digest: &Digest) -> Result<(), StoreError> {
        let mut batch = self.names();
        batch.link_file(path, digest);
        batch.commit()?.into_result()
    }

    /// Removes one file's name, and folders that became empty.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn unlink_file(&self, path: &FilePath) -> Result<(), StoreError> {
        let mut batch = self.names();
        batch.remove(&Name::File(path.clone()));
        batch.commit()?.into_result()
    }

    fn index_path(&self) -> PathBuf {
        self.inner.root.join("index.json")
    }

    fn link(&self, path: &FilePath, digest: &Digest) -> Result<Option<PathBuf>, StoreError> {
        let blob = self.blob_path(digest);
        let target = self.inner.root.join(path.as_str());
        if !blob
            .try_exists()
            .map_err(StoreError::io("examine", &blob))?
        {
            return Err(StoreError::NotFound(*digest));
        }
        if same_file(&target, &blob)? {
            // In place, but perhaps by a process that was killed before it
            // could make that durable.
            return Ok(target.parent().map(Path::to_owned));
        }
        if let Some(folder) = Path::new(path.as_str()).parent() {
            durable::create_folders(&self.inner.root, folder)?;
        }
        let mut attempts = 0;
        loop {
            attempts += 1;
            let temporary = self.temporary();
            fs::hard_link(&blob, &temporary).map_err(StoreError::io("link", &temporary))?;
            match fs::rename(&temporary, &target) {
                Ok(()) => break,
                // Swept away by somebody who opened the store meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound && attempts < LINK_ATTEMPTS => {}
                Err(error) => {
                    let _ = fs::remove_file(&temporary);
                    return Err(durable::rename_error(&target)(error));
                }
            }
        }
        Ok(target.parent().map(Path::to_owned))
    }

    fn unlink(&self, path: &FilePath) -> Result<Option<PathBuf>, StoreError> {
        let target = self.inner.root.join(path.as_str());
        match fs::remove_file(&target) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(StoreError::io("remove", &target)(error)),
        }
        let mut folder = target.parent().map(Path::to_owned);
        while let Some(candidate) = folder.take_if(|folder| *folder != self.inner.root) {
            folder = candidate.parent().map(Path::to_owned);
            match fs::remove_dir(&candidate) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                    return Ok(Some(candidate));
                }
                Err(error) => return Err(StoreError::io("remove", &candidate)(error)),
            }
        }
        Ok(Some(self.inner.root.clone()))
    }
}

impl NamesBatch {
    /// Makes `repository:tag` mean `target`, which must be held.
    pub fn set_tag(&mut self, repository: &Repository, tag: &Tag, target: &Descriptor) {
        let name = Name::Tag(repository.clone(), tag.clone());
        self.references.insert(name, Some(target.clone()));
    }

    /// Lists `target`, which must be held, in `repository` without a tag.
    pub fn set_root(&mut self, repository: &Repository, target: &Descriptor) {
        let name = Name::Root(repository.clone(), target.digest);
        self.references.insert(name, Some(target.clone()));
    }

    /// Publishes the object `digest`, which must be held, at `path`.
    pub fn link_file(&mut self, path: &FilePath, digest: &Digest) {
        self.files.insert(path.clone(), Some(*digest));
    }

    /// Removes a name of any kind; nothing happens if it is not there.
    pub fn remove(&mut self, name: &Name) {
        match name {
            Name::File(path) => drop(self.files.insert(path.clone(), None)),
            Name::Tag(..) | Name::Root(..) => drop(self.references.insert(name.clone(), None)),
        }
    }

    /// True if there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.references.is_empty() && self.files.is_empty()
    }

    /// Applies everything, durably. A name that cannot be set holds up no
    /// other one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Layout`] or [`StoreError::Io`] if nothing can be said
    /// about the batch: apply it again.
    pub fn commit(self) -> Result<NamesReport, StoreError> {
        let mut report = NamesReport::default();
        if self.is_empty() {
            return Ok(report);
        }
        // Held to the end: also keeps two batches from making and pruning the
        // same folder.
        let lock_path = self.store.inner.root.join(".landfall/names.lock");
        let lock = durable::open_lock(&lock_path)?;
        lock.lock().map_err(StoreError::io("lock", &lock_path))?;
        self.apply_files(&mut report)?;
        self.apply_references(&mut report)?;
        Ok(report)
    }

    fn apply_files(&self, report: &mut NamesReport) -> Result<(), StoreError> {
        let mut touched = BTreeSet::new();
        let removals = self.files.iter().filter(|(_, digest)| digest.is_none());
        let links = self.files.iter().filter(|(_, digest)| digest.is_some());
        // Removals first: `x` may make room for `x/y`.
        for (path, digest) in removals.chain(links) {
            let done = match digest {
                None => self.store.unlink(path),
                Some(digest) => self.store.link(path, digest),
            };
            match done {
                Ok(folder) => touched.extend(folder.iter().flat_map(|folder| {
                    let root = &self.store.inner.root;
                    let above = folder
                        .ancestors()
                        .take_while(move |it| it.starts_with(root));
                    above.map(Path::to_owned)
                })),
                Err(error) => report.failed.push((Name::File(path.clone()), error)),
            }
        }
        for folder in touched {
            if folder
                .try_exists()
                .map_err(StoreError::io("examine", &folder))?
            {
                durable::sync_folder(&folder)?;
            }
        }
        Ok(())
    }

    fn apply_references(&self, report: &mut NamesReport) -> Result<(), StoreError> {
        if self.references.is_empty() {
            return Ok(());
        }
        let path = self.store.index_path();
        let mut index = Index::read(&path)?;
        let mut changed = false;
        for (name, target) in &self.references {
            match target {
                None => changed |= index.remove(name),
                Some(target) => match self.store.has(&target.digest, target.size) {
                    Ok(true) => changed |= index.set(name, target),
                    Ok(false) => {
                        let error = StoreError::NotFound(target.digest);
                        report.failed.push((name.clone(), error));
                    }
                    Err(error) => report.failed.push((name.clone(), error)),
                },
            }
        }
        if changed {
            let bytes = index.encode().map_err(|error| StoreError::Layout {
                path: path.clone(),
                why: error.to_string(),
            })?;
            durable::replace(&self.store.temporary(), &path, &bytes, durable::WRITABLE)?;
        }
        Ok(())
    }
}

impl NamesReport {
    /// The first failure, for batches of one.
    fn into_result(self) -> Result<(), StoreError> {
        self.failed
            .into_iter()
            .next()
            .map_or(Ok(()), |(_, error)| Err(error))
    }
}

fn same_file(path: &Path, blob: &Path) -> Result<bool, StoreError> {
    let identity = |path: &Path| match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(StoreError::io("examine", path)(error)),
    };
    let found = identity(path)?;
    Ok(found.is_some() && found == identity(blob)?)
}
