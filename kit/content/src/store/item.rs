use landfall_catalog::{Digest, MediaType, Repository};

/// An object, with what a store has to know to place it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// What it is: a bucket says so to whoever asks for it, and a registry
    /// keeps OCI manifests apart from blobs.
    pub media_type: MediaType,
    /// The repository that it is wanted in. Only a registry needs one.
    pub repository: Option<Repository>,
}

impl Item {
    /// An object of no particular kind and in no repository.
    #[must_use]
    pub fn new(digest: Digest, size: u64) -> Self {
        Self {
            digest,
            size,
            media_type: MediaType::octet_stream(),
            repository: None,
        }
    }
}
