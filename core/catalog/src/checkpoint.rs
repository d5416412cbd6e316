//! The head of the log and the trust in it: checkpoint, signed note, keys,
//! and the judgement of a head that is offered against the one that is held.
//!
//! Formats: C2SP tlog-checkpoint for the text, signed-note for the envelope,
//! tlog-cosignature for the timestamp. The syntax of notes is `signed_note`'s;
//! keys and the timestamped kind of signature are here.

mod key;
mod sign;
mod verify;

use crate::excerpt::excerpt;
use crate::merkle::{MAX_TREE_SIZE, TreeHash};

pub use key::{KeyError, KeyKind, PinError, PinnedKeys, VerifierKey};
pub use sign::{LogSigner, SignError};
pub use verify::{MAX_NOTE_BYTES, NoteError, STALE_AFTER_SECONDS, SignedCheckpoint};

/// Longest origin, in bytes.
const MAX_ORIGIN_BYTES: usize = 255;

/// What the log is at some moment: who it is, how many entries it has, and the
/// root of their tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, which is also the name of its keys.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree of all entries.
    pub root: TreeHash,
}

/// A text that is not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Fewer than three lines, or no newline at the end.
    #[error("checkpoint does not have three lines")]
    Lines,
    /// The first line cannot be a log's name.
    #[error("\"{0}\" is not the name of a log")]
    Origin(String),
    /// The second line is not a size in plain decimal, or it is beyond reason.
    #[error("\"{0}\" is not the size of a log")]
    Size(String),
    /// The third line is not a base64 hash.
    #[error("checkpoint has no root hash")]
    Root,
}

impl Checkpoint {
    /// The text that is signed: three lines.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// Reads the text of a checkpoint. Extension lines are allowed by the
    /// format and ignored.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] with the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Lines);
        };
        if lines.any(str::is_empty) {
            return Err(CheckpointError::Lines);
        }
        if !is_log_name(origin) {
            return Err(CheckpointError::Origin(excerpt(origin)));
        }
        Ok(Self {
            origin: origin.to_owned(),
            size: parse_size(size).ok_or_else(|| CheckpointError::Size(excerpt(size)))?,
            root: root.parse().map_err(|_| CheckpointError::Root)?,
        })
    }
}

/// Decimal without sign or leading zeros, at most [`MAX_TREE_SIZE`].
fn parse_size(text: &str) -> Option<u64> {
    let size: u64 = text.parse().ok()?;
    (size <= MAX_TREE_SIZE && size.to_string() == text).then_some(size)
}

/// What signed-note says of key names, and a bound.
fn is_log_name(name: &str) -> bool {
    name.len() <= MAX_ORIGIN_BYTES
        && signed_note::is_key_name_valid(name)
        && !name.chars().any(char::is_control)
}

/// Why a checkpoint that is offered does not replace the one that is held,
/// though its signatures are good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is of another log.
    #[error("offered checkpoint is of log \"{offered}\", not of \"{held}\"")]
    OtherOrigin {
        /// Origin of the held checkpoint.
        held: String,
        /// Origin of the offered one.
        offered: String,
    },
    /// It has fewer entries: an older checkpoint replayed, or a truncated log.
    #[error("offered checkpoint has {offered} entries, fewer than the {held} that are held")]
    Smaller {
        /// Entries of the held checkpoint.
        held: u64,
        /// Entries of the offered one.
        offered: u64,
    },
    /// Its log does not begin with the log that is held: a fork, or history
    /// rewritten.
    #[error(
        "offered checkpoint of {offered} entries is inconsistent with the {held} entries that are held"
    )]
    Inconsistent {
        /// Entries of the held checkpoint.
        held: u64,
        /// Entries of the offered one.
        offered: u64,
    },
}

/// Judges whether `offered` may replace `held`. `consistent` is asked only for
/// a larger log, and tells whether it begins with the one that is held (by a
/// proof, or by hashing its entries onto the held right edge).
///
/// The same log with the same root is fine: a refreshed timestamp.
///
/// # Errors
///
/// [`Refusal`]: keep what is held, and keep both notes as evidence.
pub fn judge_advance(
    held: &Checkpoint,
    offered: &Checkpoint,
    consistent: impl FnOnce() -> bool,
) -> Result<(), Refusal> {
    if offered.origin != held.origin {
        return Err(Refusal::OtherOrigin {
            held: held.origin.clone(),
            offered: offered.origin.clone(),
        });
    }
    if offered.size < held.size {
        return Err(Refusal::Smaller {
            held: held.size,
            offered: offered.size,
        });
    }
    let begins_with_held = if offered.size == held.size {
        offered.root == held.root
    } else {
        consistent()
    };
    if begins_with_held {
        Ok(())
    } else {
        Err(Refusal::Inconsistent {
            held: held.size,
            offered: offered.size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{empty_root, leaf_hash};

    fn checkpoint(size: u64, root: TreeHash) -> Checkpoint {
        Checkpoint {
            origin: "log.example".to_owned(),
            size,
            root,
        }
    }

    #[test]
    fn a_checkpoint_is_three_lines() {
        let head = checkpoint(0, empty_root());
        assert_eq!(
            head.text(),
            "log.example\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
        );
        assert_eq!(Checkpoint::parse(&head.text()), Ok(head.clone()));
        let extended = format!("{}extension\n", head.text());
        assert_eq!(Checkpoint::parse(&extended), Ok(head));
    }

    #[test]
    fn malformed_checkpoints_are_refused() {
        let root = empty_root();
        let long = "x".repeat(256);
        for text in [
            String::new(),
            "\n".to_owned(),
            "a\n1\n".to_owned(),
            format!("a\n1\n{root}"),
            format!("\n1\n{root}\n"),
            format!("a b\n1\n{root}\n"),
            format!("a+b\n1\n{root}\n"),
            format!("a\tb\n1\n{root}\n"),
            format!("{long}\n1\n{root}\n"),
            format!("a\n\n{root}\n"),
            format!("a\n01\n{root}\n"),
            format!("a\n+1\n{root}\n"),
            format!("a\n-1\n{root}\n"),
            format!("a\n 1\n{root}\n"),
            format!("a\n18446744073709551616\n{root}\n"),
            format!("a\n18446744073709551615\n{root}\n"),
            format!("a\n1\n{root}=\n"),
            format!("a\n1\n {root}\n"),
            format!("a\n1\n{}\n", &root.to_string()[..43]),
            format!("a\n1\n{root}\n\n"),
            format!("a\n1\n{root}\n\nx\n"),
        ] {
            assert!(Checkpoint::parse(&text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_head_that_goes_back_or_forks_is_refused_by_name() {
        let held = checkpoint(5, leaf_hash(b"5"));
        let fork = checkpoint(5, leaf_hash(b"fork"));
        let larger = checkpoint(6, leaf_hash(b"6"));
        let smaller = checkpoint(4, leaf_hash(b"4"));
        let other = Checkpoint {
            origin: "other.example".to_owned(),
            ..held
        };
        let not_asked = || -> bool { unreachable!() };
        assert_eq!(judge_advance(&held, &held, not_asked), Ok(()));
        assert_eq!(judge_advance(&held, &larger, || true), Ok(()));
        assert_eq!(
            judge_advance(&held, &larger, || false),
            Err(Refusal::Inconsistent {
                held: 5,
                offered: 6
            })
        );
        assert_eq!(
            judge_advance(&held, &fork, not_asked),
            Err(Refusal::Inconsistent {
                held: 5,
                offered: 5
            })
        );
        assert_eq!(
            judge_advance(&held, &smaller, not_asked),
            Err(Refusal::Smaller {
                held: 5,
                offered: 4
            })
        );
        assert!(matches!(
            judge_advance(&held, &other, not_asked),
            Err(Refusal::OtherOrigin { .. })
        ));
    }
}
