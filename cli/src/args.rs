//! The command line, as `--help` prints it. A file for each family of commands;
//! what families share is in `shared`.

mod audit;
mod gate;
mod log;
mod look;
mod manifest;
mod program;
mod project;
mod promotion;
mod shared;
mod token;
mod withdrawal;

use clap::{Parser, Subcommand};

pub(crate) use audit::*;
pub(crate) use gate::*;
pub(crate) use log::*;
pub(crate) use look::*;
pub(crate) use manifest::*;
pub(crate) use program::*;
pub(crate) use project::*;
pub(crate) use promotion::*;
pub(crate) use shared::*;
pub(crate) use token::*;
pub(crate) use withdrawal::*;

/// Distributes a community's official artifacts through mirrors that other people run.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows the whole of it on this machine: staging, coordinator, three mirrors, redirector.
    Demo(DemoArgs),
    /// The coordinator: executes promotions and publishes the catalog.
    #[command(subcommand)]
    Coordinator(CoordinatorCommand),
    /// The agent: fills and serves one mirror.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// The redirector: sends every user to the nearest ready mirror.
    #[command(subcommand)]
    Redirector(RedirectorCommand),
    /// Checks promotion manifests, offline.
    Validate(ValidateArgs),
    /// Says what promoting the manifests would do; changes nothing.
    Plan(PlanArgs),
    /// Resolves the manifests against staging, and with --confirm promotes them.
    Promote(PromoteArgs),
    /// Promotes what the manifests of a checkout list and production lacks, once or at an interval.
    Reconcile(ReconcileArgs),
    /// Helps to write manifests.
    #[command(subcommand)]
    Manifest(ManifestCommand),
    /// From where and to where projects are promoted.
    #[command(subcommand)]
    Project(ProjectCommand),
    /// API tokens: who may promote what.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Names that wait until mirrors have their content.
    #[command(subcommand)]
    Gate(GateCommand),
    /// Plans the way back to how names were after a revision, and with --confirm goes it.
    Revert(RevertArgs),
    /// Waits until enough mirrors have the names of a revision.
    Wait(WaitArgs),
    /// Takes something that was promoted away from everybody, until it is reinstated.
    Withdraw(WithdrawArgs),
    /// Takes a withdrawal back.
    Reinstate(ReinstateArgs),
    /// Compares what the origin holds with what was approved.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The state of the catalog and of the mirrors.
    Status(StatusArgs),
    /// Past operations: when, who, why, and what became of them.
    History(HistoryArgs),
    /// A promotion that runs, or that ran.
    #[command(subcommand)]
    Operation(OperationCommand),
    /// Names that hold a text, or mean or hold a digest.
    Search(SearchArgs),
    /// Says where a client at an address is sent for a name, and why.
    Explain(ExplainArgs),
    /// The signed log of the catalog.
    #[command(subcommand)]
    Log(LogCommand),
}
