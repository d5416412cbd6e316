//! Where the log comes from: a coordinator's stream, or static files. Both give
//! the same messages, none of them trusted.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use landfall_catalog::{PinnedKeys, SignedCheckpoint, TILE_WIDTH, TilePath};
use landfall_proto::status::chain;
use landfall_proto::v1::catalog_client::CatalogClient;
use landfall_proto::v1::{CatalogWatchRequest, CatalogWatchResponse, catalog_watch_response::Kind};
use landfall_runtime::dial::{Dial, DialError, without_secrets};
use thiserror::Error;
use tonic::{Code, Status, Streaming};
use url::Url;

use crate::refusal::Refusal;
use crate::remote::{BundleFault, FetchError, StaticLog};

/// Largest message that is read: four times what a coordinator sends.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// Bundles of a static log that are fetched ahead.
const BUNDLES_AHEAD: usize = 8;

/// Somewhere to follow the log from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedSource {
    /// A coordinator's gRPC address.
    Grpc(Url),
    /// The URL above `checkpoint` and `tile/`: asked again and again.
    Static(Url),
}

impl FeedSource {
    pub(crate) fn url(&self) -> &Url {
        match self {
            Self::Grpc(url) | Self::Static(url) => url,
        }
    }
}

impl fmt::Display for FeedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(self.url()))
    }
}

/// A message of a feed.
#[derive(Debug)]
pub(crate) enum FeedItem {
    /// Keys that the source presents.
    Hello(Vec<String>),
    /// Consecutive entries from that index on.
    Entries(u64, Vec<Bytes>),
    /// The note that covers all entries so far.
    Checkpoint {
        note: Bytes,
        trace_parent: Option<String>,
    },
    /// Nothing new; the source is alive.
    Alive,
}

/// Why a feed ended.
#[derive(Debug, Error)]
pub(crate) enum FeedError {
    #[error("the stream broke")]
    Stream(#[source] Box<Status>),
    #[error("the stream ended")]
    Ended,
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    #[error("the source is not to be dialled")]
    Dial(#[source] DialError),
    #[error("the source could not be read")]
    Fetch(#[source] FetchError),
    #[error("{0}")]
    Protocol(&'static str),
    /// The source shows a log that is refused as such.
    #[error("{why}: {detail}")]
    Refused {
        why: Refusal,
        detail: String,
        note: Bytes,
    },
    /// The source's log ends before the entry that was asked for.
    #[error("the source's log is shorter")]
    Behind { note: Bytes },
}

/// An open feed.
pub(crate) enum Feed {
    Grpc(Box<Streaming<CatalogWatchResponse>>),
    Static(Box<StaticFeed>),
}

impl Feed {
    /// Opens a source for a reader that has `from` entries.
    pub(crate) async fn open(
        source: &FeedSource,
        from: u64,
        keys: Option<&PinnedKeys>,
        ways: &Ways<'_>,
    ) -> Result<Self, FeedError> {
        match source {
            FeedSource::Grpc(url) => {
                let channel = ways.dial.grpc(url).map_err(FeedError::Dial)?;
                let mut client =
                    CatalogClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
                let request = CatalogWatchRequest { from_size: from };
                let response = client.watch(request).await.map_err(from_status)?;
                Ok(Self::Grpc(Box::new(response.into_inner())))
            }
            FeedSource::Static(url) => {
                let keys = keys.ok_or(FeedError::Protocol("static files present no keys"))?;
                Ok(Self::Static(Box::new(StaticFeed {
                    log: StaticLog::new(ways.http.clone(), url),
                    keys: keys.clone(),
                    poll: ways.poll,
                    next: from,
                    seen: Bytes::new(),
                    asked: false,
                    fetching: None,
                    ready: VecDeque::new(),
                })))
            }
        }
    }

    /// The next message; there always is one sooner or later.
    pub(crate) async fn next(&mut self) -> Result<FeedItem, FeedError> {
        match self {
            Self::Grpc(stream) => loop {
                let message = stream.message().await.map_err(from_status)?;
                let message = message.ok_or(FeedError::Ended)?;
                // A kind of message that this version does not know is skipped.
                if let Some(kind) = message.kind {
                    return Ok(from_wire(kind));
                }
            },
            Self::Static(feed) => feed.next().await,
        }
    }
}

/// How sources are reached.
pub(crate) struct Ways<'a> {
    pub(crate) dial: &'a dyn Dial,
    pub(crate) http: &'a reqwest::Client,
    pub(crate) poll: Duration,
}

fn from_wire(kind: Kind) -> FeedItem {
    match kind {
        Kind::Hello(hello) => FeedItem::Hello(hello.verifier_keys),
        Kind::Entries(entries) => FeedItem::Entries(entries.first, entries.entries),
        Kind::Checkpoint(checkpoint) => FeedItem::Checkpoint {
            note: checkpoint.note,
            trace_parent: Some(checkpoint.trace_parent).filter(|context| !context.is_empty()),
        },
        Kind::Bookmark(_) => FeedItem::Alive,
    }
}

fn from_status(status: Status) -> FeedError {
    if status.code() == Code::FailedPrecondition && !status.details().is_empty() {
        let note = Bytes::copy_from_slice(status.details());
        return FeedError::Behind { note };
    }
    FeedError::Stream(Box::new(status))
}

/// Polls a static log, and fetches only what a verified checkpoint promises.
pub(crate) struct StaticFeed {
    log: StaticLog,
    keys: PinnedKeys,
    poll: Duration,
    /// Entries that were handed on or were there before.
    next: u64,
    /// The note of the last poll.
    seen: Bytes,
    asked: bool,
    fetching: Option<Fetching>,
    ready: VecDeque<FeedItem>,
}

struct Fetching {
    target: SignedCheckpoint,
    bundles: BoxStream<'static, (u64, Result<Vec<Bytes>, BundleFault>)>,
}

impl StaticFeed {
    async fn next(&mut self) -> Result<FeedItem, FeedError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(item);
            }
            match self.fetching.take() {
                Some(fetching) => self.fetch(fetching).await?,
                None => self.ask().await?,
            }
        }
    }

    async fn fetch(&mut self, mut fetching: Fetching) -> Result<(), FeedError> {
        let note = || Bytes::copy_from_slice(fetching.target.note());
        let Some((first, bundle)) = fetching.bundles.next().await else {
            self.ready.push_back(FeedItem::Checkpoint {
                note: note(),
                trace_parent: None,
            });
            return Ok(());
        };
        let entries = bundle.or_else(|fault| {
            let (why, detail) = fault.into_refusal().map_err(FeedError::Fetch)?;
            Err(FeedError::Refused {
                why,
                detail,
                note: note(),
            })
        })?;
        let had = usize::try_from(self.next.saturating_sub(first)).unwrap_or(usize::MAX);
        let new: Vec<Bytes> = entries.into_iter().skip(had).collect();
        let start = self.next;
        self.next += new.len() as u64;
        self.ready.push_back(FeedItem::Entries(start, new));
        self.fetching = Some(fetching);
        Ok(())
    }

    async fn ask(&mut self) -> Result<(), FeedError> {
        if self.asked {
            tokio::time::sleep(self.poll).await;
        }
        self.asked = true;
        let refuse = |(why, detail), note: &Bytes| FeedError::Refused {
            why,
            detail,
            note: note.clone(),
        };
        let note = self.log.checkpoint().await.map_err(|error| {
            let refused = BundleFault::Fetch(error).into_refusal();
            refused.map_or_else(FeedError::Fetch, |refusal| refuse(refusal, &Bytes::new()))
        })?;
        if note == self.seen {
            self.ready.push_back(FeedItem::Alive);
            return Ok(());
        }
        let target = self
            .keys
            .verify(&note)
            .map_err(|error| refuse((Refusal::from(&error), chain(&error)), &note))?;
        self.seen = note.clone();
        let size = target.checkpoint.size;
        if size < self.next {
            return Err(FeedError::Behind { note });
        }
        let bundles = self.bundles(self.next, size);
        self.fetching = Some(Fetching { target, bundles });
        Ok(())
    }

    /// The bundles with the entries `from..size`, a few of them fetched ahead.
    fn bundles(
        &self,
        from: u64,
        size: u64,
    ) -> BoxStream<'static, (u64, Result<Vec<Bytes>, BundleFault>)> {
        let width = u64::from(TILE_WIDTH);
        let log = self.log.clone();
        let paths = (from / width..size.div_ceil(width)).filter_map(move |index| {
            let first = index * width;
            TilePath::bundle_of(first, size)
                .filter(|_| size > from)
                .map(|path| (first, path))
        });
        stream::iter(paths)
            .map(move |(first, path)| {
                let log = log.clone();
                async move { (first, log.bundle(path).await) }
            })
            .buffered(BUNDLES_AHEAD)
            .boxed()
    }
}
