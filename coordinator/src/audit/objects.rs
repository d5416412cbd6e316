//! Every object that users may be sent: there, of the right length, with the right
//! bytes and piece list.

use futures::FutureExt as _;
use landfall_catalog::{Catalog, Digest, Ordinal, Repository};
use landfall_content::{Item, PieceList, Store, oci};
use landfall_proto::status::chain;
use roaring::RoaringBitmap;

use super::cursor::{Key, Stage};
use super::examine::{Expected, Seen};
use super::keep::Looked;
use super::run::{Auditor, Outcome};
use crate::state::audits::Finding;

/// Objects that are read at a time: enough for a budget, and others come first.
const AT_A_TIME: usize = 2;

/// Objects that are looked at together.
pub(super) struct Part {
    /// Of a registry, which has objects in repositories only.
    pub(super) repository: Option<Repository>,
    pub(super) ordinals: RoaringBitmap,
    /// OCI manifests; of a registry, which takes none whose parts it lacks.
    documents: bool,
}

impl Part {
    fn stage(&self) -> Stage {
        Stage::Objects {
            repository: self.repository.as_ref().map(ToString::to_string),
            documents: self.documents,
        }
    }
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
        let mut hashed = self.hashed().clone();
        for part in &parts {
            let stage = part.stage();
            let left = part.ordinals.iter();
            let left = left.filter(|it| !self.is_done(&stage, &Key::Ordinal(*it)));
            let left: RoaringBitmap = left.collect();
            let first = &left - &hashed;
            let bytes = self.parts.catalog.read(|it| bytes_of(it, &first));
            self.expect(left.len(), bytes);
            hashed |= left;
        }
        for part in &parts {
            let ordinals = part.ordinals.iter().map(|it| (Key::Ordinal(it), it));
            // Children first, and one manifest after the other.
            let at_a_time = if part.documents { 1 } else { AT_A_TIME };
            let look = |ordinal| self.object(Ordinal::new(ordinal), part).boxed();
            self.each(part.stage(), ordinals, at_a_time, look).await;
        }
    }

    async fn object(&self, ordinal: Ordinal, part: &Part) -> Looked {
        let target = || {
            let repository = part.repository.as_ref();
            let look = |catalog: &Catalog| Target::live(catalog, ordinal, repository);
            self.parts.catalog.read(look)
        };
        let again = part.repository.is_some() && self.hashed().contains(ordinal.get());
        let Some(object) = target() else {
            self.count_object();
            return Looked {
                objects: 1,
                ..Looked::default()
            };
        };
        let seen = if again {
            self.look(&object).await
        } else {
            self.read_object(&object).await
        };
        self.count_object();
        let is_hashed = match &seen {
            Seen::Right(_) | Seen::WrongSize { .. } | Seen::WrongBytes { .. } => !again,
            Seen::Missing | Seen::Unreadable(_) => false,
        };
        Looked {
            objects: 1,
            bytes: if again { 0 } else { object.item.size },
            hashed: (is_hashed && part.repository.is_some()).then(|| ordinal.get()),
            findings: self.judge(&object, part, seen, || target().is_some()).await,
        }
    }

    /// What is amiss, and what becomes of it.
    async fn judge(
        &self,
        object: &Target,
        part: &Part,
        seen: Seen,
        is_live: impl Fn() -> bool,
    ) -> Vec<Finding> {
        let (check, detail) = match &seen {
            Seen::Right(list) => {
                let amiss = self.piece_list(object, list.clone()).await;
                return amiss.into_iter().collect();
            }
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
        if !is_live() {
            return Vec::new();
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
            (true, _) => self.mend(object, &seen).await,
        };
        let names = self.names_of(object.ordinal);
        let digest = Some(object.item.digest);
        let mut findings = vec![Self::tell(check, digest, names, detail, &outcome)];
        if outcome == Outcome::Repaired {
            findings.extend(self.piece_list(object, list).await);
        }
        findings
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
    async fn piece_list(&self, object: &Target, made: Option<PieceList>) -> Option<Finding> {
        let (store, item) = (&self.parts.store, &object.item);
        let recorded = object.pieces.filter(|_| store.keeps_files())?;
        let detail = match store.get_pieces(item).await {
            Ok(Some(held)) if held.digest() == recorded => return None,
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
        let digest = Some(item.digest);
        Some(Self::tell("piece-list", digest, names, detail, &outcome))
    }
}

fn whole(catalog: &Catalog) -> Vec<Part> {
    vec![Part {
        repository: None,
        ordinals: catalog.live().clone(),
        documents: false,
    }]
}

/// Of each repository the blobs, and then the OCI manifests.
fn by_repository(catalog: &Catalog) -> Vec<Part> {
    let mut parts = Vec::new();
    for repository in catalog.repositories() {
        let members = catalog.members(repository.as_str()) & catalog.live();
        let is_document = |ordinal: &u32| {
            let object = catalog.object(Ordinal::new(*ordinal));
            object.is_some_and(|object| oci::is_manifest(object.media_type()))
        };
        let documents: RoaringBitmap = members.iter().filter(is_document).collect();
        let blobs = &members - &documents;
        for (ordinals, documents) in [(blobs, false), (documents, true)] {
            parts.push(Part {
                repository: Some(repository.clone()),
                ordinals,
                documents,
            });
        }
    }
    parts.sort_by_cached_key(Part::stage);
    parts
}

fn bytes_of(catalog: &Catalog, ordinals: &RoaringBitmap) -> u64 {
    let objects = ordinals
        .iter()
        .filter_map(|it| catalog.object(Ordinal::new(it)));
    objects.fold(0, |sum, object| sum.saturating_add(object.size()))
}
