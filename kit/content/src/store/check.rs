//! What happens to the bytes of an object before they are written: with a piece
//! list only right pieces are let through, without one a list can be made.

use bytes::Bytes;
use landfall_catalog::{Digest, Hasher, PIECE_SIZE};

use super::{StoreError, WriterOptions};
use crate::piece::{PieceHasher, PieceList, piece_count};

/// Looks at the bytes of one object, in order.
#[derive(Debug)]
pub(crate) struct Check {
    digest: Digest,
    size: u64,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Nothing is looked at; the whole digest decides.
    Whole,
    /// A piece list is made on the way.
    Make(PieceHasher),
    /// Only right pieces are let through.
    Pieces { list: PieceList, pending: Pending },
}

/// A piece that is not complete, in memory.
#[derive(Debug, Default)]
struct Pending {
    chunks: Vec<Bytes>,
    length: u64,
    hasher: Hasher,
}

impl Check {
    pub(crate) fn new(
        digest: Digest,
        size: u64,
        options: &WriterOptions,
    ) -> Result<Self, StoreError> {
        let way = match &options.pieces {
            Some(list) if list.count() != piece_count(size) => {
                return Err(StoreError::PieceList(digest));
            }
            Some(list) => Way::Pieces {
                list: list.clone(),
                pending: Pending::default(),
            },
            None if options.make_pieces && size > PIECE_SIZE => Way::Make(PieceHasher::default()),
            None => Way::Whole,
        };
        Ok(Self { digest, size, way })
    }

    /// Goes on where `pieces` ended: at the beginning, if that has seen nothing.
    pub(crate) fn go_on(&mut self, pieces: PieceHasher) {
        self.forget_pending();
        if let Way::Make(hasher) = &mut self.way {
            *hasher = pieces;
        }
    }

    /// True if only right pieces are let through.
    pub(crate) fn has_pieces(&self) -> bool {
        matches!(self.way, Way::Pieces { .. })
    }

    /// Takes the next bytes and appends to `right` what may be written, when
    /// `passed` bytes of the object were let through before.
    pub(crate) fn take(
        &mut self,
        passed: u64,
        mut bytes: Bytes,
        right: &mut Vec<Bytes>,
    ) -> Result<(), StoreError> {
        if bytes.len() as u64 > self.size - passed - self.pending() {
            return Err(StoreError::TooLong {
                digest: self.digest,
                limit: self.size,
            });
        }
        let (list, pending) = match &mut self.way {
            Way::Pieces { list, pending } => (list, pending),
            Way::Make(hasher) => {
                hasher.update(&bytes);
                right.push(bytes);
                return Ok(());
            }
            Way::Whole => {
                right.push(bytes);
                return Ok(());
            }
        };
        let mut position = passed;
        while !bytes.is_empty() {
            let length = PIECE_SIZE.min(self.size - position);
            let room = usize::try_from(length - pending.length).unwrap_or(usize::MAX);
            pending.take(bytes.split_to(room.min(bytes.len())));
            if pending.length < length {
                break;
            }
            let piece = std::mem::take(pending);
            let index = position / PIECE_SIZE;
            if list.get(index) != Some(&piece.hasher.finish()) {
                return Err(StoreError::WrongPiece {
                    digest: self.digest,
                    index,
                });
            }
            position += piece.length;
            right.extend(piece.chunks);
        }
        Ok(())
    }

    /// Forgets bytes of a piece that is not complete.
    pub(crate) fn forget_pending(&mut self) {
        if let Way::Pieces { pending, .. } = &mut self.way {
            *pending = Pending::default();
        }
    }

    /// The piece list, if it was given or made.
    pub(crate) fn finish(self) -> Option<PieceList> {
        match self.way {
            Way::Whole => None,
            Way::Make(hasher) => Some(hasher.finish()),
            Way::Pieces { list, .. } => Some(list),
        }
    }

    fn pending(&self) -> u64 {
        match &self.way {
            Way::Pieces { pending, .. } => pending.length,
            Way::Whole | Way::Make(_) => 0,
        }
    }
}

impl Pending {
    fn take(&mut self, chunk: Bytes) {
        self.hasher.update(&chunk);
        self.length += chunk.len() as u64;
        self.chunks.push(chunk);
    }
}
