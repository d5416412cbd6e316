//! The coordinator's view of the fleet: followed, kept on disk, and told in return what probes see.
//!
//! Nothing here ever takes anything away from the view: a coordinator that is silent, gone or talks nonsense
//! changes neither readiness nor routing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use landfall_log::LogReader;
use landfall_proto::model::{WireError, health_to_wire};
use landfall_proto::status::chain;
use landfall_proto::v1;
use landfall_proto::v1::routing_client::RoutingClient;
use landfall_route::Health;
use landfall_runtime::Shutdown;
use landfall_runtime::retry::Backoff;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tonic::transport::Channel;

use crate::fleet::{Fleet, FleetWatch};
use crate::last_good;
use crate::view::{View, blocking};

/// A coordinator sends a bookmark every 15 s; after three missed ones the connection is given up.
const WATCHDOG: Duration = Duration::from_secs(45);
/// How long a call may take that is answered at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the fleet waits for the log on disk to be open.
const LOG_OPENS: Duration = Duration::from_secs(10);
/// From one report to the next while nothing changes.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// The file is written at most this often: an old fleet view is as good for a start.
const SAVE_INTERVAL: Duration = Duration::from_millis(250);

/// Why a connection to the coordinator ended.
#[derive(Debug, Error)]
enum WatchEnd {
    #[error("the coordinator cannot be watched")]
    Status(#[from] tonic::Status),
    #[error("the coordinator closed the stream")]
    Closed,
    #[error("the coordinator has been silent for {} s", WATCHDOG.as_secs())]
    Silent,
    #[error("the coordinator's stream cannot be understood")]
    Wire(#[from] WireError),
}

/// What the tasks here share.
#[derive(Clone)]
pub struct Routing {
    /// The connection to the coordinator.
    pub channel: Channel,
    /// Name of this redirector.
    pub name: String,
    /// What is brought up to date.
    pub view: Arc<View>,
    /// The log that is held here, once it is open.
    pub log: watch::Receiver<Option<LogReader>>,
    /// Ends all of them.
    pub shutdown: Shutdown,
}

impl Routing {
    /// Follows the fleet from `held` on, for ever; every new state goes to the view and to `states`.
    pub async fn follow(self, held: Arc<Fleet>, states: watch::Sender<Arc<Fleet>>) {
        let mut watch = FleetWatch::from_state(held);
        let mut backoff = Backoff::for_reconnects();
        let mut from_nothing = false;
        while !self.shutdown.is_requested() {
            let cursor = watch.held().cursor.filter(|_| !from_nothing);
            let session = self.session(&mut watch, cursor, &states, &mut backoff);
            let Some(end) = self.shutdown.unless_requested(session).await else {
                return;
            };
            watch.disconnected();
            from_nothing = matches!(end, WatchEnd::Wire(_));
            let delay = backoff.next_delay();
            tracing::warn!(
                error = chain(&end),
                "the fleet is not followed for now; routing goes on by the last good view"
            );
            if self
                .shutdown
                .unless_requested(tokio::time::sleep(delay))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    /// The signed note of the newest checkpoint that is held, once the log is open;
    /// empty if there is none.
    async fn held(&self) -> Vec<u8> {
        let mut log = self.log.clone();
        let opened = tokio::time::timeout(LOG_OPENS, log.wait_for(Option::is_some)).await;
        let checkpoint = match opened {
            Ok(Ok(log)) => log.as_ref().and_then(LogReader::checkpoint),
            Ok(Err(_)) | Err(_) => None,
        };
        checkpoint.map_or_else(Vec::new, |it| it.note().to_vec())
    }

    async fn session(
        &self,
        watch: &mut FleetWatch,
        cursor: Option<v1::RoutingCursor>,
        states: &watch::Sender<Arc<Fleet>>,
        backoff: &mut Backoff,
    ) -> WatchEnd {
        let checkpoint = self.held().await;
        let request = v1::RoutingWatchRequest {
            checkpoint: checkpoint.into(),
            cursor,
            redirector: self.name.clone(),
        };
        let mut client = RoutingClient::new(self.channel.clone());
        let mut stream = match tokio::time::timeout(CALL_TIMEOUT, client.watch(request)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return status.into(),
            Err(_elapsed) => return WatchEnd::Silent,
        };
        loop {
            let message = match tokio::time::timeout(WATCHDOG, stream.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return WatchEnd::Closed,
                Ok(Err(status)) => return status.into(),
                Err(_elapsed) => return WatchEnd::Silent,
            };
            match watch.take(message) {
                Ok(None) => {}
                Ok(Some(fleet)) => {
                    backoff.reset();
                    tracing::debug!(revision = fleet.revision(), "the fleet changed");
                    let (view, next) = (Arc::clone(&self.view), Arc::clone(&fleet));
                    blocking(move || view.set_fleet(next)).await;
                    states.send_replace(fleet);
                }
                Err(fault) => return fault.into(),
            }
        }
    }

    /// Tells the coordinator what probes see: whenever `changed`, and every few seconds.
    pub async fn report(self, changed: Arc<Notify>) {
        loop {
            let wake = async {
                tokio::select! {
                    () = changed.notified() => {}
                    () = tokio::time::sleep(REPORT_INTERVAL) => {}
                }
                self.send_report().await
            };
            match self.shutdown.unless_requested(wake).await {
                Some(Ok(())) => {}
                Some(Err(fault)) => {
                    tracing::debug!(error = %fault, "a report did not reach the coordinator");
                }
                None => return,
            }
        }
    }

    async fn send_report(&self) -> Result<(), tonic::Status> {
        let verdicts = self
            .view
            .verdicts()
            .into_iter()
            .filter(|(_, health)| *health != Health::Unknown)
            .map(|(mirror, health)| v1::ProbeVerdict {
                mirror,
                health: health_to_wire(health).into(),
                detail: String::new(),
            })
            .collect();
        let report = v1::RoutingReportRequest {
            redirector: self.name.clone(),
            verdicts,
            catalog_size: self.view.catalog().catalog().log_size(),
            routing_revision: self.view.fleet().revision,
        };
        let mut client = RoutingClient::new(self.channel.clone());
        match tokio::time::timeout(CALL_TIMEOUT, client.report(report)).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_elapsed) => Err(tonic::Status::deadline_exceeded("no answer in time")),
        }
    }
}

/// Keeps the newest of `states` in `file`; the last one, too, when the stop is requested.
pub async fn keep(file: PathBuf, mut states: watch::Receiver<Arc<Fleet>>, shutdown: Shutdown) {
    let mut kept = Arc::clone(&states.borrow());
    loop {
        let changed = shutdown.unless_requested(states.changed()).await;
        let newest = Arc::clone(&states.borrow_and_update());
        if !Arc::ptr_eq(&newest, &kept) {
            kept = Arc::clone(&newest);
            save(file.clone(), newest).await;
        }
        if !matches!(changed, Some(Ok(()))) {
            return;
        }
        // Cut short by the stop, after which the next turn is the last.
        let _ = shutdown
            .unless_requested(tokio::time::sleep(SAVE_INTERVAL))
            .await;
    }
}

async fn save(file: PathBuf, fleet: Arc<Fleet>) {
    let saved = tokio::task::spawn_blocking(move || last_good::save(&file, &fleet)).await;
    if let Ok(Err(fault)) = saved {
        tracing::error!(
            error = chain(&fault),
            "the fleet view cannot be kept on disk"
        );
    }
}
