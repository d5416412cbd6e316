//! `landfall.v1.Promotion`: the release team's service.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, PollNext, StreamExt, select_with_strategy, try_unfold};
use landfall_promotion::Finding;
use landfall_proto::model;
use landfall_proto::status::to_status;
use landfall_proto::v1::{self, operation_event, plan_event, promotion_server};
use landfall_runtime::OnError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, gates, lookup, projects, trace, upload, withdraw};
use crate::principal::Action;
use crate::promote::operation::{Confirmed, Progress};
use crate::promote::plan::{Event, Summary, Wish};
use crate::promote::revert;
use crate::state::operations as rows;

/// Plan events that may wait for the transport.
const PLAN_EVENTS: usize = 64;
/// Decisions that are read at a time.
const BATCH: u32 = 256;
/// Progress is told at most this often.
const PACE: Duration = Duration::from_millis(100);
/// Operations that a list has when nobody says how many.
const USUAL_LIST: u32 = 50;
/// Operations that a list has at most.
const MAX_LIST: u32 = 1000;
/// Longest reason, in bytes; it goes into the log.
const MAX_WHY_BYTES: usize = 4096;
/// Longest reason and longest error of an operation in a list, in bytes.
const MAX_LISTED_BYTES: usize = 1024;
/// Longest commit id of manifests, in bytes.
const MAX_SOURCE_BYTES: usize = 512;

pub(super) struct Service {
    pub(super) shared: Shared,
    pub(super) plans: Arc<Semaphore>,
}

#[tonic::async_trait]
impl promotion_server::Promotion for Service {
    type PlanStream = BoxStream<'static, Result<v1::PlanEvent, Status>>;

    async fn plan(
        &self,
        request: Request<Streaming<v1::PlanRequest>>,
    ) -> Result<Response<Self::PlanStream>, Status> {
        let admitted = self.shared.gate.admit(&request, Action::Plan)?;
        // Told at once rather than after the upload, if it is so now …
        drop(self.plan_slot()?);
        let upload = upload::receive(request.into_inner(), &self.shared.limits);
        let (options, tree) = self.shared.unless_stopping(upload).await?;
        // … but nobody who only begins to send holds up others.
        let slot = self.plan_slot()?;
        let wish = Wish {
            tree,
            prune: options.prune,
            allow_tag_moves: options.allow_tag_moves,
            strict: options.strict,
            allow_mass_change: options.allow_mass_change,
            allow_sparse: options.allow_sparse,
            recheck: options.recheck,
            scope: admitted.scope,
        };
        let planner = self.shared.planner.clone();
        Ok(self.plan_stream(|events| async move {
            let planned = planner.plan(wish, events, slot).await;
            planned.map_err(|error| to_status(&error))
        }))
    }

    type PlanRevertStream = BoxStream<'static, Result<v1::PlanEvent, Status>>;

    async fn plan_revert(
        &self,
        request: Request<v1::PlanRevertRequest>,
    ) -> Result<Response<Self::PlanRevertStream>, Status> {
        let admitted = self.shared.gate.admit(&request, Action::Revert)?;
        let slot = self.plan_slot()?;
        let request = request.into_inner();
        let wish = revert::Wish {
            revision: request.revision,
            project: request.project,
            scope: admitted.scope,
        };
        let planner = self.shared.planner.clone();
        Ok(self.plan_stream(|events| async move {
            let planned = planner.revert(wish, events, slot).await;
            planned.map_err(|error| to_status(&error))
        }))
    }

    async fn promote(
        &self,
        request: Request<v1::PromoteRequest>,
    ) -> Result<Response<v1::PromoteResponse>, Status> {
        let admitted = self.shared.gate.admit(&request, Action::Promote)?;
        let trace_parent = trace::parent_of(&request);
        let request = request.into_inner();
        let plan =
            model::digest("promote.plan", &request.plan).map_err(|error| to_status(&error))?;
        if request.why.len() > MAX_WHY_BYTES || request.source.len() > MAX_SOURCE_BYTES {
            return Err(Status::invalid_argument(format!(
                "the reason has at most {MAX_WHY_BYTES} bytes, the source {MAX_SOURCE_BYTES}"
            )));
        }
        let gate = gates::terms(request.gate)?;
        let operation = self
            .shared
            .operations
            .start(Confirmed {
                plan,
                who: admitted.who.to_string(),
                scope: admitted.scope,
                why: request.why,
                source: request.source,
                trace_parent,
                gate,
            })
            .await
            .map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::PromoteResponse { operation }))
    }

    type WatchOperationStream = BoxStream<'static, Result<v1::OperationEvent, Status>>;

    async fn watch_operation(
        &self,
        request: Request<v1::WatchOperationRequest>,
    ) -> Result<Response<Self::WatchOperationStream>, Status> {
        self.shared.gate.admit(&request, Action::ReadOperations)?;
        let id = request.into_inner().operation;
        let (operation, feed) = self
            .shared
            .operations
            .follow(&id)
            .await
            .map_err(|error| to_status(&error))?;
        let watching = Watching {
            shared: self.shared.clone(),
            sequence: operation.sequence,
            id,
            feed,
            told: None,
            cursor: 0,
            ready: VecDeque::new(),
            ended: false,
        };
        let stream = try_unfold(watching, |mut watching| async move {
            let event = watching.next().await?;
            Ok(event.map(|event| (event, watching)))
        });
        Ok(Response::new(stream.boxed()))
    }

    async fn apply_projects(
        &self,
        request: Request<Streaming<v1::PlanRequest>>,
    ) -> Result<Response<v1::ApplyProjectsResponse>, Status> {
        projects::apply(&self.shared, request).await
    }

    async fn withdraw(
        &self,
        request: Request<v1::WithdrawRequest>,
    ) -> Result<Response<v1::WithdrawResponse>, Status> {
        withdraw::withdraw(&self.shared, request).await
    }

    async fn reinstate(
        &self,
        request: Request<v1::ReinstateRequest>,
    ) -> Result<Response<v1::WithdrawResponse>, Status> {
        withdraw::reinstate(&self.shared, request).await
    }

    async fn list_gates(
        &self,
        request: Request<v1::ListGatesRequest>,
    ) -> Result<Response<v1::ListGatesResponse>, Status> {
        gates::list(&self.shared, request).await
    }

    async fn decide_gate(
        &self,
        request: Request<v1::DecideGateRequest>,
    ) -> Result<Response<v1::DecideGateResponse>, Status> {
        gates::decide(&self.shared, request).await
    }

    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        lookup::search(&self.shared, request).await
    }

    async fn show_operation(
        &self,
        request: Request<v1::ShowOperationRequest>,
    ) -> Result<Response<v1::ShowOperationResponse>, Status> {
        lookup::show_operation(&self.shared, request).await
    }

    async fn list(
        &self,
        request: Request<v1::ListOperationsRequest>,
    ) -> Result<Response<v1::ListOperationsResponse>, Status> {
        self.shared.gate.admit(&request, Action::ReadOperations)?;
        let limit = match request.into_inner().limit {
            0 => USUAL_LIST,
            limit => limit.min(MAX_LIST),
        };
        let operations = self
            .shared
            .operations
            .newest(limit)
            .await
            .map_err(|error| to_status(&error))?;
        let waiting = self.shared.operations.waiting().await;
        let waiting = waiting.map_err(|error| to_status(&error))?;
        let waits = |sequence| {
            let mut waiting = waiting.iter().map(|it| it.operation.sequence);
            waiting.any(|one| one == sequence)
        };
        Ok(Response::new(v1::ListOperationsResponse {
            operations: operations
                .into_iter()
                .map(|operation| {
                    let at_gate = waits(operation.sequence);
                    v1::Operation {
                        at_gate,
                        ..listed(operation_to_wire(operation))
                    }
                })
                .collect(),
        }))
    }
}

impl Service {
    #[allow(
        clippy::result_large_err,
        reason = "tonic's handlers return its Status, however large"
    )]
    fn plan_slot(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.plans)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("other plans are being made; try again"))
    }

    /// What `make` tells, as it tells it. The work is a task of its own, so that
    /// it ends in time whether or not the stream is read; it ends with the stream.
    fn plan_stream<W>(
        &self,
        make: impl FnOnce(mpsc::Sender<Event>) -> W,
    ) -> Response<BoxStream<'static, Result<v1::PlanEvent, Status>>>
    where
        W: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let (sender, events) = mpsc::channel(PLAN_EVENTS);
        let (fail, failed) = oneshot::channel();
        let shutdown = self.shared.shutdown.clone();
        let reader = sender.clone();
        let making = make(sender);
        let work = async move {
            let stopping = || Err(Status::unavailable("the coordinator is stopping"));
            tokio::select! {
                made = shutdown.unless_requested(making) => {
                    if let Err(status) = made.unwrap_or_else(stopping) {
                        // The reader may be gone.
                        let _ = fail.send(status);
                    }
                }
                () = reader.closed() => {}
            }
        };
        self.shared
            .withdrawals
            .tasks
            .spawn("plan", OnError::Log, work);
        // Events first, so that none is lost behind an error.
        let failure = futures::stream::once(failed)
            .filter_map(|failed| std::future::ready(failed.ok().map(Err)));
        let events = ReceiverStream::new(events).map(|event| Ok(event_to_wire(event)));
        let stream = select_with_strategy(events, failure, |()| PollNext::Left);
        Response::new(stream.boxed())
    }
}

/// Where one follower of an operation is.
struct Watching {
    shared: Shared,
    sequence: i64,
    id: String,
    /// Absent when the operation does not run (any more).
    feed: Option<watch::Receiver<Progress>>,
    told: Option<Progress>,
    /// Decisions that were sent.
    cursor: u64,
    ready: VecDeque<v1::OperationEvent>,
    ended: bool,
}

impl Watching {
    async fn next(&mut self) -> Result<Option<v1::OperationEvent>, Status> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            if !self.gather().await? {
                self.wait().await?;
            }
        }
    }

    /// Collects what is new. False if there is nothing.
    async fn gather(&mut self) -> Result<bool, Status> {
        let operations = &self.shared.operations;
        // Its row ends with the revision, and its run when that is published, too.
        let runs = self.feed.as_ref().is_some_and(|feed| {
            let is_followed = feed.has_changed().is_ok();
            is_followed && !feed.borrow().finished
        });
        // Before the decisions: what it had decided when it ended is all there is.
        let operation = operations
            .find(&self.id)
            .await
            .map_err(|error| to_status(&error))?;
        let decided = operations
            .decided_after(self.sequence, self.cursor, BATCH)
            .await
            .map_err(|error| to_status(&error))?;
        let progress = self
            .feed
            .as_mut()
            .map(|feed| feed.borrow_and_update().clone());
        let is_last = decided.is_empty() && operation.finished.is_some() && !runs;
        for row in decided {
            self.cursor = row.decided;
            self.ready.push_back(outcome_event(row));
        }
        if let Some(progress) = progress
            && self.told.as_ref() != Some(&progress)
        {
            self.ready.push_back(progress_event(&progress));
            if let Some(standing) = &progress.gate {
                let standing = gates::standing_to_wire(standing);
                self.ready
                    .push_back(event(operation_event::Kind::Gate(standing)));
            }
            self.told = Some(progress);
        }
        if is_last {
            let gate = operations
                .gate_of(self.sequence)
                .await
                .map_err(|error| to_status(&error))?;
            let done = gates::with_gate(done_to_wire(&operation), gate.as_ref());
            self.ready
                .push_back(event(operation_event::Kind::Done(done)));
            self.ended = true;
        }
        Ok(!self.ready.is_empty())
    }

    /// Waits for news; a while at most, so that the follower hears something.
    async fn wait(&mut self) -> Result<(), Status> {
        let news = async {
            match &mut self.feed {
                // An error: the operation ended here, and its row says so.
                Some(feed) => drop(feed.changed().await),
                None => std::future::pending().await,
            }
            tokio::time::sleep(PACE).await;
        };
        tokio::select! {
            () = news => {}
            () = tokio::time::sleep(self.shared.limits.bookmark) => self.told = None,
            () = self.shared.shutdown.requested() => {
                return Err(Status::unavailable("the coordinator is stopping; the operation goes on when it is back"));
            }
        }
        Ok(())
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
        gate: String::new(),
    }
}

pub(super) fn operation_to_wire(operation: rows::Operation) -> v1::Operation {
    let result = operation
        .finished
        .is_some()
        .then(|| done_to_wire(&operation));
    v1::Operation {
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
        who: super::cut(operation.who, MAX_SOURCE_BYTES),
        why: super::cut(operation.why, MAX_LISTED_BYTES),
        source: super::cut(operation.source, MAX_SOURCE_BYTES),
        result: operation.result.map(|done| v1::OperationDone {
            error: super::cut(done.error, MAX_LISTED_BYTES),
            ..done
        }),
        ..operation
    }
}

fn event_to_wire(event: Event) -> v1::PlanEvent {
    let kind = match event {
        Event::Finding(finding) => plan_event::Kind::Finding(finding_to_wire(finding)),
        Event::Progress { done, total } => {
            plan_event::Kind::Progress(v1::ResolveProgress { done, total })
        }
        Event::Entry(entry) => plan_event::Kind::Entry(v1::PlannedEntry {
            name: entry.name.to_string(),
            digest: model::digest_to_wire(&entry.digest),
            project: entry.project,
            state: entry.state.to_owned(),
            detail: entry.detail,
            bytes_to_copy: entry.bytes_to_copy,
            line: entry.at.as_ref().map_or(0, |at| at.line),
            column: entry.at.as_ref().map_or(0, |at| at.column),
            file: entry.at.map(|at| at.file.to_string()).unwrap_or_default(),
            replaces: entry
                .replaces
                .as_ref()
                .map(model::digest_to_wire)
                .unwrap_or_default(),
        }),
        Event::Summary(summary) => plan_event::Kind::Summary(summary_to_wire(&summary)),
    };
    v1::PlanEvent { kind: Some(kind) }
}

fn summary_to_wire(summary: &Summary) -> v1::PlanSummary {
    v1::PlanSummary {
        plan: model::digest_to_wire(&summary.plan),
        projects: summary.projects,
        entries: summary.entries,
        set: summary.set,
        unchanged: summary.unchanged,
        refused: summary.refused,
        removed: summary.removed,
        lost: summary.lost,
        failed: summary.failed,
        bytes_to_copy: summary.bytes_to_copy,
        quarantined: summary.quarantined,
    }
}

fn finding_to_wire(finding: Finding) -> v1::Finding {
    v1::Finding {
        severity: finding.severity.to_string(),
        rule: finding.rule.to_owned(),
        file: finding.file,
        line: finding.line,
        column: finding.column,
        message: finding.message,
        help: finding.help,
        excerpt: finding.excerpt,
        quarantines: finding.quarantines,
        content_hash: finding.content_hash.as_bytes().to_vec().into(),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::MAX_ANSWER_BYTES;
    use super::*;

    #[test]
    fn the_longest_list_is_an_answer_that_a_client_takes() {
        let text = || "é".repeat(10_000);
        let operation = v1::Operation {
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
        };
        let one = listed(operation);
        assert!(one.why.len() <= MAX_LISTED_BYTES && one.why.ends_with('…'));
        let answer = v1::ListOperationsResponse {
            operations: vec![one; MAX_LIST as usize],
        };
        let bytes = answer.encoded_len();
        assert!(bytes < MAX_ANSWER_BYTES * 9 / 10, "{bytes}");
    }
}
