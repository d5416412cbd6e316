//! The catalog: from the follower's events to the view.
//!
//! Everything that arrives here was verified and is durable on disk. A revision is applied whole before the next
//! event is taken; OCI manifests that a new revision brings are fetched ahead, because they are asked for next.

use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, future};
use landfall_catalog::{Digest, Entry};
use landfall_log::follow::FollowEvent;
use landfall_proto::status::chain;
use landfall_runtime::telemetry::set_parent;
use landfall_runtime::{Clock, Shutdown};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tracing::info_span;

use crate::http::{is_manifest, wanted_manifest};
use crate::metrics::Metrics;
use crate::oci_manifests::Manifests;
use crate::view::{View, blocking};

/// OCI manifests that wait to be fetched ahead. What finds no room is fetched when it is asked for.
pub const MAX_AHEAD: usize = 10_000;
/// OCI manifests that are fetched ahead at the same time.
const MAX_CONCURRENT: usize = 4;

/// Where the follower's events go.
#[derive(Clone)]
pub struct Sink {
    /// What is brought up to date.
    pub view: Arc<View>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// OCI manifests to fetch ahead.
    pub ahead: mpsc::Sender<Digest>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Sink {
    /// A function that takes events one by one.
    pub fn into_fn(self) -> impl FnMut(FollowEvent) -> BoxFuture<'static, ()> + Send {
        let mut replayed = false;
        move |event| {
            if let FollowEvent::Checkpoint(checkpoint) = event {
                let (view, now) = (Arc::clone(&self.view), self.clock.unix_seconds());
                return blocking(move || view.set_checkpoint(checkpoint, now)).boxed();
            }
            self.take(event, &mut replayed);
            future::ready(()).boxed()
        }
    }

    fn take(&self, event: FollowEvent, replayed: &mut bool) {
        let now = self.clock.unix_seconds();
        match event {
            FollowEvent::Pinned(keys) => {
                tracing::info!(origin = keys.origin(), "the log's keys are pinned");
            }
            FollowEvent::Revision {
                first,
                entries,
                trace_parent,
            } => {
                let span = info_span!("apply", first, entries = entries.len());
                if let Some(parent) = &trace_parent {
                    set_parent(&span, parent);
                }
                let _entered = span.enter();
                if let Err(fault) = self.view.apply(&entries, now) {
                    self.metrics.refused_feeds.inc();
                    tracing::error!(
                        first,
                        error = chain(&fault),
                        "a revision cannot be applied; answers go on by the one before"
                    );
                } else if *replayed {
                    self.fetch_ahead(&entries);
                }
            }
            FollowEvent::Replayed { size } => {
                *replayed = true;
                tracing::info!(size, "the catalog on disk is in force");
            }
            FollowEvent::CaughtUp { size } => tracing::debug!(size, "caught up with the log"),
            // Taken already.
            FollowEvent::Checkpoint(_) => {}
            FollowEvent::Refused(_) => {
                // The follower has told what and why, and keeps the evidence.
                self.metrics.refused_feeds.inc();
            }
        }
    }

    fn fetch_ahead(&self, entries: &[Entry]) {
        for entry in entries {
            if let Entry::ObjectAdded(object) | Entry::ObjectDescribed(object) = entry
                && is_manifest(&object.media_type)
                && self.ahead.try_send(object.digest).is_err()
            {
                return;
            }
        }
    }
}

/// Fetches OCI manifests ahead until the stop is requested.
pub fn fetch_ahead(
    view: Arc<View>,
    manifests: Manifests,
    wanted: mpsc::Receiver<Digest>,
    shutdown: Shutdown,
) -> impl Future<Output = ()> + Send {
    let fetches = ReceiverStream::new(wanted).for_each_concurrent(MAX_CONCURRENT, move |digest| {
        let (manifests, wanted) = (manifests.clone(), wanted_manifest(&view, &digest));
        async move {
            let Some(wanted) = wanted else { return };
            if let Err(fault) = manifests.get(wanted).await {
                tracing::debug!(error = %fault, "an OCI manifest could not be fetched ahead");
            }
        }
    });
    async move {
        shutdown.unless_requested(fetches).await;
    }
}
