//! The redirector: sends every user to the nearest mirror that is ready for exactly what they ask for.
//!
//! It follows the signed catalog and the coordinator's view of the fleet, keeps both in memory and on disk, probes
//! the mirrors and the origin itself, and answers HTTP from memory: files and blobs with redirects, OCI tags, referrers and
//! manifests by itself. What is decided is decided by `landfall_route` and looked up in `landfall_catalog`; here are
//! the shells around them.
//!
//! # Invariants
//!
//! - An answer is a pure function of the catalog, the fleet view, the place of the client and the request
//!   ([`http::answer`]).
//! - A `Location` is built from parsed names and the fleet view only, and names no mirror that has not reported the
//!   object ready, by an ordinal of our own log ([`reports`]).
//! - Names are resolved from the signed catalog only; the bytes of an OCI manifest are hashed before anybody sees them.
//! - Silence of the coordinator changes nothing: the last good view stays, in memory and across a restart.
//! - Logs hold no full client address.
//!
//! # Deliberately absent
//!
//! Serving content: what is not an OCI manifest is always a redirect. Metalinks, checksums beside files and small
//! files answered directly are not there yet, nor answers over DNS, nor reports of traffic.

pub mod app;
pub mod came_back;
pub mod config;
pub mod fleet;
pub mod follow;
pub mod http;
pub mod last_good;
pub mod locate;
pub mod metrics;
pub mod oci_manifests;
pub mod probe;
pub mod reports;
pub mod routing;
pub mod upkeep;
pub mod view;

#[cfg(test)]
mod tests;

pub use app::{RunError, RunOptions, run};
pub use config::Config;
