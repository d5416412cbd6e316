//! `landfall.v1.Promotion`: the release team's service.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt as _};
use landfall_promotion::Finding;
use landfall_proto::model;
use landfall_proto::status::to_status;
use landfall_proto::v1::{self, plan_event, promotion_server};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::{Request, Response, Status, Streaming};

use super::following::Feeds;
use super::telling::told;
use super::{STOPPING, Shared, gates, history, lookup, projects, trace, upload, withdraw};
use crate::principal::Action;
use crate::promote::operation::{Confirmed, Operations};
use crate::promote::plan::{Event, Summary, Wish};
use crate::promote::revert;

/// Plan events that may wait for the transport.
const PLAN_EVENTS: usize = 64;
/// Longest reason, in bytes; it goes into the log.
const MAX_WHY_BYTES: usize = 4096;
/// Longest commit id of manifests, in bytes.
pub(super) const MAX_SOURCE_BYTES: usize = 512;

pub(super) struct Service {
    pub(super) shared: Shared,
    pub(super) plans: Arc<Semaphore>,
    pub(super) feeds: Feeds<Operations>,
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
            recheck_within: Some(options.recheck_within_seconds).filter(|within| *within > 0),
            unattended: options.unattended,
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
        Ok(Response::new(self.feeds.follow(&id).await?))
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
        history::show_operation(&self.shared, request).await
    }

    async fn list(
        &self,
        request: Request<v1::ListOperationsRequest>,
    ) -> Result<Response<v1::ListOperationsResponse>, Status> {
        history::list(&self.shared, request).await
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        history::history(&self.shared, request).await
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

    /// What `make` tells, as it tells it.
    fn plan_stream<W>(
        &self,
        make: impl FnOnce(mpsc::Sender<Event>) -> W,
    ) -> Response<BoxStream<'static, Result<v1::PlanEvent, Status>>>
    where
        W: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let events = told(&self.shared.tasks, STOPPING, PLAN_EVENTS, make);
        Response::new(events.map(|event| event.map(event_to_wire)).boxed())
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
