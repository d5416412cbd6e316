//! The wire: schema, generated code, and the one place where wire types become
//! validated model types.
//!
//! `landfall/v1/*.proto` is the schema, one file a service and one for what they
//! share; [`v1`] is what protox and prost make of it. Nothing outside the
//! programs' `grpc` folders works on [`v1`] types: [`model`] turns them into the
//! types of the `core` crates on receipt, refusing whatever is not valid, and
//! back. [`status`] holds the one table from an error to its gRPC and HTTP status.
//!
//! What this crate deliberately does not do: connect, serve, or decide.
//!
//! Invariants: a log entry that was read is never re-encoded; a value that left
//! [`model`] needs no second check; unknown enum values and unknown entry kinds
//! are tolerated as "not usable", never as something else.

/// Generated from `landfall/v1/*.proto`; documented there.
#[allow(
    missing_docs,
    clippy::doc_markdown,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    reason = "generated; its documentation is the schema's"
)]
pub mod v1 {
    tonic::include_proto!("landfall.v1");
}

pub mod model;
pub mod status;

pub use model::WireError;

/// The encoded descriptors of the schema, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/landfall.v1.bin"));
