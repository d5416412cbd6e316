//! Complete objects and their piece lists.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use bytes::Bytes;
use landfall_catalog::{Digest, Hasher};

use super::durable;
use super::{DirectoryStore, StoreError};
use crate::piece::{PieceList, piece_count};

/// Bytes hashed at once when an object is read again.
const READ_SIZE: usize = 1 << 20;

impl DirectoryStore {
    /// True if the object is there, complete, with that length. Its bytes
    /// were verified when they came; [`Self::verify`] looks again.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn has(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(found) => Ok(found.is_file() && found.len() == size),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("examine", &path)(error)),
        }
    }

    /// Every object with its length in bytes, sorted by digest.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn list(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        list_digests(&self.inner.root.join("blobs/sha256"))
    }

    /// Hashes the object again; false if it is not what its name says.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Io`].
    pub fn verify(&self, digest: &Digest) -> Result<bool, StoreError> {
        let (mut file, _) = self.open_blob(digest)?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; READ_SIZE];
        loop {
            let read = file
                .read(&mut buffer)
                .map_err(StoreError::io("read", &self.blob_path(digest)))?;
            if read == 0 {
                return Ok(hasher.finish() == *digest);
            }
            hasher.update(&buffer[..read]);
        }
    }

    /// The whole object, checked against its digest.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; [`StoreError::TooLong`] if it has more than
    /// `limit` bytes; [`StoreError::Mismatch`]; [`StoreError::Io`].
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Bytes, StoreError> {
        let (file, size) = self.open_blob(digest)?;
        let bytes = read_bounded(file, size, limit)
            .map_err(StoreError::io("read", &self.blob_path(digest)))?
            .ok_or(StoreError::TooLong {
                digest: *digest,
                limit,
            })?;
        match Digest::of(&bytes) {
            found if found == *digest => Ok(bytes.into()),
            found => Err(StoreError::Mismatch {
                expected: *digest,
                found,
            }),
        }
    }

    /// The object's file and its length in bytes.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Io`].
    pub fn open_blob(&self, digest: &Digest) -> Result<(File, u64), StoreError> {
        let path = self.blob_path(digest);
        match File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((size, file)) => Ok((file, size)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(StoreError::NotFound(*digest)),
            Err(error) => Err(StoreError::io("open", &path)(error)),
        }
    }

    /// Stores a small object.
    ///
    /// # Errors
    ///
    /// [`StoreError::Mismatch`] if `bytes` are not those of `digest`;
    /// [`StoreError::Io`].
    pub fn put_bytes(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let found = Digest::of(bytes);
        if found != *digest {
            return Err(StoreError::Mismatch {
                expected: *digest,
                found,
            });
        }
        if self.has(digest, bytes.len() as u64)? {
            return Ok(());
        }
        let path = self.blob_path(digest);
        durable::replace(&self.temporary(), &path, bytes, durable::READ_ONLY)
    }

    /// Removes the object and its piece list; false if it was not there.
    /// Names of it are not touched: remove them before.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        let removed = durable::remove(&self.blob_path(digest))?;
        durable::remove(&self.pieces_path(digest))?;
        Ok(removed)
    }

    /// Stores the piece list of the object `digest`. The caller vouches for it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn put_pieces(&self, digest: &Digest, list: &PieceList) -> Result<(), StoreError> {
        let path = self.pieces_path(digest);
        durable::replace(&self.temporary(), &path, &list.encode(), durable::READ_ONLY)
    }

    /// The piece list of the object `digest` of `size` bytes, if there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError::PieceList`] if it does not fit; [`StoreError::Io`].
    pub fn get_pieces(&self, digest: &Digest, size: u64) -> Result<Option<PieceList>, StoreError> {
        let path = self.pieces_path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("open", &path)(error)),
        };
        let limit = piece_count(size).saturating_mul(32);
        let bytes = read_bounded(file, limit, limit)
            .map_err(StoreError::io("read", &path))?
            .ok_or(StoreError::PieceList(*digest))?;
        PieceList::decode(&bytes, size)
            .map(Some)
            .map_err(|_| StoreError::PieceList(*digest))
    }
}

/// Reads all of `file` unless it has more than `limit` bytes.
fn read_bounded(file: File, expected: u64, limit: u64) -> std::io::Result<Option<Vec<u8>>> {
    if expected > limit {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// The files of a folder whose names are digests, with their lengths, sorted.
pub(super) fn list_digests(folder: &Path) -> Result<Vec<(Digest, u64)>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(StoreError::io("list", folder))? {
        let entry = entry.map_err(StoreError::io("list", folder))?;
        let Some(digest) = entry
            .file_name()
            .to_str()
            .and_then(|name| Digest::from_hex(name).ok())
        else {
            continue;
        };
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => found.push((digest, metadata.len())),
            Ok(_) => {}
            // Removed while the folder was read.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("examine", &entry.path())(error)),
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::testing::store;

    #[test]
    fn bytes_are_kept_under_their_digest_and_read_back() {
        let (_folder, store) = store();
        let digest = Digest::of(b"hello");
        assert!(matches!(
            store.read(&digest, 9),
            Err(StoreError::NotFound(_))
        ));
        store.put_bytes(&digest, b"hello").unwrap();
        store.put_bytes(&digest, b"hello").unwrap();
        assert_eq!(store.read(&digest, 5).unwrap(), "hello");
        assert!(matches!(
            store.read(&digest, 4),
            Err(StoreError::TooLong { limit: 4, .. })
        ));
        assert_eq!(store.list().unwrap(), [(digest, 5)]);
        assert!(store.has(&digest, 5).unwrap());
        assert!(!store.has(&digest, 6).unwrap());
        assert!(store.remove(&digest).unwrap());
        assert!(!store.remove(&digest).unwrap());
    }

    #[test]
    fn bytes_of_another_digest_are_refused() {
        let (_folder, store) = store();
        let error = store.put_bytes(&Digest::of(b"a"), b"b").unwrap_err();
        assert!(matches!(error, StoreError::Mismatch { .. }));
        assert_eq!(store.list().unwrap(), []);
    }

    #[test]
    fn rot_on_the_disk_is_found_and_never_read_as_content() {
        let (folder, store) = store();
        let digest = Digest::of(b"hello");
        store.put_bytes(&digest, b"hello").unwrap();
        assert!(store.verify(&digest).unwrap());
        let path = folder.path().join("blobs/sha256").join(digest.to_hex());
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o444
        );
        fs::remove_file(&path).unwrap();
        fs::write(&path, "hellO").unwrap();
        assert!(!store.verify(&digest).unwrap());
        assert!(matches!(
            store.read(&digest, 9),
            Err(StoreError::Mismatch { .. })
        ));
    }

    #[test]
    fn listing_ignores_what_is_not_an_object() {
        let (folder, store) = store();
        fs::write(folder.path().join("blobs/sha256/README"), "x").unwrap();
        fs::create_dir(folder.path().join("blobs/sha256").join("a".repeat(64))).unwrap();
        assert_eq!(store.list().unwrap(), []);
    }

    #[test]
    fn a_piece_list_of_another_size_is_refused() {
        let (_folder, store) = store();
        let digest = Digest::of(b"x");
        assert_eq!(store.get_pieces(&digest, 1).unwrap(), None);
        store.put_pieces(&digest, &PieceList::of(b"x")).unwrap();
        assert_eq!(
            store.get_pieces(&digest, 1).unwrap(),
            Some(PieceList::of(b"x"))
        );
        assert!(matches!(
            store.get_pieces(&digest, 5 << 20),
            Err(StoreError::PieceList(_))
        ));
        assert!(matches!(
            store.get_pieces(&digest, 0),
            Err(StoreError::PieceList(_))
        ));
    }
}
