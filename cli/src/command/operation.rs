//! Executing a plan that was confirmed, and following it to its end.

use std::collections::BTreeMap;

use futures::StreamExt;
use landfall_catalog::Digest;
use landfall_proto::v1::{self, operation_event, promotion_client::PromotionClient};
use landfall_runtime::{Clock, Shutdown, StopSignal, SystemClock, telemetry};
use serde_json::json;

use super::{gate, promote::verdict};
use crate::{
    args::OperationCommand,
    connect,
    failure::{Failure, Verdict},
    output::{self, progress::Progress},
};

/// What becomes of what a person took back.
pub(crate) const STAYS_BACK: &str = "what is taken back stays so: as long as the manifests list it, \
     reconcile and the jobs after a merge hold it back and exit 1. Revert the change in git; \
     whoever promotes it by hand (`landfall promote --confirm`) ends that";

/// To whom it is told what becomes of an operation.
pub(crate) enum Telling<'a> {
    /// To people, who were shown this plan: what is amiss beyond it, and the end.
    People(&'a [v1::PlannedEntry]),
    /// To programs: one event a line.
    Programs,
    /// To nobody; what is amiss is gathered.
    Nobody(&'a mut Vec<v1::EntryOutcome>),
}

impl<'a> Telling<'a> {
    pub(crate) const fn of(json: bool, shown: &'a [v1::PlannedEntry]) -> Self {
        if json {
            Self::Programs
        } else {
            Self::People(shown)
        }
    }
}

/// Whether the plan is the one that was confirmed; an empty text confirms any.
pub(crate) fn check_confirmed(confirmed: &str, digest: &Digest) -> Result<(), Failure> {
    if confirmed.is_empty() || confirmed == digest.to_string() {
        return Ok(());
    }
    if let Err(error) = confirmed.parse::<Digest>() {
        return Err(Failure::Usage(format!(
            "--confirm={confirmed} is not the digest of a plan ({error}): without a value it confirms the plan that was just made"
        )));
    }
    Err(Failure::Failed(format!(
        "the plan is {digest} now, not {confirmed}: the options, the manifests, the catalog or staging are others than then; look at the new plan"
    )))
}

/// What to run to have this plan executed: this very command, and its digest.
pub(crate) fn how_to_confirm(digest: &Digest) -> String {
    let arguments = std::env::args().skip(1).map(|argument| quoted(&argument));
    let command: Vec<_> = ["landfall".to_owned()]
        .into_iter()
        .chain(arguments)
        .collect();
    format!(
        "\nnothing was changed; to execute this plan:\n  {} --confirm={digest}",
        command.join(" ")
    )
}

/// An argument as a shell takes it for one.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}

/// So many refused, of which so many are acknowledged, for people.
pub(crate) fn refused(refused: u64, acknowledged: u64) -> String {
    match acknowledged {
        0 => format!("{refused} refused"),
        _ => format!("{refused} refused ({acknowledged} of them acknowledged)"),
    }
}

/// Has a plan executed, of which so many entries are `acknowledged` to be
/// refused, and follows it to its end.
pub(crate) async fn execute(
    client: &mut PromotionClient<connect::Connection>,
    coordinator: &str,
    request: v1::PromoteRequest,
    mut telling: Telling<'_>,
    acknowledged: u64,
) -> Result<v1::OperationDone, Failure> {
    let alone = matches!(telling, Telling::Nobody(_));
    let mut request = tonic::Request::new(request);
    telemetry::inject_trace_parent_into(request.metadata_mut());
    let operation = client
        .promote(request)
        .await
        .map_err(|status| connect::refused(coordinator, &status))?
        .into_inner()
        .operation;
    match telling {
        Telling::Programs => output::json(&json!({"event": "operation", "operation": operation}))?,
        Telling::People(_) => output::note(format!("operation {operation}")),
        Telling::Nobody(_) => {}
    }
    let following = follow_to_end(
        client,
        coordinator,
        operation.clone(),
        &mut telling,
        if alone {
            AtGate::Passes
        } else {
            AtGate::Leaves
        },
    );
    let done = if alone {
        following.await?
    } else {
        unless_interrupted(&operation, following).await?
    };
    conclude(done, &telling, acknowledged)
}

/// Follows until a signal asks to stop: then says that the operation does not.
async fn unless_interrupted(
    operation: &str,
    following: impl Future<Output = Result<v1::OperationDone, Failure>>,
) -> Result<v1::OperationDone, Failure> {
    let stop = Shutdown::on_signals()?;
    if let Some(done) = stop.unless_requested(following).await {
        return done;
    }
    output::note(format!(
        "operation {operation} goes on; `landfall history {operation}` tells what became of it"
    ));
    Err(Failure::Interrupted(
        stop.signal().unwrap_or(StopSignal::Interrupt),
    ))
}

/// What a follower does when names have waited too long and go on waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtGate {
    /// Says what can be done, and fails.
    Leaves,
    /// Goes on waiting.
    Stays,
    /// Waits for nothing: what was told until then is all, and the names wait.
    Passes,
}

/// Follows an operation to its end.
pub(crate) async fn follow(
    client: &mut PromotionClient<connect::Connection>,
    coordinator: &str,
    operation: String,
    mut telling: Telling<'_>,
    at_gate: AtGate,
) -> Result<v1::OperationDone, Failure> {
    let done = follow_to_end(client, coordinator, operation, &mut telling, at_gate).await?;
    conclude(done, &telling, 0)
}

/// `landfall operation`: any number of people may follow one, and leave.
pub(crate) async fn run(command: OperationCommand) -> Result<Verdict, Failure> {
    let OperationCommand::Watch(args) = command;
    let coordinator = &args.coordinator.coordinator;
    let mut client = PromotionClient::new(connect::connection(coordinator)?);
    let telling = Telling::of(args.json, &[]);
    let done = follow(
        &mut client,
        coordinator,
        args.operation,
        telling,
        AtGate::Stays,
    )
    .await?;
    Ok(verdict(done.lost + done.refused + done.failed))
}

/// Shows how it ended.
fn conclude(
    done: v1::OperationDone,
    telling: &Telling<'_>,
    acknowledged: u64,
) -> Result<v1::OperationDone, Failure> {
    match telling {
        Telling::Programs => {
            output::json(&json!({"event": "done", "operation": done.operation,
                "revision": done.revision, "names_revision": done.names_revision, "present": done.present, "copied": done.copied,
                "lost": done.lost, "refused": done.refused, "acknowledged": acknowledged,
                "failed": done.failed, "removed": done.removed, "error": done.error,
                "content_revision": done.content_revision, "gate": done.gate}))?;
        }
        Telling::People(_) => output::line(format!(
            "operation {}: {} copied, {} present, {} removed, {} lost, {}, {} failed; {}",
            done.operation,
            done.copied,
            done.present,
            done.removed,
            done.lost,
            refused(done.refused, acknowledged),
            done.failed,
            published(&done)
        ))?,
        Telling::Nobody(_) => {}
    }
    if done.error.is_empty() {
        return Ok(done);
    }
    Err(Failure::Failed(format!(
        "operation {} was not finished: {}",
        done.operation, done.error
    )))
}

/// Follows an operation to its end. A broken stream is taken up again: the
/// operation goes on without us.
async fn follow_to_end(
    client: &mut PromotionClient<connect::Connection>,
    coordinator: &str,
    operation: String,
    telling: &mut Telling<'_>,
    at_gate: AtGate,
) -> Result<v1::OperationDone, Failure> {
    let mut told = Told::of(telling);
    let mut progress = Progress::new("copying", true);
    let mut backoff = landfall_runtime::retry::Backoff::for_reconnects();
    let started = SystemClock.now();
    let mut last_sign = started;
    let mut away = false;
    loop {
        let request = v1::WatchOperationRequest {
            operation: operation.clone(),
        };
        let broken = match client.watch_operation(request).await {
            Err(status) => status,
            Ok(events) => {
                let mut events = events.into_inner();
                loop {
                    match events.next().await {
                        Some(Ok(event)) => {
                            last_sign = SystemClock.now();
                            away = false;
                            if at_gate == AtGate::Passes
                                && let Some(operation_event::Kind::Gate(gate)) = &event.kind
                            {
                                progress.finish();
                                return Ok(waiting(operation, gate, telling));
                            }
                            let held = match &event.kind {
                                Some(operation_event::Kind::Gate(gate)) if gate.held => {
                                    Some(gate::regions(gate))
                                }
                                Some(_) | None => None,
                            };
                            let done = tell(event, telling, &mut told, &mut progress)?;
                            if let Some(done) = done {
                                progress.finish();
                                return Ok(done);
                            }
                            if let Some(regions) = held
                                && at_gate == AtGate::Leaves
                            {
                                progress.finish();
                                return Err(gate::held(&operation, &regions));
                            }
                        }
                        Some(Err(status)) => break status,
                        None => break tonic::Status::unavailable("the stream ended early"),
                    }
                }
            }
        };
        let silent = SystemClock.now().saturating_duration_since(last_sign);
        if !landfall_proto::status::is_transient(&broken) || silent > PATIENCE {
            return Err(match connect::refused(coordinator, &broken) {
                Failure::Failed(why) => Failure::Failed(format!(
                    "operation {operation} goes on, but cannot be followed: {why}"
                )),
                other @ (Failure::Usage(_) | Failure::Interrupted(_) | Failure::Unread) => other,
            });
        }
        if !std::mem::replace(&mut away, true) {
            progress.note(
                "the coordinator is out of reach; the operation goes on when it is back: waiting",
            );
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// An operation whose names wait, as far as it is.
fn waiting(operation: String, gate: &v1::GateProgress, telling: &Telling<'_>) -> v1::OperationDone {
    let mut done = v1::OperationDone {
        operation,
        content_revision: gate.revision,
        gate: WAITING.into(),
        waiting: gate.names,
        ..v1::OperationDone::default()
    };
    if let Telling::Nobody(amiss) = telling {
        let count = |outcome: &str| {
            let alike = amiss.iter().filter(|entry| entry.outcome == outcome);
            alike.count() as u64
        };
        done.lost = count("lost");
        done.refused = count("refused");
        done.failed = count("failed");
    }
    done
}

/// What an operation that was left at its gate has in place of how the gate ended.
pub(crate) const WAITING: &str = "waiting";

/// How long a coordinator may be away while its operation is followed.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// What was told: after a reconnect the stream begins anew.
#[derive(Debug, Default)]
struct Told {
    /// Outcomes by name and digest: two claims of one name have one each.
    outcomes: BTreeMap<(String, Vec<u8>), String>,
    gate: Option<v1::GateProgress>,
    trouble: String,
}

impl Told {
    /// What a plan that was shown said already.
    fn of(telling: &Telling<'_>) -> Self {
        let Telling::People(shown) = telling else {
            return Self::default();
        };
        let outcomes = shown.iter().filter_map(|entry| {
            let outcome = match entry.state.as_str() {
                "remove" => "removed",
                state @ ("lost" | "refused" | "failed") => state,
                _ => return None,
            };
            let key = (entry.name.clone(), entry.digest.to_vec());
            Some((key, outcome.to_owned()))
        });
        Self {
            outcomes: outcomes.collect(),
            ..Self::default()
        }
    }
}

/// Shows one event; returns the last one.
fn tell(
    event: v1::OperationEvent,
    telling: &mut Telling<'_>,
    told: &mut Told,
    progress: &mut Progress,
) -> Result<Option<v1::OperationDone>, Failure> {
    match event.kind {
        Some(operation_event::Kind::Outcome(outcome)) => {
            let before = told.outcomes.insert(
                (outcome.name.clone(), outcome.digest.to_vec()),
                outcome.outcome.clone(),
            );
            if before.as_ref() == Some(&outcome.outcome) {
                return Ok(None);
            }
            let is_fine = matches!(outcome.outcome.as_str(), "present" | "copied");
            match telling {
                Telling::Programs => {
                    output::json(&json!({"event": "entry", "name": outcome.name,
                        "digest": Digest::try_from_slice(&outcome.digest).ok().map(|digest| digest.to_string()),
                        "outcome": outcome.outcome, "detail": outcome.detail}))?;
                }
                Telling::People(_) | Telling::Nobody(_) if is_fine => {}
                Telling::Nobody(_) if outcome.outcome == "removed" => {}
                Telling::People(_) => progress.note(&output::plain(&format!(
                    "{}: {}: {}",
                    outcome.outcome, outcome.name, outcome.detail
                ))),
                Telling::Nobody(amiss) => amiss.push(outcome),
            }
        }
        Some(operation_event::Kind::Progress(now)) => {
            progress.set(now.bytes_done, now.bytes_total, SystemClock.now());
            if !now.trouble.is_empty() && told.trouble != now.trouble {
                progress.note(&output::plain(&format!(
                    "the coordinator can neither finish nor end it, and goes on trying: {}",
                    now.trouble
                )));
                told.trouble.clone_from(&now.trouble);
            }
            if let Telling::Programs = telling {
                output::json(&json!({"event": "progress", "bytes_done": now.bytes_done,
                    "bytes_total": now.bytes_total, "entries_done": now.entries_done,
                    "entries_total": now.entries_total, "trouble": now.trouble}))?;
            }
        }
        Some(operation_event::Kind::Gate(gate)) => {
            if told.gate.as_ref() == Some(&gate) {
                return Ok(None);
            }
            match telling {
                Telling::Programs => output::json(&gate::event(&gate))?,
                Telling::People(_) => progress.note(&output::plain(&gate::line(&gate))),
                Telling::Nobody(_) => {}
            }
            told.gate = Some(gate);
        }
        Some(operation_event::Kind::Done(done)) => return Ok(Some(done)),
        None => {}
    }
    Ok(None)
}

fn published(done: &v1::OperationDone) -> String {
    let (content, names) = (done.content_revision, done.revision);
    match (done.gate.as_str(), names) {
        ("given-up", _) => format!("given up; revision {content} has the content, and no names"),
        (_, 0) if done.names_revision > 0 => format!(
            "nothing new to publish: revision {} has its names",
            done.names_revision
        ),
        (_, 0) => "nothing new to publish".to_owned(),
        ("opened", _) if content > 0 => {
            format!("content published as revision {content}, names as revision {names}")
        }
        (_, _) => format!("published as revision {names}"),
    }
}
