//! What may be seen of a store, worked out from the catalog: the same for a
//! mirror, which shows what is ready there, and for the origin, which shows
//! what is live.

use std::sync::Arc;

use landfall_catalog::{
    Catalog, Digest, FilePath, Name, NameRecord, ObjectRef, Ordinal, Repository, Tag,
};

use super::{BlobInfo, ReferrerInfo, Visible};
use crate::oci::Reference;

/// Which objects and names of a catalog are shown.
pub trait Admits {
    /// Whether an object may be handed out.
    fn object(&self, ordinal: Ordinal) -> bool;
    /// Whether a name may be answered with its object.
    fn name(&self, record: NameRecord) -> bool;
}

/// A catalog that changes, and what of it is shown.
pub trait Shown: Send + Sync + 'static {
    /// Calls `look` once, on one consistent state.
    fn look(&self, look: &mut dyn FnMut(&Catalog, &dyn Admits));
}

/// [`Visible`] by way of a catalog.
#[derive(Debug)]
pub struct CatalogVisible<S>(S);

impl<S: Shown> CatalogVisible<S> {
    /// Shows what `shown` admits.
    #[must_use]
    pub fn new(shown: S) -> Arc<Self> {
        Arc::new(Self(shown))
    }

    fn find<T>(&self, find: impl Fn(&Catalog, &dyn Admits) -> Option<T>) -> Option<T> {
        let mut found = None;
        self.0
            .look(&mut |catalog, admits| found = find(catalog, admits));
        found
    }
}

fn info(object: ObjectRef<'_>) -> BlobInfo {
    BlobInfo {
        digest: *object.digest(),
        size: object.size(),
        media_type: object.media_type().clone(),
    }
}

fn admitted(catalog: &Catalog, admits: &dyn Admits, ordinal: Ordinal) -> Option<BlobInfo> {
    catalog
        .object(ordinal)
        .filter(|_| admits.object(ordinal))
        .map(info)
}

fn named(catalog: &Catalog, admits: &dyn Admits, record: NameRecord) -> Option<BlobInfo> {
    admitted(catalog, admits, record.ordinal).filter(|_| admits.name(record))
}

impl<S: Shown> Visible for CatalogVisible<S> {
    fn blob(&self, digest: &Digest) -> Option<BlobInfo> {
        self.find(|catalog, admits| admitted(catalog, admits, catalog.ordinal(digest)?))
    }

    fn file(&self, path: &FilePath) -> Option<BlobInfo> {
        self.find(|catalog, admits| named(catalog, admits, catalog.file(path.as_str())?))
    }

    fn oci_manifest(&self, repository: &Repository, reference: &Reference) -> Option<BlobInfo> {
        self.find(|catalog, admits| match reference {
            Reference::Tag(tag) => {
                let name = Name::Tag(repository.clone(), tag.clone());
                named(catalog, admits, catalog.name(&name)?)
            }
            Reference::Digest(digest) => member(catalog, admits, repository, digest),
        })
    }

    fn oci_blob(&self, repository: &Repository, digest: &Digest) -> Option<BlobInfo> {
        self.find(|catalog, admits| member(catalog, admits, repository, digest))
    }

    fn some_repository(&self, digest: &Digest) -> Option<Repository> {
        self.find(|catalog, _| {
            let ordinal = catalog.ordinal(digest)?;
            let mut repositories = catalog.repositories();
            repositories
                .find(|repository| catalog.contains(repository.as_str(), ordinal))
                .or_else(|| announced_in(catalog, ordinal))
                .cloned()
        })
    }

    fn tags(&self, repository: &Repository, after: Option<&str>, limit: usize) -> Option<Vec<Tag>> {
        self.find(|catalog, admits| {
            catalog.has_repository(repository.as_str()).then(|| {
                catalog
                    .tags(repository.as_str())
                    .filter(|(tag, _)| after.is_none_or(|after| tag.as_str() > after))
                    .filter(|(_, record)| named(catalog, admits, *record).is_some())
                    .map(|(tag, _)| tag.clone())
                    .take(limit)
                    .collect()
            })
        })
    }

    fn referrers(&self, repository: &Repository, subject: &Digest) -> Option<Vec<ReferrerInfo>> {
        self.find(|catalog, admits| {
            catalog.has_repository(repository.as_str()).then(|| {
                catalog
                    .referrers(repository.as_str(), subject)
                    .into_iter()
                    .filter_map(|ordinal| {
                        let blob = admitted(catalog, admits, ordinal)?;
                        let referrer = catalog.object(ordinal)?.referrer()?;
                        Some(ReferrerInfo {
                            blob,
                            artifact_type: referrer.artifact_type.clone(),
                            annotations: referrer.annotations.clone(),
                        })
                    })
                    .collect()
            })
        })
    }
}

/// The repository of a pending name that reaches the object: it is in no
/// repository that anybody sees, and kept in this one.
fn announced_in(catalog: &Catalog, object: Ordinal) -> Option<&Repository> {
    catalog.pending_names().find_map(|(name, pending)| {
        let (Name::Tag(repository, _) | Name::Root(repository, _)) = name else {
            return None;
        };
        let reached = catalog.closure([pending.ordinal]);
        reached.contains(&object).then_some(repository)
    })
}

fn member(
    catalog: &Catalog,
    admits: &dyn Admits,
    repository: &Repository,
    digest: &Digest,
) -> Option<BlobInfo> {
    let ordinal = catalog.ordinal(digest)?;
    admitted(catalog, admits, ordinal).filter(|_| catalog.contains(repository.as_str(), ordinal))
}
