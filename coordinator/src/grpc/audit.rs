//! `landfall.v1.Audit`: comparing the origin with the catalog.

use std::time::Duration;

use futures::stream::BoxStream;
use landfall_proto::model;
use landfall_proto::status::to_status;
use landfall_proto::v1::{self, audit_event, audit_server};
use tonic::{Request, Response, Status};

use super::following::{BATCH, Feeds, Followed, Opened, Rows};
use super::{Shared, cut};
use crate::audit::{Asked, Audits, Progress};
use crate::principal::Action;
use crate::state::audits::{Audit, Finding, Interruptions};

/// Longest text of a finding, in bytes.
const MAX_TEXT_BYTES: usize = 4096;

pub(super) struct Service {
    pub(super) shared: Shared,
    pub(super) feeds: Feeds<Audits>,
}

#[tonic::async_trait]
impl audit_server::Audit for Service {
    async fn start(
        &self,
        request: Request<v1::StartAuditRequest>,
    ) -> Result<Response<v1::StartAuditResponse>, Status> {
        let admitted = self.shared.gate.admit(&request, Action::AuditOrigin)?;
        let request = request.into_inner();
        let asked = Asked {
            who: admitted.who.to_string(),
            repair: request.repair,
            bytes_per_second: request.bytes_per_second,
        };
        let audit = self
            .shared
            .audits
            .start(asked)
            .await
            .map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::StartAuditResponse { audit }))
    }

    async fn stop(
        &self,
        request: Request<v1::StopAuditRequest>,
    ) -> Result<Response<v1::StopAuditResponse>, Status> {
        let admitted = self.shared.gate.admit(&request, Action::AuditOrigin)?;
        let id = request.into_inner().audit;
        let stopped = self.shared.audits.stop(&id, &admitted.who.to_string());
        let audit = stopped.map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::StopAuditResponse { audit }))
    }

    type WatchStream = BoxStream<'static, Result<v1::AuditEvent, Status>>;

    async fn watch(
        &self,
        request: Request<v1::WatchAuditRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.shared.gate.admit(&request, Action::ReadOperations)?;
        let audits = &self.shared.audits;
        let id = audits.resolve(request.into_inner().audit).await;
        let id = id.map_err(|error| to_status(&error))?;
        Ok(Response::new(self.feeds.follow(&id).await?))
    }
}

impl Followed for Audits {
    type Event = v1::AuditEvent;
    type Progress = Progress;
    const PACE: Duration = Duration::from_millis(200);
    const STOPPING: &'static str =
        "the coordinator is stopping; the audit is carried on when it is back";

    async fn open(&self, id: &str) -> Result<Opened<v1::AuditEvent, Progress>, Status> {
        // Before its row: one that ends in between is seen as ended.
        let feed = self.follow(id);
        let found = self.findings(id, 0, 0).await;
        let (audit, _) = found.map_err(|error| to_status(&error))?;
        let greeting = interruptions_to_wire(audit.interruptions)
            .map(|it| event(audit_event::Kind::Interruptions(it)))
            .into_iter()
            .collect();
        Ok(Opened { greeting, feed })
    }

    async fn rows(&self, id: &str, after: u64) -> Result<Rows<v1::AuditEvent>, Status> {
        let found = self.findings(id, after, BATCH).await;
        let (audit, findings) = found.map_err(|error| to_status(&error))?;
        let end =
            (audit.finished > 0).then(|| event(audit_event::Kind::Done(done_to_wire(&audit))));
        let found = |finding| event(audit_event::Kind::Finding(finding_to_wire(finding)));
        Ok(Rows {
            events: findings.into_iter().map(found).collect(),
            end,
        })
    }

    fn progress(progress: &Progress) -> Vec<v1::AuditEvent> {
        vec![event(audit_event::Kind::Progress(progress_to_wire(
            progress,
        )))]
    }

    fn rows_in(progress: &Progress) -> u64 {
        progress.findings
    }
}

fn event(kind: audit_event::Kind) -> v1::AuditEvent {
    v1::AuditEvent { kind: Some(kind) }
}

fn finding_to_wire(finding: Finding) -> v1::AuditFinding {
    let digest = finding.digest.as_ref().map(model::digest_to_wire);
    v1::AuditFinding {
        check: finding.check,
        digest: digest.unwrap_or_default(),
        name: cut(finding.name, MAX_TEXT_BYTES),
        detail: cut(finding.detail, MAX_TEXT_BYTES),
        outcome: finding.outcome,
    }
}

fn progress_to_wire(progress: &Progress) -> v1::AuditProgress {
    v1::AuditProgress {
        objects_done: progress.objects_done,
        objects_total: progress.objects_total,
        bytes_done: progress.bytes_done,
        bytes_total: progress.bytes_total,
        elapsed_ms: u64::try_from(progress.elapsed.as_millis()).unwrap_or(u64::MAX),
    }
}

fn done_to_wire(audit: &Audit) -> v1::AuditDone {
    let tally = &audit.tally;
    v1::AuditDone {
        audit: audit.start.id.clone(),
        who: audit.start.who.clone(),
        repair: audit.start.repair,
        started: audit.start.started,
        finished: audit.finished,
        objects: tally.objects,
        bytes: tally.bytes,
        found: tally.found,
        repaired: tally.repaired,
        lost: tally.lost,
        failed: tally.failed,
        notes: tally.notes,
        error: tally.error.clone(),
        interruptions: interruptions_to_wire(audit.interruptions),
    }
}

fn interruptions_to_wire(interruptions: Interruptions) -> Option<v1::AuditInterruptions> {
    (interruptions.count > 0).then_some(v1::AuditInterruptions {
        count: interruptions.count,
        after: interruptions.after,
        carried_on: interruptions.carried_on,
    })
}
