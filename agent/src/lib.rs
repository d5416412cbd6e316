//! The agent: fills one mirror's store from the catalog, serves what is ready,
//! and reports what it durably holds.
//!
//! It follows the signed log, works out what it wants and lacks, fetches each
//! object from whom the redirector names (or from the origin), and counts only
//! bytes whose SHA-256 it has checked and synced to disk. Names are put in
//! place after their objects, and reported after that.
//!
//! Deliberately absent: any trust in a source, and any decision about other
//! mirrors. It deletes what was withdrawn and what only that needed, and nothing
//! else; a coordinator that is silent changes nothing in what it serves.
//!
//! Invariants:
//! - What it reports is durable: stored, hashed, named.
//! - What it serves is ready, and not withdrawn.
//! - Killed at any moment it starts again and carries on from what is verified.

mod app;
mod config;
mod fill;
mod holdings;
mod metrics;
mod names;
mod serve;
mod session;
mod shelf;
#[cfg(test)]
mod testing;
mod want;

pub use app::{RunError, RunOptions, run};
pub use config::{Config, MirrorConfig, StoreConfig};
pub use want::Filter;
