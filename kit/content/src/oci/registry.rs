//! A registry (OCI distribution specification 1.1): staging, or a mirror that
//! is one. Every answer is bounded, and what is asked for by digest
//! is checked against it.

mod auth;
mod call;
mod credentials;
mod push;
mod source;
mod tags;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, LINK};
use http::{HeaderMap, HeaderValue, Method};
use landfall_catalog::{Digest, MediaType, Repository, Tag};
use landfall_runtime::dial::{DialError, refuse_plain_text_elsewhere, without_secrets};
use serde::Deserialize;
use url::Url;

use super::document::{DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST, MAX_DOCUMENT_BYTES};
use super::{Descriptor, Document, ManifestReader, Reference};
use crate::pace::Paces;
use crate::source::{Clients, Manners, ServedBy, Source, SourceError, SourceErrorKind};
pub use auth::RegistryAuth;
use auth::Tokens;
pub(crate) use auth::{Bearer, granted};
use call::Call;
pub(crate) use call::complaint;
pub(crate) use credentials::login;
pub use credentials::{Credentials, CredentialsError};
pub(crate) use push::{Session, arrived};
use source::RegistrySource;
pub(crate) use tags::tags_of;

/// [`MAX_DOCUMENT_BYTES`] for buffers.
const MAX_DOCUMENT: usize = 4 << 20;
/// Pages of a list of referrers that are read.
const MAX_PAGES: usize = 16;
/// Referrers of one object that are looked at.
const MAX_REFERRERS: usize = 1_000;
/// What cosign appends to `sha256-<hex>`.
const COSIGN: [&str; 3] = ["sig", "att", "sbom"];

/// A registry, or what lies below a prefix of its repositories. Cloning gives
/// another handle to the same.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clients: Clients,
    /// With `/v2/` and the prefix, ending in a slash.
    base: Url,
    /// What precedes a repository's name in the registry's own namespace.
    prefix: String,
    tokens: Tokens,
}

/// Why a registry cannot be used. The configuration's fault.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Neither https nor http of this machine, or no HTTP client to be had.
    #[error("cannot use the registry")]
    Dial(#[from] DialError),
    /// The path of the URL is not a prefix of repositories.
    #[error("{0:?} is not a prefix of repositories")]
    Prefix(String),
}

/// A manifest or index as it came.
#[derive(Clone, Debug)]
pub struct RawManifest {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// What the document is.
    pub media_type: MediaType,
    /// Exactly what the registry has.
    pub bytes: Bytes,
}

impl RawManifest {
    /// Its descriptor.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest,
            size: self.bytes.len() as u64,
        }
    }
}

impl Registry {
    /// The registry at `endpoint`, whose path, if any, precedes every
    /// repository: `https://gcr.io/k8s-staging-kops`. Plain http is for this
    /// machine only.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub fn new(endpoint: &Url, auth: RegistryAuth) -> Result<Self, RegistryError> {
        Self::paced(endpoint, auth, &Paces::default())
    }

    /// As [`Self::new`], at the pace that its host has among `paces`.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub fn paced(endpoint: &Url, auth: RegistryAuth, paces: &Paces) -> Result<Self, RegistryError> {
        Self::open(endpoint, auth, |home| Clients::paced(home, paces))
    }

    /// As [`Self::new`], a registry that is not trusted with more than these
    /// `manners`.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub fn mannered(
        endpoint: &Url,
        auth: RegistryAuth,
        manners: &Manners,
    ) -> Result<Self, RegistryError> {
        Self::open(endpoint, auth, |home| {
            Clients::paced(home, &manners.paces)?.mannered(manners)
        })
    }

    fn open(
        endpoint: &Url,
        auth: RegistryAuth,
        clients: impl FnOnce(Url) -> Result<Clients, DialError>,
    ) -> Result<Self, RegistryError> {
        refuse_plain_text_elsewhere(endpoint)?;
        let prefix = endpoint.path().trim_matches('/').to_owned();
        if !prefix.is_empty() && !Repository::is_valid(&prefix) {
            return Err(RegistryError::Prefix(prefix));
        }
        let mut base = endpoint.clone();
        base.set_query(None);
        base.set_fragment(None);
        let prefix = if prefix.is_empty() {
            prefix
        } else {
            prefix + "/"
        };
        base.set_path(&format!("/v2/{prefix}"));
        let clients = clients(base.clone())?;
        Ok(Self {
            inner: Arc::new(Inner {
                tokens: Tokens::new(clients.clone(), auth),
                clients,
                base,
                prefix,
            }),
        })
    }

    /// The manifest or index `reference` of `repository`; none if it is not
    /// there.
    ///
    /// # Errors
    ///
    /// [`SourceErrorKind::Broken`] if it is not the one asked for, or not a
    /// manifest or index at all.
    pub async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<RawManifest>, SourceError> {
        let path = format!("manifests/{reference}");
        let answer = self.get(repository, &path, &accept_documents()).await;
        let Some((response, by)) = none_if_absent(answer)? else {
            return Ok(None);
        };
        let declared = header(response.headers(), CONTENT_TYPE.as_str());
        let promised = header(response.headers(), "docker-content-digest");
        let bytes = self.read(response, &by).await?;
        let digest = Digest::of(&bytes);
        let expected = match reference {
            Reference::Digest(digest) => Some(digest.to_string()),
            // A digest of another algorithm promises nothing that is checked here.
            Reference::Tag(_) => promised.filter(|text| text.starts_with("sha256:")),
        };
        if expected.is_some_and(|expected| expected != digest.to_string()) {
            return Err(
                SourceError::broken(format!("sent another document for {reference}")).from(&by),
            );
        }
        let document = Document::parse(&bytes, declared.as_deref()).map_err(|error| {
            SourceError::broken(format!("has a {reference} that is not usable"))
                .caused_by(error)
                .from(&by)
        })?;
        Ok(Some(RawManifest {
            digest,
            media_type: document.media_type,
            bytes,
        }))
    }

    /// Length in bytes of a blob of `repository`; none if it is not there.
    ///
    /// # Errors
    ///
    /// As any request.
    pub async fn blob_size(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<u64>, SourceError> {
        self.size(repository, &format!("blobs/{digest}"), &HeaderMap::new())
            .await
    }

    /// Length in bytes of a manifest or index of `repository`; none if it is not
    /// there.
    ///
    /// # Errors
    ///
    /// As any request.
    pub async fn manifest_size(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<u64>, SourceError> {
        self.size(
            repository,
            &format!("manifests/{digest}"),
            &accept_documents(),
        )
        .await
    }

    async fn size(
        &self,
        repository: &Repository,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Option<u64>, SourceError> {
        let url = self.url(repository, path)?;
        let answer = self.send(Method::HEAD, url, repository, headers).await;
        let Some((response, by)) = none_if_absent(answer)? else {
            return Ok(None);
        };
        header(response.headers(), CONTENT_LENGTH.as_str())
            .and_then(|length| length.parse().ok())
            .map(Some)
            .ok_or_else(|| SourceError::broken("gives no length").from(&by))
    }

    /// The documents of `repository` that refer to `subject`: from the
    /// referrers API, else from the fallback tag `sha256-<hex>`. What they say
    /// of themselves is to be checked when they are read.
    ///
    /// # Errors
    ///
    /// As any request; [`SourceErrorKind::Broken`] if there are too many.
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, SourceError> {
        match self.listed_referrers(repository, subject).await? {
            Some(listed) => Ok(listed),
            None => self.tagged_referrers(repository, subject).await,
        }
    }

    /// As [`Self::referrers`], from the referrers API alone; none if the
    /// registry does not know it.
    ///
    /// # Errors
    ///
    /// As [`Self::referrers`].
    pub async fn listed_referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, SourceError> {
        let mut next = Some(self.url(repository, &format!("referrers/{subject}"))?);
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let Some(url) = next.take() else {
                return Ok(Some(found));
            };
            let answer = self
                .send(Method::GET, url.clone(), repository, &accept_documents())
                .await;
            let (response, by) = match answer {
                Ok(answer) => answer,
                // Registries of before 1.1 do not know the path.
                Err(error) if found.is_empty() && error.kind == SourceErrorKind::NotFound => {
                    return Ok(None);
                }
                // Or say that it is not for us.
                Err(error) if found.is_empty() && error.kind == SourceErrorKind::Refused => {
                    return self.tagged_referrers(repository, subject).await.map(Some);
                }
                Err(error) => return Err(error),
            };
            next = next_page(&url, response.headers());
            let bytes = self.read(response, &by).await?;
            found.extend(referrers_of(&bytes).map_err(|error| error.from(&by))?);
            if found.len() > MAX_REFERRERS {
                break;
            }
        }
        Err(SourceError::broken(format!(
            "has too many referrers of {subject}"
        )))
    }

    /// As [`Self::referrers`], from the fallback tag alone.
    ///
    /// # Errors
    ///
    /// As [`Self::manifest`].
    pub async fn tagged_referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, SourceError> {
        let tag = tag(&format!("sha256-{}", subject.to_hex()))?;
        let Some(raw) = self.manifest(repository, &Reference::Tag(tag)).await? else {
            return Ok(Vec::new());
        };
        let document = Document::parse(&raw.bytes, Some(raw.media_type.as_str()));
        document.map(|document| document.children).map_err(|error| {
            SourceError::broken("has a list of referrers that is not usable").caused_by(error)
        })
    }

    /// What cosign keeps about `subject` under tags: `sha256-<hex>.sig`, `.att`
    /// and `.sbom`, those that are there.
    ///
    /// # Errors
    ///
    /// As [`Self::manifest`].
    pub async fn cosign(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<(Tag, RawManifest)>, SourceError> {
        self.cosign_among(repository, subject, |_| true).await
    }

    /// As [`Self::cosign`], of the tags that `may_be` there.
    ///
    /// # Errors
    ///
    /// As [`Self::manifest`].
    pub async fn cosign_among(
        &self,
        repository: &Repository,
        subject: &Digest,
        may_be: impl Fn(&Tag) -> bool,
    ) -> Result<Vec<(Tag, RawManifest)>, SourceError> {
        let mut found = Vec::new();
        for suffix in COSIGN {
            let tag = tag(&format!("sha256-{}.{suffix}", subject.to_hex()))?;
            if !may_be(&tag) {
                continue;
            }
            if let Some(raw) = self
                .manifest(repository, &Reference::Tag(tag.clone()))
                .await?
            {
                found.push((tag, raw));
            }
        }
        Ok(found)
    }

    /// A blob of `repository`, to be transferred.
    #[must_use]
    pub fn blob(&self, repository: &Repository, digest: &Digest) -> Arc<dyn Source> {
        let path = format!("blobs/{digest}");
        Arc::new(RegistrySource::new(self.clone(), repository.clone(), path))
    }

    /// A manifest or index of `repository` by digest, to be transferred.
    #[must_use]
    pub fn document(&self, repository: &Repository, digest: &Digest) -> Arc<dyn Source> {
        let path = format!("manifests/{digest}");
        Arc::new(RegistrySource::new(self.clone(), repository.clone(), path))
    }

    /// One repository, for [`super::resolve_closure`].
    #[must_use]
    pub fn repository(&self, repository: &Repository) -> RepositoryReader {
        RepositoryReader {
            registry: self.clone(),
            repository: repository.clone(),
        }
    }

    /// A document that arrives in time.
    async fn read(&self, response: reqwest::Response, by: &ServedBy) -> Result<Bytes, SourceError> {
        debug_assert_eq!(MAX_DOCUMENT as u64, MAX_DOCUMENT_BYTES);
        let read = self
            .inner
            .clients
            .read(response, MAX_DOCUMENT, "a document");
        read.await.map_err(|error| error.from(by))
    }

    fn url(&self, repository: &Repository, path: &str) -> Result<Url, SourceError> {
        self.inner
            .base
            .join(&format!("{repository}/{path}"))
            .map_err(|error| SourceError::broken("is not addressable").caused_by(error))
    }

    async fn get(
        &self,
        repository: &Repository,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(reqwest::Response, ServedBy), SourceError> {
        let url = self.url(repository, path)?;
        self.send(Method::GET, url, repository, headers).await
    }

    /// Sends a request that reads; see [`call::Call`].
    async fn send(
        &self,
        method: Method,
        url: Url,
        repository: &Repository,
        headers: &HeaderMap,
    ) -> Result<(reqwest::Response, ServedBy), SourceError> {
        let call = Call {
            headers: headers.clone(),
            ..Call::new(method, url, repository)
        };
        self.call(call).await
    }
}

/// The referrers of one answer, of which only the descriptors matter.
pub(crate) fn referrers_of(answer: &[u8]) -> Result<Vec<Descriptor>, SourceError> {
    #[derive(Deserialize)]
    struct Page {
        manifests: Vec<Descriptor>,
    }
    let page: Page = serde_json::from_slice(answer)
        .map_err(|error| SourceError::broken("sent no list of referrers").caused_by(error))?;
    Ok(page.manifests)
}

/// One repository of a registry.
#[derive(Clone, Debug)]
pub struct RepositoryReader {
    registry: Registry,
    repository: Repository,
}

impl ManifestReader for RepositoryReader {
    fn manifest<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<RawManifest>, SourceError>> {
        Box::pin(async move {
            let reference = Reference::Digest(*digest);
            self.registry.manifest(&self.repository, &reference).await
        })
    }
}

fn none_if_absent<T>(answer: Result<T, SourceError>) -> Result<Option<T>, SourceError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind == SourceErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn accept_documents() -> HeaderMap {
    [INDEX, MANIFEST, DOCKER_LIST, DOCKER_MANIFEST]
        .map(|media_type| (ACCEPT, HeaderValue::from_static(media_type)))
        .into_iter()
        .fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn tag(text: &str) -> Result<Tag, SourceError> {
    text.parse()
        .map_err(|error| SourceError::broken("no such tag can exist").caused_by(error))
}

/// `Link: <url>; rel="next"` (RFC 8288), on the same registry.
pub(crate) fn next_page(url: &Url, headers: &HeaderMap) -> Option<Url> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.contains("rel=\"next\"") || parameters.contains("rel=next");
    let next = url.join(target).ok()?;
    (is_next && next.origin() == url.origin()).then_some(next)
}
