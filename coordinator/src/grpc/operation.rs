//! An operation as it is followed, listed and shown.

use std::time::Duration;

use landfall_proto::model;
use landfall_proto::status::to_status;
use landfall_proto::v1::{self, operation_event};
use tonic::Status;

use super::following::{BATCH, Followed, Opened, Rows};
use super::promotion::MAX_SOURCE_BYTES;
use super::{cut, gates};
use crate::promote::operation::{Operations, Progress};
use crate::state::operations as rows;

/// Longest reason and longest error of an operation in a list, in bytes.
const MAX_LISTED_BYTES: usize = 1024;

impl Followed for Operations {
    type Event = v1::OperationEvent;
    type Progress = Progress;
    const PACE: Duration = Duration::from_millis(100);
    const STOPPING: &'static str =
        "the coordinator is stopping; the operation goes on when it is back";

    async fn open(&self, id: &str) -> Result<Opened<v1::OperationEvent, Progress>, Status> {
        let feed = self.follow(id).await.map_err(|error| to_status(&error))?;
        let greeting = Vec::new();
        Ok(Opened { greeting, feed })
    }

    async fn rows(&self, id: &str, after: u64) -> Result<Rows<v1::OperationEvent>, Status> {
        let decided = self.decided_after(id, after, BATCH).await;
        let decided = decided.map_err(|error| to_status(&error))?;
        let operation = &decided.operation;
        let done = operation.finished.map(|_| {
            let done = v1::OperationDone {
                names_revision: decided.names_revision,
                ..done_to_wire(operation)
            };
            let done = gates::with_gate(done, decided.gate.as_ref());
            event(operation_event::Kind::Done(done))
        });
        Ok(Rows {
            end: done,
            events: decided.entries.into_iter().map(outcome_event).collect(),
        })
    }

    fn progress(progress: &Progress) -> Vec<v1::OperationEvent> {
        let standing = progress.gate.as_ref().map(|standing| {
            let standing = gates::standing_to_wire(standing);
            event(operation_event::Kind::Gate(standing))
        });
        [progress_event(progress)]
            .into_iter()
            .chain(standing)
            .collect()
    }

    fn rows_in(progress: &Progress) -> u64 {
        progress.entries_done
    }
}

fn event(kind: operation_event::Kind) -> v1::OperationEvent {
    v1::OperationEvent { kind: Some(kind) }
}

fn outcome_event(row: rows::EntryRow) -> v1::OperationEvent {
    event(operation_event::Kind::Outcome(outcome_to_wire(row)))
}

pub(super) fn outcome_to_wire(row: rows::EntryRow) -> v1::EntryOutcome {
    v1::EntryOutcome {
        name: row.name,
        digest: model::digest_to_wire(&row.digest),
        outcome: row.outcome.unwrap_or_default(),
        detail: row.detail,
    }
}

fn progress_event(progress: &Progress) -> v1::OperationEvent {
    event(operation_event::Kind::Progress(v1::OperationProgress {
        bytes_done: progress.bytes_done,
        bytes_total: progress.bytes_total,
        entries_done: progress.entries_done,
        entries_total: progress.entries_total,
        trouble: progress.trouble.clone().unwrap_or_default(),
    }))
}

fn done_to_wire(operation: &rows::Operation) -> v1::OperationDone {
    let result = &operation.result;
    v1::OperationDone {
        operation: operation.start.id.clone(),
        revision: result.revision,
        present: result.present,
        copied: result.copied,
        lost: result.lost,
        refused: result.refused,
        failed: result.failed,
        removed: result.removed,
        error: result.error.clone(),
        content_revision: 0,
        waiting: 0,
        names_revision: result.revision,
        gate: String::new(),
    }
}

pub(super) fn operation_to_wire(operation: rows::Operation) -> v1::Operation {
    let result = operation
        .finished
        .is_some()
        .then(|| done_to_wire(&operation));
    v1::Operation {
        quarantined: operation.result.quarantined,
        id: operation.start.id,
        started: operation.start.started,
        finished: operation.finished.unwrap_or_default(),
        who: operation.start.who,
        why: operation.start.why,
        source: operation.start.source,
        plan: model::digest_to_wire(&operation.start.plan),
        result,
        at_gate: false,
    }
}

/// An operation among many: its texts are cut, so that the longest list still is
/// an answer that a client takes.
pub(super) fn listed(operation: v1::Operation) -> v1::Operation {
    v1::Operation {
        who: cut(operation.who, MAX_SOURCE_BYTES),
        why: cut(operation.why, MAX_LISTED_BYTES),
        source: cut(operation.source, MAX_SOURCE_BYTES),
        result: operation.result.map(|done| v1::OperationDone {
            error: cut(done.error, MAX_LISTED_BYTES),
            ..done
        }),
        ..operation
    }
}
