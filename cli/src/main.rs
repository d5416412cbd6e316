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

use args::{
    AgentCommand, Cli, Command, CoordinatorCommand, GenerateCommand, LogCommand, ManifestCommand,
    ProjectCommand, RedirectorCommand, TokenCommand,
};
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
            output::note(format!("error: {}", failure.message()));
            ExitCode::from(failure.code())
        }
    }
}

async fn run(command: Command) -> Result<Verdict, Failure> {
    use command::{
        explain, generate, history, log, plan, project, promote, revert, run, status, token,
        validate, wait, withdraw,
    };
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Coordinator(CoordinatorCommand::Init(args)) => run::init_coordinator(args).await,
        Command::Coordinator(CoordinatorCommand::Run(args)) => run::coordinator(args).await,
        Command::Agent(AgentCommand::Run(args)) => run::agent(args).await,
        Command::Redirector(RedirectorCommand::Run(args)) => run::redirector(args).await,
        Command::Validate(args) => validate::run(args),
        Command::Plan(args) => plan::run(args).await,
        Command::Promote(args) => promote::run(args).await,
        Command::Manifest(ManifestCommand::Generate(GenerateCommand::Files(args))) => {
            generate::files(args).await
        }
        Command::Manifest(ManifestCommand::Generate(GenerateCommand::Images(args))) => {
            generate::images(args).await
        }
        Command::Project(ProjectCommand::Apply(args)) => project::apply(args).await,
        Command::Token(TokenCommand::Create(args)) => token::create(args).await,
        Command::Token(TokenCommand::List(args)) => token::list(args).await,
        Command::Token(TokenCommand::Revoke(args)) => token::revoke(args).await,
        Command::Revert(args) => revert::run(args).await,
        Command::Wait(args) => wait::run(args).await,
        Command::Withdraw(args) => withdraw::withdraw(args).await,
        Command::Reinstate(args) => withdraw::reinstate(args).await,
        Command::Status(args) => status::run(args).await,
        Command::History(args) => history::run(args).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Log(LogCommand::Checkpoint(args)) => log::checkpoint(args).await,
        Command::Log(LogCommand::Verify(args)) => log::verify(args).await,
    }
}
