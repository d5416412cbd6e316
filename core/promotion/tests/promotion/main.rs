//! Whole trees of manifests: malformed ones and what is found in them, the real
//! tree of Kubernetes, and look-alikes of it.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside of #[test] functions"
)]

mod every_rule;
mod look_alike;
mod malformed;
mod planning;
mod real_tree;
mod support;
