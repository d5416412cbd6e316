//! Brings the content of an entry to the origin: verified before it can be
//! seen, in bounded memory, each object once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt, TryStreamExt};
use landfall_catalog::{Catalog, Digest, Hasher, Name, Object, Ordinal, PIECE_SIZE, Repository};
use landfall_content::{
    ASIDE, FaultKind, Item, NameChange, PieceHasher, Source, Store, StoreError, TransferError,
    Want, oci, transfer,
};
use landfall_promotion::Evidence;
use landfall_proto::status::chain;
use landfall_runtime::retry::{Advice, RetryPolicy, Retryable, retry};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::bounds::model_kind;
use super::compare::compare;
use super::orders::{Order, OrderState, Orders};
use super::sources::Sources;
use crate::catalog::SharedCatalog;
use crate::state::projects::HalfKind;

/// Objects of one entry that are brought at a time.
const CONCURRENT_OBJECTS: usize = 4;
/// Objects of which it is remembered that they were verified; one that is
/// forgotten is read once more.
const MAX_SEEN: usize = 200_000;

/// Copies from staging to the origin; cheap to clone.
#[derive(Clone)]
pub(crate) struct Executor {
    sources: Sources,
    store: Store,
    catalog: SharedCatalog,
    seen: Seen,
}

/// What this program has verified at the origin and the catalog may not know
/// yet: the digest of its piece list, if it has one.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<HashMap<Place, Verified>>>);

type Verified = Arc<tokio::sync::Mutex<Option<Option<Digest>>>>;

impl Seen {
    fn of(&self, place: &Place) -> Verified {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_SEEN {
            // Those in use stay: whoever waits has to wait for the same.
            seen.retain(|_, verified| Arc::strong_count(verified) > 1);
        }
        Arc::clone(seen.entry(place.clone()).or_default())
    }
}

/// An entry whose content the origin holds.
#[derive(Debug)]
pub(crate) struct Placed {
    /// As they are recorded: children first, with their piece lists.
    pub(crate) objects: Vec<Arc<Object>>,
    /// Whether anything was copied.
    pub(crate) copied: bool,
}

/// What one run copies: for each entry that needs it, it was copied, whichever
/// of them came first.
#[derive(Debug, Default)]
pub(crate) struct Copying(Mutex<HashSet<Place>>);

/// An object, and where: a registry has it in each repository apart.
type Place = (Digest, Option<Repository>);

impl Copying {
    fn lock(&self) -> MutexGuard<'_, HashSet<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    pub(crate) fn new(sources: Sources, store: Store, catalog: SharedCatalog) -> Self {
        Self {
            sources,
            store,
            catalog,
            seen: Seen::default(),
        }
    }

    /// Brings everything that `order` needs, and leaves its name to
    /// [`Executor::publish`]. `count` is told how many bytes of which object are
    /// in place.
    pub(crate) async fn place(
        &self,
        order: &Order,
        copying: &Copying,
        count: &(impl Fn(&Digest, u64) + Send + Sync),
    ) -> Result<Placed, Missed> {
        if order.kind == HalfKind::Files && !self.store.keeps_files() {
            return Err(Missed::Refused(
                "the origin is a registry, which keeps no files".into(),
            ));
        }
        if matches!(self.store, Store::Registry(_)) && repository(&order.name).is_some_and(is_aside)
        {
            return Err(Missed::Refused(format!(
                "the origin is a registry, which keeps what is withdrawn below {ASIDE}/"
            )));
        }
        let mut placed: Vec<Option<Arc<Object>>> = vec![None; order.closure.len()];
        let mut copied = false;
        // OCI manifests last and one after the other: a registry takes none
        // whose parts it lacks, and nothing half can be pulled from it.
        let (documents, blobs): (Vec<_>, Vec<_>) = order
            .closure
            .iter()
            .enumerate()
            .partition(|(_, object)| oci::is_manifest(&object.media_type));
        for (objects, at_a_time) in [(blobs, CONCURRENT_OBJECTS), (documents, 1)] {
            let bringing: Vec<_> = objects
                .into_iter()
                .map(|(position, object)| async move {
                    let brought = self.bring(order, object, copying, count).await?;
                    Ok::<_, Missed>((position, brought))
                })
                .collect();
            // In order, so that the first failure is always the same one.
            let mut bringing = futures::stream::iter(bringing).buffered(at_a_time);
            while let Some((position, (object, was_copied))) = bringing.try_next().await? {
                placed[position] = Some(object);
                copied |= was_copied;
            }
        }
        Ok(Placed {
            objects: placed.into_iter().flatten().collect(),
            copied,
        })
    }

    /// Makes a new file of an entry known to a store that is served by others: it
    /// is there when the catalog says so, because users are sent to its path. All
    /// other names follow the catalog.
    pub(crate) async fn publish(&self, order: &Order) -> Result<(), Missed> {
        let root = order
            .closure
            .iter()
            .find(|object| object.digest == order.digest);
        let (Store::Bucket(_), Some(root)) = (&self.store, root) else {
            return Ok(());
        };
        if !is_shown_first(order) {
            return Ok(());
        }
        let change = NameChange {
            name: order.name.clone(),
            target: Some(item(order, root)),
        };
        let report = self.store.set_names(vec![change]).await?;
        match report.failed.into_iter().next() {
            Some((_, error)) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// The names of `orders` that were set before the catalog had them, and that
    /// it has now.
    pub(crate) fn shown(&self, catalog: &SharedCatalog, orders: &Orders) -> HashSet<Name> {
        if !matches!(self.store, Store::Bucket(_)) {
            return HashSet::new();
        }
        catalog.read(|catalog| {
            let means = |order: &&Order| {
                let record = catalog.name(&order.name);
                let object = record.and_then(|record| catalog.object(record.ordinal));
                object.is_some_and(|object| {
                    *object.digest() == order.digest && catalog.withdrawn(&order.digest).is_none()
                })
            };
            let orders = orders.entries.iter();
            let shown =
                orders.filter(|order| order.state == OrderState::Execute && is_shown_first(order));
            shown
                .filter(means)
                .map(|order| order.name.clone())
                .collect()
        })
    }

    /// What a withdrawal has put aside while somebody promoted it with something
    /// else, or just before.
    pub(crate) async fn see_again(&self, orders: &Orders) {
        if matches!(self.store, Store::Directory(_)) {
            return;
        }
        let items: Vec<Item> = self.catalog.read(|catalog| {
            let withdrawn = catalog.all_withdrawn().map(|(ordinal, _)| ordinal);
            let below: HashSet<Ordinal> = catalog.closure(withdrawn).into_iter().collect();
            if below.is_empty() {
                return Vec::new();
            }
            let is_among = |catalog: &Catalog, object: &Object| {
                let ordinal = catalog.ordinal(&object.digest);
                ordinal.is_some_and(|ordinal| below.contains(&ordinal) && catalog.is_live(ordinal))
            };
            let entries = orders.entries.iter().flat_map(|order| {
                let objects = order.closure.iter();
                let objects = objects.filter(|object| is_among(catalog, object));
                objects.map(|object| item(order, object))
            });
            entries.collect()
        });
        for item in items {
            let restored = match &self.store {
                Store::Directory(_) => return,
                Store::Bucket(bucket) => bucket.restore(&item).await,
                Store::Registry(registry) => registry.restore(&item).await,
            };
            if let Err(error) = restored {
                let digest = item.digest;
                tracing::error!(%digest, error = %chain(&error), "the origin may lack what was promoted beside a withdrawal");
            }
        }
    }

    async fn bring(
        &self,
        order: &Order,
        object: &Arc<Object>,
        copying: &Copying,
        count: &(impl Fn(&Digest, u64) + Send + Sync),
    ) -> Result<(Arc<Object>, bool), Missed> {
        let item = item(order, object);
        let known = self.catalog.read(|catalog| {
            let object = catalog.object(catalog.ordinal(&object.digest)?)?;
            Some(object.pieces().copied())
        });
        // What others put there nobody has verified in this place.
        let known = known.filter(|_| order.evidence != Evidence::Origin);
        // One entry at a time: what one finds wrong and mends no other takes away.
        let place = self.in_store(&item);
        let seen = self.seen.of(&place);
        let mut seen = seen.lock().await;
        let is_there = self.store.has(&item).await?;
        // Anything else at the origin an operation copied that a stop cut off, most
        // likely this one: it is not read in staging twice.
        let is_of_others = known.is_some() || seen.is_some();
        let (pieces, is_right) = match (is_there, known, *seen) {
            // The catalog knows it: it was verified before it was recorded.
            (true, Some(Some(pieces)), _) => (Some(pieces), true),
            (true, Some(None), _) if !self.has_pieces(&item) => (None, true),
            (true, _, Some(pieces)) => (pieces, true),
            (true, _, None) => match self.examine(&item).await? {
                Some(pieces) => (pieces, true),
                None if order.evidence == Evidence::Origin => {
                    let digest = object.digest;
                    return Err(Missed::Refused(format!(
                        "the origin holds other bytes than those of {digest}"
                    )));
                }
                None => {
                    self.clear(&item).await?;
                    copying.lock().insert(place.clone());
                    (self.copy(order, object, count).await?, false)
                }
            },
            (false, ..) => {
                copying.lock().insert(place.clone());
                (self.copy(order, object, count).await?, false)
            }
        };
        *seen = Some(pieces);
        drop(seen);
        if is_right {
            if is_of_others {
                self.check_staged(order, object).await?;
            }
            count(&object.digest, item.size);
        }
        let recorded = match pieces {
            None => Arc::clone(object),
            pieces => Arc::new(Object {
                pieces,
                ..Object::clone(object)
            }),
        };
        let copied = copying.lock().contains(&place);
        Ok((recorded, copied))
    }

    /// A file that the origin holds already has to be where it was seen all the
    /// same, unless that is production itself.
    async fn check_staged(&self, order: &Order, object: &Object) -> Result<(), Missed> {
        let is_known = order.evidence == Evidence::Production || order.project.is_empty();
        if order.kind != HalfKind::Files || is_known {
            return Ok(());
        }
        let (source, copies) = self.source(order, object).await?;
        let _permit = copies
            .acquire()
            .await
            .map_err(|error| Missed::Failed(error.to_string()))?;
        compare(source.as_ref(), object, self.sources.transfer_limits()).await
    }

    fn in_store(&self, item: &Item) -> Place {
        let repository = item.repository.clone();
        let apart = matches!(self.store, Store::Registry(_));
        (item.digest, repository.filter(|_| apart))
    }

    /// Whether the origin keeps a piece list beside the object.
    fn has_pieces(&self, item: &Item) -> bool {
        item.size > PIECE_SIZE && self.store.keeps_files()
    }

    /// Takes away what the origin has under a digest that is not its own: it is
    /// in no catalog, and nobody was told of it.
    async fn clear(&self, item: &Item) -> Result<(), Missed> {
        let digest = item.digest;
        tracing::error!(%digest, "the origin holds other bytes under this digest; they are replaced");
        let removed = self.store.remove(item).await;
        removed.map(drop).map_err(|error| {
            let why = chain(&error);
            Missed::Failed(format!(
                "the origin holds other bytes than those of {digest}, and they cannot be removed: {why}"
            ))
        })
    }

    async fn copy(
        &self,
        order: &Order,
        object: &Object,
        count: &(impl Fn(&Digest, u64) + Send + Sync),
    ) -> Result<Option<Digest>, Missed> {
        let (source, copies) = self.source(order, object).await?;
        let want = Want {
            digest: object.digest,
            size: object.size,
            pieces: None,
            make_pieces: self.store.keeps_files(),
        };
        let item = item(order, object);
        let destination = self.store.destination(&item);
        let progress = |bytes: u64| count(&object.digest, bytes);
        let _permit = copies
            .acquire()
            .await
            .map_err(|error| Missed::Failed(error.to_string()))?;
        let sources = [source];
        let fetched = retry(RetryPolicy::default(), "copy from staging", || async {
            transfer(
                destination.clone(),
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
        if !self.has_pieces(&item) {
            return Ok(None);
        }
        if let Some(list) = fetched.pieces {
            return Ok(Some(list.digest()));
        }
        let gone = || Missed::Failed(format!("{} is gone from the origin again", item.digest));
        self.examine(&item).await?.ok_or_else(gone)
    }

    /// Hashes what the origin holds, all of it: the digest of its piece list, which
    /// is stored if it has one. None: these are not the bytes of the digest.
    async fn examine(&self, item: &Item) -> Result<Option<Option<Digest>>, Missed> {
        let source = self.store.source(item)?;
        let unread = |why: &dyn std::error::Error| {
            let digest = item.digest;
            Missed::Failed(format!("{digest} cannot be read back: {}", chain(why)))
        };
        let opened = source.open(0).await.map_err(|error| unread(&error))?;
        let mut stream = opened.stream;
        let mut whole = Hasher::new();
        let mut pieces = PieceHasher::default();
        let mut left = item.size;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| unread(&error))?;
            let Some(rest) = left.checked_sub(chunk.len() as u64) else {
                return Ok(None);
            };
            left = rest;
            (whole, pieces) = spawn_blocking(move || {
                whole.update(&chunk);
                pieces.update(&chunk);
                (whole, pieces)
            })
            .await
            .map_err(|error| unread(&error))?;
        }
        if left > 0 || whole.finish() != item.digest {
            return Ok(None);
        }
        if !self.has_pieces(item) {
            return Ok(Some(None));
        }
        let list = pieces.finish();
        self.store.put_pieces(item, list.clone()).await?;
        Ok(Some(Some(list.digest())))
    }

    async fn source(
        &self,
        order: &Order,
        object: &Object,
    ) -> Result<(Arc<dyn Source>, Arc<Semaphore>), Missed> {
        let refused = |error: &dyn std::error::Error| Missed::Refused(chain(error));
        if order.evidence == Evidence::Origin {
            let source = self.taken_over(order, object).await?;
            return Ok((source, self.sources.copies_onward()));
        }
        let kind = model_kind(order.kind);
        if let Some(place) = self.sources.onward(kind, &order.location) {
            let source = self.within(order, object, &place).await?;
            return Ok((source, self.sources.copies_onward()));
        }
        if order.project.is_empty() {
            // A way back has no staging behind it.
            let digest = object.digest;
            return Err(Missed::Lost(format!(
                "the origin does not hold {digest} any more"
            )));
        }
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

    /// What the origin has under the entry's own name.
    async fn taken_over(&self, order: &Order, object: &Object) -> Result<Arc<dyn Source>, Missed> {
        match &order.name {
            Name::Tag(repository, _) | Name::Root(repository, _) => {
                self.within(order, object, repository.as_str()).await
            }
            Name::File(path) => {
                let gone = || Missed::Lost(format!("the origin has no file {path}"));
                self.store.published(path)?.ok_or_else(gone)
            }
        }
    }

    /// What is promoted onward from `place`. Only a registry, which keeps objects
    /// apart by repository, lacks it at all where it is wanted.
    async fn within(
        &self,
        order: &Order,
        object: &Object,
        place: &str,
    ) -> Result<Arc<dyn Source>, Missed> {
        let repository = match order.kind {
            HalfKind::Images => Some(place.parse().map_err(|_| {
                Missed::Refused(format!("{place} is not the name of a repository"))
            })?),
            HalfKind::Files => None,
        };
        let item = Item {
            repository,
            ..item(order, object)
        };
        // Once it was seen there, a registry mounts it and nothing is sent.
        if !self.store.has(&item).await? {
            let digest = object.digest;
            return Err(Missed::Lost(format!(
                "the origin does not hold {digest} at {place} any more"
            )));
        }
        Ok(self.store.source(&item)?)
    }
}

/// What the store has to know of an object that an entry needs.
fn item(order: &Order, object: &Object) -> Item {
    Item {
        digest: object.digest,
        size: object.size,
        media_type: object.media_type.clone(),
        repository: repository(&order.name),
    }
}

/// Whether the name of an entry is set before the catalog has it: nobody was sent
/// there yet.
fn is_shown_first(order: &Order) -> bool {
    matches!(order.name, Name::File(_)) && order.replaces.is_none()
}

pub(crate) fn repository(name: &Name) -> Option<Repository> {
    match name {
        Name::Tag(repository, _) | Name::Root(repository, _) => Some(repository.clone()),
        Name::File(_) => None,
    }
}

fn is_aside(repository: Repository) -> bool {
    let first = repository.as_str().split('/').next();
    first == Some(ASIDE)
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
