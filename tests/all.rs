//! The one integration-test binary: rules of the tree, and stories told with
//! real processes and real peers.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on ends there, and says what it saw"
)]

mod deploy;
mod e2e;
mod faults;
mod support;
mod tidy;
