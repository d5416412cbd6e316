//! The log's own side: signing and timestamping a checkpoint.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use signed_note::Note;

use super::key::{KeyKind, PinnedKeys, VerifierKey};
use super::verify::cosigned_message;
use super::{Checkpoint, is_log_name};
use crate::excerpt::excerpt;

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Not a name that a log can have: empty, or with spaces, `+` or control
    /// characters, or longer than 255 bytes.
    #[error("\"{0}\" is not the name of a log")]
    Origin(String),
    /// Both keys have the same seed.
    #[error("the signing and the timestamping key are one and the same")]
    SameKey,
    /// The checkpoint is of another log.
    #[error("a checkpoint of log \"{found}\" is not for the keys of \"{signer}\"")]
    OtherOrigin {
        /// Name of the signer's log.
        signer: String,
        /// Origin of the checkpoint.
        found: String,
    },
    /// The text cannot be a note. A bug.
    #[error("checkpoint cannot be made a note")]
    Note(#[source] signed_note::NoteError),
}

/// The two secret keys of a log.
#[derive(Clone)]
pub struct LogSigner {
    log: Half,
    timestamp: Half,
    keys: PinnedKeys,
}

#[derive(Clone)]
struct Half {
    secret: SigningKey,
    public: VerifierKey,
}

impl LogSigner {
    /// The signer of the log `origin`. The seeds are Ed25519 secret keys; they
    /// are never shown.
    ///
    /// # Errors
    ///
    /// [`SignError::Origin`] or [`SignError::SameKey`].
    pub fn from_seeds(
        origin: &str,
        log_seed: [u8; 32],
        timestamp_seed: [u8; 32],
    ) -> Result<Self, SignError> {
        if !is_log_name(origin) {
            return Err(SignError::Origin(excerpt(origin)));
        }
        let half = |seed: &[u8; 32], kind| {
            let secret = SigningKey::from_bytes(seed);
            let public = VerifierKey::new(origin, kind, secret.verifying_key());
            Half { secret, public }
        };
        let log = half(&log_seed, KeyKind::Log);
        let timestamp = half(&timestamp_seed, KeyKind::Timestamp);
        let keys = PinnedKeys::try_new([log.public.clone(), timestamp.public.clone()])
            .map_err(|_| SignError::SameKey)?;
        Ok(Self {
            log,
            timestamp,
            keys,
        })
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.keys.origin()
    }

    /// The public halves, for readers to pin.
    #[must_use]
    pub const fn keys(&self) -> &PinnedKeys {
        &self.keys
    }

    /// The note of `checkpoint`, signed, and timestamped with `time` in seconds
    /// since the Unix epoch.
    ///
    /// That it is consistent with all signed before is for the caller to see
    /// to: there is no memory here.
    ///
    /// # Errors
    ///
    /// [`SignError::OtherOrigin`] for a checkpoint of another log.
    pub fn sign(&self, checkpoint: &Checkpoint, time: u64) -> Result<Vec<u8>, SignError> {
        if checkpoint.origin != self.origin() {
            return Err(SignError::OtherOrigin {
                signer: self.origin().to_owned(),
                found: checkpoint.origin.clone(),
            });
        }
        let mut note = Note::new(checkpoint.text().as_bytes(), &[]).map_err(SignError::Note)?;
        self.sign_note(&mut note, time).map_err(SignError::Note)?;
        Ok(note.to_bytes())
    }

    /// Adds both signatures to a note of any text.
    pub(super) fn sign_note(
        &self,
        note: &mut Note,
        time: u64,
    ) -> Result<(), signed_note::NoteError> {
        note.add_sigs(&[
            &LogSignature(&self.log),
            &Cosignature {
                key: &self.timestamp,
                time,
            },
        ])
    }
}

impl fmt::Debug for LogSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSigner")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

struct LogSignature<'a>(&'a Half);

impl signed_note::Signer for LogSignature<'_> {
    fn name(&self) -> &str {
        self.0.public.name()
    }

    fn key_id(&self) -> u32 {
        self.0.public.id()
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, ed25519_dalek::ed25519::Error> {
        Ok(self.0.secret.try_sign(text)?.to_vec())
    }
}

struct Cosignature<'a> {
    key: &'a Half,
    time: u64,
}

impl signed_note::Signer for Cosignature<'_> {
    fn name(&self) -> &str {
        self.key.public.name()
    }

    fn key_id(&self) -> u32 {
        self.key.public.id()
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, ed25519_dalek::ed25519::Error> {
        let signature = self
            .key
            .secret
            .try_sign(&cosigned_message(self.time, text))?;
        Ok([&self.time.to_be_bytes()[..], &signature.to_bytes()].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::empty_root;

    #[test]
    fn a_signer_signs_for_its_own_log_only() {
        let signer = LogSigner::from_seeds("a", [1; 32], [2; 32]).unwrap();
        let other = Checkpoint {
            origin: "b".to_owned(),
            size: 0,
            root: empty_root(),
        };
        assert!(matches!(
            signer.sign(&other, 0),
            Err(SignError::OtherOrigin { .. })
        ));
    }

    #[test]
    fn names_and_keys_that_cannot_be_verified_are_refused() {
        for name in ["", "a b", "a+b", "a\n", "\u{1b}"] {
            assert!(
                matches!(
                    LogSigner::from_seeds(name, [1; 32], [2; 32]),
                    Err(SignError::Origin(_))
                ),
                "{name:?}"
            );
        }
        assert!(matches!(
            LogSigner::from_seeds("a", [1; 32], [1; 32]),
            Err(SignError::SameKey)
        ));
    }

    #[test]
    fn secret_keys_are_never_shown() {
        let signer = LogSigner::from_seeds("a", [1; 32], [2; 32]).unwrap();
        let shown = format!("{signer:?}");
        assert!(shown.contains("a+"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(!shown.contains("[1, 1"), "{shown}");
    }
}
