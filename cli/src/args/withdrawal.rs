//! Taking content away from everybody, and giving it back.

use clap::Args;

use super::CoordinatorArgs;

#[derive(Debug, Args)]
pub(crate) struct WithdrawArgs {
    /// `repository:tag`, `repository@digest`, a file's path, a digest, a
    /// repository, or everything below `prefix/`.
    #[arg(value_name = "NAME|DIGEST|PREFIX/")]
    pub(crate) what: String,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Why; users are told.
    #[arg(long)]
    pub(crate) reason: String,
    /// Only says what it would come to.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Withdraws live images that hold it, too, instead of refusing.
    #[arg(long)]
    pub(crate) with_parents: bool,
    /// As one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReinstateArgs {
    /// As it was withdrawn, or any name or digest of it.
    #[arg(value_name = "NAME|DIGEST|PREFIX/")]
    pub(crate) what: String,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Why, for the catalog and the history.
    #[arg(long)]
    pub(crate) reason: String,
    /// Only says what it would come to.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
