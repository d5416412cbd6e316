//! Whose origin it is.
//!
//! A store that was mistyped, emptied, or is another log's must not be taken for
//! ours: every promotion would find its content "present", or somebody else's
//! uploads would be aborted. So a folder or bucket says which log it belongs to, in
//! a marker that is made once; and where there is none, a few objects that the
//! catalog knows are looked for before anything is believed. A registry has no place
//! for a marker, so there only the second holds.

use bytes::Bytes;
use landfall_catalog::{Catalog, Name};
use landfall_content::{Item, MARKER, Store, StoreError};

use crate::catalog::SharedCatalog;
use crate::promote::execute::repository;

/// Objects that are looked for.
const SAMPLE: usize = 16;
/// Characters of another marker that are shown.
const SHOWN: usize = 120;

/// Why the origin is not used.
#[derive(Debug, thiserror::Error)]
pub enum OwnedError {
    /// It belongs to another log.
    #[error(
        "the origin {store} belongs to the log {found:?} by its marker {MARKER}, and not to {own:?} with the keys of \
         this coordinator; nothing was changed there. Mend origin.store; if that log is gone for good, remove the marker"
    )]
    Another {
        /// The store, without secrets.
        store: String,
        /// What the marker says.
        found: String,
        /// Name of this log.
        own: String,
    },
    /// It holds nothing of the catalog.
    #[error(
        "the origin {store} is not the one that this catalog was written to: it has no marker {MARKER}, and none of {looked} \
         objects that were looked for, such as {example}. Mend origin.store; if the origin is really lost, start with \
         --origin-is-lost, and fill it with: landfall audit origin --repair"
    )]
    Empty {
        /// The store, without secrets.
        store: String,
        /// Objects that were looked for.
        looked: usize,
        /// A name of one of them.
        example: Name,
    },
    /// It could not be asked.
    #[error("it cannot be told whose origin {store} is")]
    Store {
        /// The store, without secrets.
        store: String,
        /// What it said.
        #[source]
        source: StoreError,
    },
}

/// What a marker says.
#[derive(Debug, PartialEq, Eq)]
enum Marker {
    Ours,
    Nobodys,
    Another(String),
}

/// Which log an origin has to belong to.
pub(crate) struct Owner<'a> {
    /// Name of the log.
    pub(crate) name: &'a str,
    /// Its verifier keys.
    pub(crate) keys: &'a [String],
    /// Somebody said that the origin is lost, and to be filled again.
    pub(crate) is_lost: bool,
}

impl Owner<'_> {
    /// Makes sure that the origin is this log's, and makes the marker that says so if
    /// there is none. `shown` is where it is, without secrets.
    pub(crate) async fn claim(
        &self,
        store: &Store,
        shown: &str,
        catalog: &SharedCatalog,
    ) -> Result<(), OwnedError> {
        let failed = |source| OwnedError::Store {
            store: shown.to_owned(),
            source,
        };
        let found = store.marker().await.map_err(failed)?;
        match self.judge(found.as_deref()) {
            Marker::Ours => return Ok(()),
            Marker::Another(found) => return Err(self.another(shown, found)),
            Marker::Nobodys => {}
        }
        let sample = catalog.read(sample);
        if let Some((example, _)) = sample.first() {
            let items = sample.iter().map(|(_, item)| item.clone()).collect();
            let held = store.held(items).await.map_err(failed)?;
            let there = held.iter().filter(|held| **held).count();
            let (looked, missing) = (held.len(), held.len() - there);
            if there == 0 && !self.is_lost {
                return Err(OwnedError::Empty {
                    store: shown.to_owned(),
                    looked,
                    example: example.clone(),
                });
            }
            if missing > 0 {
                tracing::error!(
                    looked,
                    missing,
                    "the origin lacks objects of the catalog; `landfall audit origin --repair` fetches them from mirrors"
                );
            }
        }
        store.mark(self.text()).await.map_err(failed)?;
        // Somebody else may have been faster.
        let found = store.marker().await.map_err(failed)?;
        match self.judge(found.as_deref()) {
            Marker::Another(found) => Err(self.another(shown, found)),
            Marker::Ours | Marker::Nobodys => Ok(()),
        }
    }

    /// The marker: the log's name, and its verifier keys.
    fn text(&self) -> Bytes {
        let mut lines = vec![self.name.to_owned()];
        lines.extend(self.keys.iter().cloned());
        lines.push(String::new());
        lines.join("\n").into()
    }

    fn judge(&self, found: Option<&[u8]>) -> Marker {
        match found {
            None => Marker::Nobodys,
            Some(found) if *found == *self.text() => Marker::Ours,
            Some(found) => {
                let text = String::from_utf8_lossy(found);
                let line = text.lines().next().unwrap_or_default();
                Marker::Another(line.chars().take(SHOWN).collect())
            }
        }
    }

    fn another(&self, shown: &str, found: String) -> OwnedError {
        OwnedError::Another {
            store: shown.to_owned(),
            found,
            own: self.name.to_owned(),
        }
    }
}

/// A few objects that the origin has to hold, from all over the catalog.
fn sample(catalog: &Catalog) -> Vec<(Name, Item)> {
    let files = catalog
        .files()
        .map(|(path, record)| (Name::File(path.clone()), record.ordinal));
    let repositories = catalog.repositories();
    let tags = repositories.flat_map(|repository| {
        let tags = catalog.tags(repository.as_str());
        tags.map(|(tag, record)| (Name::Tag(repository.clone(), tag.clone()), record.ordinal))
    });
    let all: Vec<_> = files.chain(tags).collect();
    let step = all.len().div_ceil(SAMPLE).max(1);
    let item = |(name, ordinal): (Name, _)| {
        let object = catalog.object(ordinal)?;
        let is_served = catalog.is_live(ordinal) && catalog.withdrawn(object.digest()).is_none();
        is_served.then(|| {
            let item = Item {
                digest: *object.digest(),
                size: object.size(),
                media_type: object.media_type().clone(),
                repository: repository(&name),
            };
            (name, item)
        })
    };
    all.into_iter().step_by(step).filter_map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_name_and_the_same_keys_are_the_same_log() {
        let keys = ["a+1+x".to_owned(), "a+2+y".to_owned()];
        let own = Owner {
            name: "artifacts.example.org",
            keys: &keys,
            is_lost: false,
        };
        let text = own.text();
        assert_eq!(own.judge(None), Marker::Nobodys);
        assert_eq!(own.judge(Some(&text)), Marker::Ours);
        let other_keys = Owner {
            keys: &keys[..1],
            ..own
        };
        let found = other_keys.judge(Some(&text));
        assert_eq!(found, Marker::Another("artifacts.example.org".into()));
        let noise = own.judge(Some(&[0xff; 1000]));
        assert!(matches!(noise, Marker::Another(shown) if shown.chars().count() == SHOWN));
    }
}
