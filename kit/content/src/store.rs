//! Places that keep objects under their digest: a folder, a bucket, a registry.
//! They have the same verbs and hold to the same promises, which one battery of
//! tests asks of each.

mod any;
mod aside;
mod assay;
#[cfg(test)]
mod battery;
mod bucket;
mod check;
mod claim;
mod destination;
mod directory;
mod error;
mod item;
mod marker;
mod registry;
mod stream;

pub use any::{NameChange, Store};
pub use aside::Shown;
pub use bucket::BucketStore;
pub(crate) use bucket::connect;
pub use destination::Destination;
pub(crate) use destination::Writer;
pub(crate) use directory::Index;
pub use directory::{DirectoryStore, NamesBatch, NamesReport, PartialWriter, WriterOptions};
pub use error::StoreError;
pub use item::Item;
pub use marker::MARKER;
pub use registry::{ASIDE, RegistryStore};
