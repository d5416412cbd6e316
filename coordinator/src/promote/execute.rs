//! Brings the content of an entry to the origin: verified before it can be
//! seen, in bounded memory, each object once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use landfall_catalog::{Object, PIECE_SIZE};
use landfall_content::{
    DirectoryStore, FaultKind, PieceHasher, PieceList, Source, StoreError, TransferError, Want,
    oci, transfer,
};
use landfall_proto::status::chain;
use landfall_runtime::retry::{Advice, RetryPolicy, Retryable, retry};

use super::orders::Order;
use super::sources::Sources;
use crate::state::projects::HalfKind;

/// Objects of one entry that are brought at a time.
const CONCURRENT_OBJECTS: usize = 4;
/// Bytes read at once to make a piece list.
const READ_BYTES: usize = 1 << 20;

/// Copies from staging to the origin; cheap to clone.
#[derive(Clone)]
pub(crate) struct Executor {
    sources: Sources,
    store: DirectoryStore,
}

/// An entry whose content the origin holds.
#[derive(Debug)]
pub(crate) struct Placed {
    /// As they are recorded: children first, with their piece lists.
    pub(crate) objects: Vec<Arc<Object>>,
    /// Whether anything was copied.
    pub(crate) copied: bool,
}

/// Why an entry's content is not at the origin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missed {
    /// Staging does not have it.
    #[error("{0}")]
    Lost(String),
    /// Staging has something else, or may not be read.
    #[error("{0}")]
    Refused(String),
    /// It may work the next time.
    #[error("{0}")]
    Failed(String),
}

impl Missed {
    /// The outcome's code.
    pub(crate) const fn outcome(&self) -> &'static str {
        match self {
            Self::Lost(_) => "lost",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

impl From<StoreError> for Missed {
    fn from(error: StoreError) -> Self {
        Self::Failed(chain(&error))
    }
}

impl Executor {
    pub(crate) fn new(sources: Sources, store: DirectoryStore) -> Self {
        Self { sources, store }
    }

    /// Brings everything that `order` needs. `count` is told of every byte that
    /// is in place.
    pub(crate) async fn place(
        &self,
        order: &Order,
        count: &(impl Fn(u64) + Send + Sync),
    ) -> Result<Placed, Missed> {
        let bringing: Vec<_> = order
            .closure
            .iter()
            .map(|object| self.bring(order, object, count))
            .collect();
        let brought: Vec<_> = futures::stream::iter(bringing)
            // In order, so that the first failure is always the same one.
            .buffered(CONCURRENT_OBJECTS)
            .try_collect()
            .await?;
        let copied = brought.iter().any(|(_, copied)| *copied);
        let objects = brought.into_iter().map(|(object, _)| object).collect();
        Ok(Placed { objects, copied })
    }

    async fn bring(
        &self,
        order: &Order,
        object: &Arc<Object>,
        count: &(impl Fn(u64) + Send + Sync),
    ) -> Result<(Arc<Object>, bool), Missed> {
        let (digest, size) = (object.digest, object.size);
        let is_there = self
            .store
            .run(move |store| store.has(&digest, size))
            .await?;
        if is_there {
            count(size);
        } else {
            self.copy(order, object, count).await?;
        }
        let mut recorded = Arc::clone(object);
        if size > PIECE_SIZE {
            let pieces = self.pieces(object).await?;
            recorded = Arc::new(Object {
                pieces: Some(pieces.digest()),
                ..Object::clone(object)
            });
        }
        Ok((recorded, !is_there))
    }

    async fn copy(
        &self,
        order: &Order,
        object: &Object,
        count: &(impl Fn(u64) + Send + Sync),
    ) -> Result<(), Missed> {
        let (source, copies) = self.source(order, object)?;
        let want = Want {
            digest: object.digest,
            size: object.size,
            pieces: None,
            make_pieces: true,
        };
        let told = AtomicU64::new(0);
        let progress = |bytes: u64| {
            let before = told.fetch_max(bytes, Ordering::Relaxed);
            count(bytes.saturating_sub(before));
        };
        let _permit = copies
            .acquire()
            .await
            .map_err(|error| Missed::Failed(error.to_string()))?;
        let sources = [source];
        retry(RetryPolicy::default(), "copy from staging", || async {
            transfer(
                &self.store,
                &want,
                &sources,
                self.sources.transfer_limits(),
                progress,
            )
            .await
            .map_err(Failure)
        })
        .await
        .map_err(|failure| missed(&failure.0))?;
        Ok(())
    }

    fn source(
        &self,
        order: &Order,
        object: &Object,
    ) -> Result<(Arc<dyn Source>, Arc<tokio::sync::Semaphore>), Missed> {
        let refused = |error: &dyn std::error::Error| Missed::Refused(chain(error));
        match order.kind {
            HalfKind::Images => {
                let staged = self
                    .sources
                    .image(&order.location)
                    .map_err(|error| refused(&error))?;
                let (registry, repository) = (&staged.registry, &staged.repository);
                let source = if oci::is_manifest(&object.media_type) {
                    registry.document(repository, &object.digest)
                } else {
                    registry.blob(repository, &object.digest)
                };
                Ok((source, staged.copies))
            }
            HalfKind::Files => {
                let staged = self
                    .sources
                    .file(&order.location)
                    .map_err(|error| refused(&error))?;
                let source = staged
                    .base
                    .source(&staged.key)
                    .map_err(|error| refused(&error))?;
                Ok((source, staged.copies))
            }
        }
    }

    /// The stored piece list, made from the stored bytes if there is none.
    async fn pieces(&self, object: &Object) -> Result<PieceList, Missed> {
        let (digest, size) = (object.digest, object.size);
        let pieces = self
            .store
            .run(move |store| {
                if let Some(list) = store.get_pieces(&digest, size)? {
                    return Ok(Ok(list));
                }
                let (file, _) = store.open_blob(&digest)?;
                Ok(match pieces_of(file) {
                    Ok(list) => {
                        store.put_pieces(&digest, &list)?;
                        Ok(list)
                    }
                    Err(error) => Err(error),
                })
            })
            .await?;
        pieces.map_err(|error| Missed::Failed(format!("{digest} cannot be read back: {error}")))
    }
}

fn pieces_of(mut file: std::fs::File) -> std::io::Result<PieceList> {
    use std::io::Read as _;
    let mut hasher = PieceHasher::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// A failed transfer that may be tried again if every source was only
/// unfortunate.
#[derive(Debug)]
struct Failure(TransferError);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Retryable for Failure {
    fn advice(&self) -> Advice {
        let faults = self.0.faults();
        let is_transient = !faults.is_empty()
            && faults.iter().all(|fault| match fault.kind {
                FaultKind::Transient { .. } | FaultKind::Truncated | FaultKind::Stalled => true,
                FaultKind::NotFound
                | FaultKind::Refused
                | FaultKind::Broken
                | FaultKind::WrongBytes { .. } => false,
            });
        match self.0.retry_after() {
            _ if !is_transient => Advice::Stop,
            Some(after) => Advice::After(after),
            None => Advice::Again,
        }
    }
}

fn missed(error: &TransferError) -> Missed {
    let why = chain(error);
    if error.is_absent() {
        return Missed::Lost(why);
    }
    // Of one source: what it did last is what it does.
    let is_final = error.faults().last().is_some_and(|fault| match fault.kind {
        FaultKind::WrongBytes { .. } | FaultKind::Refused | FaultKind::Broken => true,
        FaultKind::NotFound
        | FaultKind::Transient { .. }
        | FaultKind::Truncated
        | FaultKind::Stalled => false,
    });
    if is_final {
        Missed::Refused(why)
    } else {
        Missed::Failed(why)
    }
}
