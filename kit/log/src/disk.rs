//! The log on disk: a C2SP tile tree with one writer, durable at every moment.
//!
//! Order of a commit: entry bundles and hash tiles, all synced; then the
//! checkpoint, replaced by rename and synced. Until the rename, the old
//! checkpoint and everything that it covers are untouched: full tiles and
//! bundles of what comes next are created beside them, and partial ones have
//! the width in their name. What a crash leaves past the checkpoint is removed
//! when the log is opened again, and overwritten if need be.
//!
//! What is checked when: [`LogDisk::open`] verifies the checkpoint's signatures,
//! that the right edge of the stored tree has the checkpoint's root, and the
//! last bundle against the edge: a few files whatever the size. Reading entries
//! for the fold ([`load_catalog`](crate::load_catalog), the follower's replay)
//! verifies each bundle against the tree before anything of it is handed on.
//! [`LogReader::verify`](crate::LogReader::verify) reads and compares every file.

use std::cmp::Ordering;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use landfall_catalog::{
    Frontier, PinnedKeys, SignedCheckpoint, TILE_WIDTH, TilePath, TreeHash, encode_bundle,
    leaf_hash, new_tiles,
};

use crate::edge::{Edge, concatenated};
use crate::error::LogError;
use crate::reader::{Committed, LogReader, Shared};
use crate::refusal::{Advance, Refusal, judge};
use files::{Files, Hook};
use load::load;

pub(crate) mod files;
mod load;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

/// File name of the checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// What the log is or will be: the tree's edge and the unfinished bundle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Growth {
    pub(crate) edge: Edge,
    /// Encoded, without the entries of finished bundles.
    pub(crate) bundle: Vec<u8>,
}

/// The writer of a log on disk. There is one at a time.
pub struct LogDisk {
    files: Files,
    keys: PinnedKeys,
    staged: Option<Growth>,
    broken: bool,
    shared: Arc<Shared>,
}

impl LogDisk {
    /// Opens the log in `dir`, which is created if need be. Blocks on the disk.
    ///
    /// # Errors
    /// [`LogError::Locked`], [`LogError::Io`]; [`LogError::Refused`] if the stored
    /// checkpoint is not signed by `keys`; [`LogError::Damaged`] if the stored
    /// tree does not have its root.
    pub fn open(dir: &Path, keys: &PinnedKeys) -> Result<Self, LogError> {
        Self::open_with(dir, keys, None)
    }

    pub(crate) fn open_with(
        dir: &Path,
        keys: &PinnedKeys,
        hook: Option<Hook>,
    ) -> Result<Self, LogError> {
        let mut files = Files::open(dir, hook)?;
        let committed = load(&mut files, keys)?;
        Ok(Self {
            shared: Arc::new(Shared::new(dir.to_path_buf(), committed)),
            files,
            keys: keys.clone(),
            staged: None,
            broken: false,
        })
    }

    /// After a write failed: finds out what is on the disk, as
    /// [`LogDisk::open`] does. Staged entries are gone.
    ///
    /// # Errors
    /// As [`LogDisk::open`].
    pub fn recover(&mut self) -> Result<(), LogError> {
        self.staged = None;
        self.files.forget_unsynced();
        let committed = load(&mut self.files, &self.keys)?;
        self.shared.set(committed);
        self.broken = false;
        Ok(())
    }

    /// Whether a write failed and [`LogDisk::recover`] is due.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The newest committed checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Option<SignedCheckpoint> {
        self.shared.head().checkpoint.clone()
    }

    /// Number of committed entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.head().size()
    }

    /// Number of entries, staged ones included.
    #[must_use]
    pub fn staged_size(&self) -> u64 {
        self.staged
            .as_ref()
            .map_or_else(|| self.size(), |staged| staged.edge.size())
    }

    /// The root with the staged entries.
    #[must_use]
    pub fn staged_root(&self) -> TreeHash {
        self.staged.as_ref().map_or_else(
            || self.shared.head().growth.edge.root(),
            |staged| staged.edge.root(),
        )
    }

    /// The edge of the committed tree: enough to compute the next root.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        self.reader().frontier()
    }

    /// The keys that checkpoints are verified with.
    #[must_use]
    pub fn keys(&self) -> &PinnedKeys {
        &self.keys
    }

    /// For reading what is committed, from any thread.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.shared))
    }

    /// Verifies the signatures of a note; says nothing about what is held.
    ///
    /// # Errors
    /// [`LogError::Refused`].
    pub fn read_note(&self, note: &[u8]) -> Result<SignedCheckpoint, LogError> {
        Ok(self.keys.verify(note)?)
    }

    /// Appends entries past the checkpoint, where nobody sees them. They go to
    /// the disk as they come; at most 255 are kept in memory.
    ///
    /// # Errors
    /// [`LogError::EntryTooLong`], with the entries before it staged;
    /// [`LogError::Io`], after which [`LogDisk::recover`] is due.
    pub fn stage(&mut self, entries: &[Bytes]) -> Result<(), LogError> {
        if self.broken {
            return Err(LogError::Broken);
        }
        let staged = self
            .staged
            .get_or_insert_with(|| self.shared.head().growth.clone());
        let result = entries
            .iter()
            .try_for_each(|entry| stage_one(&mut self.files, staged, entry));
        self.breaks_on_io(result)
    }

    /// Makes the staged entries, or a newer timestamp for the same tree, the
    /// state of the log. Verifies the note's signatures, that it continues what is
    /// held, and that its root is the one of the staged entries.
    ///
    /// Gives back the checkpoint that is held now.
    ///
    /// # Errors
    /// [`LogError::Refused`], with nothing changed and the entries still staged;
    /// [`LogError::Io`], after which [`LogDisk::recover`] is due.
    pub fn commit(&mut self, note: &[u8]) -> Result<SignedCheckpoint, LogError> {
        if self.broken {
            return Err(LogError::Broken);
        }
        let (signed, advance) = self.examine(note)?;
        let head = self.shared.head();
        let growth = match (advance, &self.staged) {
            (Advance::Same, _) => return Ok(signed),
            (Advance::Grow, Some(staged)) => staged.clone(),
            (Advance::Grow | Advance::Refresh, _) => head.growth.clone(),
        };
        let result = self.write_commit(&head, &growth, &signed);
        self.breaks_on_io(result)?;
        if advance == Advance::Grow {
            self.staged = None;
        }
        self.shared.set(Committed {
            checkpoint: Some(signed.clone()),
            growth,
        });
        self.drop_outgrown(head.size(), signed.checkpoint.size);
        Ok(signed)
    }

    /// Forgets the staged entries.
    pub fn discard_staged(&mut self) {
        // Their files are past the checkpoint: overwritten by what comes next, or
        // removed when the log is opened again.
        self.staged = None;
        self.files.forget_unsynced();
    }

    /// Whether a note could be committed now, and what that would do.
    ///
    /// # Errors
    /// [`LogError::Refused`], as [`LogDisk::commit`].
    pub(crate) fn examine(&self, note: &[u8]) -> Result<(SignedCheckpoint, Advance), LogError> {
        let signed = self.read_note(note)?;
        let held = self.checkpoint();
        let advance = judge(held.as_ref(), &signed)
            .map_err(|why| LogError::refused(why, against(held.as_ref(), &signed)))?;
        if advance == Advance::Grow {
            self.check_staged(&signed)?;
        }
        Ok((signed, advance))
    }

    /// Whether the staged entries give the tree that was signed.
    fn check_staged(&self, signed: &SignedCheckpoint) -> Result<(), LogError> {
        let (size, root) = (self.staged_size(), self.staged_root());
        let promised = &signed.checkpoint;
        match size.cmp(&promised.size) {
            Ordering::Less => Err(LogError::refused(
                Refusal::TruncatedLog,
                format!("{} entries were signed, {size} are there", promised.size),
            )),
            Ordering::Greater => Err(LogError::refused(
                Refusal::TamperedEntry,
                format!("{} entries were signed, {size} came", promised.size),
            )),
            Ordering::Equal if root != promised.root => Err(LogError::refused(
                Refusal::TamperedEntry,
                format!(
                    "the first {size} entries hash to {root}, signed is {}",
                    promised.root
                ),
            )),
            Ordering::Equal => Ok(()),
        }
    }

    fn write_commit(
        &mut self,
        head: &Committed,
        growth: &Growth,
        signed: &SignedCheckpoint,
    ) -> Result<(), LogError> {
        for path in new_tiles(head.size(), growth.edge.size()).filter(|path| !path.is_full()) {
            match path {
                TilePath::Entries { .. } => self.files.write(&path.to_string(), &growth.bundle)?,
                TilePath::Hashes { level, .. } => self
                    .files
                    .write(&path.to_string(), &concatenated(growth.edge.tail(level)))?,
            }
        }
        self.files.sync()?;
        self.files.replace(CHECKPOINT, signed.note())
    }

    /// Partial tiles go once the full one is there and covered by the checkpoint.
    fn drop_outgrown(&self, old: u64, new: u64) {
        let outgrown = Edge::unfinished(old)
            .chain(TilePath::bundle_of(old.saturating_sub(1), old).filter(|path| !path.is_full()))
            .filter(|path| is_covered(&path.full(), new));
        for path in outgrown {
            let directory = self.files.root().join(format!("{}.p", path.full()));
            if let Err(error) = fs::remove_dir_all(&directory) {
                tracing::debug!(directory = %directory.display(), %error, "outgrown partial tiles stay");
            }
        }
    }

    fn breaks_on_io<T>(&mut self, result: Result<T, LogError>) -> Result<T, LogError> {
        if matches!(result, Err(LogError::Io { .. })) {
            self.broken = true;
            self.staged = None;
        }
        result
    }
}

pub(crate) fn against(held: Option<&SignedCheckpoint>, offered: &SignedCheckpoint) -> String {
    let show = |signed: &SignedCheckpoint| {
        let checkpoint = &signed.checkpoint;
        format!(
            "size {} root {} time {}",
            checkpoint.size, checkpoint.root, signed.time
        )
    };
    match held {
        Some(held) => format!("offered {}, held {}", show(offered), show(held)),
        None => format!("offered {}", show(offered)),
    }
}

fn stage_one(files: &mut Files, staged: &mut Growth, entry: &Bytes) -> Result<(), LogError> {
    let index = staged.edge.size();
    // A bundle is the concatenation of bundles of one.
    let encoded = encode_bundle(&[entry]).map_err(|_| LogError::EntryTooLong { index })?;
    staged.bundle.extend_from_slice(&encoded);
    let mut full = Vec::new();
    staged.edge.push(leaf_hash(entry), |path, hashes| {
        full.push((path, concatenated(hashes)));
    });
    if full.is_empty() {
        return Ok(());
    }
    let bundle = TilePath::Entries {
        index: index / u64::from(TILE_WIDTH),
        width: TILE_WIDTH,
    };
    files.write(&bundle.to_string(), &staged.bundle)?;
    staged.bundle.clear();
    full.iter()
        .try_for_each(|(path, tile)| files.write(&path.to_string(), tile))
}

/// Whether a tree of `size` entries has all that this tile holds.
pub(crate) fn is_covered(path: &TilePath, size: u64) -> bool {
    let count = match path {
        TilePath::Hashes { level, .. } => size >> (u32::from(*level) * 8),
        TilePath::Entries { .. } => size,
    };
    path.index() * u64::from(TILE_WIDTH) + u64::from(path.width()) <= count
}
