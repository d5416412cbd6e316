//! Verifies a log that somebody serves, whole, trusting nothing but its keys.
//!
//! Reads the checkpoint, every entry bundle and every hash tile over HTTP, in
//! memory that does not grow with the log. An older note of the same log tells
//! apart what a single look cannot: a truncation, a fork, a replayed checkpoint.

use futures::stream::{self, StreamExt as _};
use landfall_catalog::{
    Entry, NoteError, PinnedKeys, Revision, SignedCheckpoint, TILE_WIDTH, TilePath, TreeHash,
    empty_root, leaf_hash,
};
use landfall_proto::model::decode_entry;
use landfall_proto::status::{Classify, Fault, chain};
use landfall_proto::v1::catalog_client::CatalogClient;
use landfall_proto::v1::{CatalogWatchRequest, catalog_watch_response::Kind};
use thiserror::Error;
use tonic::transport::Channel;
use url::Url;

use crate::disk::against;
use crate::edge::{Edge, concatenated};
use crate::refusal::{Refusal, judge};
use crate::remote::{BundleFault, FetchError, StaticLog};

/// Bundles and tiles that are fetched ahead.
const FILES_AHEAD: usize = 8;

/// A log that was found right.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Its checkpoint: origin, size, root, time.
    pub checkpoint: SignedCheckpoint,
    /// Its last revision, if it has any.
    pub revision: Option<Revision>,
    /// Its entries by kind.
    pub entries: EntryCounts,
}

/// Number of entries of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryCounts {
    /// `ObjectAdded`.
    pub objects_added: u64,
    /// `ObjectDescribed`.
    pub objects_described: u64,
    /// `NameSet`.
    pub names_set: u64,
    /// `NameRemoved`.
    pub names_removed: u64,
    /// `NamePending`.
    pub names_pending: u64,
    /// `NameDropped`.
    pub names_dropped: u64,
    /// `Withdrawn`.
    pub withdrawn: u64,
    /// `Reinstated`.
    pub reinstated: u64,
    /// `Commit`.
    pub commits: u64,
    /// Kinds that this version does not know.
    pub unknown: u64,
}

/// Why a log was not found right.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// It is not what it should be.
    #[error("{why}: {detail}")]
    Refused {
        /// By name.
        why: Refusal,
        /// The facts.
        detail: String,
    },
    /// It could not be read, which says nothing about it.
    #[error("the log could not be read")]
    Fetch(#[from] FetchError),
    /// The older note is none of this log.
    #[error("the note to compare with cannot be used")]
    Held(#[source] NoteError),
    /// The coordinator did not present its keys.
    #[error("the coordinator did not present the log's keys")]
    Keys(#[source] Option<Box<tonic::Status>>),
}

impl Classify for VerifyError {
    fn fault(&self) -> Fault {
        match self {
            Self::Refused { .. } => Fault::Conflict,
            Self::Fetch(_) | Self::Keys(_) => Fault::Unavailable,
            Self::Held(_) => Fault::InvalidInput,
        }
    }
}

/// Verifies the log below `prefix` (the URL above `checkpoint` and `tile/`).
/// `held` is an older note of the same log, to compare with.
///
/// # Errors
/// [`VerifyError::Refused`] names what is wrong with the log.
pub async fn verify(
    http: &reqwest::Client,
    prefix: &Url,
    keys: &PinnedKeys,
    held: Option<&[u8]>,
) -> Result<Verified, VerifyError> {
    let log = StaticLog::new(http.clone(), prefix);
    let held = held.map(|note| keys.verify(note)).transpose();
    let held = held.map_err(VerifyError::Held)?;
    let note = log.checkpoint().await.map_err(missing_is_truncated)?;
    let checkpoint = keys
        .verify(&note)
        .map_err(|error| refused(Refusal::from(&error), chain(&error)))?;
    if let Some(held) = &held {
        judge(Some(held), &checkpoint)
            .map_err(|why| refused(why, against(Some(held), &checkpoint)))?;
    }
    let mut walk = Walk::new(&log, &checkpoint, held.as_ref());
    walk.entries().await?;
    walk.right_edge().await?;
    walk.judge_root()?;
    Ok(Verified {
        revision: walk.revision,
        entries: walk.counts,
        checkpoint,
    })
}

/// The keys that a coordinator presents: to be believed on loopback only.
///
/// # Errors
/// [`VerifyError::Keys`].
pub async fn presented_keys(channel: Channel) -> Result<PinnedKeys, VerifyError> {
    let failed = |status| VerifyError::Keys(Some(Box::new(status)));
    let request = CatalogWatchRequest { from_size: 0 };
    let response = CatalogClient::new(channel).watch(request).await;
    let mut stream = response.map_err(failed)?.into_inner();
    let first = stream.message().await.map_err(failed)?;
    match first.and_then(|message| message.kind) {
        Some(Kind::Hello(hello)) => {
            PinnedKeys::parse(&hello.verifier_keys).map_err(|_| VerifyError::Keys(None))
        }
        Some(Kind::Entries(_) | Kind::Checkpoint(_) | Kind::Bookmark(_)) | None => {
            Err(VerifyError::Keys(None))
        }
    }
}

fn refused(why: Refusal, detail: impl Into<String>) -> VerifyError {
    VerifyError::Refused {
        why,
        detail: detail.into(),
    }
}

fn missing_is_truncated(error: FetchError) -> VerifyError {
    BundleFault::Fetch(error)
        .into_refusal()
        .map_or_else(VerifyError::from, |(why, detail)| refused(why, detail))
}

/// A walk over the whole log, from the first entry to the last.
struct Walk<'a> {
    log: &'a StaticLog,
    signed: &'a SignedCheckpoint,
    held: Option<&'a SignedCheckpoint>,
    /// The tree of the entries as they came.
    edge: Edge,
    /// The tree of the hashes in the lowest tiles.
    tiles: Edge,
    /// The root of the entries at the held size.
    root_at_held: TreeHash,
    /// The first entry or tile that differs from the other.
    difference: Option<String>,
    malformed: Option<String>,
    ends_with_commit: bool,
    revision: Option<Revision>,
    counts: EntryCounts,
}

impl<'a> Walk<'a> {
    fn new(
        log: &'a StaticLog,
        signed: &'a SignedCheckpoint,
        held: Option<&'a SignedCheckpoint>,
    ) -> Self {
        Self {
            log,
            signed,
            held,
            edge: Edge::default(),
            tiles: Edge::default(),
            root_at_held: empty_root(),
            difference: None,
            malformed: None,
            ends_with_commit: true,
            revision: None,
            counts: EntryCounts::default(),
        }
    }

    /// Every bundle beside the lowest tile over it, and the full tiles above.
    async fn entries(&mut self) -> Result<(), VerifyError> {
        let (log, size) = (self.log, self.signed.checkpoint.size);
        let width = u64::from(TILE_WIDTH);
        let bundles =
            (0..size.div_ceil(width)).filter_map(|index| TilePath::bundle_of(index * width, size));
        let mut files = stream::iter(bundles)
            .map(|bundle| async move {
                let tile = TilePath::Hashes {
                    level: 0,
                    index: bundle.index(),
                    width: bundle.width(),
                };
                (tile, log.bundle(bundle).await, log.tile(tile).await)
            })
            .buffered(FILES_AHEAD);
        while let Some((path, entries, tile)) = files.next().await {
            let entries = entries.map_err(from_bundle)?;
            let tile = tile.map_err(missing_is_truncated)?;
            let (hashes, _) = tile.as_chunks::<32>();
            if hashes.len() < usize::from(path.width()) {
                return Err(refused(
                    Refusal::TruncatedLog,
                    format!("{path} is too short"),
                ));
            }
            let mut full = Vec::new();
            for (entry, stored) in entries.iter().zip(hashes) {
                self.entry(entry, TreeHash::from_raw(*stored), &mut full);
            }
            for (path, expected) in full {
                self.compare_tile(path, &expected).await?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &[u8], stored: TreeHash, full: &mut Vec<(TilePath, Vec<u8>)>) {
        let (index, leaf) = (self.edge.size(), leaf_hash(entry));
        if leaf != stored {
            self.difference
                .get_or_insert_with(|| format!("entry {index}"));
        }
        self.edge.push(leaf, |path, hashes| {
            // The lowest ones are compared hash by hash.
            if !matches!(path, TilePath::Hashes { level: 0, .. }) {
                full.push((path, concatenated(hashes)));
            }
        });
        self.tiles.push(stored, |_, _| {});
        if self
            .held
            .is_some_and(|held| held.checkpoint.size == self.edge.size())
        {
            self.root_at_held = self.edge.root();
        }
        self.count(index, entry);
    }

    fn count(&mut self, index: u64, entry: &[u8]) {
        self.ends_with_commit = false;
        let count = match decode_entry(entry) {
            Ok(Entry::ObjectAdded(_)) => &mut self.counts.objects_added,
            Ok(Entry::ObjectDescribed(_)) => &mut self.counts.objects_described,
            Ok(Entry::NameSet { .. }) => &mut self.counts.names_set,
            Ok(Entry::NameRemoved { .. }) => &mut self.counts.names_removed,
            Ok(Entry::NamePending { .. }) => &mut self.counts.names_pending,
            Ok(Entry::NameDropped { .. }) => &mut self.counts.names_dropped,
            Ok(Entry::Withdrawn { .. }) => &mut self.counts.withdrawn,
            Ok(Entry::Reinstated { .. }) => &mut self.counts.reinstated,
            Ok(Entry::Commit(commit)) => {
                self.ends_with_commit = true;
                self.revision = Some(commit.revision);
                &mut self.counts.commits
            }
            Ok(Entry::Unknown) => &mut self.counts.unknown,
            Err(error) => {
                let detail = format!("entry {index}: {}", chain(&error));
                self.malformed.get_or_insert(detail);
                return;
            }
        };
        *count += 1;
    }

    /// The unfinished tiles above the lowest.
    async fn right_edge(&mut self) -> Result<(), VerifyError> {
        for path in Edge::unfinished(self.edge.size()) {
            if let TilePath::Hashes {
                level: level @ 1.., ..
            } = path
            {
                let expected = concatenated(self.edge.tail(level));
                self.compare_tile(path, &expected).await?;
            }
        }
        Ok(())
    }

    async fn compare_tile(&mut self, path: TilePath, expected: &[u8]) -> Result<(), VerifyError> {
        let tile = self.log.tile(path).await.map_err(missing_is_truncated)?;
        if !tile.starts_with(expected) {
            self.difference.get_or_insert_with(|| path.to_string());
        }
        Ok(())
    }

    /// With everything read: does it hash to what was signed, and was signed before?
    fn judge_root(&mut self) -> Result<(), VerifyError> {
        let root = self.signed.checkpoint.root;
        if self.edge.root() != root {
            let place = self.difference.take().filter(|_| self.tiles.root() == root);
            let detail =
                place.unwrap_or_else(|| "the entries do not hash to the signed root".to_owned());
            return Err(refused(Refusal::TamperedEntry, detail));
        }
        if let Some(place) = self.difference.take() {
            return Err(refused(Refusal::TamperedTile, place));
        }
        if let Some(held) = self.held
            && self.root_at_held != held.checkpoint.root
        {
            let detail = format!("another tree at size {}", held.checkpoint.size);
            return Err(refused(Refusal::Fork, detail));
        }
        if let Some(detail) = self.malformed.take() {
            return Err(refused(Refusal::MalformedEntry, detail));
        }
        if self.ends_with_commit {
            Ok(())
        } else {
            Err(refused(
                Refusal::MalformedEntry,
                "the last entry is not a commit",
            ))
        }
    }
}

fn from_bundle(fault: BundleFault) -> VerifyError {
    match fault.into_refusal() {
        Ok((why, detail)) => refused(why, detail),
        Err(error) => error.into(),
    }
}
