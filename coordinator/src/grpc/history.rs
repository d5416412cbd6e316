//! `Promotion.List`, `Promotion.ShowOperation` and `Promotion.History`: what was,
//! in pages below 64 KiB, each at a bounded cost.

use landfall_proto::model;
use landfall_proto::status::to_status;
use landfall_proto::v1;
use tonic::{Request, Response, Status};

use super::operation::{listed, operation_to_wire, outcome_to_wire};
use super::page::Page;
use super::{Shared, cut};
use crate::principal::Action;
use crate::state::history::{Change, Place};
use crate::state::quarantine::Quarantine;
use crate::withdraw::Choice;

/// Operations of one answer when nobody says how many, and at most.
const USUAL_OPERATIONS: u32 = 50;
const MAX_OPERATIONS: u32 = 500;
/// Changes of one answer, likewise.
const USUAL_CHANGES: u32 = 50;
const MAX_CHANGES: u32 = 500;
/// Entries of an operation in one answer.
const MAX_ENTRIES: u32 = 256;
/// Longest reason of an entry or a change, in bytes.
const MAX_DETAIL: usize = 1024;
/// Longest word on what is asked about, in bytes.
const MAX_WHAT: usize = 2048;
/// Where what was quarantined begins among the positions of an operation.
const QUARANTINED: u64 = 1 << 32;

pub(super) async fn list(
    shared: &Shared,
    request: Request<v1::ListOperationsRequest>,
) -> Result<Response<v1::ListOperationsResponse>, Status> {
    shared.gate.admit(&request, Action::ReadOperations)?;
    let request = request.into_inner();
    let limit = match request.limit {
        0 => USUAL_OPERATIONS,
        limit => limit.min(MAX_OPERATIONS),
    };
    let before = before(shared, &request).await?;
    let project = Some(request.project).filter(|project| !project.is_empty());
    let operations = &shared.operations;
    // One more says whether there are more.
    let found = operations.newest(before, project, limit + 1).await;
    let found = found.map_err(|error| to_status(&error))?;
    let waiting = operations.waiting().await;
    let waiting = waiting.map_err(|error| to_status(&error))?;
    let mut page = Page::new();
    let mut is_cut = false;
    for operation in found {
        let mut waiting = waiting.iter().map(|it| it.operation.sequence);
        let at_gate = waiting.any(|one| one == operation.sequence);
        let operation = v1::Operation {
            at_gate,
            ..listed(operation_to_wire(operation))
        };
        if page.members().len() == limit as usize || !page.take(operation) {
            is_cut = true;
            break;
        }
    }
    let last = page.members().last().filter(|_| is_cut);
    Ok(Response::new(v1::ListOperationsResponse {
        next: last.map(|last| last.id.clone()).unwrap_or_default(),
        operations: page.into_members(),
    }))
}

/// The key of the operation before which a list begins.
async fn before(
    shared: &Shared,
    request: &v1::ListOperationsRequest,
) -> Result<Option<i64>, Status> {
    let operations = &shared.operations;
    let operation = match (request.before_operation.as_str(), request.before_revision) {
        ("", 0) => return Ok(None),
        // All there is comes before a revision of the future.
        ("", revision) if revision > shared.catalog.published().revision => return Ok(None),
        ("", revision) => operations.of_revision(revision).await,
        (id, _) => operations.find(id).await,
    };
    let operation = operation.map_err(|error| to_status(&error))?;
    Ok(Some(operation.sequence))
}

pub(super) async fn show_operation(
    shared: &Shared,
    request: Request<v1::ShowOperationRequest>,
) -> Result<Response<v1::ShowOperationResponse>, Status> {
    shared.gate.admit(&request, Action::ReadOperations)?;
    let request = request.into_inner();
    let operations = &shared.operations;
    let operation = match request.revision {
        0 => operations.find(&request.operation).await,
        revision => operations.of_revision(revision).await,
    };
    let operation = operation.map_err(|error| to_status(&error))?;
    let sequence = operation.sequence;
    let mut answer = v1::ShowOperationResponse {
        operation: Some(listed(operation_to_wire(operation))),
        ..v1::ShowOperationResponse::default()
    };
    if request.from < QUARANTINED {
        let rows = operations
            .entries_from(sequence, request.from, MAX_ENTRIES)
            .await
            .map_err(|error| to_status(&error))?;
        let is_full = rows.len() == MAX_ENTRIES as usize;
        let mut page = Page::new();
        answer.next = QUARANTINED;
        for row in rows {
            let position = u64::from(row.position);
            let entry = v1::EntryOutcome {
                detail: cut(row.detail.clone(), MAX_DETAIL),
                ..outcome_to_wire(row)
            };
            if !page.take(entry) {
                answer.next = position;
                break;
            }
            if is_full {
                answer.next = position + 1;
            }
        }
        answer.entries = page.into_members();
        if answer.next < QUARANTINED || !answer.entries.is_empty() {
            return Ok(Response::new(answer));
        }
    }
    let from = request.from.saturating_sub(QUARANTINED);
    let from = u32::try_from(from).unwrap_or(u32::MAX);
    let rows = operations
        .quarantined_from(sequence, from, MAX_ENTRIES)
        .await
        .map_err(|error| to_status(&error))?;
    let is_full = rows.len() == MAX_ENTRIES as usize;
    let mut page = Page::new();
    answer.next = 0;
    for (position, finding) in rows {
        let position = QUARANTINED + u64::from(position);
        if !page.take(quarantine_to_wire(finding)) {
            answer.next = position;
            break;
        }
        if is_full {
            answer.next = position + 1;
        }
    }
    answer.quarantined = page.into_members();
    Ok(Response::new(answer))
}

fn quarantine_to_wire(finding: Quarantine) -> v1::Finding {
    v1::Finding {
        severity: finding.severity,
        rule: finding.rule,
        file: finding.file,
        line: finding.line,
        column: finding.column,
        message: finding.message,
        help: String::new(),
        excerpt: String::new(),
        quarantines: true,
        content_hash: model::digest_to_wire(&finding.content_hash),
    }
}

pub(super) async fn history(
    shared: &Shared,
    request: Request<v1::HistoryRequest>,
) -> Result<Response<v1::HistoryResponse>, Status> {
    shared.gate.admit(&request, Action::ReadOperations)?;
    let request = request.into_inner();
    if request.what.len() > MAX_WHAT {
        return Err(Status::invalid_argument("no name is that long"));
    }
    let choice = Choice::parse(&request.what).map_err(|error| to_status(&error))?;
    let limit = match request.limit {
        0 => USUAL_CHANGES,
        limit => limit.min(MAX_CHANGES),
    };
    let mut place = Place::default();
    if request.before_revision > 0 {
        place.before_revision = request.before_revision;
    }
    if !request.after.is_empty() {
        place.after = after(&request.after)
            .ok_or_else(|| Status::invalid_argument("to go on, give what `next` was"))?;
    }
    let changes = shared
        .history
        .changes(&choice, place, limit + 1)
        .await
        .map_err(|error| to_status(&error))?;
    let mut page = Page::new();
    let (mut last, mut next) = (String::new(), String::new());
    for change in changes {
        let here = format!("{} {}", change.log_index, change.name);
        if page.members().len() == limit as usize || !page.take(change_to_wire(change)) {
            next = last;
            break;
        }
        last = here;
    }
    Ok(Response::new(v1::HistoryResponse {
        events: page.into_members(),
        next,
    }))
}

/// Reads where the last answer ended: index in the log, and name.
fn after(text: &str) -> Option<(u64, String)> {
    let (index, name) = text.split_once(' ')?;
    Some((index.parse().ok()?, name.to_owned()))
}

fn change_to_wire(change: Change) -> v1::HistoryEvent {
    let before = change.before.as_ref();
    v1::HistoryEvent {
        name: change.name,
        change: change.kind,
        digest: model::digest_to_wire(&change.digest),
        before: before.map(model::digest_to_wire).unwrap_or_default(),
        reason: cut(change.reason, MAX_DETAIL),
        revision: change.revision,
        time: change.time,
        who: cut(change.who, MAX_DETAIL),
        why: cut(change.why, MAX_DETAIL),
        operation: change.operation,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn the_longest_answer_stays_below_64_kib() {
        let text = || "é".repeat(10_000);
        let operation = listed(v1::Operation {
            id: "x".repeat(64),
            started: u64::MAX,
            finished: u64::MAX,
            who: text(),
            why: text(),
            source: text(),
            plan: vec![0; 32].into(),
            result: Some(v1::OperationDone {
                operation: "x".repeat(64),
                revision: u64::MAX,
                error: text(),
                ..v1::OperationDone::default()
            }),
            at_gate: true,
            quarantined: u64::MAX,
        });
        assert!(operation.why.ends_with('…'));
        let mut page = Page::new();
        while page.take(operation.clone()) {}
        let answer = v1::ListOperationsResponse {
            operations: page.into_members(),
            next: "x".repeat(64),
        };
        let bytes = answer.encoded_len();
        assert!((16 << 10..64 << 10).contains(&bytes), "{bytes}");
        assert!(answer.operations.len() > 5);
    }

    #[test]
    fn where_an_answer_ended_is_read_back_whatever_the_name() {
        assert_eq!(after("7 "), Some((7, String::new())));
        assert_eq!(after("7 a b"), Some((7, "a b".into())));
        for bad in ["", "7", "x a", "-1 a"] {
            assert_eq!(after(bad), None, "{bad}");
        }
    }
}
