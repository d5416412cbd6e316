//! One connection to one source, until it ends, lies or falls silent.

use std::future::Future;

use bytes::Bytes;
use landfall_catalog::Entry;
use landfall_proto::model::decode_entry;
use landfall_proto::status::chain;
use tokio::time::timeout;

use super::evidence::Evidence;
use super::feed::{Feed, FeedError, FeedItem, FeedSource};
use super::run::{Run, Staged};
use super::{FollowError, FollowEvent};
use crate::disk::LogDisk;
use crate::error::LogError;
use crate::refusal::{Advance, Refusal, judge};

/// A static source may be behind another one by so much, in seconds, and is then
/// only slow. Caches keep a checkpoint for seconds; a replay is older than this.
const LAG_SECONDS: u64 = 600;

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Shutdown,
    /// The source failed; `progressed` if it had been of use until then.
    Lost {
        progressed: bool,
    },
    Refused,
    /// A source that is not the preferred one has given all that it has.
    Asked,
}

/// What came of a note.
enum Outcome {
    Held,
    Refused,
}

impl<S, F> Run<S>
where
    S: FnMut(FollowEvent) -> F + Send,
    F: Future<Output = ()> + Send,
{
    pub(super) async fn session(&mut self, turn: usize) -> Result<End, FollowError> {
        let source = self.follower.config.sources[turn].clone();
        if self.staged.source.is_some_and(|staging| staging != turn) {
            self.discard_staged();
        }
        self.staged.source = Some(turn);
        let watchdog = self.follower.config.limits.watchdog;
        let from = self.disk().map_or(0, LogDisk::staged_size);
        let keys = self.disk().map(|disk| disk.keys().clone());
        let opening = {
            let ways = self.ways();
            let opening = timeout(watchdog, Feed::open(&source, from, keys.as_ref(), &ways));
            self.shutdown.unless_requested(opening).await
        };
        let mut feed = match opening {
            None => return Ok(End::Shutdown),
            Some(Err(_)) => return self.lost(&source, FeedError::Silent(watchdog), false).await,
            Some(Ok(Err(error))) => return self.lost(&source, error, false).await,
            Some(Ok(Ok(feed))) => feed,
        };
        let asked_once = turn > 0 && matches!(source, FeedSource::Static(_));
        let mut progressed = false;
        loop {
            let next = timeout(watchdog, feed.next());
            let item = match self.shutdown.unless_requested(next).await {
                None => return Ok(End::Shutdown),
                Some(Err(_)) => Err(FeedError::Silent(watchdog)),
                Some(Ok(item)) => item,
            };
            let taken = match item {
                Ok(FeedItem::Checkpoint { note, trace_parent }) if self.disk().is_some() => {
                    match self.advance(&source, note, trace_parent).await? {
                        Outcome::Refused => return Ok(End::Refused),
                        Outcome::Held if !progressed => {
                            progressed = true;
                            let size = self.disk().map_or(0, LogDisk::size);
                            self.tell(FollowEvent::CaughtUp { size }).await;
                        }
                        Outcome::Held => {}
                    }
                    if asked_once {
                        return Ok(End::Asked);
                    }
                    Ok(())
                }
                Ok(FeedItem::Hello(keys)) => {
                    self.meet(&source, &keys).await?;
                    Ok(())
                }
                Ok(FeedItem::Entries(first, entries)) if self.disk().is_some() => {
                    self.stage(first, entries).await?
                }
                Ok(FeedItem::Entries(..) | FeedItem::Checkpoint { .. }) => {
                    Err(FeedError::Protocol("the source did not present keys first"))
                }
                Ok(FeedItem::Alive) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                return self.lost(&source, error, progressed).await;
            }
        }
    }

    /// Puts entries on the disk, past the checkpoint.
    async fn stage(
        &mut self,
        first: u64,
        entries: Vec<Bytes>,
    ) -> Result<Result<(), FeedError>, FollowError> {
        let expected = self.disk().map_or(0, LogDisk::staged_size);
        if first != expected {
            self.discard_staged();
            return Ok(Err(FeedError::Protocol("entries are not consecutive")));
        }
        self.staged.bytes += entries.iter().map(|entry| entry.len() as u64).sum::<u64>();
        if self.staged.bytes > self.follower.config.limits.staged_bytes {
            self.discard_staged();
            return Ok(Err(FeedError::Protocol("too much without a checkpoint")));
        }
        let staged = self
            .on_disk(move |disk| {
                let mut malformed = None;
                let mut ends_with_commit = None;
                for (index, entry) in (first..).zip(&entries) {
                    match decode_entry(entry) {
                        Ok(entry) => ends_with_commit = Some(matches!(entry, Entry::Commit(_))),
                        Err(error) => {
                            malformed.get_or_insert(format!("entry {index}: {}", chain(&error)));
                        }
                    }
                }
                disk.stage(&entries)?;
                Ok((malformed, ends_with_commit))
            })
            .await;
        match staged {
            Ok((malformed, ends_with_commit)) => {
                self.staged.malformed = self.staged.malformed.take().or(malformed);
                if let Some(ends) = ends_with_commit {
                    self.staged.ends_with_commit = ends;
                }
                Ok(Ok(()))
            }
            Err(LogError::EntryTooLong { .. }) => {
                self.discard_staged();
                Ok(Err(FeedError::Protocol("an entry is too long")))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// A note has come: take it with all that is staged, or refuse it.
    async fn advance(
        &mut self,
        source: &FeedSource,
        note: Bytes,
        trace_parent: Option<String>,
    ) -> Result<Outcome, FollowError> {
        let examined = self.disk().ok_or(LogError::Worker)?.examine(&note);
        let advance = match examined {
            Ok((_, advance)) => advance,
            Err(LogError::Refused { why, detail }) => {
                let why = self.find_out(source, why, &note).await;
                self.refuse(source, why, detail, &note).await?;
                return Ok(Outcome::Refused);
            }
            Err(other) => return Err(other.into()),
        };
        if advance == Advance::Same {
            return Ok(Outcome::Held);
        }
        let grows = self
            .disk()
            .is_some_and(|disk| disk.staged_size() > disk.size());
        if advance == Advance::Grow && grows {
            let wrong = self.staged.malformed.take().or_else(|| {
                let whole = self.staged.ends_with_commit;
                (!whole).then(|| "the last entry is not a commit".to_owned())
            });
            if let Some(detail) = wrong {
                self.refuse(source, Refusal::MalformedEntry, detail, &note)
                    .await?;
                return Ok(Outcome::Refused);
            }
        }
        let held = self.on_disk(move |disk| disk.commit(&note)).await?;
        if advance == Advance::Grow {
            self.staged = Staged {
                source: self.staged.source,
                ..Staged::default()
            };
        }
        self.hand_on(trace_parent).await?;
        self.tell(FollowEvent::Checkpoint(held)).await;
        Ok(Outcome::Held)
    }

    /// The source is given up. If its log is refused as such, that is told.
    async fn lost(
        &mut self,
        source: &FeedSource,
        error: FeedError,
        progressed: bool,
    ) -> Result<End, FollowError> {
        match error {
            FeedError::Refused { why, detail, note } => {
                self.refuse(source, why, detail, &note).await?;
                Ok(End::Refused)
            }
            FeedError::Behind { note } => self.behind(source, &note).await,
            other @ (FeedError::Stream(_)
            | FeedError::Ended
            | FeedError::Silent(_)
            | FeedError::Dial(_)
            | FeedError::Fetch(_)
            | FeedError::Protocol(_)) => {
                let reason = chain(&other);
                tracing::warn!(%source, reason, "lost the source of the log; going on with what is held");
                Ok(End::Lost { progressed })
            }
        }
    }

    /// The source has fewer entries than were asked for.
    async fn behind(&mut self, source: &FeedSource, note: &[u8]) -> Result<End, FollowError> {
        let lost = End::Lost { progressed: false };
        let Some(disk) = self.disk() else {
            return Ok(lost);
        };
        let held = disk.checkpoint();
        let refused = disk.read_note(note).and_then(|offered| {
            match (judge(held.as_ref(), &offered), &held) {
                (Err(Refusal::OlderCheckpoint), Some(held))
                    if matches!(source, FeedSource::Static(_))
                        && offered.time.saturating_add(LAG_SECONDS) >= held.time =>
                {
                    Ok(())
                }
                (Err(why), _) => Err(LogError::refused(
                    why,
                    crate::disk::against(held.as_ref(), &offered),
                )),
                (Ok(_), _) => Ok(()),
            }
        });
        match refused {
            Err(LogError::Refused { why, detail }) => {
                self.refuse(source, why, detail, note).await?;
                Ok(End::Refused)
            }
            // Behind what is staged, or a little behind another source.
            Ok(()) => {
                tracing::debug!(%source, "the source of the log is behind");
                self.discard_staged();
                Ok(lost)
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Keeps what is held, keeps the evidence, raises the alarm.
    async fn refuse(
        &mut self,
        source: &FeedSource,
        why: Refusal,
        detail: String,
        note: &[u8],
    ) -> Result<(), FollowError> {
        self.discard_staged();
        let held = self.disk().and_then(LogDisk::checkpoint);
        let mut evidence = Evidence::new(why, detail, source.to_string(), held.as_ref(), note);
        let dir = self.follower.config.dir.clone();
        let now = self.follower.clock.unix_seconds();
        let kept = tokio::task::spawn_blocking(move || {
            let kept = evidence.keep(&dir, now);
            (evidence, kept)
        });
        let (evidence, kept) = kept.await.map_err(|_| LogError::Worker)?;
        if let Err(error) = kept {
            tracing::warn!(%error, "the evidence could not be kept");
        }
        tracing::error!(
            refusal = %why,
            detail = evidence.detail,
            %source,
            evidence = evidence.file.as_ref().map(|file| file.display().to_string()),
            "refused what a source offers as the log; going on with what is held"
        );
        self.tell(FollowEvent::Refused(evidence)).await;
        Ok(())
    }
}
