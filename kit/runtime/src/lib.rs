//! What every Landfall program stands on: configuration, logs and traces,
//! metrics and health endpoints, tasks with an orderly end, clock, dialling,
//! retries and bounded reads.
//!
//! There is one mechanism for one thing here, so that programs do not grow
//! their own: one way to spawn ([`Tasks`]), one retry policy
//! ([`retry::retry`]), one configuration loader ([`config::load`]), one HTTP
//! server loop ([`ops::serve`]), one place that opens connections ([`dial`]).
//!
//! **Deliberately absent**: anything about artifacts, mirrors or the catalog;
//! a dependency-injection framework; global mutable state. The two process
//! globals that exist, the log subscriber and the crypto provider, are set
//! once and setting them again is harmless.
//!
//! **Invariants**
//! - A task that was spawned is awaited at shutdown, or named as unfinished.
//! - Every connection opened here has a connect timeout, and every idle one a
//!   keepalive: a peer that vanished is noticed.
//! - Plain-text URLs are dialled on loopback only.
//! - Configuration is read whole before it is refused: all faults at once.
//! - Nothing is read from outside without a limit.

pub mod bounded;
pub mod clock;
pub mod config;
pub mod dial;
pub mod ops;
pub mod ports;
pub mod retry;
mod shutdown;
pub mod tasks;
pub mod telemetry;

pub use clock::{Clock, ManualClock, SystemClock};
pub use shutdown::{Shutdown, StopSignal};
pub use tasks::{OnError, TaskFailure, Tasks};

/// Makes aws-lc the process's TLS crypto provider.
///
/// To be called first in every `main` and in the set-up of every test that
/// opens a TLS-capable client. Calling it again changes nothing.
pub fn install_crypto() {
    // Err means that a provider is installed already, which is what we want.
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
