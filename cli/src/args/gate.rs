//! Gates: names that wait until mirrors have their content.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use landfall_proto::v1;

use super::CoordinatorArgs;

/// How long names wait when nobody says.
const USUAL_TIMEOUT: Duration = Duration::from_secs(3600);

/// Whether a promotion has a gate, and when that opens.
#[derive(Debug, Default, Args)]
pub(crate) struct GateArgs {
    /// Content first; names when this many percent of the active mirrors of every
    /// region have it.
    #[arg(long = "gate", value_name = "P%", value_parser = crate::output::percent)]
    percent: Option<u8>,
    /// At least so many mirrors of every region; all, if it has fewer.
    #[arg(long = "gate-minimum", value_name = "N", requires = "percent")]
    minimum: Option<u32>,
    /// How long names wait, as `30m`; an hour, if it is not said.
    #[arg(long = "gate-timeout", value_name = "D", value_parser = crate::output::duration, requires = "percent")]
    timeout: Option<Duration>,
    /// What is done when that is over: tell people and go on waiting (hold, the
    /// usual), or drop the names (give-up). Either is exit code 1.
    #[arg(long = "gate-on-timeout", value_name = "WHAT", requires = "percent")]
    on_timeout: Option<OnTimeout>,
}

/// What is done with names that have waited too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnTimeout {
    Hold,
    GiveUp,
}

impl GateArgs {
    /// The same for the coordinator.
    pub(crate) fn terms(&self) -> Option<v1::GateTerms> {
        let on_timeout = match self.on_timeout {
            None | Some(OnTimeout::Hold) => v1::GateTimeout::Hold,
            Some(OnTimeout::GiveUp) => v1::GateTimeout::GiveUp,
        };
        Some(v1::GateTerms {
            percent: self.percent?.into(),
            minimum: self.minimum.unwrap_or_default(),
            timeout_seconds: self.timeout.unwrap_or(USUAL_TIMEOUT).as_secs(),
            on_timeout: on_timeout.into(),
        })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum GateCommand {
    /// The promotions whose names wait, and for which regions.
    List(GateListArgs),
    /// Sets the names now, whatever the mirrors have.
    Open(GateDecideArgs),
    /// Drops the names; what they were to mean goes with them. Reconcile and the
    /// jobs after a merge hold them back from then on, until somebody promotes them.
    GiveUp(GateDecideArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GateListArgs {
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GateDecideArgs {
    /// The operation, as `gate list` shows it.
    pub(crate) operation: String,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Why, for people.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// One JSON event a line.
    #[arg(long)]
    pub(crate) json: bool,
}
