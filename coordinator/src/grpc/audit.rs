//! `landfall.v1.Audit`: comparing the origin with the catalog.

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _, try_unfold};
use landfall_proto::model;
use landfall_proto::status::to_status;
use landfall_proto::v1::{self, audit_event, audit_server};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::{Shared, cut};
use crate::audit::{Asked, Progress};
use crate::principal::Action;
use crate::state::audits::{Audit, Finding};

/// Findings that are read at a time.
const BATCH: u32 = 256;
/// Progress is told at most this often.
const PACE: Duration = Duration::from_millis(200);
/// Longest text of a finding, in bytes.
const MAX_TEXT_BYTES: usize = 4096;

pub(super) struct Service {
    pub(super) shared: Shared,
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

    type WatchStream = BoxStream<'static, Result<v1::AuditEvent, Status>>;

    async fn watch(
        &self,
        request: Request<v1::WatchAuditRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.shared.gate.admit(&request, Action::ReadOperations)?;
        let (audit, feed) = self
            .shared
            .audits
            .follow(&request.into_inner().audit)
            .await
            .map_err(|error| to_status(&error))?;
        let watching = Watching {
            shared: self.shared.clone(),
            id: audit.start.id,
            sequence: audit.sequence,
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
}

/// Where one follower of an audit is.
struct Watching {
    shared: Shared,
    id: String,
    sequence: i64,
    /// Absent when the audit does not run (any more).
    feed: Option<watch::Receiver<Progress>>,
    told: Option<Progress>,
    /// Findings that were sent.
    cursor: u64,
    ready: VecDeque<v1::AuditEvent>,
    ended: bool,
}

impl Watching {
    async fn next(&mut self) -> Result<Option<v1::AuditEvent>, Status> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            self.gather().await?;
            if self.ready.is_empty() {
                self.wait().await?;
            }
        }
    }

    /// Collects what is new.
    async fn gather(&mut self) -> Result<(), Status> {
        let audits = &self.shared.audits;
        // Before the findings: what was found when it ended is all there is.
        let audit = audits
            .find(&self.id)
            .await
            .map_err(|error| to_status(&error))?;
        let findings = audits
            .findings(self.sequence, self.cursor, BATCH)
            .await
            .map_err(|error| to_status(&error))?;
        let is_last = findings.is_empty() && audit.finished > 0;
        for (number, finding) in findings {
            self.cursor = number;
            let finding = audit_event::Kind::Finding(finding_to_wire(finding));
            self.ready.push_back(event(finding));
        }
        let progress = self
            .feed
            .as_mut()
            .map(|feed| feed.borrow_and_update().clone());
        if let Some(progress) = progress
            && self.told.as_ref() != Some(&progress)
        {
            let told = audit_event::Kind::Progress(progress_to_wire(&progress));
            self.ready.push_back(event(told));
            self.told = Some(progress);
        }
        if is_last {
            let done = audit_event::Kind::Done(done_to_wire(&audit));
            self.ready.push_back(event(done));
            self.ended = true;
        }
        Ok(())
    }

    /// Waits for news; a while at most, so that the follower hears something.
    async fn wait(&mut self) -> Result<(), Status> {
        let news = async {
            match &mut self.feed {
                Some(feed) => drop(feed.changed().await),
                None => std::future::pending().await,
            }
            tokio::time::sleep(PACE).await;
        };
        tokio::select! {
            () = news => {}
            () = tokio::time::sleep(self.shared.limits.bookmark) => self.told = None,
            () = self.shared.shutdown.requested() => {
                return Err(Status::unavailable("the coordinator is stopping, and the audit with it"));
            }
        }
        Ok(())
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
    }
}
