//! Every name that the store itself keeps: a bucket its files, a registry its
//! tags. A folder is served by the catalog, which keeps no names there; what
//! other programs are shown in it must at least not be wrong.

use futures::FutureExt as _;
use landfall_catalog::{Digest, Name, Ordinal};
use landfall_content::{DirectoryStore, NameChange, Shown, Store, StoreError};
use landfall_proto::status::chain;

use super::cursor::{Key, Stage};
use super::examine::Seen;
use super::keep::Looked;
use super::objects::Target;
use super::run::{Auditor, Outcome};
use crate::state::audits::Finding;

/// Names that are looked up at a time.
const AT_A_TIME: usize = 4;

/// A name and what it means.
type Meant = (Name, Ordinal);

impl Auditor<'_> {
    /// Looks all of them up.
    pub(super) async fn names(&self) {
        let store = &self.parts.store;
        let mut meant: Vec<Meant> = self.parts.catalog.read(|catalog| match store {
            Store::Directory(_) | Store::Bucket(_) => catalog
                .files()
                .map(|(path, record)| (Name::File(path.clone()), record.ordinal))
                .collect(),
            Store::Registry(_) => {
                let repositories = catalog.repositories();
                let tags = repositories.flat_map(|repository| {
                    let tags = catalog.tags(repository.as_str());
                    tags.map(|(tag, record)| {
                        (Name::Tag(repository.clone(), tag.clone()), record.ordinal)
                    })
                });
                tags.collect()
            }
        });
        let key = |name: &Name| Key::Text(name.to_string());
        meant.sort_by_cached_key(|(name, _)| key(name));
        meant.retain(|(name, _)| !self.is_done(&Stage::Names, &key(name)));
        if let Store::Bucket(_) = store {
            let bytes = self.parts.catalog.read(|catalog| {
                let objects = meant.iter().filter_map(|(_, it)| catalog.object(*it));
                objects.fold(0, |sum: u64, object| sum.saturating_add(object.size()))
            });
            self.expect(0, bytes);
        }
        let meant = meant.into_iter().map(|meant| (key(&meant.0), meant));
        let look = |meant| self.name(meant).boxed();
        self.each(Stage::Names, meant, AT_A_TIME, look).await;
        if let Store::Directory(folder) = store {
            let listed = folder.run(DirectoryStore::references).await;
            self.references(listed).await;
        }
    }

    async fn name(&self, (name, ordinal): Meant) -> Looked {
        let name = &name;
        let target = || {
            let live = |catalog: &_| Target::live(catalog, ordinal, repository(name));
            let means = self.means(name, ordinal);
            means.then(|| self.parts.catalog.read(live)).flatten()
        };
        let Some(object) = target() else {
            return Looked::default();
        };
        let bytes = match self.parts.store {
            Store::Bucket(_) => object.item.size,
            Store::Directory(_) | Store::Registry(_) => 0,
        };
        let finding = match self.amiss(name, &object).await {
            Ok(None) => None,
            Err(error) => Some(self.blind(&name.to_string(), &error)),
            // It may have moved or gone meanwhile.
            Ok(Some(_)) if target().is_none() => None,
            Ok(Some(amiss)) => {
                let outcome = self.set(name, &object).await;
                let digest = Some(object.item.digest);
                let name = name.to_string();
                Some(Self::tell("wrong-name", digest, name, amiss, &outcome))
            }
        };
        Looked {
            bytes,
            findings: finding.into_iter().collect(),
            ..Looked::default()
        }
    }

    /// What is wrong about a name.
    async fn amiss(&self, name: &Name, object: &Target) -> Result<Option<String>, StoreError> {
        let store = &self.parts.store;
        if let (Store::Bucket(bucket), Name::File(path)) = (store, name) {
            let seen = self.examine(bucket.file(path)?, object.expected(false));
            return Ok(match seen.await {
                Seen::Right(_) => None,
                Seen::Missing => Some("nothing is there".to_owned()),
                Seen::WrongSize { found } => {
                    let size = object.item.size;
                    Some(format!("{found} bytes lie there, not {size}"))
                }
                Seen::WrongBytes { found } => Some(format!("the bytes there are those of {found}")),
                Seen::Unreadable(why) => Some(format!("what is there cannot be read: {why}")),
            });
        }
        let digest = object.item.digest;
        Ok(match (store.shown(name, &digest).await?, store) {
            (Shown::Object(found), _) if found == digest => None,
            (Shown::Object(found), _) => Some(format!("it means {found}")),
            (Shown::Other, _) => Some("it leads to something else".to_owned()),
            (Shown::Nothing, Store::Directory(_)) => None,
            (Shown::Nothing, Store::Bucket(_) | Store::Registry(_)) => {
                Some("there is no such name".to_owned())
            }
        })
    }

    /// Makes a name mean what the catalog says, if that is asked for.
    async fn set(&self, name: &Name, object: &Target) -> Outcome {
        if !self.repair {
            return Outcome::Found;
        }
        let change = |target| NameChange {
            name: name.clone(),
            target,
        };
        // What is wrong goes first: a bucket believes its own notes of it.
        let mut changes = vec![change(Some(object.item.clone()))];
        if let Store::Bucket(_) = self.parts.store {
            changes.insert(0, change(None));
        }
        for change in changes {
            let set = self.parts.store.set_names(vec![change]).await;
            let failed = set.map(|report| report.failed.into_iter().next());
            match failed {
                Ok(None) => {}
                Ok(Some((_, StoreError::NotFound(_)))) => {
                    return Outcome::Lost("what it means is not there".to_owned());
                }
                Ok(Some((_, error))) | Err(error) => return Outcome::Failed(chain(&error)),
            }
        }
        Outcome::Repaired
    }

    /// Of a folder: what its `index.json` says.
    async fn references(&self, listed: Result<Vec<(Name, Digest)>, StoreError>) {
        let mut references = match listed {
            Ok(references) => references,
            Err(error) => return self.unlisted(Stage::References, "index.json", &error).await,
        };
        let key = |name: &Name| Key::Text(name.to_string());
        references.sort_by_cached_key(|(name, _)| key(name));
        let references = references.into_iter().map(|it| (key(&it.0), it));
        let look = |(name, digest)| {
            let looking = async move {
                Looked {
                    findings: self.reference(name, digest).await.into_iter().collect(),
                    ..Looked::default()
                }
            };
            looking.boxed()
        };
        self.each(Stage::References, references, 1, look).await;
    }

    async fn reference(&self, name: Name, digest: Digest) -> Option<Finding> {
        let record = self.parts.catalog.read(|catalog| {
            let record = catalog.name(&name)?;
            Some((record.ordinal, *catalog.object(record.ordinal)?.digest()))
        });
        let Some((ordinal, expected)) = record else {
            return Some(Self::unknown_one(Some(digest), name.to_string()));
        };
        if expected == digest {
            return None;
        }
        let live = |catalog: &_| Target::live(catalog, ordinal, None);
        let object = self.parts.catalog.read(live)?;
        let outcome = self.set(&name, &object).await;
        let amiss = format!("index.json means {digest}");
        let (expected, name) = (Some(object.item.digest), name.to_string());
        Some(Self::tell("wrong-name", expected, name, amiss, &outcome))
    }

    /// What the catalog does not know.
    pub(super) fn unknown_one(digest: Option<Digest>, name: String) -> Finding {
        let detail = "not in the catalog; a promotion under way may be bringing it".to_owned();
        Self::tell("unknown", digest, name, detail, &Outcome::Note)
    }

    /// Something could not be looked at, and so not be found in order.
    pub(super) fn blind(&self, what: &str, error: &StoreError) -> Finding {
        let outcome = if self.repair {
            Outcome::Failed("nothing was changed".to_owned())
        } else {
            Outcome::Found
        };
        Self::tell("unreadable", None, what.to_owned(), chain(error), &outcome)
    }

    /// A whole stage that could not be looked at.
    pub(super) async fn unlisted(&self, stage: Stage, what: &str, error: &StoreError) {
        let key = Key::Text(what.to_owned());
        let look = |()| {
            let findings = vec![self.blind(what, error)];
            let looked = Looked {
                findings,
                ..Looked::default()
            };
            std::future::ready(looked).boxed()
        };
        self.each(stage, std::iter::once((key, ())), 1, look).await;
    }
}

fn repository(name: &Name) -> Option<&landfall_catalog::Repository> {
    match name {
        Name::Tag(repository, _) | Name::Root(repository, _) => Some(repository),
        Name::File(_) => None,
    }
}
