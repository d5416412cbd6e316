//! `landfall.v1.Fleet`: agents.

use std::time::Duration;

use futures::stream::{BoxStream, StreamExt, try_unfold};
use landfall_proto::model::{ReadinessAssembler, mirror_from_start, state_to_wire};
use landfall_proto::status::to_status;
use landfall_proto::v1::{self, agent_message, coordinator_message, fleet_server, readiness_chunk};
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, cut};
use crate::fleet::{Beat, Session};
use crate::principal::Action;

/// How long an agent may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest text of an incident that is kept, in bytes.
pub(super) const MAX_INCIDENT_BYTES: usize = 300;
/// Longest version of an agent that is kept, in characters.
const MAX_VERSION_CHARS: usize = 64;

pub(super) struct Service {
    pub(super) shared: Shared,
}

#[tonic::async_trait]
impl fleet_server::Fleet for Service {
    type SessionStream = BoxStream<'static, Result<v1::CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        self.shared.gate.admit(&request, Action::BeMirror)?;
        let mut messages = request.into_inner();
        let first = async {
            tokio::time::timeout(PATIENCE, messages.message())
                .await
                .map_err(|_| Status::deadline_exceeded("the session did not start"))?
        };
        let first = self.shared.unless_stopping(first).await?;
        let Some(agent_message::Kind::Start(mut start)) = first.and_then(|message| message.kind)
        else {
            return Err(Status::invalid_argument("a session begins with its start"));
        };
        let version = start.version.chars().take(MAX_VERSION_CHARS).collect();
        let checkpoint = std::mem::take(&mut start.checkpoint);
        let declared = mirror_from_start(start).map_err(|error| to_status(&error))?;
        self.shared
            .signature
            .hear(&declared.name, &checkpoint)
            .await;
        let (session, state) = self
            .shared
            .fleet
            .join(declared, version)
            .await
            .map_err(|error| to_status(&error))?;
        let urls = &self.shared.urls;
        let accepted = coordinator_message::Kind::Accepted(v1::SessionAccepted {
            state: state_to_wire(state).into(),
            heartbeat_seconds: u32::try_from(self.shared.limits.heartbeat.as_secs())
                .unwrap_or(u32::MAX)
                .max(1),
            public_url: urls.public.clone(),
            origin_url: urls.origin.clone(),
            log_url: urls.log.clone(),
        });
        let talk = Talk {
            shared: self.shared.clone(),
            session,
            messages,
            assembler: ReadinessAssembler::default(),
        };
        let greeting = futures::stream::once(std::future::ready(Ok(message(accepted))));
        // Reads only as fast as its answers are taken.
        let answers = try_unfold(talk, |mut talk| async move {
            let answer = talk.next().await?;
            Ok(answer.map(|answer| (message(answer), talk)))
        });
        Ok(Response::new(greeting.chain(answers).boxed()))
    }
}

/// A session being held.
struct Talk {
    shared: Shared,
    session: Session,
    messages: Streaming<v1::AgentMessage>,
    assembler: ReadinessAssembler,
}

impl Talk {
    /// The next thing to say to the agent; none when it is done.
    async fn next(&mut self) -> Result<Option<coordinator_message::Kind>, Status> {
        loop {
            let received = tokio::select! {
                received = self.messages.message() => received?,
                () = self.session.superseded() => {
                    return Err(Status::aborted("another session of this mirror took over"));
                }
                () = tokio::time::sleep(self.shared.limits.watchdog) => {
                    return Err(Status::deadline_exceeded("the agent fell silent"));
                }
                () = self.shared.shutdown.requested() => {
                    return Err(Status::unavailable("the coordinator is stopping"));
                }
            };
            let Some(received) = received else {
                return Ok(None);
            };
            if let Some(answer) = self.take(received).await? {
                return Ok(Some(answer));
            }
        }
    }

    async fn take(
        &mut self,
        received: v1::AgentMessage,
    ) -> Result<Option<coordinator_message::Kind>, Status> {
        match received.kind {
            Some(agent_message::Kind::Readiness(chunk)) => return self.report(chunk).await,
            Some(agent_message::Kind::Heartbeat(beat)) => {
                self.session.beat(Beat {
                    applied_size: beat.applied_size,
                    ready_objects: beat.ready_objects,
                    wanted_objects: beat.wanted_objects,
                    bytes_missing: beat.bytes_missing,
                    at: 0,
                });
                // A sign of life in return, in the stream itself: proxies on
                // the way see nothing of HTTP/2 pings.
                return Ok(Some(acknowledged(*self.shared.fleet.watch().borrow())));
            }
            Some(agent_message::Kind::Incident(incident)) => {
                let text = incident_text(&incident);
                self.shared.fleet.incident(self.session.mirror(), text);
            }
            Some(agent_message::Kind::Start(_)) => {
                return Err(Status::invalid_argument("a session starts once"));
            }
            // Of a later version.
            None => {}
        }
        Ok(None)
    }

    async fn report(
        &mut self,
        chunk: v1::ReadinessChunk,
    ) -> Result<Option<coordinator_message::Kind>, Status> {
        let (objects, size) = self
            .shared
            .catalog
            .read(|catalog| (catalog.object_count(), catalog.log_size()));
        let begins = matches!(chunk.kind, Some(readiness_chunk::Kind::Header(_)));
        let complete = self
            .assembler
            .push(chunk, objects)
            .map_err(|error| to_status(&error))?;
        // At once: the blocks of another log's report mean nothing here.
        if begins && let Some(log) = self.assembler.log() {
            self.shared
                .fleet
                .check_lineage(self.session.mirror(), log)
                .await
                .map_err(|error| to_status(&error))?;
        }
        let Some((readiness, wanted)) = complete else {
            return Ok(None);
        };
        if readiness.names_through > size {
            return Err(Status::failed_precondition(format!(
                "the report has names up to {}, and the log has {size} entries",
                readiness.names_through
            )));
        }
        let routing_revision = self
            .shared
            .fleet
            .report(self.session.mirror(), readiness, wanted);
        Ok(Some(acknowledged(routing_revision)))
    }
}

fn acknowledged(routing_revision: u64) -> coordinator_message::Kind {
    coordinator_message::Kind::Ack(v1::ReportAck { routing_revision })
}

fn message(kind: coordinator_message::Kind) -> v1::CoordinatorMessage {
    v1::CoordinatorMessage { kind: Some(kind) }
}

/// One printable, bounded line.
fn incident_text(incident: &v1::Incident) -> String {
    let source = if incident.source.is_empty() {
        String::new()
    } else {
        format!(" (from {})", incident.source)
    };
    let text = format!("{}: {}{source}", incident.code, incident.detail);
    let line = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_INCIDENT_BYTES + 1)
        .collect();
    cut(line, MAX_INCIDENT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incidents_are_one_bounded_line() {
        let text = incident_text(&v1::Incident {
            code: "wrong-bytes".into(),
            detail: format!("line\nbreak\u{1b}[31m{}", "x".repeat(1000)),
            digest: bytes::Bytes::new(),
            source: "aws-east".into(),
        });
        assert!(text.starts_with("wrong-bytes: line break"));
        assert!(text.len() <= MAX_INCIDENT_BYTES && !text.contains('\n'));
        assert!(text.ends_with('…'), "{text}");
    }
}
