//! What several tests need.

mod server;

use bytes::Bytes;
use landfall_catalog::PIECE_SIZE;
use tempfile::TempDir;

use crate::store::DirectoryStore;

pub(crate) use server::{Behaviour, TestServer};

/// [`PIECE_SIZE`] for slices.
pub(crate) const PIECE: usize = {
    assert!(PIECE_SIZE <= u32::MAX as u64);
    #[allow(clippy::cast_possible_truncation, reason = "asserted above")]
    {
        PIECE_SIZE as usize
    }
};

/// `length` bytes in which no two pieces are alike.
pub(crate) fn content(length: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut state = length as u64;
    while bytes.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend((state >> 11).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// An empty store in a folder of its own.
pub(crate) fn store() -> (TempDir, DirectoryStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    (folder, store)
}
