//! Objects: bytes known by their SHA-256, and how they hang together.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::digest::Digest;
use crate::excerpt::excerpt;
use crate::string_form::serde_as_string;

/// Length of a piece, in bytes: objects larger than one have a piece list, so
/// that parts of them can be checked.
pub const PIECE_SIZE: u64 = 4 << 20;

/// Longest media type, in bytes (RFC 6838 section 4.2 allows 127 on each side
/// of the slash).
const MAX_MEDIA_TYPE_BYTES: usize = 255;

/// Dense number of an object: the position of its entry among all
/// `ObjectAdded` entries, from 0. One per digest, never reused.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Ordinal(u32);

impl Ordinal {
    /// The ordinal of that number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Number of a commit in the log: 1, 2, 3 …; 0 before the first.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Revision(u64);

impl Revision {
    /// Before the first commit.
    pub const ZERO: Self = Self(0);

    /// The revision of that number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A media type (RFC 6838): `type/subtype` with optional parameters, visible
/// ASCII and spaces, at most 255 bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(Arc<str>);

/// A text that is not a media type. The input's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{value}\" is not a media type")]
pub struct MediaTypeError {
    value: String,
}

impl MediaType {
    /// Checks `text`.
    ///
    /// # Errors
    ///
    /// [`MediaTypeError`] unless it is `type/subtype` and so on.
    pub fn try_new(text: impl Into<String>) -> Result<Self, MediaTypeError> {
        text.into().parse()
    }

    /// `application/octet-stream`: bytes that nothing more is known about.
    #[must_use]
    pub fn octet_stream() -> Self {
        Self("application/octet-stream".into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MediaType {
    type Err = MediaTypeError;

    fn from_str(text: &str) -> Result<Self, MediaTypeError> {
        let is_visible = |byte: u8| (b' '..=b'~').contains(&byte);
        let well_formed = text.len() <= MAX_MEDIA_TYPE_BYTES
            && text.bytes().all(is_visible)
            && text
                .split_once('/')
                .is_some_and(|(kind, rest)| is_token(kind) && rest.starts_with(is_token_char));
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err(MediaTypeError {
                value: excerpt(text),
            })
        }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_token_char)
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$&-^_.+*".contains(c)
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

serde_as_string!(MediaType);

/// That an object speaks about another one, as a signature or an SBOM does:
/// what an answer of the OCI referrers API needs beside the descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    /// The object that is spoken about. It need not be in the catalog.
    pub subject: Digest,
    /// `artifactType` of the referrer's OCI manifest.
    pub artifact_type: String,
    /// `annotations` of the referrer's OCI manifest. Bounded by the entry.
    pub annotations: BTreeMap<String, String>,
}

/// An object as the log records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// What its bytes are.
    pub media_type: MediaType,
    /// The objects it needs, each recorded before it: OCI manifests of an
    /// index, config and layers of an OCI manifest. Never foreign layers.
    pub children: Vec<Digest>,
    /// What it refers to, if it is a referrer.
    pub referrer: Option<Referrer>,
    /// SHA-256 of its piece list (the raw SHA-256 of each [`PIECE_SIZE`] bytes,
    /// concatenated), if it is larger than one piece.
    pub pieces: Option<Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_bounded_and_printable() {
        for good in [
            "application/vnd.oci.image.index.v1+json",
            "text/plain; charset=utf-8",
            "a/b",
        ] {
            assert_eq!(good.parse::<MediaType>().unwrap().as_str(), good);
        }
        let long = format!("a/{}", "b".repeat(254));
        for bad in [
            "", "a", "/", "a/", "/b", "a /b", "a/ b", "a/b\n", "a/é", &long,
        ] {
            assert!(bad.parse::<MediaType>().is_err(), "{bad:?}");
        }
    }
}
