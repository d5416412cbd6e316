//! The coordinator: records what was promoted in the signed catalog, brings it
//! to the origin, publishes the log, and knows the fleet.
//!
//! A walk through it: `grpc/promotion` receives manifests; `promote/plan` makes
//! a plan of them and `promote/resolve` looks at staging; confirmed, the plan is
//! an operation (`promote/operation`) that copies (`promote/execute`) and ends in
//! one revision (`promote/compose`, `publish`), or with a gate (`promote/gate`,
//! `promote/operation/gate`) in two. `grpc/fleet` holds the agents'
//! sessions, `fleet` what they report, `grpc/routing` tells redirectors, and `web`
//! serves the log, the origin and the state of the whole. `promote/follow` shows
//! names at an origin that others serve, `withdraw` takes content away, `audit`
//! compares the origin with the catalog and mends it, `search` finds names, and
//! `history` tells what happened to them.
//!
//! # Invariants
//!
//! - Content is durable and verified at the origin before a revision names it;
//!   a revision is in the database before it is in the log's files, and there
//!   before anybody is told.
//! - A signed checkpoint is never contradicted, whatever is killed when.
//! - What is executed is within the plan that was confirmed; each entry has its
//!   own outcome, and one bad entry holds up nothing.
//! - Silence changes nothing: neither the end of a session nor a restart takes a
//!   report back.
//! - Every handler knows its principal and asks the one authorization table.
//!
//! # Deliberately absent
//!
//! The identity of machines (only loopback is served; there, tokens limit who
//! uses them), audits of mirrors, leases and directives for agents, state engines
//! other than `SQLite`. None of them is half there.

mod app;
mod audit;
mod behind;
mod catalog;
pub mod config;
mod fleet;
mod grpc;
mod history;
mod keys;
mod metrics;
#[doc(hidden)]
pub mod outside;
mod owned;
mod principal;
mod promote;
mod publish;
pub mod search;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod text;
mod tokens;
mod web;
mod withdraw;

pub use app::{RunError, RunOptions, init, run};
pub use config::Config;
