//! Looks at the bytes of one object as they come, for stores that cannot read
//! back what they have not published.

use bytes::Bytes;
use landfall_catalog::{Digest, Hasher};

use super::check::Check;
use super::{StoreError, WriterOptions};
use crate::piece::PieceList;

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

impl Assay {
    pub(crate) fn new(
        digest: Digest,
        size: u64,
        options: &WriterOptions,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            digest,
            size,
            passed: 0,
            whole: Hasher::new(),
            check: Check::new(digest, size, options)?,
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
        for chunk in batch {
            let before = right.len();
            let taken = self.check.take(self.passed, chunk, right);
            // Also what came before a wrong piece.
            for chunk in &right[before..] {
                self.whole.update(chunk);
                self.passed += chunk.len() as u64;
            }
            taken?;
        }
        Ok(())
    }

    /// Forgets bytes of a piece that is not complete.
    pub(crate) fn forget_pending(&mut self) {
        self.check.forget_pending();
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
        Ok(self.check.finish())
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
        Assay::new(Digest::of(bytes), bytes.len() as u64, &options).unwrap()
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
