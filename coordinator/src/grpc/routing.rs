//! `landfall.v1.Routing`: redirectors.

use std::collections::VecDeque;

use futures::stream::{BoxStream, StreamExt, try_unfold};
use landfall_proto::model::{health_from_wire, mirror_to_wire};
use landfall_proto::status::to_status;
use landfall_proto::v1::{self, routing_server, routing_watch_response::Kind};
use landfall_route::Health;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::{Shared, cut};
use crate::fleet::{Changes, Cursor};
use crate::principal::Action;

/// Longest name of a redirector, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Verdicts that a report has at most.
const MAX_VERDICTS: usize = 10_000;

pub(super) struct Service {
    pub(super) shared: Shared,
}

#[tonic::async_trait]
impl routing_server::Routing for Service {
    type WatchStream = BoxStream<'static, Result<v1::RoutingWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::RoutingWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.shared.gate.admit(&request, Action::ReadRouting)?;
        let request = request.into_inner();
        let cursor = request.cursor.map(|cursor| Cursor {
            epoch: cursor.epoch,
            revision: cursor.revision,
        });
        let redirector = request.redirector.escape_default().to_string();
        let redirector = cut(redirector, MAX_NAME_BYTES);
        tracing::info!(redirector, ?cursor, "routing is watched");
        self.shared
            .signature
            .hear(&format!("the redirector {redirector}"), &request.checkpoint)
            .await;
        let watching = Watching {
            revisions: self.shared.fleet.watch(),
            shared: self.shared.clone(),
            cursor,
            greeted: false,
            ready: VecDeque::new(),
        };
        let stream = try_unfold(watching, |mut watching| async move {
            let message = watching.next().await?;
            Ok(Some((message, watching)))
        });
        Ok(Response::new(stream.boxed()))
    }

    async fn report(
        &self,
        request: Request<v1::RoutingReportRequest>,
    ) -> Result<Response<v1::RoutingReportResponse>, Status> {
        self.shared.gate.admit(&request, Action::ReportProbes)?;
        let request = request.into_inner();
        if request.redirector.is_empty()
            || request.redirector.len() > MAX_NAME_BYTES
            || request.redirector.chars().any(char::is_control)
        {
            return Err(Status::invalid_argument(format!(
                "a redirector's name has 1 to {MAX_NAME_BYTES} printable bytes"
            )));
        }
        if request.verdicts.len() > MAX_VERDICTS {
            return Err(Status::resource_exhausted("too many verdicts"));
        }
        let seen = request
            .verdicts
            .into_iter()
            .map(|verdict| {
                let health = health_from_wire(verdict.health());
                (verdict.mirror, health)
            })
            .filter(|(_, health)| *health != Health::Unknown)
            .collect();
        self.shared
            .fleet
            .verdicts(&request.redirector, seen)
            .await
            .map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::RoutingReportResponse {}))
    }
}

/// Where one redirector is.
struct Watching {
    shared: Shared,
    revisions: watch::Receiver<u64>,
    cursor: Option<Cursor>,
    /// Whether the first bookmark was sent.
    greeted: bool,
    ready: VecDeque<Kind>,
}

impl Watching {
    async fn next(&mut self) -> Result<v1::RoutingWatchResponse, Status> {
        while self.ready.is_empty() {
            self.revisions.borrow_and_update();
            let changes = self.shared.fleet.changes(self.cursor);
            if !changes.is_empty() || !self.greeted {
                self.greeted = true;
                self.enqueue(changes);
                break;
            }
            tokio::select! {
                changed = self.revisions.changed() => {
                    changed.map_err(|_| Status::unavailable("the fleet is closed"))?;
                }
                () = tokio::time::sleep(self.shared.limits.bookmark) => self.greeted = false,
                () = self.shared.shutdown.requested() => {
                    return Err(Status::unavailable("the coordinator is stopping"));
                }
            }
        }
        let kind = self
            .ready
            .pop_front()
            .ok_or_else(|| Status::internal("nothing to send"))?;
        Ok(v1::RoutingWatchResponse { kind: Some(kind) })
    }

    /// One consistent state, closed by its bookmark. The messages share their
    /// bytes with the reports.
    fn enqueue(&mut self, changes: Changes) {
        if changes.reset {
            self.ready.push_back(Kind::Reset(v1::RoutingReset {}));
            self.ready.push_back(Kind::Policy(v1::RoutingPolicy {
                origin_url: self.shared.urls.origin.clone(),
                name: self.shared.urls.name.clone(),
                log_url: self.shared.urls.log.clone(),
            }));
        }
        for mirror in &changes.unreported {
            let mirror = mirror.clone();
            self.ready
                .push_back(Kind::Removed(v1::MirrorRemoved { mirror }));
        }
        for view in &changes.mirrors {
            self.ready.push_back(Kind::Mirror(mirror_to_wire(view)));
        }
        for (mirror, report) in &changes.reports {
            for chunk in &report.chunks {
                self.ready.push_back(Kind::Readiness(v1::MirrorReadiness {
                    mirror: mirror.clone(),
                    chunk: Some(chunk.clone()),
                }));
            }
        }
        self.ready.push_back(Kind::Bookmark(v1::RoutingBookmark {
            cursor: Some(v1::RoutingCursor {
                epoch: changes.cursor.epoch,
                revision: changes.cursor.revision,
            }),
        }));
        self.cursor = Some(changes.cursor);
    }
}
