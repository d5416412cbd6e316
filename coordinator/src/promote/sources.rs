//! Connections to staging: registries and file stores, as the rules map them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use landfall_catalog::Repository;
use landfall_content::oci::{Credentials, Registry, RegistryAuth, RegistryError};
use landfall_content::{BaseError, FileBase, Manners, Paces, RegistryStore, TransferLimits};
use landfall_promotion::Kind;
use landfall_runtime::bounded::Arrival;
use landfall_runtime::config::process_environment;
use landfall_runtime::dial::{DialError, Network, Reach, http_client};
use tokio::sync::Semaphore;
use url::Url;

use super::staging::{Staging, StagingError};
use crate::config::Limits;

/// How long a copy waits for its turn at a host that asked to be left alone.
const PAUSE: Duration = Duration::from_secs(60);
/// Prefixes of the environment's variables that object stores are given.
const PROVIDERS: [&str; 4] = ["AWS_", "GOOGLE_", "AZURE_", "STORAGE_EMULATOR_HOST"];

/// Why a staging name cannot be read. The input's or the configuration's fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourcesError {
    /// No rule maps it.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The endpoint leads to something that is no repository.
    #[error("{0} is not a repository")]
    Repository(String),
    /// The registry cannot be used.
    #[error("the staging registry cannot be used")]
    Registry(#[from] RegistryError),
    /// The file store cannot be used.
    #[error("the staging store cannot be used")]
    Base(#[from] BaseError),
    /// There is no HTTP client to be had.
    #[error("the staging store cannot be dialled")]
    Dial(#[from] DialError),
    /// The endpoint is not a URL.
    #[error("the staging endpoint is not a URL")]
    Url(#[from] url::ParseError),
}

/// A handle of all connections; cheap to clone.
#[derive(Clone)]
pub(crate) struct Sources {
    inner: Arc<Inner>,
}

struct Inner {
    staging: Staging,
    client: reqwest::Client,
    auth: RegistryAuth,
    manners: Manners,
    transfer: TransferLimits,
    per_host: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    registries: BTreeMap<String, Registry>,
    bases: BTreeMap<String, FileBase>,
    hosts: BTreeMap<String, Arc<Semaphore>>,
    copies: BTreeMap<String, Arc<Semaphore>>,
}

/// A repository of a staging registry.
pub(crate) struct ImageSource {
    pub(crate) registry: Registry,
    pub(crate) repository: Repository,
    /// Scheme and authority.
    pub(crate) host_name: String,
    /// To be held while the host is asked.
    pub(crate) host: Arc<Semaphore>,
    /// To be held while content is copied, apart: plans go on meanwhile.
    pub(crate) copies: Arc<Semaphore>,
}

/// A file of a staging store.
pub(crate) struct FileStaged {
    pub(crate) base: FileBase,
    pub(crate) key: String,
    /// Scheme and authority.
    pub(crate) host_name: String,
    /// To be held while the host is asked.
    pub(crate) host: Arc<Semaphore>,
    /// To be held while content is copied, apart: plans go on meanwhile.
    pub(crate) copies: Arc<Semaphore>,
}

impl Sources {
    /// Private registries are read as whoever is logged in there
    /// ([`Credentials::of_environment`]). Hosts are reached and treated as `limits` say; what they redirect to is
    /// public or among `allowed`.
    pub(crate) fn new(
        staging: Staging,
        limits: &Limits,
        allowed: &[Network],
    ) -> Result<Self, DialError> {
        let answer = Duration::from_millis(limits.staging_answer_ms);
        Ok(Self {
            inner: Arc::new(Inner {
                staging,
                client: http_client()?,
                auth: RegistryAuth::Stored(Credentials::of_environment(process_environment())),
                manners: Manners {
                    reach: Reach::allowing(allowed),
                    answer,
                    arrival: Arrival {
                        within: answer,
                        bytes_per_second: limits.staging_min_bytes_per_second,
                        window: Duration::from_millis(limits.staging_window_ms),
                    },
                    paces: Paces::default(),
                },
                transfer: TransferLimits {
                    // Each answer is bounded where it is waited for. This
                    // bounds the wait for a turn, and a few redirects.
                    open_timeout: PAUSE + 4 * answer,
                    min_throughput: limits.staging_min_bytes_per_second,
                    throughput_window: Duration::from_millis(limits.staging_window_ms),
                    ..TransferLimits::default()
                },
                per_host: limits.staging_requests.max(1),
                held: Mutex::new(Held::default()),
            }),
        })
    }

    /// Where the image `location` (`host/path/name`) is staged.
    pub(crate) fn image(&self, location: &str) -> Result<ImageSource, SourcesError> {
        let staged = self.inner.staging.repository(location)?;
        let repository = Repository::try_new(staged.repository.clone())
            .map_err(|_| SourcesError::Repository(staged.repository.clone()))?;
        let inner = &self.inner;
        let mut held = self.held();
        let registry = match held.registries.get(&staged.registry) {
            Some(registry) => registry.clone(),
            None => {
                let url = Url::parse(&staged.registry)?;
                let manners = &inner.manners;
                let registry = Registry::mannered(&url, inner.auth.clone(), manners)?;
                held.registries
                    .insert(staged.registry.clone(), registry.clone());
                registry
            }
        };
        let host = held.host(&staged.registry, self.inner.per_host);
        let copies = held.copies(&staged.registry, self.inner.per_host);
        Ok(ImageSource {
            registry,
            repository,
            host_name: staged.registry,
            host,
            copies,
        })
    }

    /// A repository of an origin that is a registry, to be looked at like staging.
    pub(crate) fn of_origin(&self, store: &RegistryStore, repository: &Repository) -> ImageSource {
        let mut held = self.held();
        let per_host = self.inner.per_host;
        ImageSource {
            registry: store.registry().clone(),
            repository: repository.clone(),
            host_name: store.name().to_owned(),
            host: held.host(store.name(), per_host),
            copies: held.copies(store.name(), per_host),
        }
    }

    /// Where the file `location` (`scheme://bucket/path`) is staged.
    pub(crate) fn file(&self, location: &str) -> Result<FileStaged, SourcesError> {
        let (url, key) = self.inner.staging.file(location)?;
        let mut held = self.held();
        let base = match held.bases.get(url.as_str()) {
            Some(base) => base.clone(),
            None => {
                let base = FileBase::new(&url, &self.inner.client, provider_options())?
                    .mannered(&self.inner.manners)?;
                held.bases.insert(url.as_str().to_owned(), base.clone());
                base
            }
        };
        let host_name = url[..url::Position::BeforePath].to_owned();
        let host = held.host(&host_name, self.inner.per_host);
        let copies = held.copies(&host_name, self.inner.per_host);
        Ok(FileStaged {
            base,
            key,
            host_name,
            host,
            copies,
        })
    }

    /// Where in production `location` is, if it is promoted onward from there.
    pub(crate) fn onward(&self, kind: Kind, location: &str) -> Option<String> {
        self.inner.staging.onward(kind, location)
    }

    /// To be held while content is copied within the origin.
    pub(crate) fn copies_onward(&self) -> Arc<Semaphore> {
        self.held().copies("", self.inner.per_host)
    }

    /// What is demanded of a host while content is copied from it.
    pub(crate) fn transfer_limits(&self) -> &TransferLimits {
        &self.inner.transfer
    }

    /// The host that `location` is staged at; empty if no rule says.
    pub(crate) fn host_of(&self, kind: Kind, location: &str) -> String {
        match kind {
            Kind::Images => {
                let staged = self.inner.staging.repository(location);
                staged.map(|staged| staged.registry).unwrap_or_default()
            }
            Kind::Files => {
                let staged = self.inner.staging.file(location);
                staged
                    .map(|(url, _)| url[..url::Position::BeforePath].to_owned())
                    .unwrap_or_default()
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.inner
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn host(&mut self, host: &str, permits: usize) -> Arc<Semaphore> {
        permits_of(&mut self.hosts, host, permits)
    }

    fn copies(&mut self, host: &str, permits: usize) -> Arc<Semaphore> {
        permits_of(&mut self.copies, host, permits)
    }
}

fn permits_of(
    hosts: &mut BTreeMap<String, Arc<Semaphore>>,
    host: &str,
    permits: usize,
) -> Arc<Semaphore> {
    let host = hosts
        .entry(host.to_owned())
        .or_insert_with(|| Arc::new(Semaphore::new(permits)));
    Arc::clone(host)
}

/// Credentials and regions of object stores, from the provider's usual environment.
fn provider_options() -> impl Iterator<Item = (String, String)> {
    process_environment()
        .filter(|(name, _)| PROVIDERS.iter().any(|provider| name.starts_with(provider)))
}
