//! OCI documents: image manifests and indexes (and Docker's schema 2 twins),
//! what they need, and where they lie in a registry.

mod descriptor;

pub use descriptor::Descriptor;
