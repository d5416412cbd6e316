//! OCI documents: image manifests and indexes (and Docker's schema 2 twins),
//! what they need, and where they lie in a registry.
//!
//! Read as the OCI image and distribution specifications 1.1 say. Whatever is
//! ambiguous is refused rather than guessed: the bytes come from staging, which
//! nobody reviews.

mod closure;
mod descriptor;
mod document;
mod platform;
mod registry;

pub use closure::{Closure, ClosureError, ClosureLimits, ManifestReader, resolve_closure};
pub use descriptor::{Descriptor, Reference};
pub use document::{
    DOCKER_LIST, DOCKER_MANIFEST, Document, DocumentError, DocumentKind, INDEX, MANIFEST,
    MAX_CHILDREN, MAX_DOCUMENT_BYTES, is_manifest,
};
pub(crate) use platform::platform_in;
pub(crate) use registry::{
    Bearer, Session, arrived, complaint, granted, login, next_page, referrers_of, tags_of,
};
pub use registry::{
    Credentials, CredentialsError, RawManifest, Registry, RegistryAuth, RegistryError,
    RepositoryReader,
};
