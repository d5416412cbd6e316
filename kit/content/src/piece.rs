//! Piece lists: the SHA-256 of each 4 MiB of an object, so that a part of it
//! can be checked before the rest is there.
//!
//! Stored and served as the raw 32-byte digests, one after the other. The
//! log records the digest of that list with the object.

use landfall_catalog::{Digest, Hasher, PIECE_SIZE};

/// How many pieces an object of `size` bytes has; none if it is empty.
#[must_use]
pub const fn piece_count(size: u64) -> u64 {
    size.div_ceil(PIECE_SIZE)
}

/// The digests of an object's pieces, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceList(Vec<Digest>);

/// Why bytes are not the piece list of an object of a given size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a piece list of {found} bytes does not fit an object that needs {expected}")]
pub struct PieceListError {
    /// Bytes that the list of such an object has.
    pub expected: u64,
    /// Bytes that were there.
    pub found: u64,
}

impl PieceList {
    /// The list as it is stored: 32 raw bytes a piece.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|piece| *piece.as_bytes()).collect()
    }

    /// Reads the list of an object of `size` bytes.
    ///
    /// # Errors
    ///
    /// [`PieceListError`] unless there are exactly 32 bytes for each piece.
    pub fn decode(bytes: &[u8], size: u64) -> Result<Self, PieceListError> {
        let expected = piece_count(size).saturating_mul(32);
        let (pieces, rest) = bytes.as_chunks::<32>();
        if bytes.len() as u64 != expected || !rest.is_empty() {
            return Err(PieceListError {
                expected,
                found: bytes.len() as u64,
            });
        }
        Ok(Self(pieces.iter().copied().map(Digest::from_raw).collect()))
    }

    /// The list of the pieces of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = PieceHasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// SHA-256 of the encoded list, as the log records it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        for piece in &self.0 {
            hasher.update(piece.as_bytes());
        }
        hasher.finish()
    }

    /// How many pieces there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// The digest of piece number `index`, from 0.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<&Digest> {
        self.0.get(usize::try_from(index).ok()?)
    }
}

/// Makes a piece list out of bytes that come in chunks of any size.
#[derive(Debug, Default)]
pub struct PieceHasher {
    done: Vec<Digest>,
    current: Hasher,
    in_current: u64,
}

impl PieceHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(PIECE_SIZE - self.in_current).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.current.update(now);
            self.in_current += now.len() as u64;
            if self.in_current == PIECE_SIZE {
                self.done.push(std::mem::take(&mut self.current).finish());
                self.in_current = 0;
            }
            bytes = later;
        }
    }

    /// The list of everything taken.
    #[must_use]
    pub fn finish(mut self) -> PieceList {
        if self.in_current > 0 {
            self.done.push(self.current.finish());
        }
        PieceList(self.done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PIECE, content};

    #[test]
    fn the_list_is_the_digest_of_every_four_mebibytes() {
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let bytes = content(size);
            let expected: Vec<Digest> = bytes.chunks(PIECE).map(Digest::of).collect();
            let mut hasher = PieceHasher::default();
            for chunk in bytes.chunks(700_001) {
                hasher.update(chunk);
            }
            let list = hasher.finish();
            assert_eq!(list.0, expected, "{size}");
            assert_eq!(list.count(), piece_count(size as u64));
            let encoded = list.encode();
            assert_eq!(list.digest(), Digest::of(&encoded));
            assert_eq!(PieceList::decode(&encoded, size as u64), Ok(list));
        }
    }

    #[test]
    fn a_list_of_the_wrong_length_is_refused() {
        for (bytes, size) in [(0, 1), (31, 1), (33, 1), (64, PIECE_SIZE), (32, 0)] {
            assert!(PieceList::decode(&vec![0; bytes], size).is_err());
        }
        assert!(PieceList::decode(&[0; 32], u64::MAX).is_err());
    }
}
