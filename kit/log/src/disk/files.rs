//! The write layer: every change of the directory goes through here, one
//! numbered step after the other, so that a test can stop between any two.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, syncfs};

use crate::error::LogError;

/// From so many files on, one `syncfs` is cheaper than an `fsync` for each.
const MANY_FILES: usize = 64;

/// A change that is about to be made.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "what a step is about, only a hook reads")
)]
pub(crate) enum Step<'a> {
    /// The file gets these bytes, whatever it had.
    Write(&'a Path, &'a [u8]),
    /// The file's data becomes durable.
    SyncFile(&'a Path),
    /// The directory's entries become durable.
    SyncDirectory(&'a Path),
    /// Everything becomes durable.
    SyncAll,
    /// The first takes the place of the second.
    Rename(&'a Path, &'a Path),
    /// The file goes.
    Remove(&'a Path),
}

/// Called before each step; an error stops the step.
pub(crate) type Hook = Box<dyn FnMut(Step<'_>) -> io::Result<()> + Send + Sync>;

/// The directory of a log, held by its one writer.
pub(crate) struct Files {
    root: PathBuf,
    /// Opened before anything is written, so that `syncfs` on it reports every
    /// failed write-back since then.
    directory: File,
    _lock: File,
    unsynced_files: Vec<PathBuf>,
    unsynced_directories: BTreeSet<PathBuf>,
    many: bool,
    hook: Option<Hook>,
}

impl Files {
    /// Creates the directory if need be and locks it.
    pub(crate) fn open(root: &Path, hook: Option<Hook>) -> Result<Self, LogError> {
        fs::create_dir_all(root).map_err(LogError::io("creating", root))?;
        let lock_path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(LogError::io("opening", &lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LogError::Locked(root.to_path_buf())),
            Err(errno) => return Err(LogError::io("locking", &lock_path)(errno.into())),
        }
        let directory = File::open(root).map_err(LogError::io("opening", root))?;
        Ok(Self {
            root: root.to_path_buf(),
            directory,
            _lock: lock,
            unsynced_files: Vec::new(),
            unsynced_directories: BTreeSet::new(),
            many: false,
            hook,
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn step(&mut self, step: Step<'_>) -> io::Result<()> {
        self.hook.as_mut().map_or(Ok(()), |hook| hook(step))
    }

    /// Writes a file below the root, creating its directories. Durable only
    /// after [`Files::sync`].
    pub(crate) fn write(&mut self, relative: &str, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.root.join(relative);
        self.write_path(&path, bytes)
            .map_err(LogError::io("writing", &path))?;
        if let Some(parent) = path.parent() {
            self.unsynced_directories.insert(parent.to_path_buf());
        }
        if self.unsynced_files.len() < MANY_FILES {
            self.unsynced_files.push(path);
        } else {
            self.many = true;
        }
        Ok(())
    }

    fn write_path(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(Step::Write(path, bytes))?;
        let mut file = match create(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(parent) = path.parent() else {
                    return Err(error);
                };
                fs::create_dir_all(parent)?;
                // Any of them may be new, and a new directory is an entry of its parent.
                let ancestors = parent.ancestors().take_while(|p| p.starts_with(&self.root));
                self.unsynced_directories
                    .extend(ancestors.map(Path::to_path_buf));
                create(path)?
            }
            other => other?,
        };
        file.write_all(bytes)
    }

    /// Makes everything written so far durable: data first, then directories.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        if self.many {
            let root = self.root.clone();
            self.step(Step::SyncAll)
                .and_then(|()| syncfs(&self.directory).map_err(io::Error::from))
                .map_err(LogError::io("syncing the file system of", root))?;
        } else {
            for path in self.unsynced_files.clone() {
                self.sync_file(&path)?;
            }
            for path in self.unsynced_directories.clone() {
                self.sync_directory(&path)?;
            }
        }
        self.forget_unsynced();
        Ok(())
    }

    /// Drops what is not synced from the books: nobody relies on it any more.
    pub(crate) fn forget_unsynced(&mut self) {
        self.unsynced_files.clear();
        self.unsynced_directories.clear();
        self.many = false;
    }

    fn sync_file(&mut self, path: &Path) -> Result<(), LogError> {
        self.step(Step::SyncFile(path))
            .and_then(|()| File::open(path)?.sync_all())
            .map_err(LogError::io("syncing", path))
    }

    fn sync_directory(&mut self, path: &Path) -> Result<(), LogError> {
        self.step(Step::SyncDirectory(path))
            .and_then(|()| File::open(path)?.sync_all())
            .map_err(LogError::io("syncing", path))
    }

    /// Replaces a file of the root itself, whole and durably.
    pub(crate) fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.root.join(name);
        let new = self.root.join(format!("{name}.new"));
        self.write_path(&new, bytes)
            .map_err(LogError::io("writing", &new))?;
        self.sync_file(&new)?;
        self.step(Step::Rename(&new, &path))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(LogError::io("replacing", &path))?;
        let root = self.root.clone();
        self.sync_directory(&root)
    }

    /// Removes a file; one that is not there is fine.
    pub(crate) fn remove(&mut self, path: &Path) -> Result<(), LogError> {
        let removed = self
            .step(Step::Remove(path))
            .and_then(|()| fs::remove_file(path));
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(LogError::io("removing", path)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(path)
}
