//! A log as others see it: served over real gRPC and HTTP, followed, verified,
//! and forged in every way that has a name.

#![allow(
    clippy::unwrap_used,
    reason = "what fails here fails a test, in helpers too"
)]

mod follow;
mod forged;
mod publish;
mod support;
mod verify;
