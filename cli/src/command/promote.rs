//! `landfall promote`: upload the manifests, have them resolved, and with
//! --confirm execute exactly what was resolved.

use std::{collections::BTreeMap, path::Path, process::Command};

use futures::StreamExt;
use landfall_catalog::Digest;
use landfall_promotion::Tree;
use landfall_proto::v1::{self, plan_event, plan_request, promotion_client::PromotionClient};
use landfall_runtime::{Clock, SystemClock};
use serde_json::json;

use super::{
    change,
    findings::Known,
    manifests,
    operation::{self, Telling},
    planned,
};
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
    let known = Known::read(args.known.acknowledged.as_deref(), &args.dir)?;
    let options = args.changes.options();
    let tree = manifests::only(manifests::read(&args.dir)?, &args.only.projects)?;
    let resolved = resolve(&mut client, coordinator, tree, options).await?;
    let digest = Digest::try_from_slice(&resolved.summary.plan)
        .map_err(|error| Failure::failed("the coordinator's plan has no digest", &error))?;
    let shown = Shown {
        json: args.json,
        all: args.verbose,
    };
    show(&resolved, &digest, &known, shown)?;
    let failing = failing(&resolved, &known, args.strict);
    if args.strict && failing > 0 {
        return Err(Failure::Failed(format!(
            "refused because of {failing} findings; without --strict what is sound is promoted"
        )));
    }
    let acknowledged = acknowledged(&resolved, &known);
    let Some(confirm) = &args.confirm else {
        if !args.json {
            output::line(operation::how_to_confirm(&digest))?;
        }
        let summary = &resolved.summary;
        let refused = summary.refused.saturating_sub(acknowledged);
        return Ok(verdict(summary.lost + refused + summary.failed + failing));
    };
    operation::check_confirmed(confirm, &digest)?;
    let request = v1::PromoteRequest {
        plan: resolved.summary.plan.clone(),
        why: args.why.clone(),
        source: args.source.clone().unwrap_or_else(|| commit_id(&args.dir)),
        gate: args.gate.terms(),
    };
    let telling = Telling::of(args.json, &resolved.entries);
    let done = operation::execute(&mut client, coordinator, request, telling, acknowledged).await?;
    let refused = done.refused.saturating_sub(acknowledged);
    Ok(verdict(done.lost + refused + done.failed + failing))
}

/// How a plan is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    /// For programs, one event a line.
    pub(crate) json: bool,
    /// Every name, however many there are of a kind; for programs always.
    pub(crate) all: bool,
}

/// Prints what was resolved.
pub(crate) fn show(
    resolved: &Resolved,
    digest: &Digest,
    known: &Known,
    shown: Shown,
) -> Result<(), Failure> {
    if shown.json {
        for entry in &resolved.entries {
            let mut event = planned::value(entry);
            event["event"] = json!("planned");
            output::json(&event)?;
        }
        output::json(&json!({"event": "plan", "plan": digest.to_string(),
            "set": resolved.summary.set, "unchanged": resolved.summary.unchanged,
            "refused": resolved.summary.refused, "acknowledged": acknowledged(resolved, known),
            "removed": resolved.summary.removed,
            "lost": resolved.summary.lost, "failed": resolved.summary.failed, "quarantined": resolved.summary.quarantined,
            "bytes_to_copy": resolved.summary.bytes_to_copy,
            "findings": resolved.findings.iter().map(|finding| known.json_remote(finding)).collect::<Vec<_>>()}))?;
    } else {
        output::line(text(resolved, digest, known, shown.all))?;
    }
    Ok(())
}

pub(crate) fn verdict(not_done: u64) -> Verdict {
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

/// Entries that are refused for findings that are acknowledged.
pub(crate) fn acknowledged(resolved: &Resolved, known: &Known) -> u64 {
    let entries = resolved.entries.iter();
    let held = entries.filter(|entry| known.holds_refusal(entry, &resolved.findings));
    held.count() as u64
}

/// The options and the manifests, as they are sent up.
pub(crate) fn upload(tree: Tree, options: v1::PlanOptions) -> Vec<v1::PlanRequest> {
    let mut requests = vec![v1::PlanRequest {
        kind: Some(plan_request::Kind::Options(options)),
    }];
    requests.extend(tree.unreadable.into_iter().map(|file| v1::PlanRequest {
        kind: Some(plan_request::Kind::Unreadable(v1::UnreadableFile {
            path: file.path,
            line: file.line,
            column: file.column,
            why: file.why,
        })),
    }));
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
    requests
}

/// Sends the manifests up and collects what comes of them.
pub(crate) async fn resolve(
    client: &mut PromotionClient<connect::Connection>,
    coordinator: &str,
    tree: Tree,
    options: v1::PlanOptions,
) -> Result<Resolved, Failure> {
    let requests = upload(tree, options);
    let events = client
        .plan(futures::stream::iter(requests))
        .await
        .map_err(|status| connect::refused(coordinator, &status))?
        .into_inner();
    collect(events, coordinator).await
}

/// Collects what is told of a plan.
pub(crate) async fn collect(
    mut events: tonic::Streaming<v1::PlanEvent>,
    coordinator: &str,
) -> Result<Resolved, Failure> {
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

/// The commit that the manifests are at, if they are in a git checkout; ending in
/// `-dirty` if they are not as they are in that commit, which is said.
pub(crate) fn commit_id(dir: &Path) -> String {
    let commit = head(dir);
    if commit.is_empty() || !change::is_dirty(dir) {
        return commit;
    }
    output::note(format!(
        "note: the manifests below {} are not as in commit {commit}; the source is {commit}-dirty",
        dir.display()
    ));
    commit + "-dirty"
}

fn head(dir: &Path) -> String {
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
pub(crate) fn text(resolved: &Resolved, digest: &Digest, known: &Known, all: bool) -> String {
    let mut lines = Vec::new();
    for finding in &resolved.findings {
        let acknowledged = known.of_remote(finding).map_or("", |_| " (acknowledged)");
        // What is said of a project as a whole is at no line.
        let at = match finding.file.as_str() {
            "" => String::new(),
            file => format!("{file}:{}:{}: ", finding.line, finding.column),
        };
        lines.push(output::plain(&format!(
            "{}: {at}{} [{}]{acknowledged}",
            finding.severity, finding.message, finding.rule
        )));
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
    }
    lines.extend(planned::lines(&resolved.entries, all, |entry| {
        known.holds_refusal(entry, &resolved.findings)
    }));
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
        "plan {digest}\n{} to set, {} unchanged, {} to remove, {}, {} lost, {}{} quarantined, {} to copy",
        summary.set,
        summary.unchanged,
        summary.removed,
        operation::refused(summary.refused, acknowledged(resolved, known)),
        summary.lost,
        match summary.failed {
            0 => String::new(),
            failed => format!("{failed} failed, "),
        },
        summary.quarantined,
        output::bytes(summary.bytes_to_copy)
    ));
    lines.join("\n")
}
