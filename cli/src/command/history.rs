//! `landfall history`: past operations, newest first, or one with all its entries;
//! or what happened to a name (`names`).

mod names;

use landfall_catalog::Digest;
use landfall_proto::v1;
use serde::Serialize;
use serde_json::json;

use crate::{
    args::HistoryArgs,
    connect,
    failure::{Failure, Verdict},
    output::{self, table::Table},
};

/// One line of `history --json`.
#[derive(Debug, Serialize)]
struct Operation {
    operation: String,
    started: u64,
    finished: u64,
    who: String,
    why: String,
    source: String,
    plan: Option<String>,
    revision: u64,
    /// Its content is published, and its names wait.
    at_gate: bool,
    present: u64,
    copied: u64,
    lost: u64,
    refused: u64,
    failed: u64,
    removed: u64,
    /// Entries of the manifests that were left out for a finding.
    quarantined: u64,
    error: String,
}

pub(crate) async fn run(args: HistoryArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    if let Some(what) = &args.what {
        return show(coordinator, what, args.json).await;
    }
    if let Some(name) = &args.name {
        return names::run(name, &args).await;
    }
    let (operations, next) = operations(&args).await?;
    if args.json {
        for operation in operations {
            output::json(&Operation::from(operation))?;
        }
    } else {
        output::line(table(operations.into_iter().map(Operation::from)).render())?;
    }
    tell_more(&next);
    Ok(Verdict::Done)
}

/// As many as were asked for, and what goes on with the rest; they come in pages.
async fn operations(args: &HistoryArgs) -> Result<(Vec<v1::Operation>, String), Failure> {
    let coordinator = &args.coordinator.coordinator;
    let mut client = v1::promotion_client::PromotionClient::new(connect::connection(coordinator)?);
    let before = args.before.clone().unwrap_or_default();
    let mut request = v1::ListOperationsRequest {
        project: args.project.clone().unwrap_or_default(),
        ..v1::ListOperationsRequest::default()
    };
    // An operation's id is no number.
    match before.parse() {
        Ok(revision) => request.before_revision = earlier_than(revision)?,
        Err(_) => request.before_operation = before,
    }
    let mut operations: Vec<v1::Operation> = Vec::new();
    loop {
        let left = (args.limit as usize).saturating_sub(operations.len());
        request.limit = u32::try_from(left).unwrap_or(u32::MAX);
        let answer = client
            .list(request.clone())
            .await
            .map_err(|status| connect::refused(coordinator, &status))?
            .into_inner();
        operations.extend(answer.operations);
        if answer.next.is_empty() || operations.len() >= args.limit as usize {
            return Ok((operations, answer.next));
        }
        request.before_revision = 0;
        request.before_operation = answer.next;
    }
}

/// Nothing is earlier than nothing.
fn earlier_than(revision: u64) -> Result<u64, Failure> {
    match revision {
        0 => Err(Failure::Usage("--before: the first revision is 1".into())),
        revision => Ok(revision),
    }
}

/// Says how to see what was left out.
fn tell_more(before: &str) {
    if !before.is_empty() {
        output::note(format!(
            "there is more: --before {before}, or a larger --limit"
        ));
    }
}

/// One operation, and what became of each of its entries.
async fn show(coordinator: &str, what: &str, as_json: bool) -> Result<Verdict, Failure> {
    let mut client = v1::promotion_client::PromotionClient::new(connect::connection(coordinator)?);
    let mut from = 0;
    loop {
        let request = v1::ShowOperationRequest {
            operation: what.to_owned(),
            // An operation's id is no number.
            revision: what.parse().unwrap_or_default(),
            from,
        };
        let answer = client
            .show_operation(request)
            .await
            .map_err(|status| connect::refused(coordinator, &status))?
            .into_inner();
        if from == 0 {
            let operation = Operation::from(answer.operation.unwrap_or_default());
            if as_json {
                output::json(&operation)?;
            } else {
                output::line(text(&operation))?;
            }
        }
        for entry in answer.entries {
            tell(entry, as_json)?;
        }
        for finding in answer.quarantined {
            tell_quarantined(finding, as_json)?;
        }
        from = answer.next;
        if from == 0 {
            return Ok(Verdict::Done);
        }
    }
}

fn tell(entry: v1::EntryOutcome, as_json: bool) -> Result<(), Failure> {
    let digest = Digest::try_from_slice(&entry.digest);
    let digest = digest.map(|digest| digest.to_string()).unwrap_or_default();
    let outcome = match entry.outcome.as_str() {
        "" => "running",
        outcome => outcome,
    };
    if as_json {
        output::json(
            &json!({"name": entry.name, "digest": digest, "outcome": outcome,
            "detail": entry.detail}),
        )?;
        return Ok(());
    }
    let why = match entry.detail.as_str() {
        "" => String::new(),
        detail => format!(": {detail}"),
    };
    output::line(output::plain(&format!(
        "{outcome}: {} {digest}{why}",
        entry.name
    )))?;
    Ok(())
}

/// What is no entry, because it was left out.
fn tell_quarantined(finding: v1::Finding, as_json: bool) -> Result<(), Failure> {
    let hash = Digest::try_from_slice(&finding.content_hash);
    let hash = hash.map(|hash| hash.to_string()).unwrap_or_default();
    if as_json {
        output::json(
            &json!({"outcome": "quarantined", "severity": finding.severity,
            "rule": finding.rule, "file": finding.file, "line": finding.line,
            "column": finding.column, "message": finding.message, "content_hash": hash}),
        )?;
        return Ok(());
    }
    output::line(output::plain(&format!(
        "quarantined: {}:{}:{}: {} [{}] {hash}",
        finding.file, finding.line, finding.column, finding.message, finding.rule
    )))?;
    Ok(())
}

/// Who, when and why, for people.
fn text(operation: &Operation) -> String {
    let ended = match (operation.finished, operation.revision) {
        (0, _) => "still running".to_owned(),
        (at, 0) => format!("{}, nothing published", output::time(at)),
        (at, revision) => format!("{}, published as revision {revision}", output::time(at)),
    };
    let mut table = Table::new(&["OPERATION", &operation.operation]);
    let started = output::time(operation.started);
    let left_out = match operation.quarantined {
        0 => String::new(),
        count => format!("{count} entries of the manifests, quarantined"),
    };
    for (what, text) in [
        ("who", operation.who.as_str()),
        ("why", &operation.why),
        ("source", &operation.source),
        ("plan", operation.plan.as_deref().unwrap_or_default()),
        ("started", &started),
        ("ended", &ended),
        ("left out", &left_out),
        ("error", &operation.error),
    ] {
        if !text.is_empty() {
            table.row([what.to_owned(), text.to_owned()]);
        }
    }
    table.render()
}

fn table(operations: impl Iterator<Item = Operation>) -> Table {
    let mut table = Table::new(&[
        "OPERATION",
        "STARTED",
        "WHO",
        ">REVISION",
        ">PRESENT",
        ">COPIED",
        ">REMOVED",
        ">LOST",
        ">REFUSED",
        ">FAILED",
        ">QUARANTINED",
        "WHY",
    ]);
    for operation in operations {
        table.row([
            operation.operation,
            output::time(operation.started),
            operation.who,
            match (operation.finished, operation.revision) {
                (0, _) if operation.at_gate => "at gate".to_owned(),
                (0, _) => "running".to_owned(),
                (_, 0) => "-".to_owned(),
                (_, revision) => revision.to_string(),
            },
            operation.present.to_string(),
            operation.copied.to_string(),
            operation.removed.to_string(),
            operation.lost.to_string(),
            operation.refused.to_string(),
            operation.failed.to_string(),
            operation.quarantined.to_string(),
            if operation.error.is_empty() {
                operation.why
            } else {
                operation.error
            },
        ]);
    }
    table
}

impl From<v1::Operation> for Operation {
    fn from(operation: v1::Operation) -> Self {
        let result = operation.result.unwrap_or_default();
        Self {
            operation: operation.id,
            started: operation.started,
            finished: operation.finished,
            who: operation.who,
            why: operation.why,
            source: operation.source,
            plan: Digest::try_from_slice(&operation.plan)
                .ok()
                .map(|digest| digest.to_string()),
            revision: result.revision,
            at_gate: operation.at_gate,
            present: result.present,
            copied: result.copied,
            lost: result.lost,
            refused: result.refused,
            failed: result.failed,
            removed: result.removed,
            quarantined: operation.quarantined,
            error: result.error,
        }
    }
}
