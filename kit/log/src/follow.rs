//! The one that follows the log: from a coordinator's stream or from static
//! files, always in the same way.
//!
//! What arrives is staged on disk, past the checkpoint. A note that covers it is
//! verified, compared with what is held and with the root over the staged entries,
//! and committed durably; only then is a revision handed on. What does not verify
//! is refused by name: the old state stays in force, both notes are kept as
//! evidence, the alarm is raised, and the next source is asked.

mod evidence;
mod feed;
mod investigate;
mod pins;
mod run;
mod session;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use landfall_catalog::{Entry, PinnedKeys, SignedCheckpoint};
use landfall_runtime::dial::{Dial, DialError, http_client};
use landfall_runtime::{Clock, Shutdown};
use thiserror::Error;
use tokio::sync::watch;

use crate::error::LogError;
use crate::reader::LogReader;

pub use evidence::Evidence;
pub use feed::FeedSource;

/// What to follow, and where to keep it.
#[derive(Clone, Debug)]
pub struct FollowConfig {
    /// Where the log is kept.
    pub dir: PathBuf,
    /// The log's keys. Without them, those that a source on loopback presents
    /// first are kept in `dir` and believed from then on.
    pub keys: Option<PinnedKeys>,
    /// In order of preference; the next one is asked when one fails. Static files
    /// after the first place are read once, and then the first is tried again.
    pub sources: Vec<FeedSource>,
    /// Timing and bounds.
    pub limits: FollowLimits,
}

impl FollowConfig {
    /// With the ordinary limits.
    #[must_use]
    pub fn new(dir: PathBuf, keys: Option<PinnedKeys>, sources: Vec<FeedSource>) -> Self {
        Self {
            dir,
            keys,
            sources,
            limits: FollowLimits::default(),
        }
    }
}

/// Timing and bounds of a follower.
#[derive(Clone, Copy, Debug)]
pub struct FollowLimits {
    /// A source that says nothing for so long is given up; three times what a
    /// coordinator takes between two messages.
    pub watchdog: Duration,
    /// Time between two looks at a static log.
    pub poll: Duration,
    /// The first pause after a source failed is drawn from zero to this.
    pub first_pause: Duration,
    /// The longest pause is drawn from zero to this.
    pub longest_pause: Duration,
    /// Most bytes that a source may have staged without a checkpoint for them.
    pub staged_bytes: u64,
}

impl Default for FollowLimits {
    fn default() -> Self {
        Self {
            watchdog: Duration::from_secs(45),
            poll: Duration::from_secs(5),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            staged_bytes: 16 << 30,
        }
    }
}

/// What a follower tells.
#[derive(Debug)]
pub enum FollowEvent {
    /// These keys were met first and are the log's from now on.
    Pinned(Box<PinnedKeys>),
    /// A whole revision, durable on disk. They come in order, from the first one
    /// of the log on: those that were on disk already come first.
    Revision {
        /// Index of its first entry in the log.
        first: u64,
        /// Its entries, the commit last: what `Catalog::apply` takes.
        entries: Vec<Entry>,
        /// Trace context of the operation that published it, if it is known.
        trace_parent: Option<String>,
    },
    /// All that was on disk has been handed on. The sources come next.
    Replayed {
        /// Log size so far; 0 for a log that is new here.
        size: u64,
    },
    /// This checkpoint is held now. It covers exactly the revisions handed on.
    Checkpoint(SignedCheckpoint),
    /// All that the source had when it was asked has been handed on.
    CaughtUp {
        /// Log size so far.
        size: u64,
    },
    /// A source offered something that is not the log. What is held stays in force.
    Refused(Evidence),
}

/// Why a follower cannot go on.
#[derive(Debug, Error)]
pub enum FollowError {
    /// There is nobody to follow.
    #[error("no source of the log is configured")]
    NoSource,
    /// No keys are configured, and no source is one whose keys are believed.
    #[error(
        "the log's keys are not configured, and only a coordinator on loopback is believed without"
    )]
    NoKeys,
    /// A source's URL cannot be used.
    #[error("a source of the log cannot be used")]
    Dial(#[from] DialError),
    /// The file of pinned keys cannot be read or written.
    #[error("the pinned keys in {path} cannot be used")]
    Pins {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The log on disk cannot be used.
    #[error("the log on disk cannot be used")]
    Log(#[from] LogError),
}

/// Follows a log. See [`Follower::run`].
pub struct Follower {
    config: FollowConfig,
    clock: Arc<dyn Clock>,
    dial: Arc<dyn Dial>,
    http: reqwest::Client,
    opened: watch::Sender<Option<LogReader>>,
}

impl Follower {
    /// A follower that has not begun.
    ///
    /// # Errors
    /// [`FollowError::NoSource`], [`FollowError::Dial`].
    pub fn new(
        config: FollowConfig,
        clock: Arc<dyn Clock>,
        dial: Arc<dyn Dial>,
    ) -> Result<Self, FollowError> {
        if config.sources.is_empty() {
            return Err(FollowError::NoSource);
        }
        Ok(Self {
            config,
            clock,
            dial,
            http: http_client()?,
            opened: watch::Sender::new(None),
        })
    }

    /// Where the log can be read beside the follower, once it is open: at the
    /// start, or when its keys are pinned.
    #[must_use]
    pub fn reader(&self) -> watch::Receiver<Option<LogReader>> {
        self.opened.subscribe()
    }

    /// Hands on what is on disk, then follows the sources until the shutdown is
    /// requested. `sink` is awaited after each event, so it sets the pace.
    ///
    /// # Errors
    /// [`FollowError`] for what another try would not change: wrong
    /// configuration, a log on disk that is damaged or in use. Sources that fail,
    /// lie or fall silent, and writes that fail, are not among these.
    pub async fn run<S, F>(self, shutdown: Shutdown, sink: S) -> Result<(), FollowError>
    where
        S: FnMut(FollowEvent) -> F + Send,
        F: Future<Output = ()> + Send,
    {
        run::Run::new(self, shutdown, sink).run().await
    }
}
