//! `landfall promote`: upload the manifests, have them resolved, and with
//! --confirm execute exactly what was resolved.

use std::{collections::BTreeMap, path::Path, process::Command};

use futures::StreamExt;
use landfall_catalog::Digest;
use landfall_proto::v1::{
    self, operation_event, plan_event, plan_request, promotion_client::PromotionClient,
};
use landfall_runtime::{Clock, SystemClock, telemetry};
use serde_json::json;

use super::{findings::Known, manifests};
use crate::{
    args::PromoteArgs,
    connect,
    failure::{Failure, Verdict},
    output::{self, progress::Progress, table::Table},
};

/// Bytes of a manifest in one message.
const CHUNK: usize = 64 << 10;

/// What the coordinator resolved.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) findings: Vec<v1::Finding>,
    pub(crate) entries: Vec<v1::PlannedEntry>,
    pub(crate) summary: v1::PlanSummary,
}

pub(crate) async fn run(args: PromoteArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let mut client = PromotionClient::new(connect::connection(coordinator)?);
    let known = Known::read(args.acknowledged.as_deref(), &args.dir)?;
    let options = v1::PlanOptions {
        prune: args.prune,
        allow_tag_moves: args.allow_tag_moves,
        allow_mass_change: args.allow_mass_change,
        dry_run: false,
        // Judged here, where it is known what is acknowledged.
        strict: false,
    };
    let resolved = resolve(&mut client, coordinator, &args.dir, options).await?;
    let digest = Digest::try_from_slice(&resolved.summary.plan)
        .map_err(|error| Failure::failed("the coordinator's plan has no digest", &error))?;
    if args.json {
        output::json(&json!({"event": "plan", "plan": digest.to_string(),
            "set": resolved.summary.set, "unchanged": resolved.summary.unchanged,
            "refused": resolved.summary.refused, "removed": resolved.summary.removed,
            "lost": resolved.summary.lost, "bytes_to_copy": resolved.summary.bytes_to_copy,
            "findings": resolved.findings.iter().map(|finding| known.json_remote(finding)).collect::<Vec<_>>()}))?;
    } else {
        output::line(text(&resolved, &digest, &known))?;
    }
    let failing = failing(&resolved, &known, args.strict);
    if args.strict && failing > 0 {
        return Err(Failure::Failed(format!(
            "refused because of {failing} findings; without --strict what is sound is promoted"
        )));
    }
    let Some(confirm) = &args.confirm else {
        if !args.json {
            output::line(format!(
                "\nnothing was changed; to execute this plan: landfall promote {} --confirm={digest}",
                args.dir.display()
            ))?;
        }
        return Ok(verdict(
            resolved.summary.lost + resolved.summary.refused + failing,
        ));
    };
    if !confirm.is_empty() && *confirm != digest.to_string() {
        return Err(Failure::Failed(format!(
            "the plan is {digest} now, not {confirm}: the manifests, the catalog or staging have changed; look at the new plan"
        )));
    }
    let mut request = tonic::Request::new(v1::PromoteRequest {
        plan: resolved.summary.plan.clone(),
        why: args.why.clone(),
        source: args.source.clone().unwrap_or_else(|| commit_id(&args.dir)),
    });
    telemetry::inject_trace_parent_into(request.metadata_mut());
    let operation = client
        .promote(request)
        .await
        .map_err(|status| connect::refused(coordinator, &status))?
        .into_inner()
        .operation;
    let done = follow(&mut client, coordinator, operation, args.json).await?;
    if !done.error.is_empty() {
        return Err(Failure::Failed(format!(
            "operation {} was not finished: {}",
            done.operation, done.error
        )));
    }
    Ok(verdict(done.lost + done.refused + done.failed + failing))
}

fn verdict(not_done: u64) -> Verdict {
    if not_done == 0 {
        Verdict::Done
    } else {
        Verdict::Incomplete
    }
}

/// Findings that fail, and are not acknowledged.
pub(crate) fn failing(resolved: &Resolved, known: &Known, strict: bool) -> u64 {
    resolved
        .findings
        .iter()
        .filter(|finding| known.leave_failing_remote(finding, strict))
        .count() as u64
}

/// The options and the manifests, as they are sent up.
pub(crate) fn upload(
    dir: &Path,
    options: v1::PlanOptions,
) -> Result<Vec<v1::PlanRequest>, Failure> {
    let tree = manifests::read(dir)?;
    let mut requests = vec![v1::PlanRequest {
        kind: Some(plan_request::Kind::Options(options)),
    }];
    for file in tree.files {
        let bytes = bytes::Bytes::from(file.text);
        let mut at = 0;
        // An empty file is one empty chunk: the coordinator has to see it.
        loop {
            let end = bytes.len().min(at + CHUNK);
            requests.push(v1::PlanRequest {
                kind: Some(plan_request::Kind::File(v1::FileChunk {
                    path: file.path.clone(),
                    data: bytes.slice(at..end),
                })),
            });
            at = end;
            if at >= bytes.len() {
                break;
            }
        }
    }
    Ok(requests)
}

/// Sends the manifests up and collects what comes of them.
pub(crate) async fn resolve(
    client: &mut PromotionClient<connect::Connection>,
    coordinator: &str,
    dir: &Path,
    options: v1::PlanOptions,
) -> Result<Resolved, Failure> {
    let requests = upload(dir, options)?;
    let mut events = client
        .plan(futures::stream::iter(requests))
        .await
        .map_err(|status| connect::refused(coordinator, &status))?
        .into_inner();
    let mut resolved = Resolved::default();
    let mut progress = Progress::new("reading staging", false);
    let mut summary = None;
    while let Some(event) = events.next().await {
        match event
            .map_err(|status| connect::refused(coordinator, &status))?
            .kind
        {
            Some(plan_event::Kind::Finding(finding)) => resolved.findings.push(finding),
            Some(plan_event::Kind::Progress(now)) => {
                progress.set(now.done, now.total, SystemClock.now());
            }
            Some(plan_event::Kind::Entry(entry)) => resolved.entries.push(entry),
            Some(plan_event::Kind::Summary(last)) => summary = Some(last),
            None => {}
        }
    }
    progress.finish();
    resolved.summary = summary.ok_or_else(|| {
        Failure::Failed("the coordinator ended the plan without a summary; try again".into())
    })?;
    Ok(resolved)
}

/// Follows an operation to its end. A broken stream is taken up again: the
/// operation goes on without us.
async fn follow(
    client: &mut PromotionClient<connect::Connection>,
    coordinator: &str,
    operation: String,
    json: bool,
) -> Result<v1::OperationDone, Failure> {
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    let mut progress = Progress::new("copying", true);
    let mut backoff = landfall_runtime::retry::Backoff::for_reconnects();
    let started = SystemClock.now();
    let mut last_sign = started;
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
                            if let Some(done) = tell(event, json, &mut told, &mut progress)? {
                                progress.finish();
                                return Ok(done);
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
                other @ (Failure::Usage(_) | Failure::Interrupted(_)) => other,
            });
        }
        progress.note("the coordinator is out of reach; the operation goes on, waiting");
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// How long a coordinator may be away while its operation is followed.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Shows one event; returns the last one.
fn tell(
    event: v1::OperationEvent,
    json: bool,
    told: &mut BTreeMap<String, String>,
    progress: &mut Progress,
) -> Result<Option<v1::OperationDone>, Failure> {
    match event.kind {
        Some(operation_event::Kind::Outcome(outcome)) => {
            // After a reconnect the stream begins anew.
            if told.insert(outcome.name.clone(), outcome.outcome.clone())
                == Some(outcome.outcome.clone())
            {
                return Ok(None);
            }
            if json {
                output::json(&json!({"event": "entry", "name": outcome.name,
                    "digest": Digest::try_from_slice(&outcome.digest).ok().map(|digest| digest.to_string()),
                    "outcome": outcome.outcome, "detail": outcome.detail}))?;
            } else if !matches!(outcome.outcome.as_str(), "present" | "copied") {
                progress.note(&format!(
                    "{}: {}: {}",
                    outcome.outcome, outcome.name, outcome.detail
                ));
            }
        }
        Some(operation_event::Kind::Progress(now)) => {
            progress.set(now.bytes_done, now.bytes_total, SystemClock.now());
            if json {
                output::json(&json!({"event": "progress", "bytes_done": now.bytes_done,
                    "bytes_total": now.bytes_total, "entries_done": now.entries_done,
                    "entries_total": now.entries_total}))?;
            }
        }
        Some(operation_event::Kind::Done(done)) => {
            if json {
                output::json(&json!({"event": "done", "operation": done.operation,
                    "revision": done.revision, "present": done.present, "copied": done.copied,
                    "lost": done.lost, "refused": done.refused, "failed": done.failed,
                    "removed": done.removed, "error": done.error}))?;
            } else {
                output::line(format!(
                    "operation {}: {} copied, {} present, {} removed, {} lost, {} refused, {} failed; {}",
                    done.operation,
                    done.copied,
                    done.present,
                    done.removed,
                    done.lost,
                    done.refused,
                    done.failed,
                    if done.revision == 0 {
                        "nothing new to publish".to_owned()
                    } else {
                        format!("published as revision {}", done.revision)
                    }
                ))?;
            }
            return Ok(Some(done));
        }
        None => {}
    }
    Ok(None)
}

/// The commit that the manifests are at, if they are in a git checkout.
fn commit_id(dir: &Path) -> String {
    Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["rev-parse", "--verify", "--quiet", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// The resolved plan for people: what is not as it should be first, then what
/// would be done, by project.
pub(crate) fn text(resolved: &Resolved, digest: &Digest, known: &Known) -> String {
    let mut lines = Vec::new();
    for finding in &resolved.findings {
        let acknowledged = known.of_remote(finding).map_or("", |_| " (acknowledged)");
        lines.push(format!(
            "{}: {}:{}:{}: {} [{}]{acknowledged}",
            finding.severity,
            finding.file,
            finding.line,
            finding.column,
            finding.message,
            finding.rule
        ));
    }
    let mut projects: BTreeMap<&str, BTreeMap<&str, (u64, u64)>> = BTreeMap::new();
    for entry in &resolved.entries {
        let (count, bytes) = projects
            .entry(&entry.project)
            .or_default()
            .entry(&entry.state)
            .or_default();
        *count += 1;
        *bytes += entry.bytes_to_copy;
        if matches!(entry.state.as_str(), "lost" | "refused" | "remove") {
            lines.push(format!("{}: {}: {}", entry.state, entry.name, entry.detail));
        }
    }
    let mut table = Table::new(&["PROJECT", "STATE", ">ENTRIES", ">TO COPY"]);
    for (project, states) in projects {
        for (state, (count, bytes)) in states {
            table.row([
                project.to_owned(),
                state.to_owned(),
                count.to_string(),
                output::bytes(bytes),
            ]);
        }
    }
    if !resolved.entries.is_empty() {
        lines.push(table.render());
    }
    let summary = &resolved.summary;
    lines.push(format!(
        "plan {digest}\n{} to set, {} unchanged, {} to remove, {} refused, {} lost, {} to copy",
        summary.set,
        summary.unchanged,
        summary.removed,
        summary.refused,
        summary.lost,
        output::bytes(summary.bytes_to_copy)
    ));
    lines.join("\n")
}
