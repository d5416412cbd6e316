//! Asking, without changing anything.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::CoordinatorArgs;

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// As one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// An operation or a revision: who, why, and what became of each entry.
    #[arg(value_name = "OPERATION|REVISION", conflicts_with_all = ["name", "project", "before", "limit"])]
    pub(crate) what: Option<String>,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// What ever happened to this: `repository:tag`, a path, a repository, a digest, or
    /// all below `prefix/`.
    #[arg(long, value_name = "NAME", conflicts_with = "project")]
    pub(crate) name: Option<String>,
    /// Only operations that were about this project.
    #[arg(long, value_name = "P")]
    pub(crate) project: Option<String>,
    /// Only what was before this revision; or, of operations, before this one.
    #[arg(long, value_name = "REVISION|OPERATION")]
    pub(crate) before: Option<String>,
    /// At most this many, newest first.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// A part of a name, or a digest: `sha256:` with at least its first six digits.
    pub(crate) text: String,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Only names of this kind.
    #[arg(long, value_name = "KIND", value_parser = ["image", "file"])]
    pub(crate) kind: Option<String>,
    /// At most this many names.
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: u32,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OperationCommand {
    /// Follows a running operation to its end; anybody may, and leave.
    Watch(OperationWatchArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OperationWatchArgs {
    /// The operation, as `history` shows it.
    pub(crate) operation: String,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// One JSON event a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// `repository:tag`, `repository@digest` or a file's path.
    pub(crate) name: String,
    /// The client's address.
    #[arg(long, value_name = "IP")]
    pub(crate) from: IpAddr,
    /// The redirector to ask.
    #[arg(long, value_name = "URL", required_unless_present = "coordinator")]
    pub(crate) redirector: Option<String>,
    /// Or the coordinator, which knows where redirectors answer.
    #[arg(long, value_name = "URL", env = "LANDFALL_COORDINATOR")]
    pub(crate) coordinator: Option<String>,
    /// As one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
