//! The life of a follower: open, replay, then one source after the other.

use std::future::Future;
use std::ops::ControlFlow;

use landfall_catalog::{PinnedKeys, TreeHash};
use landfall_runtime::Shutdown;
use landfall_runtime::dial::is_loopback;
use landfall_runtime::retry::Backoff;
use tokio::sync::mpsc;

use super::feed::{FeedSource, Ways};
use super::session::End;
use super::{FollowError, FollowEvent, Follower, pins};
use crate::disk::LogDisk;
use crate::error::LogError;
use crate::refusal::Refusal;
use crate::replay::{Revision, replay};

/// Revisions that are read ahead of the sink.
const REVISIONS_AHEAD: usize = 4;

/// What is staged on the disk, and by whom.
#[derive(Debug, Default)]
pub(super) struct Staged {
    /// Place of the source among the configured ones.
    pub(super) source: Option<usize>,
    pub(super) bytes: u64,
    /// The first staged entry that is none.
    pub(super) malformed: Option<String>,
    pub(super) ends_with_commit: bool,
}

pub(super) struct Run<S> {
    pub(super) follower: Follower,
    pub(super) shutdown: Shutdown,
    sink: S,
    /// None as long as the log's keys are not known, and while it is being worked on.
    disk: Option<LogDisk>,
    /// Size up to which revisions were handed on.
    handed: u64,
    pub(super) staged: Staged,
    /// The last root that was investigated, and what came out.
    pub(super) investigated: Option<(TreeHash, Refusal)>,
}

impl<S, F> Run<S>
where
    S: FnMut(FollowEvent) -> F + Send,
    F: Future<Output = ()> + Send,
{
    pub(super) fn new(follower: Follower, shutdown: Shutdown, sink: S) -> Self {
        Self {
            follower,
            shutdown,
            sink,
            disk: None,
            handed: 0,
            staged: Staged::default(),
            investigated: None,
        }
    }

    pub(super) async fn run(mut self) -> Result<(), FollowError> {
        self.begin().await?;
        let limits = self.follower.config.limits;
        let mut backoff = Backoff::new(limits.first_pause, limits.longest_pause);
        let mut polls = Backoff::new(limits.poll, limits.poll);
        let mut turn = 0;
        loop {
            let end = self.turn(turn).await?;
            turn = (turn + 1) % self.follower.config.sources.len();
            let pause = match end {
                End::Shutdown => return Ok(()),
                End::Lost { progressed: true } => {
                    backoff.reset();
                    backoff.next_delay()
                }
                End::Lost { progressed: false } | End::Refused => backoff.next_delay(),
                End::Asked => {
                    turn = 0;
                    polls.next_delay()
                }
            };
            let pause = tokio::time::sleep(pause);
            if self.shutdown.unless_requested(pause).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Hands on what is on the disk.
    async fn begin(&mut self) -> Result<(), FollowError> {
        let known = match self.follower.config.keys.clone() {
            Some(keys) => Some(keys),
            None => pins::read(&self.follower.config.dir)?,
        };
        match known {
            Some(keys) => self.open(keys).await?,
            None if self.may_pin_from_some_source() => {}
            None => return Err(FollowError::NoKeys),
        }
        self.hand_on(None).await?;
        let held = self.disk().and_then(LogDisk::checkpoint);
        if let Some(held) = held {
            self.tell(FollowEvent::Checkpoint(held)).await;
        }
        let size = self.handed;
        self.tell(FollowEvent::Replayed { size }).await;
        Ok(())
    }

    /// One session with a source. What fails on the way is told here; only what
    /// another try would not change is an error.
    async fn turn(&mut self, turn: usize) -> Result<End, FollowError> {
        match self.session(turn).await {
            Err(FollowError::Log(error @ (LogError::Io { .. } | LogError::Broken))) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the log cannot be written; trying again"
                );
                self.staged = Staged::default();
                match self.on_disk(LogDisk::recover).await {
                    Ok(()) | Err(LogError::Io { .. }) => Ok(End::Lost { progressed: false }),
                    Err(other) => Err(other.into()),
                }
            }
            other => other,
        }
    }

    fn may_pin_from_some_source(&self) -> bool {
        self.follower.config.sources.iter().any(may_pin_from)
    }

    /// Believes the keys that a source presents, if it is one to be believed and
    /// none are known.
    pub(super) async fn meet(
        &mut self,
        source: &FeedSource,
        keys: &[String],
    ) -> Result<(), FollowError> {
        if self.disk.is_some() || !may_pin_from(source) {
            return Ok(());
        }
        let Ok(keys) = PinnedKeys::parse(keys) else {
            tracing::warn!(%source, "the source presents keys that are none");
            return Ok(());
        };
        let (dir, pinned) = (self.follower.config.dir.clone(), keys.clone());
        tokio::task::spawn_blocking(move || pins::write(&dir, &pinned))
            .await
            .map_err(|_| LogError::Worker)??;
        tracing::info!(%source, origin = keys.origin(), "pinned the keys of the log that were met first");
        self.open(keys.clone()).await?;
        self.tell(FollowEvent::Pinned(Box::new(keys))).await;
        Ok(())
    }

    async fn open(&mut self, keys: PinnedKeys) -> Result<(), LogError> {
        let dir = self.follower.config.dir.clone();
        let disk = tokio::task::spawn_blocking(move || LogDisk::open(&dir, &keys))
            .await
            .map_err(|_| LogError::Worker)??;
        self.follower.opened.send_replace(Some(disk.reader()));
        self.disk = Some(disk);
        Ok(())
    }

    pub(super) fn disk(&self) -> Option<&LogDisk> {
        self.disk.as_ref()
    }

    pub(super) fn discard_staged(&mut self) {
        self.staged = Staged::default();
        if let Some(disk) = &mut self.disk {
            disk.discard_staged();
        }
    }

    /// Works on the log off the asynchronous threads.
    pub(super) async fn on_disk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut LogDisk) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let mut disk = self.disk.take().ok_or(LogError::Worker)?;
        let worked = tokio::task::spawn_blocking(move || {
            let result = work(&mut disk);
            (disk, result)
        });
        let (disk, result) = worked.await.map_err(|_| LogError::Worker)?;
        self.disk = Some(disk);
        result
    }

    /// Hands on the committed revisions that were not handed on yet. The trace
    /// context belongs to the last one.
    pub(super) async fn hand_on(&mut self, trace_parent: Option<String>) -> Result<(), LogError> {
        let Some(reader) = self.disk.as_ref().map(LogDisk::reader) else {
            return Ok(());
        };
        let (head, from) = (reader.head(), self.handed);
        let size = head.size();
        if size == from {
            return Ok(());
        }
        let (sender, mut revisions) = mpsc::channel::<Revision>(REVISIONS_AHEAD);
        let reading = tokio::task::spawn_blocking(move || {
            replay(&reader, &head, from, |revision| {
                match sender.blocking_send(revision) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            })
        });
        while let Some(Revision { first, entries }) = revisions.recv().await {
            self.handed = first + entries.len() as u64;
            let trace_parent = trace_parent.clone().filter(|_| self.handed == size);
            self.tell(FollowEvent::Revision {
                first,
                entries,
                trace_parent,
            })
            .await;
            if self.shutdown.is_requested() {
                revisions.close();
            }
        }
        reading.await.map_err(|_| LogError::Worker)?
    }

    pub(super) async fn tell(&mut self, event: FollowEvent) {
        (self.sink)(event).await;
    }
}

impl<S> Run<S> {
    pub(super) fn ways(&self) -> Ways<'_> {
        Ways {
            dial: self.follower.dial.as_ref(),
            http: &self.follower.http,
            poll: self.follower.config.limits.poll,
        }
    }
}

/// Only a coordinator on this machine is believed when it says who it is.
fn may_pin_from(source: &FeedSource) -> bool {
    match source {
        FeedSource::Grpc(url) => is_loopback(url),
        FeedSource::Static(_) => false,
    }
}
