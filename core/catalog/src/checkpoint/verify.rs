//! From the bytes of a note to a checkpoint that a pinned log has signed and
//! timestamped.

use super::key::{KeyKind, PinnedKeys, VerifierKey};
use super::{Checkpoint, CheckpointError};

/// Largest note that is read, in bytes.
pub const MAX_NOTE_BYTES: usize = 16 << 10;

/// Age in seconds past which a checkpoint is called stale: 24 hours.
pub const STALE_AFTER_SECONDS: u64 = 24 * 60 * 60;

/// Most signature lines that are read; the format asks for at least 16.
const MAX_SIGNATURES: usize = 64;

const ED25519_BYTES: usize = 64;
const TIME_BYTES: usize = 8;

/// Why a note is not a checkpoint of the pinned log. Keep what is held; ask
/// another source.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// More than [`MAX_NOTE_BYTES`] or than 64 signatures.
    #[error("note is too large")]
    TooLarge,
    /// Not a signed note.
    #[error("note is malformed")]
    Malformed(#[source] signed_note::NoteError),
    /// A signed note, but its text is not a checkpoint.
    #[error("note does not hold a checkpoint")]
    Checkpoint(#[source] CheckpointError),
    /// No signature by the pinned signing key.
    #[error("note is not signed by the pinned key of log \"{origin}\"")]
    UnknownKey {
        /// Name of the pinned log.
        origin: String,
    },
    /// A signature that claims to be a pinned key's, and is not.
    #[error("note has a bad signature of the {kind} key of log \"{origin}\"")]
    BadSignature {
        /// Name of the pinned log.
        origin: String,
        /// Which of its keys.
        kind: KeyKind,
    },
    /// Signed by the log, but not timestamped.
    #[error("note has no timestamp of log \"{origin}\"")]
    NoTimestamp {
        /// Name of the pinned log.
        origin: String,
    },
    /// Signed with the pinned keys, but for a log of another name.
    #[error("note is a checkpoint of log \"{found}\" signed by the keys of \"{pinned}\"")]
    OtherOrigin {
        /// Name of the pinned log.
        pinned: String,
        /// Origin line of the checkpoint.
        found: String,
    },
}

/// A checkpoint whose signatures have been verified, with the note that proves
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// When it was cosigned, in seconds since the Unix epoch.
    pub time: u64,
    note: Vec<u8>,
}

impl SignedCheckpoint {
    /// The bytes of the note, as they were verified.
    #[must_use]
    pub fn note(&self) -> &[u8] {
        &self.note
    }

    /// True if it is older than [`STALE_AFTER_SECONDS`] at `now`, in seconds
    /// since the Unix epoch. Nothing stops being served for that; it is said.
    #[must_use]
    pub const fn stale(&self, now: u64) -> bool {
        now.saturating_sub(self.time) > STALE_AFTER_SECONDS
    }
}

impl PinnedKeys {
    /// Verifies a note: signed and timestamped by the pinned keys, and a
    /// checkpoint of their log. Signatures of other keys are ignored; more than
    /// one line of a pinned key counts as its first.
    ///
    /// # Errors
    ///
    /// [`NoteError`], by name.
    pub fn verify(&self, note: &[u8]) -> Result<SignedCheckpoint, NoteError> {
        let parsed = parse(note)?;
        let origin = || self.origin().to_owned();
        let (verified, _of_other_keys) = parsed.verify(self).map_err(|error| match error {
            signed_note::NoteError::InvalidSignature { id, .. } => NoteError::BadSignature {
                origin: origin(),
                kind: self.kind_of(id),
            },
            signed_note::NoteError::UnverifiedNote => NoteError::UnknownKey { origin: origin() },
            other @ (signed_note::NoteError::MalformedNote
            | signed_note::NoteError::InvalidSigner
            | signed_note::NoteError::MismatchedVerifier
            | signed_note::NoteError::VerificationError(_)
            | signed_note::NoteError::SignatureError(_)) => NoteError::Malformed(other),
        })?;
        let of_kind = |kind| {
            verified
                .iter()
                .find(|signature| self.kind_of(signature.id()) == kind)
        };
        if of_kind(KeyKind::Log).is_none() {
            return Err(NoteError::UnknownKey { origin: origin() });
        }
        let time = of_kind(KeyKind::Timestamp)
            .and_then(|signature| split_time(signature.signature()))
            .map(|(time, _)| time)
            .ok_or_else(|| NoteError::NoTimestamp { origin: origin() })?;
        let text = String::from_utf8_lossy(parsed.text());
        let checkpoint = Checkpoint::parse(&text).map_err(NoteError::Checkpoint)?;
        if checkpoint.origin != self.origin() {
            return Err(NoteError::OtherOrigin {
                pinned: origin(),
                found: checkpoint.origin,
            });
        }
        Ok(SignedCheckpoint {
            checkpoint,
            time,
            note: note.to_vec(),
        })
    }

    fn kind_of(&self, id: u32) -> KeyKind {
        use signed_note::Verifier as _;
        if id == self.log().key_id() {
            KeyKind::Log
        } else {
            KeyKind::Timestamp
        }
    }
}

/// The syntax of a note, within bounds.
fn parse(note: &[u8]) -> Result<signed_note::Note, NoteError> {
    // Only signature lines begin with an em dash and a space; a text that has
    // such lines as well is no checkpoint of anyone's.
    let is_signature = |line: &&[u8]| line.starts_with("— ".as_bytes());
    let lines = note.split(|byte| *byte == b'\n');
    if note.len() > MAX_NOTE_BYTES || lines.filter(is_signature).count() > MAX_SIGNATURES {
        return Err(NoteError::TooLarge);
    }
    signed_note::Note::from_bytes(note).map_err(NoteError::Malformed)
}

impl signed_note::Verifier for VerifierKey {
    fn name(&self) -> &str {
        self.name()
    }

    fn key_id(&self) -> u32 {
        self.id()
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        match self.kind() {
            KeyKind::Log => self.accepts(text, signature),
            KeyKind::Timestamp => split_time(signature).is_some_and(|(time, signature)| {
                self.accepts(&cosigned_message(time, text), signature)
            }),
        }
    }
}

/// The bytes that a timestamped cosignature signs (C2SP tlog-cosignature).
pub(super) fn cosigned_message(time: u64, text: &[u8]) -> Vec<u8> {
    let mut message = format!("cosignature/v1\ntime {time}\n").into_bytes();
    message.extend_from_slice(text);
    message
}

/// A cosignature's time and Ed25519 signature.
fn split_time(signature: &[u8]) -> Option<(u64, &[u8])> {
    let (time, rest) = signature.split_first_chunk::<TIME_BYTES>()?;
    (rest.len() == ED25519_BYTES).then(|| (u64::from_be_bytes(*time), rest))
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use proptest::prelude::*;
    use signed_note::{Note, VerifierList};

    use super::*;
    use crate::checkpoint::LogSigner;
    use crate::merkle::leaf_hash;

    const FOO: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const FOO_NOTE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    const TIME: u64 = 1_800_000_000;

    fn signer(seed: u8) -> LogSigner {
        LogSigner::from_seeds("log.example", [seed; 32], [seed + 1; 32]).unwrap()
    }

    fn head() -> Checkpoint {
        Checkpoint {
            origin: "log.example".to_owned(),
            size: 12,
            root: leaf_hash(b"12"),
        }
    }

    fn note() -> String {
        String::from_utf8(signer(1).sign(&head(), TIME).unwrap()).unwrap()
    }

    fn verify(note: &str) -> Result<SignedCheckpoint, NoteError> {
        signer(1).keys().verify(note.as_bytes())
    }

    /// Line `n` of a note, with its newline.
    fn line(note: &str, n: usize) -> &str {
        note.split_inclusive('\n').nth(n).unwrap()
    }

    #[test]
    fn the_note_of_the_specification_verifies() {
        let foo: VerifierKey = FOO.parse().unwrap();
        let known = VerifierList::new(vec![Box::new(foo.clone())]);
        let (verified, unknown) = parse(FOO_NOTE.as_bytes()).unwrap().verify(&known).unwrap();
        assert_eq!((verified.len(), unknown.len()), (1, 0));
        let changed = FOO_NOTE.replace("an example", "no example");
        let known = VerifierList::new(vec![Box::new(foo)]);
        assert!(parse(changed.as_bytes()).unwrap().verify(&known).is_err());
    }

    #[test]
    fn a_signed_checkpoint_verifies_and_keeps_its_note() {
        let signed = verify(&note()).unwrap();
        assert_eq!(signed.checkpoint, head());
        assert_eq!(signed.time, TIME);
        assert_eq!(signed.note(), note().as_bytes());
        assert!(!signed.stale(TIME - 100));
        assert!(!signed.stale(TIME + STALE_AFTER_SECONDS));
        assert!(signed.stale(TIME + STALE_AFTER_SECONDS + 1));
    }

    #[test]
    fn the_cosignature_covers_time_and_whole_text() {
        let note = note();
        let encoded = line(&note, 5).trim_end().rsplit(' ').next().unwrap();
        let bytes = BASE64_STANDARD.decode(encoded).unwrap();
        assert_eq!(bytes.len(), 4 + 8 + 64);
        assert_eq!(bytes[4..12], TIME.to_be_bytes());
        let message = format!("cosignature/v1\ntime {TIME}\n{}", head().text());
        assert!(
            signer(1)
                .keys()
                .timestamp()
                .accepts(message.as_bytes(), &bytes[12..])
        );
    }

    #[test]
    fn each_fault_of_a_note_has_its_name() {
        let note = note();
        let (body, log, time) = (head().text() + "\n", line(&note, 4), line(&note, 5));
        assert_eq!(format!("{body}{log}{time}"), note);

        let unsigned = format!("{body}{time}");
        assert!(matches!(
            verify(&unsigned),
            Err(NoteError::UnknownKey { .. })
        ));
        let untimed = format!("{body}{log}");
        assert!(matches!(
            verify(&untimed),
            Err(NoteError::NoTimestamp { .. })
        ));
        let foreign = signer(7).sign(&head(), TIME).unwrap();
        assert!(matches!(
            signer(1).keys().verify(&foreign),
            Err(NoteError::UnknownKey { .. })
        ));
        let grown = note.replace("\n12\n", "\n13\n");
        assert!(matches!(
            verify(&grown),
            Err(NoteError::BadSignature {
                kind: KeyKind::Log,
                ..
            })
        ));
        let later = Checkpoint { size: 13, ..head() };
        let later = String::from_utf8(signer(1).sign(&later, TIME).unwrap()).unwrap();
        let old_time = format!("{}\n{}{time}", &later[..body.len() - 1], line(&later, 4));
        assert!(matches!(
            verify(&old_time),
            Err(NoteError::BadSignature {
                kind: KeyKind::Timestamp,
                ..
            })
        ));
        let swapped = format!("{body}{log}{log}");
        assert!(matches!(
            verify(&swapped),
            Err(NoteError::NoTimestamp { .. })
        ));
        assert!(matches!(verify(""), Err(NoteError::Malformed(_))));
        assert!(matches!(verify(&body), Err(NoteError::Malformed(_))));
        assert!(matches!(
            verify(&note.replace("log.example\n", "log.\u{1b}example\n")),
            Err(NoteError::Malformed(_))
        ));
        assert!(matches!(
            verify(note.trim_end()),
            Err(NoteError::Malformed(_))
        ));
    }

    #[test]
    fn the_log_keys_over_another_text_are_refused() {
        let text = |text: &str| {
            let mut note = Note::new(text.as_bytes(), &[]).unwrap();
            signer(1).sign_note(&mut note, TIME).unwrap();
            signer(1).keys().verify(&note.to_bytes())
        };
        assert!(text(&head().text()).is_ok());
        assert!(matches!(
            text(&head().text().replace("log.example", "other.example")),
            Err(NoteError::OtherOrigin { .. })
        ));
        assert!(matches!(text("hello\n"), Err(NoteError::Checkpoint(_))));
    }

    #[test]
    fn signatures_of_strangers_are_ignored_up_to_a_bound() {
        let stranger = line(FOO_NOTE, 2);
        let with = |count: usize| format!("{}{}", note(), stranger.repeat(count));
        assert!(verify(&with(MAX_SIGNATURES - 2)).is_ok());
        assert!(matches!(
            verify(&with(MAX_SIGNATURES - 1)),
            Err(NoteError::TooLarge)
        ));
        let huge = format!("{}\n{}", "x".repeat(MAX_NOTE_BYTES), note());
        assert!(matches!(verify(&huge), Err(NoteError::TooLarge)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_changed_byte_of_a_note_goes_unseen(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut bytes = note().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(signer(1).keys().verify(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_verify(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(signer(1).keys().verify(&bytes).is_err());
        }
    }
}
