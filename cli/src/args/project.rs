//! From where and to where projects are promoted.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::CoordinatorArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    /// Registers the registries and file stores of every project in the manifests.
    Apply(ProjectApplyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ProjectApplyArgs {
    /// A root of manifests, or a folder that holds several.
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Only says what would change.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
