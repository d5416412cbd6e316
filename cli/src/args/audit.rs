//! Comparing production with what was approved.

use clap::{Args, Subcommand};

use super::CoordinatorArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Hashes everything that the origin holds again, and looks up every name.
    Origin(AuditOriginArgs),
    /// Follows an audit that somebody started, or tells of one that has ended.
    Follow(AuditFollowArgs),
    /// Ends the audit that runs; what it has found is kept.
    Stop(AuditStopArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AuditOriginArgs {
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Fetches what differs from any mirror that has it, and sets names right.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Most that is read of the origin's store, as `200MB/s`.
    #[arg(long, value_name = "RATE", value_parser = crate::output::rate)]
    pub(crate) bandwidth: Option<u64>,
    /// One JSON event a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AuditFollowArgs {
    /// The audit; without one, the newest.
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// One JSON event a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AuditStopArgs {
    /// The audit; without one, whichever runs.
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
}
