//! Every object that users may be sent: there, of the right length, with the right
//! bytes and piece list.

use futures::StreamExt as _;
use landfall_catalog::{Catalog, Digest, Ordinal, Repository};
use landfall_content::{Item, PieceList, Store, oci};
use landfall_proto::status::chain;
use roaring::RoaringBitmap;

use super::examine::{Expected, Seen};
use super::run::{Auditor, Outcome};

/// Objects that are read at a time: enough for a budget, and others come first.
const AT_A_TIME: usize = 2;
/// Objects that are begun before the next ones are looked up.
const CHUNK: usize = 256;

/// Objects that are looked at together.
pub(super) struct Part {
    /// Of a registry, which has objects in repositories only.
    pub(super) repository: Option<Repository>,
    pub(super) ordinals: RoaringBitmap,
    /// Those whose bytes were hashed elsewhere in the same registry.
    again: RoaringBitmap,
    at_a_time: usize,
}

/// An object as the catalog has it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) ordinal: Ordinal,
    pub(super) item: Item,
    pub(super) pieces: Option<Digest>,
}

impl Target {
    /// The object, if users may be sent it (any more).
    pub(super) fn live(
        catalog: &Catalog,
        ordinal: Ordinal,
        repository: Option<&Repository>,
    ) -> Option<Self> {
        let is_there =
            repository.is_none_or(|repository| catalog.contains(repository.as_str(), ordinal));
        (is_there && catalog.is_live(ordinal)).then_some(())?;
        let object = catalog.object(ordinal)?;
        Some(Self {
            ordinal,
            item: Item {
                digest: *object.digest(),
                size: object.size(),
                media_type: object.media_type().clone(),
                repository: repository.cloned(),
            },
            pieces: object.pieces().copied(),
        })
    }

    pub(super) fn expected(&self, pieces: bool) -> Expected {
        Expected {
            digest: self.item.digest,
            size: self.item.size,
            pieces,
        }
    }
}

impl Auditor<'_> {
    /// Looks at all of them.
    pub(super) async fn objects(&self) {
        let parts = self.parts.catalog.read(|catalog| match &self.parts.store {
            Store::Directory(_) | Store::Bucket(_) => whole(catalog),
            Store::Registry(_) => by_repository(catalog),
        });
        self.parts.catalog.read(|catalog| {
            for part in &parts {
                let first = &part.ordinals - &part.again;
                self.expect(part.ordinals.len(), bytes_of(catalog, &first));
            }
        });
        for part in &parts {
            let mut left = part.ordinals.iter().map(Ordinal::new);
            loop {
                let chunk: Vec<_> = left.by_ref().take(CHUNK).collect();
                if chunk.is_empty() {
                    break;
                }
                let looking: Vec<_> = chunk
                    .into_iter()
                    .map(|ordinal| self.object(ordinal, part))
                    .collect();
                futures::stream::iter(looking)
                    .buffer_unordered(part.at_a_time)
                    .collect::<()>()
                    .await;
            }
        }
    }

    async fn object(&self, ordinal: Ordinal, part: &Part) {
        let target = || {
            let repository = part.repository.as_ref();
            let look = |catalog: &Catalog| Target::live(catalog, ordinal, repository);
            self.parts.catalog.read(look)
        };
        let Some(object) = target() else {
            self.count_object();
            return;
        };
        let seen = if part.again.contains(ordinal.get()) {
            self.look(&object).await
        } else {
            self.read_object(&object).await
        };
        self.count_object();
        let (check, detail) = match &seen {
            Seen::Right(list) => return self.piece_list(&object, list.clone()).await,
            Seen::Missing => ("missing", String::new()),
            Seen::WrongSize { found } => {
                let expected = object.item.size;
                ("wrong-size", format!("{found} bytes, not {expected}"))
            }
            Seen::WrongBytes { found } => {
                ("wrong-bytes", format!("the bytes are those of {found}"))
            }
            Seen::Unreadable(why) => ("unreadable", why.clone()),
        };
        // It may have been withdrawn or let go of meanwhile.
        if target().is_none() {
            return;
        }
        let detail = match &part.repository {
            Some(repository) if detail.is_empty() => format!("not in {repository}"),
            Some(repository) => format!("in {repository}: {detail}"),
            None => detail,
        };
        let (outcome, list) = match (self.repair, check) {
            (false, _) => (Outcome::Found, None),
            // Who cannot read it cannot say that it is wrong.
            (true, "unreadable") => (Outcome::Failed("nothing was changed".into()), None),
            (true, _) => self.mend(&object, &seen).await,
        };
        let repaired = outcome == Outcome::Repaired;
        let names = self.names_of(ordinal);
        self.tell(check, Some(object.item.digest), names, detail, outcome)
            .await;
        if repaired {
            self.piece_list(&object, list).await;
        }
    }

    /// Reads and hashes an object.
    pub(super) async fn read_object(&self, object: &Target) -> Seen {
        let pieces = object.pieces.is_some() && self.parts.store.keeps_files();
        match self.parts.store.source(&object.item) {
            Ok(source) => self.examine(source, object.expected(pieces)).await,
            Err(error) => Seen::Unreadable(chain(&error)),
        }
    }

    /// Whether an object is there, whose bytes were looked at elsewhere.
    async fn look(&self, object: &Target) -> Seen {
        match self.parts.store.has(&object.item).await {
            Ok(true) => Seen::Right(None),
            Ok(false) => Seen::Missing,
            Err(error) => Seen::Unreadable(chain(&error)),
        }
    }

    /// Compares the piece list; `made` is that of the bytes, which are right.
    async fn piece_list(&self, object: &Target, made: Option<PieceList>) {
        let (store, item) = (&self.parts.store, &object.item);
        let Some(recorded) = object.pieces.filter(|_| store.keeps_files()) else {
            return;
        };
        let detail = match store.get_pieces(item).await {
            Ok(Some(held)) if held.digest() == recorded => return,
            Ok(Some(held)) => format!("another one, {}", held.digest()),
            Ok(None) => "there is none".to_owned(),
            Err(error) => chain(&error),
        };
        let made = made.filter(|made| made.digest() == recorded);
        let outcome = match (self.repair, made) {
            (false, _) => Outcome::Found,
            (true, None) => Outcome::Failed(format!(
                "the right bytes do not have the list {recorded} that the catalog names"
            )),
            (true, Some(made)) => match store.put_pieces(item, made).await {
                Ok(()) => Outcome::Repaired,
                Err(error) => Outcome::Failed(chain(&error)),
            },
        };
        let names = self.names_of(object.ordinal);
        self.tell("piece-list", Some(item.digest), names, detail, outcome)
            .await;
    }
}

fn whole(catalog: &Catalog) -> Vec<Part> {
    vec![Part {
        repository: None,
        ordinals: catalog.live().clone(),
        again: RoaringBitmap::new(),
        at_a_time: AT_A_TIME,
    }]
}

/// Of each repository the blobs, and then the OCI manifests, children first and
/// one after the other: a registry takes none whose parts it lacks.
fn by_repository(catalog: &Catalog) -> Vec<Part> {
    let mut hashed = RoaringBitmap::new();
    let mut parts = Vec::new();
    for repository in catalog.repositories() {
        let members = catalog.members(repository.as_str()) & catalog.live();
        let is_document = |ordinal: &u32| {
            let object = catalog.object(Ordinal::new(*ordinal));
            object.is_some_and(|object| oci::is_manifest(object.media_type()))
        };
        let documents: RoaringBitmap = members.iter().filter(is_document).collect();
        let blobs = &members - &documents;
        for (ordinals, at_a_time) in [(blobs, AT_A_TIME), (documents, 1)] {
            parts.push(Part {
                repository: Some(repository.clone()),
                again: &ordinals & &hashed,
                ordinals,
                at_a_time,
            });
        }
        hashed |= members;
    }
    parts
}

fn bytes_of(catalog: &Catalog, ordinals: &RoaringBitmap) -> u64 {
    let objects = ordinals
        .iter()
        .filter_map(|it| catalog.object(Ordinal::new(it)));
    objects.fold(0, |sum, object| sum.saturating_add(object.size()))
}
