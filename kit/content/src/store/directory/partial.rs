//! Objects that are not complete yet. The partial file is its own journal: what
//! of it can be trusted is found by hashing it again.

mod prefix;
mod stale;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use landfall_catalog::{Digest, Hasher};

use super::durable;
use super::lane::{Flusher, HashLane};
use super::{DirectoryStore, StoreError};
use crate::piece::{PieceHasher, PieceList};
use crate::store::check::Check;
use crate::store::claim::Claim;
use prefix::Prefix;

/// How a [`PartialWriter`] treats pieces.
#[derive(Clone, Debug, Default)]
pub struct WriterOptions {
    /// The piece list, from a trusted place: every piece is compared before
    /// it is written, and the list is stored with the object.
    pub pieces: Option<PieceList>,
    /// Without a list: make one while writing and store it with the object,
    /// if that is larger than a piece. Costs a second hash of every byte.
    pub make_pieces: bool,
}

/// Writes one object. Dropping it keeps what was written, for the next one.
#[derive(Debug)]
pub struct PartialWriter {
    store: DirectoryStore,
    path: PathBuf,
    /// Locked against other processes.
    file: File,
    size: u64,
    /// Bytes in the file, and so given to the hash lane.
    written: u64,
    resumed_from: u64,
    lane: HashLane,
    flusher: Flusher,
    check: Check,
    /// Last, so that it is given back after the lock.
    claim: Claim,
}

impl DirectoryStore {
    /// Starts or resumes writing the object `digest` of `size` bytes, hashing
    /// again what an earlier writer left.
    ///
    /// # Errors
    ///
    /// [`StoreError::Busy`] if it is being written already, here or in another
    /// process; [`StoreError::Io`].
    pub fn writer(
        &self,
        digest: &Digest,
        size: u64,
        options: WriterOptions,
    ) -> Result<PartialWriter, StoreError> {
        let claim = self.inner.claims.try_take(digest);
        let claim = claim.ok_or(StoreError::Busy(*digest))?;
        self.writer_claimed(claim, size, options)
    }

    /// Waits until nobody else in this process writes `digest`.
    pub(crate) async fn claim(&self, digest: &Digest) -> Claim {
        self.inner.claims.take(digest).await
    }

    pub(crate) fn writer_claimed(
        &self,
        claim: Claim,
        size: u64,
        options: WriterOptions,
    ) -> Result<PartialWriter, StoreError> {
        let digest = *claim.digest();
        let mut check = Check::new(digest, size, &options)?;
        let path = self.partial_path(&digest);
        let mut file = open_locked(&path, &digest)?;
        let prefix =
            Prefix::of(&mut file, size, &options).map_err(StoreError::io("read again", &path))?;
        file.set_len(prefix.length)
            .and_then(|()| file.seek(SeekFrom::Start(prefix.length)))
            .map_err(StoreError::io("truncate", &path))?;
        check.go_on(prefix.pieces);
        let to_come = size - prefix.length;
        Ok(PartialWriter {
            store: self.clone(),
            claim,
            path,
            flusher: Flusher::start(&file, to_come),
            file,
            size,
            written: prefix.length,
            resumed_from: prefix.length,
            lane: HashLane::start(prefix.whole, to_come),
            check,
        })
    }

    /// The objects that were begun and not finished, with the bytes there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn partials(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        super::blobs::list_digests(&self.inner.root.join(".landfall/partial"))
    }

    /// Throws away what was begun of `digest`; false if there was nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Busy`] while it is being written; [`StoreError::Io`].
    pub fn discard_partial(&self, digest: &Digest) -> Result<bool, StoreError> {
        let claim = self.inner.claims.try_take(digest);
        let _claim = claim.ok_or(StoreError::Busy(*digest))?;
        durable::remove(&self.partial_path(digest))
    }
}

/// Opens the partial file and locks it, certain that it still has its name
/// afterwards: the writer before may have moved it to its final place.
fn open_locked(path: &Path, digest: &Digest) -> Result<File, StoreError> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(StoreError::io("open", path))?;
        file.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => StoreError::Busy(*digest),
            fs::TryLockError::Error(source) => StoreError::io("lock", path)(source),
        })?;
        let locked = file.metadata().map_err(StoreError::io("examine", path))?;
        match fs::symlink_metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (locked.dev(), locked.ino()) => {
                return Ok(file);
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("examine", path)(error)),
        }
    }
}

impl PartialWriter {
    /// Bytes that are there: where the next source has to go on. With a
    /// piece list all of them are right.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.written
    }

    /// Bytes that an earlier writer had left.
    #[must_use]
    pub fn resumed_from(&self) -> u64 {
        self.resumed_from
    }

    /// Length of the complete object.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// True if a piece list checks the bytes as they come.
    #[must_use]
    pub fn checks_pieces(&self) -> bool {
        self.check.has_pieces()
    }

    /// Takes the next bytes. With a piece list they are kept in memory until
    /// their piece is complete and right.
    ///
    /// # Errors
    ///
    /// [`StoreError::WrongPiece`]: the piece was forgotten, and
    /// [`Self::position`] is where to go on; [`StoreError::TooLong`];
    /// [`StoreError::Io`].
    pub fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let mut right = Vec::new();
        let taken = self.check.take(self.written, bytes, &mut right);
        // Also what came before a wrong piece.
        right.into_iter().try_for_each(|chunk| self.append(chunk))?;
        taken
    }

    /// Forgets bytes of a piece that is not complete, because another source
    /// goes on from [`Self::position`].
    pub fn forget_pending(&mut self) {
        self.check.forget_pending();
    }

    /// Throws away everything written and starts again from nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn start_over(mut self) -> Result<Self, StoreError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(StoreError::io("truncate", &self.path))?;
        self.lane = HashLane::start(Hasher::new(), self.size);
        self.written = 0;
        self.resumed_from = 0;
        self.check.go_on(PieceHasher::default());
        Ok(self)
    }

    fn append(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        let length = chunk.len() as u64;
        self.file
            .write_all(&chunk)
            .map_err(StoreError::io("write", &self.path))?;
        self.lane.send(chunk);
        self.written += length;
        self.flusher.wrote(length);
        Ok(())
    }

    /// Gives the object its final name if all of its bytes are there and
    /// hash to its digest, with everything fsynced. Returns its piece list,
    /// if it was given or made.
    ///
    /// # Errors
    ///
    /// [`StoreError::Mismatch`]: the partial file is gone;
    /// [`StoreError::Incomplete`]: it is kept; [`StoreError::Io`].
    pub fn commit(self) -> Result<Option<PieceList>, StoreError> {
        let digest = *self.claim.digest();
        if self.written != self.size {
            return Err(StoreError::Incomplete {
                digest,
                written: self.written,
                size: self.size,
            });
        }
        let found = self.lane.finish().ok_or(StoreError::Cancelled)?;
        let flushed = self.flusher.finish();
        if found != digest {
            durable::remove(&self.path)?;
            return Err(StoreError::Mismatch {
                expected: digest,
                found,
            });
        }
        let pieces = self.check.finish();
        let durable = flushed.and_then(|()| self.file.sync_all());
        if let Err(error) = durable {
            // After a failed fsync nobody knows what is on the disk.
            durable::remove(&self.path)?;
            return Err(StoreError::io("fsync", &self.path)(error));
        }
        if let Some(list) = &pieces {
            self.store.put_pieces(&digest, list)?;
        }
        let blob = self.store.blob_path(&digest);
        durable::rename(&self.path, &blob)?;
        // Not before: a partial file that a crash leaves read-only could not be
        // taken up again. A blob that stays writable is just as right.
        if let Err(error) = self
            .file
            .set_permissions(Permissions::from_mode(durable::READ_ONLY))
        {
            tracing::warn!(%error, path = %blob.display(), "a stored object stays writable");
        }
        Ok(pieces)
    }
}
