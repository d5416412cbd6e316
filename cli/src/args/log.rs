//! The signed log.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Prints the newest checkpoint, as signed.
    Checkpoint(LogArgs),
    /// Verifies the whole log: signatures, every entry, every tile, the root.
    Verify(LogVerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// The coordinator; it says where the log is.
    ///
    /// `LANDFALL_COORDINATOR` names one, too, unless there is --url.
    #[arg(long, value_name = "URL")]
    pub(crate) coordinator: Option<String>,
    /// Or the log's static files, as `http://…/.landfall`.
    #[arg(long, value_name = "URL", conflicts_with = "coordinator")]
    pub(crate) url: Option<String>,
    /// A verifier key of the log (`name+hash+base64`); give both. Needed with
    /// --url; on loopback with --coordinator the keys that it presents are used.
    #[arg(long = "key", value_name = "KEY")]
    pub(crate) keys: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogVerifyArgs {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    /// A checkpoint seen before: the log has to be consistent with it.
    #[arg(long, value_name = "FILE")]
    pub(crate) held: Option<PathBuf>,
    /// As one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
