//! The programs, which run until they are stopped.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Ends after showing it, with exit code 0 only if all of it held.
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CoordinatorCommand {
    /// Creates keys and database, and prints the log's verifier keys.
    Init(RunArgs),
    /// Runs it.
    Run(CoordinatorRunArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CoordinatorRunArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// The origin is really lost: starts with one that has nothing of the catalog, to be filled by
    /// `landfall audit origin --repair`.
    #[arg(long)]
    pub(crate) origin_is_lost: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Runs it.
    Run(RunArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum RedirectorCommand {
    /// Runs it.
    Run(RunArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Configuration file (TOML). `LANDFALL__…` variables outweigh it, flags outweigh both.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Plain text without identity, on loopback addresses only.
    #[arg(long)]
    pub(crate) insecure_loopback: bool,
    /// Sets one configuration key, as `listen.http=127.0.0.1:0`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}
