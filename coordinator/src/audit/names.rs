//! Every name that the store itself keeps: a bucket its files, a registry its
//! tags. A folder is served by the catalog, which keeps no names there; what
//! other programs are shown in it must at least not be wrong.

use futures::StreamExt as _;
use landfall_catalog::{Digest, Name, Ordinal};
use landfall_content::{NameChange, Shown, Store, StoreError};
use landfall_proto::status::chain;

use super::examine::Seen;
use super::objects::Target;
use super::run::{Auditor, Outcome};

/// Names that are looked up at a time.
const AT_A_TIME: usize = 4;
/// Names that are begun before the next ones are.
const CHUNK: usize = 256;

/// A name and what it means.
type Meant = (Name, Ordinal);

impl Auditor<'_> {
    /// Looks all of them up.
    pub(super) async fn names(&self) {
        let store = &self.parts.store;
        let meant: Vec<Meant> = self.parts.catalog.read(|catalog| match store {
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
        if let Store::Bucket(_) = store {
            let bytes = self.parts.catalog.read(|catalog| {
                let objects = meant.iter().filter_map(|(_, it)| catalog.object(*it));
                objects.fold(0, |sum: u64, object| sum.saturating_add(object.size()))
            });
            self.expect(0, bytes);
        }
        for chunk in meant.chunks(CHUNK) {
            let looking: Vec<_> = chunk.iter().map(|meant| self.name(meant)).collect();
            futures::stream::iter(looking)
                .buffer_unordered(AT_A_TIME)
                .collect::<()>()
                .await;
        }
        if let Store::Directory(folder) = store {
            match folder
                .run(landfall_content::DirectoryStore::references)
                .await
            {
                Ok(references) => self.references(references).await,
                Err(error) => self.blind("index.json", &error).await,
            }
        }
    }

    async fn name(&self, (name, ordinal): &Meant) {
        let target = || {
            let live = |catalog: &_| Target::live(catalog, *ordinal, repository(name));
            let means = self.means(name, *ordinal);
            means.then(|| self.parts.catalog.read(live)).flatten()
        };
        let Some(object) = target() else {
            return;
        };
        let amiss = match self.amiss(name, &object).await {
            Ok(None) => return,
            Ok(Some(amiss)) => amiss,
            Err(error) => return self.blind(&name.to_string(), &error).await,
        };
        // It may have moved or gone meanwhile.
        if target().is_none() {
            return;
        }
        let outcome = self.set(name, &object).await;
        let digest = Some(object.item.digest);
        self.tell("wrong-name", digest, name.to_string(), amiss, outcome)
            .await;
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
    async fn references(&self, references: Vec<(Name, Digest)>) {
        for (name, digest) in references {
            let record = self.parts.catalog.read(|catalog| {
                let record = catalog.name(&name)?;
                Some((record.ordinal, *catalog.object(record.ordinal)?.digest()))
            });
            match record {
                Some((_, expected)) if expected == digest => {}
                Some((ordinal, _)) => {
                    let live = |catalog: &_| Target::live(catalog, ordinal, None);
                    let Some(object) = self.parts.catalog.read(live) else {
                        continue;
                    };
                    let outcome = self.set(&name, &object).await;
                    let amiss = format!("index.json means {digest}");
                    let expected = Some(object.item.digest);
                    self.tell("wrong-name", expected, name.to_string(), amiss, outcome)
                        .await;
                }
                None => self.note(Some(digest), name.to_string()).await,
            }
        }
    }

    /// What the catalog does not know.
    pub(super) async fn note(&self, digest: Option<Digest>, name: String) {
        let detail = "not in the catalog; a promotion under way may be bringing it".to_owned();
        self.tell("unknown", digest, name, detail, Outcome::Note)
            .await;
    }

    /// Something could not be looked at, and so not be found in order.
    pub(super) async fn blind(&self, what: &str, error: &StoreError) {
        let outcome = if self.repair {
            Outcome::Failed("nothing was changed".to_owned())
        } else {
            Outcome::Found
        };
        self.tell("unreadable", None, what.to_owned(), chain(error), outcome)
            .await;
    }
}

fn repository(name: &Name) -> Option<&landfall_catalog::Repository> {
    match name {
        Name::Tag(repository, _) | Name::Root(repository, _) => Some(repository),
        Name::File(_) => None,
    }
}
