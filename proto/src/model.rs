//! Wire types to model types and back, validated in this one place.

mod entry;
mod fleet;
mod readiness;

pub use entry::{decode_entry, encode_entry};
pub use fleet::{
    MAX_MIRROR_NAME, health_from_wire, health_to_wire, mirror_from_start, mirror_from_wire,
    mirror_to_wire, place_from_wire, place_to_wire, state_from_wire, state_to_wire,
};
pub use readiness::{ReadinessAssembler, readiness_to_wire};

use landfall_catalog::Digest;
use thiserror::Error;

use crate::status::{Classify, Fault};

/// A message that is not what the schema and its comments say.
#[derive(Debug, Error)]
pub enum WireError {
    /// The bytes are not a protobuf message of this kind.
    #[error("the message cannot be decoded")]
    Decode(#[from] prost::DecodeError),
    /// A field that has to be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field's value is not allowed.
    #[error("{field} is not valid: {why}")]
    Invalid {
        /// Path of the field in the message.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// An entry would be larger than the log takes.
    #[error("the entry has {0} bytes; at most 60000 are allowed")]
    TooLarge(usize),
}

impl Classify for WireError {
    fn fault(&self) -> Fault {
        Fault::InvalidInput
    }
}

/// Maps a parser's error to the field that it was about.
fn invalid<E: std::fmt::Display>(field: &'static str) -> impl Fn(E) -> WireError {
    move |why| WireError::Invalid {
        field,
        why: why.to_string(),
    }
}

/// A digest field: 32 raw bytes.
///
/// # Errors
/// [`WireError::Invalid`] if it has another length.
pub fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, WireError> {
    Digest::try_from_slice(bytes).map_err(invalid(field))
}

/// A digest field that may be empty for "none".
///
/// # Errors
/// [`WireError::Invalid`] if it is neither empty nor 32 bytes.
pub fn optional_digest(field: &'static str, bytes: &[u8]) -> Result<Option<Digest>, WireError> {
    if bytes.is_empty() {
        Ok(None)
    } else {
        digest(field, bytes).map(Some)
    }
}

/// A digest as a wire field.
#[must_use]
pub fn digest_to_wire(digest: &Digest) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(digest.as_bytes())
}
