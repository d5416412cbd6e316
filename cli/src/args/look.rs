//! Asking, without changing anything.

use std::net::IpAddr;

use clap::Args;

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
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// At most this many, newest first.
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: u32,
    /// One JSON object a line.
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
