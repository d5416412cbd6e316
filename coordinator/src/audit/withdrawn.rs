//! What should not be seen: withdrawn content, of stores that are read without
//! this program; and what nobody knows, which is noted and left alone.

use landfall_catalog::{Digest, Name, Ordinal};
use landfall_content::{Item, SourceError, SourceErrorKind, Store};
use landfall_proto::status::chain;

use super::run::{Auditor, Outcome};

/// A withdrawn object where it may be seen.
struct Withdrawn {
    ordinal: Ordinal,
    item: Item,
    files: Vec<Name>,
}

impl Auditor<'_> {
    /// Looks for withdrawn objects. A folder is served by the catalog, and shows
    /// none.
    pub(super) async fn withdrawn(&self) {
        if let Store::Directory(_) = self.parts.store {
            return;
        }
        for hidden in self.all_withdrawn() {
            let Some(detail) = self.visible(&hidden).await else {
                continue;
            };
            let digest = hidden.item.digest;
            // A reinstatement may have come meanwhile.
            let is_withdrawn =
                |catalog: &landfall_catalog::Catalog| catalog.is_withdrawn(hidden.ordinal);
            if !self.parts.catalog.read(is_withdrawn) {
                continue;
            }
            let outcome = if self.repair {
                let troubles = self.parts.withdrawals.hide(&[digest]).await;
                match self.visible(&hidden).await {
                    None => Outcome::Repaired,
                    Some(_) if troubles.is_empty() => {
                        Outcome::Failed("it can still be seen".to_owned())
                    }
                    Some(_) => Outcome::Failed(troubles.join("; ")),
                }
            } else {
                Outcome::Found
            };
            let names = self.names_of(hidden.ordinal);
            self.tell("withdrawn-visible", Some(digest), names, detail, outcome)
                .await;
        }
    }

    fn all_withdrawn(&self) -> Vec<Withdrawn> {
        let is_registry = !self.parts.store.keeps_files();
        self.parts.catalog.read(|catalog| {
            let all = catalog.all_withdrawn().map(|(ordinal, _)| ordinal);
            let announced = catalog.announced();
            let places = all.flat_map(|ordinal| {
                let repositories: Vec<_> = if is_registry {
                    let all = catalog.repositories();
                    let waits = announced.iter();
                    let waits = waits.filter(|(_, reached)| reached.contains(ordinal.get()));
                    all.filter(|it| catalog.contains(it.as_str(), ordinal))
                        .chain(waits.map(|(it, _)| *it))
                        .map(|it| Some(it.clone()))
                        .collect()
                } else {
                    vec![None]
                };
                repositories.into_iter().map(move |it| (ordinal, it))
            });
            places
                .filter_map(|(ordinal, repository)| {
                    let object = catalog.object(ordinal)?;
                    let names = catalog.names_of(ordinal);
                    Some(Withdrawn {
                        ordinal,
                        item: Item {
                            digest: *object.digest(),
                            size: object.size(),
                            media_type: object.media_type().clone(),
                            repository,
                        },
                        files: names.filter(|name| matches!(name, Name::File(_))).collect(),
                    })
                })
                .collect()
        })
    }

    /// Where a withdrawn object can be seen.
    async fn visible(&self, hidden: &Withdrawn) -> Option<String> {
        match &self.parts.store {
            Store::Directory(_) => None,
            Store::Registry(_) => match self.parts.store.has(&hidden.item).await {
                Ok(false) => None,
                Ok(true) => {
                    let repository = hidden.item.repository.as_ref()?;
                    Some(format!("in {repository}"))
                }
                Err(error) => Some(format!("it cannot be told: {}", chain(&error))),
            },
            Store::Bucket(bucket) => {
                let blob = bucket.source(&hidden.item.digest);
                if let Some(seen) = told(&blob.open(0).await.map(drop)) {
                    return Some(format!("{}: {seen}", blob.name()));
                }
                for name in &hidden.files {
                    let Name::File(path) = name else { continue };
                    let Ok(file) = bucket.file(path) else {
                        continue;
                    };
                    if let Some(seen) = told(&file.open(0).await.map(drop)) {
                        return Some(format!("{name}: {seen}"));
                    }
                }
                None
            }
        }
    }

    /// Notes what the catalog does not know.
    pub(super) async fn unknown(&self) {
        if let Store::Registry(_) = self.parts.store {
            return self.unknown_tags().await;
        }
        let listed = match self.parts.store.list().await {
            Ok(listed) => listed,
            Err(error) => return self.blind("the list of objects", &error).await,
        };
        // Looked up at the end: what was being promoted may be known by now.
        let unknown: Vec<Digest> = self.parts.catalog.read(|catalog| {
            let digests = listed.into_iter().map(|(digest, _)| digest);
            digests
                .filter(|digest| catalog.ordinal(digest).is_none())
                .collect()
        });
        for digest in unknown {
            self.note(Some(digest), String::new()).await;
        }
    }

    async fn unknown_tags(&self) {
        let repositories: Vec<_> = self
            .parts
            .catalog
            .read(|catalog| catalog.repositories().cloned().collect());
        for repository in repositories {
            let tags = match self.parts.store.tags(&repository).await {
                Ok(tags) => tags,
                Err(error) => {
                    self.blind(&format!("the tags of {repository}"), &error)
                        .await;
                    continue;
                }
            };
            for tag in tags {
                let name = Name::Tag(repository.clone(), tag);
                // The list of a subject's referrers is the store's own.
                let is_known = self.parts.catalog.read(|catalog| {
                    let Name::Tag(_, tag) = &name else {
                        return true;
                    };
                    let hex = tag.as_str().strip_prefix("sha256-");
                    let subject = hex.and_then(|hex| Digest::from_hex(hex).ok());
                    let is_list = subject.is_some_and(|it| catalog.ordinal(&it).is_some());
                    is_list || catalog.name(&name).is_some()
                });
                if !is_known {
                    self.note(None, name.to_string()).await;
                }
            }
        }
    }
}

/// What it means that something could be opened, or not.
fn told(opened: &Result<(), SourceError>) -> Option<String> {
    match opened {
        Ok(()) => Some("it can be read".to_owned()),
        Err(error) if error.kind == SourceErrorKind::NotFound => None,
        Err(error) => Some(format!("it cannot be told: {}", chain(error))),
    }
}
