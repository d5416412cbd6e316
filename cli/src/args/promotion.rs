//! Changing the catalog by plan and confirmation, and waiting for the mirrors.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{AcknowledgedArgs, ChangeArgs, CoordinatorArgs, GateArgs, ProjectArgs};

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// A root of manifests, a folder that holds several, or one file with both halves.
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) only: ProjectArgs,
    /// Plans against this coordinator's catalog and resolves against staging;
    /// without it, against an empty catalog, offline.
    ///
    /// `LANDFALL_COORDINATOR` names one, too, unless there is --config.
    #[arg(long, value_name = "URL")]
    pub(crate) coordinator: Option<String>,
    /// File with the `[[production]]` rules, for a plan without coordinator.
    #[arg(long, value_name = "FILE", conflicts_with = "coordinator")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) known: AcknowledgedArgs,
    #[command(flatten)]
    pub(crate) changes: ChangeArgs,
    /// Shows every name, however many there are of a kind.
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// The plan as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// A root of manifests, a folder that holds several, or one file with both halves.
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) only: ProjectArgs,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Executes the plan just resolved; with a digest, that one or none.
    #[arg(long, value_name = "DIGEST", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) confirm: Option<String>,
    #[command(flatten)]
    pub(crate) changes: ChangeArgs,
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    /// Fails on any finding instead of quarantining entries.
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) known: AcknowledgedArgs,
    /// Why, for the catalog and the history.
    #[arg(long, default_value = "")]
    pub(crate) why: String,
    /// Commit id of the manifests; found by itself in a git checkout.
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// Shows every name, however many there are of a kind.
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// One JSON event a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How often something is done; none: never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Every(pub(crate) Option<Duration>);

impl Every {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self(None)),
            text => crate::output::duration_with_unit(text).map(|every| Self(Some(every))),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ReconcileArgs {
    /// A root of manifests, a folder that holds several, or one file with both halves.
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) only: ProjectArgs,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Goes on until it is stopped, with a round about every so often, as `10m`.
    #[arg(long, value_name = "D", value_parser = crate::output::duration_with_unit)]
    pub(crate) interval: Option<Duration>,
    /// Removes names that the manifests no longer list.
    #[arg(long)]
    pub(crate) prune: bool,
    /// Looks at staging also for images whose names are as listed: for signatures
    /// that came later, and platforms that were missing.
    #[arg(long)]
    pub(crate) recheck: bool,
    /// Rechecks what was published in that time, as `30d`; all, if it is not said
    /// with --recheck, and the last 30 days otherwise.
    #[arg(long, value_name = "D", value_parser = crate::output::duration_with_unit)]
    pub(crate) recheck_within: Option<Duration>,
    /// With --interval: how often that is done by itself; `never`: only with --recheck.
    #[arg(long, value_name = "D", default_value = "1d", value_parser = Every::parse)]
    pub(crate) recheck_every: Every,
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    #[command(flatten)]
    pub(crate) known: AcknowledgedArgs,
    /// Why, for the catalog and the history.
    #[arg(long, default_value = "reconcile")]
    pub(crate) why: String,
    /// Commit id of the manifests; found by itself in a git checkout.
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// One JSON object a round.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RevertArgs {
    /// The revision after which the names were as they are to be.
    pub(crate) revision: u64,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Only the names of this project.
    #[arg(long, value_name = "P")]
    pub(crate) project: Option<String>,
    /// Executes the plan just made; with a digest, that one or none.
    #[arg(long, value_name = "DIGEST", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) confirm: Option<String>,
    /// Why, for the catalog and the history.
    #[arg(long, default_value = "")]
    pub(crate) why: String,
    /// Shows every name, however many there are of a kind.
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// One JSON event a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The revision.
    pub(crate) revision: u64,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Percent of the active mirrors that are to have its names.
    #[arg(long, value_name = "P%", value_parser = crate::output::percent)]
    pub(crate) ready: u8,
    /// Gives up after this time, as `30m`; exit code 1.
    #[arg(long, value_name = "D", value_parser = crate::output::duration, default_value = "30m")]
    pub(crate) timeout: Duration,
    /// One JSON event a line; the last says how it ended.
    #[arg(long)]
    pub(crate) json: bool,
}
