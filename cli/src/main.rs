//! `landfall`: every program and command in one binary.
//!
//! Nothing lives here but composition: arguments in, one command, an exit code
//! out (0 done, 1 something found or not done, 2 wrong use or configuration,
//! 130 interrupted).

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

mod args;
mod command;
mod connect;
mod demo;
mod failure;
mod output;

use args::{Cli, Command};
use failure::{Failure, Verdict};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    landfall_runtime::install_crypto();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(format!("error: cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(Box::pin(run(cli.command)));
    // What a task left behind must not hold up the exit.
    runtime.shutdown_background();
    match ended {
        Ok(verdict) => verdict.into(),
        Err(failure) => {
            if !failure.message().is_empty() {
                output::note(format!("error: {}", failure.message()));
            }
            ExitCode::from(failure.code())
        }
    }
}

async fn run(command: Command) -> Result<Verdict, Failure> {
    use command::{
        audit, explain, gate, generate, history, log, operation, plan, project, promote, reconcile,
        revert, run, search, status, token, validate, wait, withdraw,
    };
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Coordinator(command) => run::coordinator(command).await,
        Command::Agent(command) => run::agent(command).await,
        Command::Redirector(command) => run::redirector(command).await,
        Command::Validate(args) => validate::run(args),
        Command::Plan(args) => plan::run(args).await,
        Command::Promote(args) => promote::run(args).await,
        Command::Reconcile(args) => reconcile::run(args).await,
        Command::Manifest(command) => generate::run(command).await,
        Command::Project(command) => project::run(command).await,
        Command::Token(command) => token::run(command).await,
        Command::Gate(command) => gate::run(command).await,
        Command::Revert(args) => revert::run(args).await,
        Command::Wait(args) => wait::run(args).await,
        Command::Withdraw(args) => withdraw::withdraw(args).await,
        Command::Reinstate(args) => withdraw::reinstate(args).await,
        Command::Audit(command) => audit::run(command).await,
        Command::Status(args) => status::run(args).await,
        Command::History(args) => history::run(args).await,
        Command::Operation(command) => operation::run(command).await,
        Command::Search(args) => search::run(args).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Log(command) => log::run(command).await,
    }
}
