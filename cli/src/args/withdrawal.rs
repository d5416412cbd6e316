//! Taking content away from everybody, and giving it back.

use std::time::Duration;

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
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
    /// Waits so long, for instance `1m`, until every mirror has said that it holds
    /// none of it any more.
    #[arg(long, value_name = "D", value_parser = crate::output::duration)]
    pub(crate) wait: Option<Duration>,
    /// Withdraws live images that need it, too.
    #[arg(long, conflicts_with = "leave_parents")]
    pub(crate) with_parents: bool,
    /// Leaves live images that need it, without it: who pulls just this part of
    /// them is told that it is withdrawn.
    #[arg(long)]
    pub(crate) leave_parents: bool,
    /// Withdraws it under its other names, too.
    #[arg(long, conflicts_with = "keep_shared")]
    pub(crate) with_other_names: bool,
    /// Leaves what has other names, too, under all its names.
    #[arg(long)]
    pub(crate) keep_shared: bool,
    /// Takes away just the names that were asked for where the content has other
    /// names, too: it stays under these. `reconcile` does not set them again.
    #[arg(long, conflicts_with_all = ["keep_shared", "with_other_names"])]
    pub(crate) drop_names: bool,
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
