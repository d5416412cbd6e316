//! `landfall gate`: names that wait until mirrors have their content; and how a
//! gate is shown wherever an operation is followed.

use landfall_proto::v1::{self, promotion_client::PromotionClient};
use serde_json::{Value, json};

use super::{
    operation::{self, AtGate, Telling},
    promote::verdict,
};
use crate::{
    args::{GateCommand, GateDecideArgs, GateListArgs},
    connect,
    failure::{Failure, Verdict},
    output::{self, table::Table},
};

pub(crate) async fn run(command: GateCommand) -> Result<Verdict, Failure> {
    match command {
        GateCommand::List(args) => list(args).await,
        GateCommand::Open(args) => decide(args, v1::GateDecision::Open).await,
        GateCommand::GiveUp(args) => decide(args, v1::GateDecision::GiveUp).await,
    }
}

async fn list(args: GateListArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let gates = PromotionClient::new(connect::connection(coordinator)?)
        .list_gates(v1::ListGatesRequest {})
        .await
        .map_err(|status| connect::refused(coordinator, &status))?
        .into_inner()
        .gates;
    if args.json {
        for gate in &gates {
            output::json(&listed(gate))?;
        }
        return Ok(Verdict::Done);
    }
    if gates.is_empty() {
        output::line("no names wait at a gate")?;
        return Ok(Verdict::Done);
    }
    let mut table = Table::new(&[
        "OPERATION",
        "WHO",
        ">CONTENT",
        ">NAMES",
        "UNTIL",
        "STATE",
        "REGIONS",
        "WHY",
    ]);
    for gate in gates {
        let state = state(&gate);
        let progress = gate.progress.unwrap_or_default();
        table.row([
            gate.operation,
            gate.who,
            progress.revision.to_string(),
            progress.names.to_string(),
            output::time(progress.deadline),
            state.to_owned(),
            regions(&progress),
            gate.why,
        ]);
    }
    output::line(table.render())?;
    Ok(Verdict::Done)
}

async fn decide(args: GateDecideArgs, decision: v1::GateDecision) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let mut client = PromotionClient::new(connect::connection(coordinator)?);
    client
        .decide_gate(v1::DecideGateRequest {
            operation: args.operation.clone(),
            decision: decision.into(),
            reason: args.reason,
        })
        .await
        .map_err(|status| connect::refused(coordinator, &status))?;
    if decision == v1::GateDecision::GiveUp && !args.json {
        output::note(operation::STAYS_BACK);
    }
    let telling = Telling::of(args.json, &[]);
    let (operation, stays) = (args.operation, AtGate::Stays);
    let done = operation::follow(&mut client, coordinator, operation, telling, stays).await?;
    Ok(match decision {
        // That they failed is what was asked for.
        v1::GateDecision::GiveUp => Verdict::Done,
        v1::GateDecision::Open | v1::GateDecision::Unspecified => {
            verdict(done.lost + done.refused + done.failed)
        }
    })
}

/// `aws/us-east-1 1/1, NO 0/2 (needs 2)`.
pub(crate) fn regions(gate: &v1::GateProgress) -> String {
    if gate.regions.is_empty() {
        return "no active mirror".into();
    }
    let regions = gate.regions.iter().map(|it| {
        let counted = format!("{} {}/{}", it.region, it.ready, it.active);
        match it.ready >= it.needed {
            true => counted,
            false => format!("{counted} (needs {})", it.needed),
        }
    });
    regions.collect::<Vec<_>>().join(", ")
}

/// How a gate stands, on one line.
pub(crate) fn line(gate: &v1::GateProgress) -> String {
    let verb = if gate.held { "held" } else { "waiting" };
    format!(
        "{verb} at the gate: revision {} has the content, {} names wait until {}: {}",
        gate.revision,
        gate.names,
        output::time(gate.deadline),
        regions(gate)
    )
}

/// The same for programs.
pub(crate) fn event(gate: &v1::GateProgress) -> Value {
    let mut event = progress_json(gate);
    event["event"] = "gate".into();
    event
}

/// Why nobody follows an operation further, and what can be done.
pub(crate) fn held(operation: &str, regions: &str) -> Failure {
    Failure::Failed(format!(
        "operation {operation} is held at its gate: {regions}; its names go on waiting. \
         `landfall gate open {operation}` sets them now, `landfall gate give-up {operation}` drops them"
    ))
}

fn state(gate: &v1::WaitingOperation) -> &'static str {
    match &gate.progress {
        _ if gate.decided => "decided",
        Some(progress) if progress.held => "held",
        Some(_) | None => "waiting",
    }
}

fn listed(gate: &v1::WaitingOperation) -> Value {
    let terms = gate.terms.unwrap_or_default();
    let on_timeout = match terms.on_timeout() {
        v1::GateTimeout::GiveUp => "give-up",
        v1::GateTimeout::Hold | v1::GateTimeout::Unspecified => "hold",
    };
    json!({"operation": gate.operation, "started": gate.started, "who": gate.who,
        "why": gate.why, "state": state(gate), "percent": terms.percent,
        "minimum": terms.minimum, "timeout": terms.timeout_seconds, "on_timeout": on_timeout,
        "gate": gate.progress.as_ref().map(progress_json)})
}

fn progress_json(gate: &v1::GateProgress) -> Value {
    let regions: Vec<_> = gate
        .regions
        .iter()
        .map(|it| {
            json!({"region": it.region, "ready": it.ready, "active": it.active,
                "needed": it.needed, "lacking": it.lacking})
        })
        .collect();
    json!({"revision": gate.revision, "names": gate.names, "deadline": gate.deadline,
        "held": gate.held, "regions": regions})
}
