//! What several commands take, each written once: flatten it.

use std::path::PathBuf;

use clap::Args;
use landfall_proto::v1::PlanOptions;

/// Where the coordinator is.
#[derive(Debug, Args)]
pub(crate) struct CoordinatorArgs {
    /// The coordinator's gRPC address.
    #[arg(long, value_name = "URL", env = "LANDFALL_COORDINATOR")]
    pub(crate) coordinator: String,
}

/// Which findings somebody has answered for.
#[derive(Debug, Default, Args)]
pub(crate) struct AcknowledgedArgs {
    /// File with acknowledged findings, which are shown and fail nothing; without
    /// it, `.landfall-acknowledged.toml` in DIR, if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) acknowledged: Option<PathBuf>,
}

/// Whose manifests are looked at.
#[derive(Debug, Default, Args)]
pub(crate) struct ProjectArgs {
    /// Only this project's manifests; may be given several times. Whose token is
    /// for one project promotes it so out of a tree of many.
    #[arg(long = "project", value_name = "P")]
    pub(crate) projects: Vec<String>,
}

/// What a plan may change beyond setting names that are new.
#[derive(Debug, Default, Args)]
pub(crate) struct ChangeArgs {
    /// Removes names that the manifests no longer list.
    #[arg(long)]
    pub(crate) prune: bool,
    /// Lets names move that are not configured as mutable.
    #[arg(long)]
    pub(crate) allow_tag_moves: bool,
    /// Lets more than 5 % of a project be removed, or lost in staging.
    #[arg(long)]
    pub(crate) allow_mass_change: bool,
    /// Promotes an image without the platforms that staging does not have.
    #[arg(long)]
    pub(crate) allow_sparse: bool,
    /// Looks at staging also for images whose names are as listed: for signatures
    /// that came later, and platforms that were missing.
    #[arg(long)]
    pub(crate) recheck: bool,
}

impl ChangeArgs {
    /// The same for the coordinator; findings are judged here, where it is known
    /// what is acknowledged, so it is never asked to be strict.
    pub(crate) fn options(&self) -> PlanOptions {
        PlanOptions {
            prune: self.prune,
            allow_tag_moves: self.allow_tag_moves,
            allow_mass_change: self.allow_mass_change,
            allow_sparse: self.allow_sparse,
            recheck: self.recheck,
            dry_run: false,
            unattended: false,
            recheck_within_seconds: 0,
            strict: false,
        }
    }
}
