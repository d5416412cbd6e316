//! Folders, buckets and web servers that hold many files below one URL.

use std::path::PathBuf;
use std::sync::Arc;

use futures::TryFutureExt as _;
use http::header::CONTENT_LENGTH;
use landfall_runtime::dial::{DialError, without_secrets};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, ObjectStoreScheme};
use tokio::task::spawn_blocking;
use url::Url;

use super::object::store_error;
use super::{
    Clients, FileSource, HttpSource, Manners, ObjectStoreSource, ServedBy, Source, SourceError,
    SourceErrorKind,
};
use crate::store::{StoreError, connect};

/// Redirects that a web server may answer with.
const REDIRECTS: u8 = 3;

/// Where many files lie: `file://`, `http(s)://`, `s3://`, `gs://`, `az://`.
#[derive(Clone, Debug)]
pub struct FileBase {
    place: Place,
    /// Without secrets and trailing slash.
    name: String,
}

#[derive(Clone, Debug)]
enum Place {
    Folder(PathBuf),
    Web(Clients),
    Bucket(Arc<dyn ObjectStore>, Path),
}

/// Why a URL or a key cannot be used. The input's fault.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// Nothing understands that URL.
    #[error("cannot read files below {0}")]
    Url(String, #[source] Option<Box<StoreError>>),
    /// The key would lead somewhere else.
    #[error("{0:?} is not the name of a file below a base")]
    Key(String),
}

impl FileBase {
    /// Everything below `url`. `client` must follow no redirects itself;
    /// `options` are those of `object_store`, in the provider's spelling.
    ///
    /// # Errors
    ///
    /// [`BaseError::Url`].
    pub fn new(
        url: &Url,
        client: &reqwest::Client,
        options: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, BaseError> {
        let name = without_secrets(url).trim_end_matches('/').to_owned();
        let refused = || BaseError::Url(name.clone(), None);
        let scheme = ObjectStoreScheme::parse(url).map_err(|_| refused())?.0;
        let place = match (scheme, url.scheme()) {
            (ObjectStoreScheme::Local, _) => {
                Place::Folder(url.to_file_path().map_err(|()| refused())?)
            }
            (ObjectStoreScheme::Http, "http" | "https") => {
                let mut url = url.clone();
                if !url.path().ends_with('/') {
                    url.set_path(&format!("{}/", url.path()));
                }
                Place::Web(Clients::new(client.clone(), url))
            }
            _ => {
                let connection = connect(url, options)
                    .map_err(|error| BaseError::Url(name.clone(), Some(Box::new(error))))?;
                Place::Bucket(connection.store, connection.prefix)
            }
        };
        Ok(Self { place, name })
    }

    /// A web server is not trusted with more than these `manners`.
    ///
    /// # Errors
    ///
    /// [`DialError::HttpClient`].
    pub fn mannered(mut self, manners: &Manners) -> Result<Self, DialError> {
        if let Place::Web(clients) = self.place {
            self.place = Place::Web(clients.mannered(manners)?);
        }
        Ok(self)
    }

    /// Where a key is, for messages: without secrets.
    #[must_use]
    pub fn location(&self, key: &str) -> String {
        format!("{}/{key}", self.name)
    }

    /// The file `key`, a relative path.
    ///
    /// # Errors
    ///
    /// [`BaseError::Key`] if `key` is not a plain relative path.
    pub fn source(&self, key: &str) -> Result<Arc<dyn Source>, BaseError> {
        check_key(key)?;
        Ok(match &self.place {
            Place::Folder(folder) => Arc::new(FileSource::new(&folder.join(key))),
            Place::Web(clients) => {
                let clients = clients.at(below(clients.home(), key)?);
                Arc::new(HttpSource::by(clients).with_redirects(REDIRECTS))
            }
            Place::Bucket(store, prefix) => Arc::new(ObjectStoreSource::new(
                Arc::clone(store),
                key_in(prefix, key)?,
                format!("{}/{key}", self.name),
            )),
        })
    }

    /// Length in bytes of the file `key`; none if it is not there.
    ///
    /// # Errors
    ///
    /// As reading it would give; [`SourceErrorKind::Broken`] for a key that
    /// is not a plain relative path, or a server that gives no length.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, SourceError> {
        let invalid = |error: BaseError| SourceError::broken(error.to_string());
        check_key(key).map_err(invalid)?;
        let found = match &self.place {
            Place::Folder(folder) => file_size(folder.join(key)).await,
            Place::Web(clients) => {
                let url = below(clients.home(), key).map_err(invalid)?;
                web_size(clients, url).await
            }
            Place::Bucket(store, prefix) => {
                let key = key_in(prefix, key).map_err(invalid)?;
                store
                    .head(&key)
                    .map_ok(|meta| meta.size)
                    .map_err(store_error)
                    .await
            }
        };
        match found {
            Ok(size) => Ok(Some(size)),
            Err(error) if error.kind == SourceErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn check_key(key: &str) -> Result<(), BaseError> {
    let plain = |segment: &str| !matches!(segment, "" | "." | "..");
    let odd = |c: char| c.is_control() || c == '\\';
    if key.split('/').all(plain) && !key.contains(odd) {
        Ok(())
    } else {
        Err(BaseError::Key(key.chars().take(200).collect()))
    }
}

fn below(base: &Url, key: &str) -> Result<Url, BaseError> {
    let mut url = base.clone();
    url.path_segments_mut()
        .map_err(|()| BaseError::Key(key.to_owned()))?
        .pop_if_empty()
        .extend(key.split('/'));
    Ok(url)
}

fn key_in(prefix: &Path, key: &str) -> Result<Path, BaseError> {
    let text = match prefix.as_ref() {
        "" => key.to_owned(),
        prefix => format!("{prefix}/{key}"),
    };
    Path::parse(text).map_err(|_| BaseError::Key(key.to_owned()))
}

async fn file_size(path: PathBuf) -> Result<u64, SourceError> {
    let found = spawn_blocking(move || std::fs::metadata(path)).await;
    match found.map_err(|_| SourceError::transient("stopping"))? {
        Ok(found) if found.is_file() => Ok(found.len()),
        Ok(_) => Err(SourceError::new(SourceErrorKind::NotFound, "not a file")),
        Err(error) => Err(FileSource::error(error)),
    }
}

async fn web_size(clients: &Clients, mut url: Url) -> Result<u64, SourceError> {
    for _ in 0..=REDIRECTS {
        let by = ServedBy {
            location: without_secrets(&url),
            mirror: None,
        };
        let request = clients.of(&url).map_err(|error| error.from(&by))?;
        let sent = clients.send(request.head(url.clone())).await;
        let response = sent.map_err(|error| error.from(&by))?;
        let (status, headers) = (response.status(), response.headers());
        if status.is_redirection() {
            url = super::next_hop(&url, headers).map_err(|error| error.from(&by))?;
        } else if status.is_success() {
            return headers
                .get(CONTENT_LENGTH)
                .and_then(|length| length.to_str().ok()?.parse().ok())
                .ok_or_else(|| SourceError::broken("gives no length").from(&by));
        } else {
            return Err(super::status_error(status, headers).from(&by));
        }
    }
    Err(SourceError::broken("redirects too often"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::read_stream;

    fn base(url: &Url) -> FileBase {
        FileBase::new(url, &landfall_runtime::dial::http_client().unwrap(), []).unwrap()
    }

    #[tokio::test]
    async fn files_of_a_folder_and_of_a_bucket_read_alike() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a b")).unwrap();
        std::fs::write(folder.path().join("a b/c"), "0123456789").unwrap();
        let local = base(&Url::from_directory_path(folder.path()).unwrap());

        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let key = Path::parse("prefix/a b/c").unwrap();
        store.put(&key, "0123456789".into()).await.unwrap();
        let bucket = FileBase {
            place: Place::Bucket(store, Path::from("prefix")),
            name: "memory://x".to_owned(),
        };

        for base in [local, bucket] {
            assert_eq!(base.size("a b/c").await.unwrap(), Some(10));
            assert_eq!(base.size("a b/d").await.unwrap(), None);
            assert_eq!(base.size("a b").await.unwrap(), None);
            for (from, expected) in [(0, "0123456789"), (7, "789")] {
                let opened = base.source("a b/c").unwrap().open(from).await.unwrap();
                assert_eq!((opened.start, opened.total), (from, Some(10)));
                assert_eq!(read_stream(opened.stream, 10).await.unwrap(), expected);
            }
            let Err(absent) = base.source("nothing").unwrap().open(0).await else {
                panic!("there is nothing to open");
            };
            assert_eq!(absent.kind, SourceErrorKind::NotFound);
        }
    }

    #[test]
    fn keys_that_lead_elsewhere_are_refused() {
        let base = base(&"file:///srv/staging/".parse().unwrap());
        for key in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "./a",
            "a/",
            "a\0",
            "a\\b",
        ] {
            assert!(base.source(key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn names_below_a_web_server_are_encoded() {
        let url = below(&"http://a/base/".parse().unwrap(), "x?y/z#w%2e").unwrap();
        assert_eq!(url.as_str(), "http://a/base/x%3Fy/z%23w%252e");
    }

    #[test]
    fn unknown_schemes_are_refused_without_their_secrets() {
        let client = landfall_runtime::dial::http_client().unwrap();
        let url = "ftp://user:secret@host/x".parse().unwrap();
        let error = FileBase::new(&url, &client, []).unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }
}
