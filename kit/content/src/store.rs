//! Places that keep objects under their digest.

mod directory;
mod error;

pub use directory::{DirectoryStore, NamesBatch, NamesReport, PartialWriter, WriterOptions};
pub use error::StoreError;
