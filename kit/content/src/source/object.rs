//! Objects in a bucket.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};

use super::{Opened, ServedBy, Source, SourceError, SourceErrorKind};

/// One key of a bucket.
#[derive(Clone)]
pub struct ObjectStoreSource {
    store: Arc<dyn ObjectStore>,
    key: Path,
    name: String,
}

impl ObjectStoreSource {
    /// `key` of `store`, called `name` in messages.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, key: Path, name: String) -> Self {
        Self { store, key, name }
    }
}

impl fmt::Debug for ObjectStoreSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectStoreSource")
            .field(&self.name)
            .finish()
    }
}

impl Source for ObjectStoreSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, SourceError>> {
        Box::pin(async move {
            let options = GetOptions {
                range: (from > 0).then_some(GetRange::Offset(from)),
                ..GetOptions::default()
            };
            let found = self
                .store
                .get_opts(&self.key, options)
                .await
                .map_err(store_error)?;
            Ok(Opened {
                start: found.range.start,
                total: Some(found.meta.size),
                served_by: ServedBy {
                    location: self.name.clone(),
                    mirror: None,
                },
                stream: found.into_stream().map_err(store_error).boxed(),
            })
        })
    }
}

pub(super) fn store_error(error: object_store::Error) -> SourceError {
    use object_store::Error;
    #[allow(clippy::wildcard_enum_match_arm, reason = "the enum is open")]
    let kind = match error {
        Error::NotFound { .. } => SourceErrorKind::NotFound,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => SourceErrorKind::Refused,
        Error::InvalidPath { .. } | Error::NotSupported { .. } | Error::NotImplemented { .. } => {
            SourceErrorKind::Broken
        }
        _ => SourceErrorKind::Transient { retry_after: None },
    };
    // Its text may hold a signed URL: the kind has to do.
    SourceError::new(kind, format!("the bucket said: {kind:?}"))
}
