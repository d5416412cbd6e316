//! Gates: the terms of a promotion, how they stand, and who decides.

use landfall_proto::status::to_status;
use landfall_proto::v1;
use tonic::{Request, Response, Status};

use super::{Shared, cut};
use crate::principal::Action;
use crate::promote::gate::{GateStanding, OnTimeout, Terms, Verdict};
use crate::promote::operation::{GateChoice, Waiting};
use crate::state::gates::{GateRow, Way};

/// Longest that names wait, in seconds: 90 days.
const MAX_TIMEOUT: u64 = 90 * 24 * 60 * 60;
/// Gates that a list has at most.
const MAX_LIST: usize = 100;
/// Longest reason that is stored, and longest text in a list, in bytes.
const MAX_TEXT_BYTES: usize = 1024;
/// Regions that a progress has at most.
const MAX_REGIONS: usize = 500;
/// Regions that a gate in a list has at most.
const MAX_LISTED_REGIONS: usize = 20;

/// The terms of a promotion, if it has a gate.
#[allow(
    clippy::result_large_err,
    reason = "tonic's handlers return its Status, however large"
)]
pub(super) fn terms(gate: Option<v1::GateTerms>) -> Result<Option<Terms>, Status> {
    let Some(gate) = gate else {
        return Ok(None);
    };
    let percent = u8::try_from(gate.percent)
        .ok()
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| Status::invalid_argument("gate.percent is 1 to 100"))?;
    if !(1..=MAX_TIMEOUT).contains(&gate.timeout_seconds) {
        return Err(Status::invalid_argument(format!(
            "gate.timeout_seconds is 1 to {MAX_TIMEOUT}"
        )));
    }
    let on_timeout = match gate.on_timeout() {
        v1::GateTimeout::Hold => OnTimeout::Hold,
        v1::GateTimeout::GiveUp => OnTimeout::GiveUp,
        v1::GateTimeout::Unspecified => {
            return Err(Status::invalid_argument(
                "gate.on_timeout is to hold or to give up",
            ));
        }
    };
    Ok(Some(Terms {
        percent,
        minimum: gate.minimum,
        timeout: gate.timeout_seconds,
        on_timeout,
    }))
}

pub(super) async fn list(
    shared: &Shared,
    request: Request<v1::ListGatesRequest>,
) -> Result<Response<v1::ListGatesResponse>, Status> {
    shared.gate.admit(&request, Action::ReadOperations)?;
    let waiting = shared.operations.waiting().await;
    let waiting = waiting.map_err(|error| to_status(&error))?.into_iter();
    Ok(Response::new(v1::ListGatesResponse {
        gates: waiting.take(MAX_LIST).map(waiting_to_wire).collect(),
    }))
}

pub(super) async fn decide(
    shared: &Shared,
    request: Request<v1::DecideGateRequest>,
) -> Result<Response<v1::DecideGateResponse>, Status> {
    let admitted = shared.gate.admit(&request, Action::DecideGate)?;
    let request = request.into_inner();
    let way = match request.decision() {
        v1::GateDecision::Open => Way::Open,
        v1::GateDecision::GiveUp => Way::GiveUp,
        v1::GateDecision::Unspecified => {
            return Err(Status::invalid_argument(
                "decision is to open or to give up",
            ));
        }
    };
    if request.reason.len() > MAX_TEXT_BYTES {
        return Err(Status::invalid_argument(format!(
            "the reason has at most {MAX_TEXT_BYTES} bytes"
        )));
    }
    let choice = GateChoice {
        operation: request.operation,
        way,
        by: admitted.who.to_string(),
        reason: request.reason,
        scope: admitted.scope,
    };
    let decided = shared.operations.decide_gate(choice).await;
    decided.map_err(|error| to_status(&error))?;
    Ok(Response::new(v1::DecideGateResponse {}))
}

/// How a gate stands.
pub(super) fn standing_to_wire(standing: &GateStanding) -> v1::GateProgress {
    let regions = standing.regions.iter().take(MAX_REGIONS);
    v1::GateProgress {
        revision: standing.revision,
        names: standing.names,
        deadline: standing.deadline,
        held: standing.verdict == Verdict::Held,
        regions: regions
            .map(|region| v1::GateRegion {
                region: region.name.clone(),
                ready: region.ready,
                active: region.active,
                needed: region.needed,
                lacking: region.lacking.clone(),
            })
            .collect(),
    }
}

/// What became of an operation, and of its gate.
pub(super) fn with_gate(done: v1::OperationDone, gate: Option<&GateRow>) -> v1::OperationDone {
    let announced = gate.and_then(|gate| gate.announced);
    let end = gate.and_then(|gate| gate.end);
    v1::OperationDone {
        content_revision: announced.map_or(0, |announced| announced.revision),
        gate: end.map_or("", |end| end.as_str()).to_owned(),
        ..done
    }
}

fn waiting_to_wire(waiting: Waiting) -> v1::WaitingOperation {
    let Waiting {
        operation,
        gate,
        standing,
    } = waiting;
    let progress = standing.as_ref().map(standing_to_wire).map(|mut progress| {
        let is_ready = |region: &v1::GateRegion| region.ready >= region.needed;
        progress.regions.sort_by_key(is_ready);
        progress.regions.truncate(MAX_LISTED_REGIONS);
        progress
    });
    let on_timeout = match gate.terms.on_timeout {
        OnTimeout::Hold => v1::GateTimeout::Hold,
        OnTimeout::GiveUp => v1::GateTimeout::GiveUp,
    };
    v1::WaitingOperation {
        operation: operation.start.id,
        started: operation.start.started,
        who: cut(operation.start.who, MAX_TEXT_BYTES),
        why: cut(operation.start.why, MAX_TEXT_BYTES),
        terms: Some(v1::GateTerms {
            percent: gate.terms.percent.into(),
            minimum: gate.terms.minimum,
            timeout_seconds: gate.terms.timeout,
            on_timeout: on_timeout.into(),
        }),
        progress,
        decided: gate.decided.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use landfall_catalog::Digest;
    use prost::Message as _;

    use super::super::MAX_ANSWER_BYTES;
    use super::*;
    use crate::promote::gate::{Witness, judge};
    use crate::state::operations::{Operation, Start, Totals};

    #[test]
    fn the_longest_list_and_progress_are_answers_that_a_client_takes() {
        let terms = Terms {
            percent: 100,
            minimum: u32::MAX,
            timeout: u64::MAX,
            on_timeout: OnTimeout::GiveUp,
        };
        let text = |number: usize| format!("{number:0>255}");
        let witnesses = (0..10_000).map(|number| Witness {
            mirror: text(number),
            region: text(number / 10),
            ready: false,
        });
        let standing = judge(terms, (1, 2), 3, 4, witnesses.collect());
        let progress = standing_to_wire(&standing);
        assert_eq!(progress.regions.len(), MAX_REGIONS);
        assert!(progress.encoded_len() < MAX_ANSWER_BYTES / 2);
        let waiting = Waiting {
            operation: Operation {
                sequence: 1,
                start: Start {
                    id: "x".repeat(64),
                    plan: Digest::of(b""),
                    who: "é".repeat(10_000),
                    why: "é".repeat(10_000),
                    source: String::new(),
                    trace_parent: String::new(),
                    started: u64::MAX,
                },
                finished: None,
                result: Totals::default(),
            },
            gate: GateRow {
                operation: 1,
                terms,
                announced: None,
                decided: None,
                end: None,
            },
            standing: Some(standing),
        };
        let answer = v1::ListGatesResponse {
            gates: vec![waiting_to_wire(waiting); MAX_LIST],
        };
        let bytes = answer.encoded_len();
        assert!(bytes < MAX_ANSWER_BYTES * 9 / 10, "{bytes}");
    }
}
