//! What should not be seen: withdrawn content, of stores that are read without
//! this program; and what nobody knows, which is noted and left alone.

use futures::FutureExt as _;
use landfall_catalog::{Catalog, Digest, Name, Ordinal, Repository};
use landfall_content::{Item, SourceError, SourceErrorKind, Store};
use landfall_proto::status::chain;

use super::cursor::{Key, Stage};
use super::keep::Looked;
use super::run::{Auditor, Outcome};
use crate::state::audits::Finding;

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
        let key = |hidden: &Withdrawn| {
            let repository = hidden.item.repository.as_ref();
            let repository = repository.map(ToString::to_string).unwrap_or_default();
            Key::Text(format!("{} {repository}", hidden.item.digest))
        };
        let mut all = self.all_withdrawn();
        all.sort_by_cached_key(key);
        let all = all.into_iter().map(|hidden| (key(&hidden), hidden));
        let look = |hidden| {
            let looking = async move {
                Looked {
                    findings: self.seen(&hidden).await.into_iter().collect(),
                    ..Looked::default()
                }
            };
            looking.boxed()
        };
        self.each(Stage::Withdrawn, all, 1, look).await;
    }

    /// Whether a withdrawn object can be seen; it is hidden, if that is asked for.
    async fn seen(&self, hidden: &Withdrawn) -> Option<Finding> {
        let detail = self.visible(hidden).await?;
        let digest = hidden.item.digest;
        // A reinstatement may have come meanwhile.
        let is_withdrawn = |catalog: &Catalog| catalog.is_withdrawn(hidden.ordinal);
        if !self.parts.catalog.read(is_withdrawn) {
            return None;
        }
        let outcome = if self.repair {
            let troubles = self.parts.withdrawals.hide(&[digest]).await;
            match self.visible(hidden).await {
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
        let check = "withdrawn-visible";
        Some(Self::tell(check, Some(digest), names, detail, &outcome))
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
            Err(error) => {
                let what = "the list of objects";
                return self.unlisted(Stage::Unknown, what, &error).await;
            }
        };
        // Looked up at the end: what was being promoted may be known by now.
        let mut unknown: Vec<Digest> = self.parts.catalog.read(|catalog| {
            let digests = listed.into_iter().map(|(digest, _)| digest);
            digests
                .filter(|digest| catalog.ordinal(digest).is_none())
                .collect()
        });
        unknown.sort_unstable();
        let unknown = unknown.into_iter();
        let unknown = unknown.map(|digest| (Key::Text(digest.to_string()), digest));
        let look = |digest| {
            let looked = Looked {
                findings: vec![Self::unknown_one(Some(digest), String::new())],
                ..Looked::default()
            };
            std::future::ready(looked).boxed()
        };
        self.each(Stage::Unknown, unknown, 1, look).await;
    }

    async fn unknown_tags(&self) {
        let mut repositories: Vec<Repository> = self
            .parts
            .catalog
            .read(|catalog| catalog.repositories().cloned().collect());
        repositories.sort_unstable();
        let repositories = repositories.into_iter();
        let repositories = repositories.map(|it| (Key::Text(it.to_string()), it));
        let look = |repository| {
            let looking = async move {
                Looked {
                    findings: self.unknown_tags_of(&repository).await,
                    ..Looked::default()
                }
            };
            looking.boxed()
        };
        self.each(Stage::Unknown, repositories, 1, look).await;
    }

    async fn unknown_tags_of(&self, repository: &Repository) -> Vec<Finding> {
        let tags = match self.parts.store.tags(repository).await {
            Ok(tags) => tags,
            Err(error) => return vec![self.blind(&format!("the tags of {repository}"), &error)],
        };
        let mut unknown = Vec::new();
        for tag in tags {
            // The list of a subject's referrers is the store's own.
            let hex = tag.as_str().strip_prefix("sha256-");
            let subject = hex.and_then(|hex| Digest::from_hex(hex).ok());
            let name = Name::Tag(repository.clone(), tag);
            let is_known = self.parts.catalog.read(|catalog| {
                let is_list = subject.is_some_and(|it| catalog.ordinal(&it).is_some());
                is_list || catalog.name(&name).is_some()
            });
            if !is_known {
                unknown.push(Self::unknown_one(None, name.to_string()));
            }
        }
        unknown
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
