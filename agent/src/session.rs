//! The session with the coordinator: what this mirror is, what it holds, and
//! what went wrong; in return, where to fetch from.
//!
//! Everything sent is a state, not an event: after a reconnect the newest is
//! sent again, and a coordinator that is away costs nothing but its view of us.

use std::{path::Path, path::PathBuf, sync::Arc, time::Duration};

use landfall_catalog::{Digest, Readiness};
use landfall_log::LogReader;
use landfall_proto::{
    model::{digest_to_wire, readiness_to_wire},
    status::chain,
    v1::{self, agent_message, coordinator_message, fleet_client::FleetClient},
};
use landfall_runtime::{Clock, Shutdown, bounded, retry::Backoff};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::transport::Channel;
use url::Url;

/// Reports go out at most this often.
const REPORT_INTERVAL: Duration = Duration::from_millis(200);
/// Heartbeats until the coordinator says how often.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A session without any word from the coordinator for this long is given up.
const WATCHDOG: Duration = Duration::from_secs(45);
/// Messages on their way out. A report of a million scattered objects is about
/// 40; the stream's own flow control does the rest.
const OUTGOING: usize = 16;
/// A session that lasted this long was a good one: the next pause is short again.
const GOOD_SESSION: Duration = Duration::from_secs(60);

/// Where content comes from, as the coordinator told. Kept on disk, so that an
/// agent that starts without its coordinator goes on.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Endpoints {
    /// Where redirectors answer.
    pub(crate) public_url: Url,
    /// Where the origin's content is.
    pub(crate) origin_url: Url,
    /// Where the log's static files are, for a start without the coordinator.
    #[serde(default)]
    pub(crate) log_url: Option<Url>,
}

/// Something that a person should know of.
#[derive(Clone, Debug)]
pub(crate) struct Incident {
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    pub(crate) digest: Option<Digest>,
    pub(crate) source: String,
}

/// The newest state of this mirror.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) readiness: Readiness,
    pub(crate) wanted: u64,
    pub(crate) ready: u64,
    pub(crate) bytes_missing: u64,
}

/// Why a session ended.
#[derive(Debug, Error)]
enum SessionEnd {
    #[error("the coordinator ended the session")]
    Status(#[from] tonic::Status),
    #[error("the coordinator closed the stream")]
    Closed,
    #[error("the coordinator has been silent for too long")]
    Silent,
    #[error("what the coordinator said about where to fetch from is no URL")]
    Endpoints(#[from] url::ParseError),
    #[error("the endpoints cannot be kept on disk")]
    Keep(#[from] std::io::Error),
}

/// Keeps a session open.
pub(crate) struct Session {
    pub(crate) channel: Channel,
    pub(crate) start: v1::SessionStart,
    pub(crate) log: watch::Receiver<Option<LogReader>>,
    pub(crate) report: watch::Receiver<Option<Report>>,
    pub(crate) incidents: mpsc::Receiver<Incident>,
    pub(crate) endpoints: watch::Sender<Option<Endpoints>>,
    pub(crate) endpoints_file: PathBuf,
    pub(crate) connected: prometheus::IntGauge,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Session {
    /// Runs sessions, one after the other, until the shutdown.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut backoff = Backoff::for_reconnects();
        loop {
            let begun = self.clock.now();
            let end = shutdown.unless_requested(self.once()).await;
            self.connected.set(0);
            let Some(end) = end else {
                return;
            };
            if self.clock.now().saturating_duration_since(begun) > GOOD_SESSION {
                backoff.reset();
            }
            let pause = backoff.next_delay();
            tracing::warn!(
                error = chain(&end),
                pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "no session with the coordinator; what is held is served all the same"
            );
            if shutdown.unless_requested(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn once(&mut self) -> SessionEnd {
        match self.talk().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn talk(&mut self) -> Result<std::convert::Infallible, SessionEnd> {
        let (outgoing, messages) = mpsc::channel(OUTGOING);
        let start = v1::SessionStart {
            checkpoint: held_note(&self.log).into(),
            ..self.start.clone()
        };
        send(&outgoing, agent_message::Kind::Start(start)).await?;
        let mut incoming = FleetClient::new(self.channel.clone())
            .session(ReceiverStream::new(messages))
            .await?
            .into_inner();
        let mut heartbeat = HEARTBEAT;
        let mut next_heartbeat = Instant::now();
        let mut next_report = next_heartbeat;
        let mut silent_since = next_heartbeat;
        let mut accepted = false;
        self.report.mark_changed();
        loop {
            tokio::select! {
                message = incoming.next() => {
                    silent_since = Instant::now();
                    match message.ok_or(SessionEnd::Closed)??.kind {
                        Some(coordinator_message::Kind::Accepted(terms)) => {
                            accepted = true;
                            self.connected.set(1);
                            if terms.heartbeat_seconds > 0 {
                                heartbeat = Duration::from_secs(terms.heartbeat_seconds.into());
                            }
                            self.accept(&terms)?;
                        }
                        Some(coordinator_message::Kind::Ack(ack)) => {
                            tracing::debug!(routing_revision = ack.routing_revision, "report acknowledged");
                        }
                        None => tracing::debug!("a message of a newer coordinator was skipped"),
                    }
                }
                Ok(()) = self.report.changed(), if accepted && next_report <= Instant::now() => {
                    let report = self.report.borrow_and_update().clone();
                    if let Some(report) = report {
                        for chunk in readiness_to_wire(&report.readiness, report.wanted) {
                            send(&outgoing, agent_message::Kind::Readiness(chunk)).await?;
                        }
                    }
                    next_report = Instant::now() + REPORT_INTERVAL;
                }
                () = sleep_until(next_report), if next_report > Instant::now() => {}
                Some(incident) = self.incidents.recv(), if accepted => {
                    send(&outgoing, agent_message::Kind::Incident(v1::Incident {
                        code: incident.code.to_owned(),
                        detail: incident.detail,
                        digest: incident.digest.as_ref().map(digest_to_wire).unwrap_or_default(),
                        source: incident.source,
                    })).await?;
                }
                () = sleep_until(next_heartbeat) => {
                    if silent_since.elapsed() > WATCHDOG {
                        return Err(SessionEnd::Silent);
                    }
                    let beat = self.heartbeat();
                    send(&outgoing, agent_message::Kind::Heartbeat(beat)).await?;
                    next_heartbeat = Instant::now() + heartbeat;
                }
            }
        }
    }

    fn heartbeat(&self) -> v1::Heartbeat {
        self.report
            .borrow()
            .as_ref()
            .map_or_else(v1::Heartbeat::default, |report| v1::Heartbeat {
                applied_size: report.readiness.log.size,
                ready_objects: report.ready,
                wanted_objects: report.wanted,
                bytes_missing: report.bytes_missing,
            })
    }

    fn accept(&self, terms: &v1::SessionAccepted) -> Result<(), SessionEnd> {
        let endpoints = Endpoints {
            public_url: terms.public_url.parse()?,
            origin_url: terms.origin_url.parse()?,
            // An older coordinator does not say.
            log_url: terms.log_url.parse().ok(),
        };
        tracing::info!(
            public_url = %endpoints.public_url,
            origin_url = %endpoints.origin_url,
            state = ?terms.state(),
            "session accepted"
        );
        if self.endpoints.borrow().as_ref() != Some(&endpoints) {
            keep_endpoints(&self.endpoints_file, &endpoints)?;
            self.endpoints.send_replace(Some(endpoints));
        }
        Ok(())
    }
}

/// The signed note of the newest checkpoint that is held; empty if there is none.
fn held_note(log: &watch::Receiver<Option<LogReader>>) -> Vec<u8> {
    let checkpoint = log.borrow().as_ref().and_then(LogReader::checkpoint);
    checkpoint.map_or_else(Vec::new, |checkpoint| checkpoint.note().to_vec())
}

async fn send(
    outgoing: &mpsc::Sender<v1::AgentMessage>,
    kind: agent_message::Kind,
) -> Result<(), SessionEnd> {
    outgoing
        .send(v1::AgentMessage { kind: Some(kind) })
        .await
        .map_err(|_| SessionEnd::Closed)
}

fn keep_endpoints(file: &Path, endpoints: &Endpoints) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(endpoints).map_err(std::io::Error::other)?;
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, bytes)?;
    std::fs::rename(fresh, file)
}

/// What an earlier session was told; none if there was none, or if the file is
/// not readable any more: the next session tells again.
pub(crate) fn kept_endpoints(file: &Path) -> Option<Endpoints> {
    const LIMIT: usize = 16 << 10;
    let bytes = bounded::read_file(file, LIMIT).ok()?;
    match serde_json::from_slice(&bytes) {
        Ok(endpoints) => Some(endpoints),
        Err(error) => {
            tracing::warn!(%error, file = %file.display(), "what was kept of the last session is not readable; asking again");
            None
        }
    }
}
