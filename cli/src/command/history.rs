//! `landfall history`: past operations, newest first.

use landfall_catalog::Digest;
use landfall_proto::v1;
use serde::Serialize;

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
    error: String,
}

pub(crate) async fn run(args: HistoryArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let operations = v1::promotion_client::PromotionClient::new(connect::connection(coordinator)?)
        .list(v1::ListOperationsRequest { limit: args.limit })
        .await
        .map_err(|status| connect::refused(coordinator, &status))?
        .into_inner()
        .operations;
    if args.json {
        for operation in operations {
            output::json(&Operation::from(operation))?;
        }
    } else {
        output::line(table(operations.into_iter().map(Operation::from)).render())?;
    }
    Ok(Verdict::Done)
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
            error: result.error,
        }
    }
}
