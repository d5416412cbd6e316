//! The catalog's log as a thing on disk and on the wire: kept durably, followed,
//! published, verified.
//!
//! - [`LogDisk`] keeps a log as a C2SP tlog-tiles tree below a directory, and
//!   [`LogReader`] reads what is committed there; [`load_catalog`] folds it.
//! - [`follow`] is what agents and redirectors do: take the log from a
//!   coordinator's stream or from static files, verify, persist, hand on.
//! - [`publish`] is what the coordinator does: persist, then tell everybody, over
//!   `Catalog.Watch` and as static files.
//! - [`verify`] checks a served log from its first entry to its last.
//!
//! What this crate deliberately does not do: it holds no secret key and signs
//! nothing, decides nothing about what belongs in the catalog, and spawns no
//! tasks of its own. It does not repair a log that was damaged on disk: it refuses
//! to use it, since what was held there is what protects against a rollback.
//!
//! Invariants: the log never goes back and never forks; a revision is on the disk
//! whole, under a verified checkpoint, before anybody is told of it; no entry is
//! folded or handed on that does not hash to the held root; entries are kept as
//! the bytes that were hashed and never re-encoded.

mod disk;
mod edge;
mod error;
pub mod follow;
pub mod publish;
mod reader;
mod refusal;
mod remote;
mod replay;
pub mod verify;

pub use disk::LogDisk;
pub use error::LogError;
pub use reader::LogReader;
pub use refusal::{Advance, Refusal, judge};
pub use remote::FetchError;
pub use replay::load_catalog;
