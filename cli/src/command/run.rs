//! `landfall coordinator|agent|redirector run` and `coordinator init`.

use std::future::Future;

use landfall_proto::status::chain;
use landfall_runtime::{
    Shutdown,
    config::{ConfigFaults, process_environment},
    telemetry::{self, TelemetryOptions},
};

use crate::{
    args::{AgentCommand, CoordinatorCommand, CoordinatorRunArgs, RedirectorCommand, RunArgs},
    failure::{Failure, Verdict},
    output,
};

pub(crate) async fn coordinator(command: CoordinatorCommand) -> Result<Verdict, Failure> {
    match command {
        CoordinatorCommand::Init(args) => init_coordinator(args).await,
        CoordinatorCommand::Run(args) => run_coordinator(args).await,
    }
}

pub(crate) async fn agent(command: AgentCommand) -> Result<Verdict, Failure> {
    match command {
        AgentCommand::Run(args) => run_agent(args).await,
    }
}

pub(crate) async fn redirector(command: RedirectorCommand) -> Result<Verdict, Failure> {
    match command {
        RedirectorCommand::Run(args) => run_redirector(args).await,
    }
}

async fn init_coordinator(args: RunArgs) -> Result<Verdict, Failure> {
    let overrides = overrides(&args)?;
    let config =
        landfall_coordinator::Config::load(&args.config, process_environment(), &overrides)
            .map_err(bad_configuration)?;
    let keys = landfall_coordinator::init(&config).await.map_err(|error| {
        let is_wrong = error.is_configuration();
        ended_badly("cannot initialise the coordinator", &error, is_wrong)
    })?;
    for key in keys {
        output::line(&key)?;
    }
    Ok(Verdict::Done)
}

async fn run_coordinator(args: CoordinatorRunArgs) -> Result<Verdict, Failure> {
    let overrides = overrides(&args.run)?;
    let config =
        landfall_coordinator::Config::load(&args.run.config, process_environment(), &overrides)
            .map_err(bad_configuration)?;
    let options = landfall_coordinator::RunOptions {
        insecure_loopback: args.run.insecure_loopback,
        origin_is_lost: args.origin_is_lost,
        announce: Box::new(announce),
    };
    until_stopped(
        "landfall-coordinator",
        |shutdown| landfall_coordinator::run(config, options, shutdown),
        landfall_coordinator::RunError::is_configuration,
    )
    .await
}

async fn run_agent(args: RunArgs) -> Result<Verdict, Failure> {
    let overrides = overrides(&args)?;
    let config = landfall_agent::Config::load(&args.config, process_environment(), &overrides)
        .map_err(bad_configuration)?;
    let options = landfall_agent::RunOptions {
        insecure_loopback: args.insecure_loopback,
        announce: Box::new(announce),
    };
    until_stopped(
        "landfall-agent",
        |shutdown| landfall_agent::run(config, options, shutdown),
        landfall_agent::RunError::is_configuration,
    )
    .await
}

async fn run_redirector(args: RunArgs) -> Result<Verdict, Failure> {
    let overrides = overrides(&args)?;
    let config = landfall_redirector::Config::load(&args.config, process_environment(), &overrides)
        .map_err(bad_configuration)?;
    let options = landfall_redirector::RunOptions {
        insecure_loopback: args.insecure_loopback,
        announce: Box::new(announce),
    };
    until_stopped(
        "landfall-redirector",
        |shutdown| landfall_redirector::run(config, options, shutdown),
        landfall_redirector::RunError::is_configuration,
    )
    .await
}

/// Runs a program until a signal stops it, with logs and traces set up around it.
async fn until_stopped<F, E>(
    service: &'static str,
    program: impl FnOnce(Shutdown) -> F,
    is_configuration: impl Fn(&E) -> bool,
) -> Result<Verdict, Failure>
where
    F: Future<Output = Result<(), E>>,
    E: std::error::Error,
{
    let options = TelemetryOptions::from_environment(process_environment());
    let telemetry = telemetry::init(service, &options)
        .map_err(|error| Failure::failed("cannot set up logs and traces", &error))?;
    let shutdown = Shutdown::on_signals()
        .map_err(|error| Failure::failed("cannot listen for signals", &error))?;
    let ended = Box::pin(program(shutdown)).await;
    telemetry.shutdown().await;
    match ended {
        Ok(()) => Ok(Verdict::Done),
        Err(error) => {
            let is_wrong = is_configuration(&error);
            Err(ended_badly(&format!("{service} stopped"), &error, is_wrong))
        }
    }
}

/// A program's own error, told as wrong use if that is what it is.
fn ended_badly(what: &str, error: &dyn std::error::Error, is_configuration: bool) -> Failure {
    if is_configuration {
        Failure::Usage(chain(error))
    } else {
        Failure::failed(what, error)
    }
}

fn announce(line: &str) {
    if let Err(error) = output::line(line) {
        tracing::warn!(%error, "nobody reads the ready line");
    }
}

fn bad_configuration(faults: ConfigFaults) -> Failure {
    Failure::Usage(faults.to_string())
}

/// `--set KEY=VALUE` as pairs.
fn overrides(args: &RunArgs) -> Result<Vec<(String, String)>, Failure> {
    args.set
        .iter()
        .map(|set| {
            set.split_once('=')
                .map(|(key, value)| (key.trim().to_owned(), value.to_owned()))
                .ok_or_else(|| Failure::Usage(format!("--set {set}: expected KEY=VALUE")))
        })
        .collect()
}
