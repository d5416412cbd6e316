//! Looks at the bytes of one object as they come, for stores that cannot read
//! back what they have not published.

use bytes::Bytes;
use landfall_catalog::{Digest, Hasher, PIECE_SIZE};

use super::{StoreError, WriterOptions};
use crate::piece::{PieceHasher, PieceList, piece_count};

/// Hashes an object from its first byte to its last, and holds back what is not
/// known to be right if there is a piece list.
#[derive(Debug)]
pub(crate) struct Assay {
    digest: Digest,
    size: u64,
    /// Bytes let through.
    passed: u64,
    whole: Hasher,
    check: Check,
}

#[derive(Debug)]
enum Check {
    /// The whole digest decides.
    Whole,
    /// A piece list is made on the way.
    Make(PieceHasher),
    /// Only right pieces are let through.
    Pieces { list: PieceList, pending: Pending },
}

#[derive(Debug, Default)]
struct Pending {
    chunks: Vec<Bytes>,
    length: u64,
    hasher: Hasher,
}

impl Assay {
    pub(crate) fn new(
        digest: Digest,
        size: u64,
        options: WriterOptions,
    ) -> Result<Self, StoreError> {
        let check = match options.pieces {
            Some(list) if list.count() != piece_count(size) => {
                return Err(StoreError::PieceList(digest));
            }
            Some(list) => Check::Pieces {
                list,
                pending: Pending::default(),
            },
            None if options.make_pieces && size > PIECE_SIZE => Check::Make(PieceHasher::default()),
            None => Check::Whole,
        };
        Ok(Self {
            digest,
            size,
            passed: 0,
            whole: Hasher::new(),
            check,
        })
    }

    /// Bytes let through: where the next source has to go on.
    pub(crate) fn position(&self) -> u64 {
        self.passed
    }

    /// Takes the next bytes and appends to `right` what may be written.
    pub(crate) fn take(
        &mut self,
        batch: Vec<Bytes>,
        right: &mut Vec<Bytes>,
    ) -> Result<(), StoreError> {
        for mut chunk in batch {
            if chunk.len() as u64 > self.size - self.passed - self.pending() {
                return Err(StoreError::TooLong {
                    digest: self.digest,
                    limit: self.size,
                });
            }
            if let Check::Make(hasher) = &mut self.check {
                hasher.update(&chunk);
            }
            let Check::Pieces { list, pending } = &mut self.check else {
                self.pass(chunk, right);
                continue;
            };
            let mut complete = Vec::new();
            let mut position = self.passed;
            while !chunk.is_empty() {
                let length = PIECE_SIZE.min(self.size - position);
                let room = usize::try_from(length - pending.length).unwrap_or(usize::MAX);
                pending.take(chunk.split_to(room.min(chunk.len())));
                if pending.length < length {
                    break;
                }
                let piece = std::mem::take(pending);
                let index = position / PIECE_SIZE;
                if list.get(index) != Some(&piece.hasher.finish()) {
                    for chunk in complete {
                        self.pass(chunk, right);
                    }
                    return Err(StoreError::WrongPiece {
                        digest: self.digest,
                        index,
                    });
                }
                position += piece.length;
                complete.extend(piece.chunks);
            }
            for chunk in complete {
                self.pass(chunk, right);
            }
        }
        Ok(())
    }

    /// Forgets bytes of a piece that is not complete.
    pub(crate) fn forget_pending(&mut self) {
        if let Check::Pieces { pending, .. } = &mut self.check {
            *pending = Pending::default();
        }
    }

    /// The piece list, if it was given or made, if everything let through is the
    /// object.
    pub(crate) fn finish(self) -> Result<Option<PieceList>, StoreError> {
        if self.passed != self.size {
            return Err(StoreError::Incomplete {
                digest: self.digest,
                written: self.passed,
                size: self.size,
            });
        }
        let found = self.whole.finish();
        if found != self.digest {
            return Err(StoreError::Mismatch {
                expected: self.digest,
                found,
            });
        }
        Ok(match self.check {
            Check::Whole => None,
            Check::Make(hasher) => Some(hasher.finish()),
            Check::Pieces { list, .. } => Some(list),
        })
    }

    fn pass(&mut self, chunk: Bytes, right: &mut Vec<Bytes>) {
        self.whole.update(&chunk);
        self.passed += chunk.len() as u64;
        right.push(chunk);
    }

    fn pending(&self) -> u64 {
        match &self.check {
            Check::Pieces { pending, .. } => pending.length,
            Check::Whole | Check::Make(_) => 0,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PIECE, content};

    fn assay(bytes: &Bytes, pieces: bool) -> Assay {
        let options = WriterOptions {
            pieces: pieces.then(|| PieceList::of(bytes)),
            make_pieces: true,
        };
        Assay::new(Digest::of(bytes), bytes.len() as u64, options).unwrap()
    }

    #[test]
    fn everything_right_passes_in_order_however_it_is_cut() {
        let bytes = content(2 * PIECE + 7);
        for pieces in [false, true] {
            for cut in [1 << 16, PIECE - 1, PIECE, PIECE + 1, bytes.len()] {
                let mut assay = assay(&bytes, pieces);
                let mut right = Vec::new();
                for start in (0..bytes.len()).step_by(cut) {
                    let end = (start + cut).min(bytes.len());
                    assay
                        .take(vec![bytes.slice(start..end)], &mut right)
                        .unwrap();
                }
                assert_eq!(right.concat(), bytes);
                assert_eq!(assay.finish().unwrap(), Some(PieceList::of(&bytes)));
            }
        }
    }

    #[test]
    fn a_wrong_piece_is_held_back_and_the_next_source_goes_on_before_it() {
        let bytes = content(3 * PIECE);
        let mut assay = assay(&bytes, true);
        let mut wrong = bytes.to_vec();
        wrong[PIECE + 9] ^= 1;
        let mut right = Vec::new();
        let error = assay.take(vec![wrong.into()], &mut right).unwrap_err();
        assert!(matches!(error, StoreError::WrongPiece { index: 1, .. }));
        assay.forget_pending();
        assert_eq!(assay.position(), PIECE as u64);
        assay.take(vec![bytes.slice(PIECE..)], &mut right).unwrap();
        assert_eq!(right.concat(), bytes);
        assay.finish().unwrap();
    }

    #[test]
    fn what_is_short_long_or_wrong_never_finishes() {
        let bytes = content(100);
        let mut short = assay(&bytes, false);
        short
            .take(vec![bytes.slice(..99)], &mut Vec::new())
            .unwrap();
        assert!(matches!(
            short.finish(),
            Err(StoreError::Incomplete { written: 99, .. })
        ));

        let mut long = assay(&bytes, false);
        let error = long.take(vec![content(101)], &mut Vec::new()).unwrap_err();
        assert!(matches!(error, StoreError::TooLong { .. }));

        let mut wrong = assay(&bytes, false);
        wrong
            .take(vec![vec![0; 100].into()], &mut Vec::new())
            .unwrap();
        assert!(matches!(wrong.finish(), Err(StoreError::Mismatch { .. })));
    }
}
