//! Where artifacts lie and how they get there: stores, verified transfer,
//! sources, OCI documents, and serving over HTTP.
//!
//! What it deliberately does not do: decide what a mirror should hold (the
//! programs do, from the catalog), who may be sent where (`landfall-route`), or
//! which name means which digest. It limits no bandwidth and deletes nothing on
//! its own account.
//!
//! Invariants:
//!
//! - A final name (`blobs/sha256/<hex>`, a file's path, an entry of
//!   `index.json`, a blob of a registry) appears only after the bytes behind it
//!   hashed to the digest asked for and were durable: fsynced, or acknowledged
//!   by the bucket or registry. No source is trusted for more than its bytes.
//! - Every transfer runs in bounded memory, and everything that is read whole
//!   (OCI documents, tokens, piece lists) has a limit.
//! - Dropping any future or killing the process at any point leaves only
//!   partial files behind, from which the next transfer goes on, or uploads that
//!   nobody can see, which the next one removes.
//! - Hashing and disk work happen on blocking threads.

pub mod oci;
#[doc(hidden)]
pub mod outside;
mod pace;
mod piece;
pub mod serve;
mod source;
mod store;
#[cfg(test)]
mod testing;
mod transfer;

pub use pace::{Pace, Paces, Taken, Turn};
pub use piece::{PieceHasher, PieceList, PieceListError, piece_count};
pub use source::{
    BaseError, FileBase, FileSource, HttpSource, Manners, ObjectStoreSource, Opened, ServedBy,
    Source, SourceError, SourceErrorKind, fetch_bytes,
};
pub use store::{
    ASIDE, BucketStore, Destination, DirectoryStore, Item, MARKER, NameChange, NamesBatch,
    NamesReport, PartialWriter, RegistryStore, Shown, Store, StoreError, WriterOptions,
};
pub use transfer::{
    FaultKind, Fetched, SourceFault, TransferError, TransferLimits, Want, fetch_pieces, transfer,
};
