use landfall_catalog::{Digest, MediaType};
use serde::{Deserialize, Serialize};

/// What the OCI image specification calls a content descriptor, reduced to
/// what is needed to fetch and check it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the bytes are.
    pub media_type: MediaType,
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
}
