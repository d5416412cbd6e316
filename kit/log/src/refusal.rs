//! The names by which a log, a note or an entry is refused.

use std::cmp::Ordering;

use landfall_catalog::{self as catalog, NoteError, SignedCheckpoint, judge_advance};
use thiserror::Error;

/// Why what was offered is not taken. The texts are names that people, tests
/// and other verifiers rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Refusal {
    /// Entries do not hash to the root that was signed, or are not entries.
    #[error("tampered entry")]
    TamperedEntry,
    /// The entries are right, a hash tile is not.
    #[error("tampered tile")]
    TamperedTile,
    /// Properly signed, but not an entry of a catalog, or not a whole revision.
    #[error("malformed entry")]
    MalformedEntry,
    /// Entries that a checkpoint promises, or that were there before, are not there.
    #[error("truncated log")]
    TruncatedLog,
    /// Properly signed, but not a continuation of what is held.
    #[error("fork")]
    Fork,
    /// Properly signed, but made before what is held.
    #[error("older checkpoint")]
    OlderCheckpoint,
    /// No signature of a pinned key.
    #[error("unknown key")]
    UnknownKey,
    /// A pinned key's signature that does not verify.
    #[error("bad signature")]
    BadSignature,
    /// No timestamped cosignature.
    #[error("no timestamp")]
    NoTimestamp,
    /// A checkpoint of another log.
    #[error("other origin")]
    OtherOrigin,
    /// Not a note, or not a checkpoint.
    #[error("malformed note")]
    MalformedNote,
}

/// How an offered checkpoint relates to the held one, as far as that shows
/// without the entries between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// It is the one that is held.
    Same,
    /// The same tree at a later time.
    Refresh,
    /// A larger tree: to be checked against the entries.
    Grow,
}

/// Compares an offered checkpoint with the held one; both verified before.
///
/// # Errors
/// [`Refusal::OlderCheckpoint`], [`Refusal::TruncatedLog`] (smaller, though made
/// later), [`Refusal::Fork`] (another root for the same size).
pub fn judge(
    held: Option<&SignedCheckpoint>,
    offered: &SignedCheckpoint,
) -> Result<Advance, Refusal> {
    let Some(held) = held else {
        return Ok(Advance::Grow);
    };
    // Whether a larger tree continues the held one, its entries will show.
    judge_advance(&held.checkpoint, &offered.checkpoint, || true).map_err(
        |refused| match refused {
            catalog::Refusal::OtherOrigin { .. } => Refusal::OtherOrigin,
            catalog::Refusal::Smaller { .. } if offered.time > held.time => Refusal::TruncatedLog,
            catalog::Refusal::Smaller { .. } => Refusal::OlderCheckpoint,
            catalog::Refusal::Inconsistent { .. } => Refusal::Fork,
        },
    )?;
    if offered.checkpoint.size > held.checkpoint.size {
        return Ok(Advance::Grow);
    }
    match offered.time.cmp(&held.time) {
        Ordering::Less => Err(Refusal::OlderCheckpoint),
        Ordering::Equal => Ok(Advance::Same),
        Ordering::Greater => Ok(Advance::Refresh),
    }
}

impl From<&NoteError> for Refusal {
    fn from(error: &NoteError) -> Self {
        match error {
            NoteError::TooLarge | NoteError::Malformed(_) | NoteError::Checkpoint(_) => {
                Self::MalformedNote
            }
            NoteError::UnknownKey { .. } => Self::UnknownKey,
            NoteError::BadSignature { .. } => Self::BadSignature,
            NoteError::NoTimestamp { .. } => Self::NoTimestamp,
            NoteError::OtherOrigin { .. } => Self::OtherOrigin,
        }
    }
}
