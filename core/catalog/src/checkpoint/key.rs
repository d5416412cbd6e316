//! Verifier keys, and the two that a reader pins.

use std::fmt;
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ed25519_dalek::{Signature, VerifyingKey};

use super::is_log_name;
use crate::excerpt::excerpt;
use crate::string_form::serde_as_string;

const ED25519: u8 = 0x01;
const COSIGNATURE: u8 = 0x04;

/// What a key signs, and how: the type byte of signed-note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// Type 0x01, plain Ed25519 over the note's text: the log's own signature.
    Log,
    /// Type 0x04, Ed25519 over time and text: a timestamped cosignature.
    Timestamp,
}

impl KeyKind {
    const fn type_byte(self) -> u8 {
        match self {
            Self::Log => ED25519,
            Self::Timestamp => COSIGNATURE,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "log",
            Self::Timestamp => "timestamp",
        })
    }
}

/// A public key of a log, with the name and the kind that it is used under.
/// Text form: `name+<8 hex digits of the key id>+<base64 of type and key>`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    id: u32,
    key: VerifyingKey,
}

/// Why a text is not a usable verifier key. The input's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not `name+hex+base64` of an Ed25519 point.
    #[error("\"{0}\" is not a verifier key")]
    Syntax(String),
    /// A type of signature that is not used here.
    #[error("verifier key of \"{name}\" has type {type_byte:#04x}, neither 0x01 nor 0x04")]
    Kind {
        /// Name of the key.
        name: String,
        /// Its type byte.
        type_byte: u8,
    },
    /// The id is not the one that follows from name and key: a typing error.
    #[error("verifier key of \"{0}\" does not match its id")]
    Id(String),
}

impl VerifierKey {
    /// The key under `name`; the name has been checked.
    pub(super) fn new(name: &str, kind: KeyKind, key: VerifyingKey) -> Self {
        let id = signed_note::key_id(name, &typed(kind, &key));
        Self {
            name: name.to_owned(),
            kind,
            id,
            key,
        }
    }

    /// Name of the key: the origin of its log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key id that signature lines carry (signed-note).
    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// True if `signature` is this Ed25519 key's over `message`. Strict: keys
    /// and points of small order are refused.
    pub(super) fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

fn typed(kind: KeyKind, key: &VerifyingKey) -> [u8; 33] {
    let mut bytes = [kind.type_byte(); 33];
    bytes[1..].copy_from_slice(key.as_bytes());
    bytes
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64_STANDARD.encode(typed(self.kind, &self.key));
        write!(f, "{}+{:08x}+{key}", self.name, self.id)
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let syntax = || KeyError::Syntax(excerpt(text));
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(syntax());
        };
        if !is_log_name(name) || key.len() > 64 {
            return Err(syntax());
        }
        let bytes = BASE64_STANDARD.decode(key).map_err(|_| syntax())?;
        let Some((type_byte, point)) = bytes.split_first() else {
            return Err(syntax());
        };
        let kind = match *type_byte {
            ED25519 => KeyKind::Log,
            COSIGNATURE => KeyKind::Timestamp,
            type_byte => {
                return Err(KeyError::Kind {
                    name: name.to_owned(),
                    type_byte,
                });
            }
        };
        let point: &[u8; 32] = point.try_into().map_err(|_| syntax())?;
        let key = VerifyingKey::from_bytes(point).map_err(|_| syntax())?;
        let this = Self::new(name, kind, key);
        if id == format!("{:08x}", this.id) {
            Ok(this)
        } else {
            Err(KeyError::Id(name.to_owned()))
        }
    }
}

serde_as_string!(VerifierKey);

/// The two keys of a log that a reader trusts: the one that signs it and the
/// one that timestamps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedKeys {
    log: VerifierKey,
    timestamp: VerifierKey,
}

/// Why some keys are not the two of one log. The input's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// One of them is not a key.
    #[error("a pinned key cannot be read")]
    Key(#[source] KeyError),
    /// Not exactly one key of that kind.
    #[error("{count} {kind} keys are pinned instead of one")]
    Count {
        /// The kind.
        kind: KeyKind,
        /// How many there are.
        count: usize,
    },
    /// The two keys have different names.
    #[error("the pinned keys are of two logs, \"{0}\" and \"{1}\"")]
    Names(String, String),
    /// One public key is used for both, which lets one kind of signature be
    /// taken for the other.
    #[error("the pinned keys of \"{0}\" are one and the same key")]
    Same(String),
}

impl PinnedKeys {
    /// Pins exactly one key of each kind, both of the same log.
    ///
    /// # Errors
    ///
    /// [`PinError`] unless that is what `keys` are.
    pub fn try_new(keys: impl IntoIterator<Item = VerifierKey>) -> Result<Self, PinError> {
        let (mut logs, mut timestamps): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|key| key.kind == KeyKind::Log);
        let counted = |kind, count| match count {
            1 => Ok(()),
            count => Err(PinError::Count { kind, count }),
        };
        counted(KeyKind::Log, logs.len())?;
        counted(KeyKind::Timestamp, timestamps.len())?;
        let (log, timestamp) = (logs.swap_remove(0), timestamps.swap_remove(0));
        if log.name != timestamp.name {
            return Err(PinError::Names(log.name, timestamp.name));
        }
        if log.key == timestamp.key {
            return Err(PinError::Same(log.name));
        }
        Ok(Self { log, timestamp })
    }

    /// The same from text, as configuration has it.
    ///
    /// # Errors
    ///
    /// [`PinError`].
    pub fn parse<T: AsRef<str>>(keys: &[T]) -> Result<Self, PinError> {
        let keys: Result<Vec<_>, _> = keys.iter().map(|key| key.as_ref().parse()).collect();
        Self::try_new(keys.map_err(PinError::Key)?)
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.log.name
    }

    /// The key that signs the log.
    #[must_use]
    pub const fn log(&self) -> &VerifierKey {
        &self.log
    }

    /// The key that timestamps it.
    #[must_use]
    pub const fn timestamp(&self) -> &VerifierKey {
        &self.timestamp
    }

    /// Both keys as text, in the form of [`PinnedKeys::parse`].
    #[must_use]
    pub fn to_strings(&self) -> Vec<String> {
        vec![self.log.to_string(), self.timestamp.to_string()]
    }
}

impl TryFrom<Vec<VerifierKey>> for PinnedKeys {
    type Error = PinError;

    fn try_from(keys: Vec<VerifierKey>) -> Result<Self, PinError> {
        Self::try_new(keys)
    }
}

impl TryFrom<&[String]> for PinnedKeys {
    type Error = PinError;

    fn try_from(keys: &[String]) -> Result<Self, PinError> {
        Self::parse(keys)
    }
}

impl signed_note::Verifiers for PinnedKeys {
    fn verifier(
        &self,
        name: &str,
        id: u32,
    ) -> Result<&dyn signed_note::Verifier, signed_note::VerificationError> {
        [&self.log, &self.timestamp]
            .into_iter()
            .find(|key| key.name == name && key.id == id)
            .map(|key| -> &dyn signed_note::Verifier { key })
            .ok_or_else(|| signed_note::VerificationError::UnknownKey {
                name: name.to_owned(),
                id,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOO: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    fn key(seed: u8, kind: KeyKind, name: &str) -> VerifierKey {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        VerifierKey::new(name, kind, secret.verifying_key())
    }

    #[test]
    fn keys_read_back_as_they_are_shown() {
        let foo: VerifierKey = FOO.parse().unwrap();
        assert_eq!(foo.name(), "example.com/foo");
        assert_eq!(foo.kind(), KeyKind::Log);
        assert_eq!(foo.to_string(), FOO);
        let timestamp = key(1, KeyKind::Timestamp, "a");
        assert_eq!(timestamp.to_string().parse(), Ok(timestamp));
    }

    #[test]
    fn malformed_keys_are_refused() {
        let flipped_id = FOO.replace("530d903a", "530d903b");
        let upper_id = FOO.replace("530d903a", "530D903A");
        let renamed = FOO.replace("/foo", "/bar");
        let long = format!("{FOO}{}", "A".repeat(4000));
        for bad in [
            "",
            "+",
            "++",
            "a+b",
            "a b+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "a+00000000+",
            "a+00000000+AQ==",
            "a+00000000+!!!!",
            &flipped_id,
            &upper_id,
            &renamed,
            &long,
        ] {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
        }
        let post_quantum = format!("a+00000000+{}", BASE64_STANDARD.encode([6; 33]));
        assert!(matches!(
            post_quantum.parse::<VerifierKey>(),
            Err(KeyError::Kind { type_byte: 6, .. })
        ));
    }

    #[test]
    fn exactly_one_key_of_each_kind_of_one_log_is_pinned() {
        let log = key(1, KeyKind::Log, "a");
        let timestamp = key(2, KeyKind::Timestamp, "a");
        let pinned = PinnedKeys::try_new([timestamp.clone(), log.clone()]).unwrap();
        assert_eq!((pinned.log(), pinned.timestamp()), (&log, &timestamp));
        assert_eq!(PinnedKeys::parse(&pinned.to_strings()), Ok(pinned));
        for keys in [
            vec![],
            vec![log.clone()],
            vec![timestamp.clone()],
            vec![log.clone(), log.clone(), timestamp],
            vec![log.clone(), key(2, KeyKind::Timestamp, "b")],
            vec![log, key(1, KeyKind::Timestamp, "a")],
        ] {
            assert!(PinnedKeys::try_new(keys.clone()).is_err(), "{keys:?}");
        }
        assert!(matches!(
            PinnedKeys::parse(&["nonsense"]),
            Err(PinError::Key(_))
        ));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_is_a_key_only_in_its_one_spelling(text in "[a+]{1,3}[+][0-9a-fA-F]{8}[+][A-Za-z0-9+/=]{40,48}") {
            if let Ok(key) = text.parse::<VerifierKey>() {
                proptest::prop_assert_eq!(key.to_string(), text);
            }
        }

        #[test]
        fn no_changed_character_of_a_key_goes_unseen(at in 0..FOO.len(), with in "[ -~]") {
            let changed = format!("{}{with}{}", &FOO[..at], &FOO[at + 1..]);
            proptest::prop_assert_eq!(changed.parse::<VerifierKey>().is_ok(), changed == FOO);
        }
    }
}
