//! Something in a registry, read with `Range`.

use futures::future::BoxFuture;
use http::header::RANGE;
use http::{HeaderMap, HeaderValue};
use landfall_catalog::Repository;

use super::{Registry, accept_documents, without_secrets};
use crate::source::{Opened, Source, SourceError, body};

#[derive(Debug)]
pub(super) struct RegistrySource {
    registry: Registry,
    repository: Repository,
    path: String,
    name: String,
}

impl RegistrySource {
    pub(super) fn new(registry: Registry, repository: Repository, path: String) -> Self {
        let base = without_secrets(&registry.inner.base);
        Self {
            name: format!("{base}{repository}/{path}"),
            registry,
            repository,
            path,
        }
    }
}

impl Source for RegistrySource {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, SourceError>> {
        Box::pin(async move {
            let mut headers = HeaderMap::new();
            if self.path.starts_with("manifests/") {
                headers = accept_documents();
            }
            if from > 0 {
                let range = HeaderValue::try_from(format!("bytes={from}-"));
                headers.insert(
                    RANGE,
                    range.map_err(|error| SourceError::broken("no range").caused_by(error))?,
                );
            }
            let (response, by) = self
                .registry
                .get(&self.repository, &self.path, &headers)
                .await?;
            body(response, from, &by).map_err(|error| error.from(&by))
        })
    }
}
