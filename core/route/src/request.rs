//! What a URL asks for. Everything that is not clearly one of the things we answer is refused.

mod decode;

use landfall_catalog::{Digest, DigestError, FilePath, NameError, Repository, Tag};
use thiserror::Error;

pub use self::decode::query_pairs;

/// Most mirrors that a request may ask to avoid.
const MAX_AVOIDED: usize = 16;
/// Longest mirror name in `avoid`, in bytes.
const MAX_MIRROR_NAME_BYTES: usize = 128;
/// Longest tag to list from, in bytes; no tag is longer (OCI distribution specification).
const MAX_LAST_BYTES: usize = 128;
/// Longest artifact type to filter referrers by, in bytes (RFC 6838 allows 127 + 1 + 127).
const MAX_ARTIFACT_TYPE_BYTES: usize = 255;

/// A request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub wanted: Wanted,
    /// Mirrors that the client had no luck with, from `?avoid=<mirror>`, repeated or separated by commas.
    pub avoid: Vec<String>,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// `/`
    Root,
    /// `/v2/`: is this an OCI registry?
    V2Base,
    /// `/v2/<repository>/manifests/<tag or digest>`
    OciManifest {
        /// The repository.
        repository: Repository,
        /// Which OCI manifest in it.
        reference: Reference,
    },
    /// `/v2/<repository>/blobs/<digest>`
    OciBlob {
        /// The repository.
        repository: Repository,
        /// The blob.
        digest: Digest,
    },
    /// `/v2/<repository>/tags/list`
    OciTags {
        /// The repository.
        repository: Repository,
        /// At most this many; a number beyond `u32` is cut to it.
        n: Option<u32>,
        /// Only tags behind this one.
        last: Option<String>,
    },
    /// `/v2/<repository>/referrers/<digest>`
    OciReferrers {
        /// The repository.
        repository: Repository,
        /// What is referred to.
        digest: Digest,
        /// Only referrers of this artifact type.
        artifact_type: Option<String>,
    },
    /// `/blobs/sha256/<hex>`: any object.
    Blob(Digest),
    /// A file by its path.
    File(FilePath),
    /// Something of our own: what stands behind `/.landfall/`, decoded, without control characters, empty
    /// segments or dot segments. May be empty.
    Internal(String),
}

/// How an OCI manifest is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// By a tag.
    Tag(Tag),
    /// By its digest.
    Digest(Digest),
}

/// Why a request is not answered; always the client's to mend.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The path is not acceptable as a path.
    #[error("the path {0}")]
    Path(&'static str),
    /// The query is not acceptable.
    #[error("the query {0}")]
    Query(&'static str),
    /// A repository name outside of the OCI grammar.
    #[error("the repository name is not valid")]
    Repository(#[source] NameError),
    /// A digest that is not SHA-256 in lower-case hex.
    #[error("the digest is not valid")]
    Digest(#[source] DigestError),
    /// Nothing of that name can exist.
    #[error("there is nothing of that name")]
    NotFound,
}

impl RequestError {
    /// The HTTP status: 400 or 404.
    #[must_use]
    pub const fn http_status(&self) -> u16 {
        match self {
            Self::Path(_) | Self::Query(_) | Self::Repository(_) | Self::Digest(_) => 400,
            Self::NotFound => 404,
        }
    }

    /// The error code for an OCI error body (OCI distribution specification, "Error codes").
    #[must_use]
    pub const fn oci_code(&self) -> &'static str {
        match self {
            Self::Path(_) | Self::Query(_) => "UNSUPPORTED",
            Self::Repository(_) => "NAME_INVALID",
            Self::Digest(_) => "DIGEST_INVALID",
            Self::NotFound => "NAME_UNKNOWN",
        }
    }
}

impl Request {
    /// Understands a URL's path, as it came, and its query without the question mark.
    ///
    /// The path is percent-decoded once. Refused are encoded slashes and backslashes, control characters, bytes
    /// that are no UTF-8, empty segments, `.` and `..`, and anything above 1 KiB when decoded. Parameters
    /// that mean nothing here are dropped.
    ///
    /// # Errors
    /// When the path or the query is not acceptable, or names what cannot exist.
    pub fn parse(path: &str, query: Option<&str>) -> Result<Self, RequestError> {
        let path = decode::path(path)?;
        let parameters = match query {
            None | Some("") => Vec::new(),
            Some(query) => query_pairs(query)?,
        };
        Ok(Self {
            wanted: wanted(&path, &parameters)?,
            avoid: avoided(&parameters)?,
        })
    }
}

/// What a decoded path (without the slash in front) asks for.
fn wanted(path: &str, parameters: &[(String, String)]) -> Result<Wanted, RequestError> {
    if path.is_empty() {
        return Ok(Wanted::Root);
    }
    match path.split_once('/') {
        None if path == "v2" => Ok(Wanted::V2Base),
        None if path == ".landfall" => Ok(Wanted::Internal(String::new())),
        Some(("v2", "")) => Ok(Wanted::V2Base),
        Some(("v2", rest)) => oci(rest, parameters),
        Some((".landfall", rest)) => Ok(Wanted::Internal(rest.to_owned())),
        Some(("blobs", rest)) => {
            let hex = rest.strip_prefix("sha256/").ok_or(RequestError::NotFound)?;
            let digest = Digest::from_hex(hex).map_err(RequestError::Digest)?;
            Ok(Wanted::Blob(digest))
        }
        // The reserved names are among what a file path refuses.
        Some(_) | None => FilePath::try_new(path)
            .map(Wanted::File)
            .map_err(|_| RequestError::NotFound),
    }
}

/// The OCI pull API, behind `/v2/`. It is read from the right, because a repository name may contain any of the
/// words that follow it.
fn oci(rest: &str, parameters: &[(String, String)]) -> Result<Wanted, RequestError> {
    let (front, last) = rest.rsplit_once('/').ok_or(RequestError::NotFound)?;
    let (repository, verb) = front.rsplit_once('/').ok_or(RequestError::NotFound)?;
    let repository = || repository.parse().map_err(RequestError::Repository);
    let digest = || last.parse().map_err(RequestError::Digest);
    match (verb, last) {
        ("manifests", _) => {
            let repository = repository()?;
            let reference = if last.contains(':') {
                Reference::Digest(digest()?)
            } else {
                Reference::Tag(last.parse().map_err(|_| RequestError::NotFound)?)
            };
            Ok(Wanted::OciManifest {
                repository,
                reference,
            })
        }
        ("blobs", _) => Ok(Wanted::OciBlob {
            repository: repository()?,
            digest: digest()?,
        }),
        ("tags", "list") => Ok(Wanted::OciTags {
            repository: repository()?,
            n: page_size(parameters)?,
            last: bounded(parameters, "last", MAX_LAST_BYTES)?,
        }),
        ("referrers", _) => Ok(Wanted::OciReferrers {
            repository: repository()?,
            digest: digest()?,
            artifact_type: bounded(parameters, "artifactType", MAX_ARTIFACT_TYPE_BYTES)?,
        }),
        _ => Err(RequestError::NotFound),
    }
}

fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters
        .iter()
        .find_map(|(key, value)| (key == name).then_some(value.as_str()))
}

fn page_size(parameters: &[(String, String)]) -> Result<Option<u32>, RequestError> {
    match parameter(parameters, "n") {
        None => Ok(None),
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(Some(digits.parse().unwrap_or(u32::MAX)))
        }
        Some(_) => Err(RequestError::Query("has a page size that is no number")),
    }
}

fn bounded(
    parameters: &[(String, String)],
    name: &str,
    limit: usize,
) -> Result<Option<String>, RequestError> {
    match parameter(parameters, name) {
        Some(value) if value.len() > limit => {
            Err(RequestError::Query("has a value that is too long"))
        }
        Some("") | None => Ok(None),
        Some(value) => Ok(Some(value.to_owned())),
    }
}

fn avoided(parameters: &[(String, String)]) -> Result<Vec<String>, RequestError> {
    let names: Vec<String> = parameters
        .iter()
        .filter(|(key, _)| key == "avoid")
        .flat_map(|(_, value)| value.split(','))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let valid = |name: &String| {
        name.len() <= MAX_MIRROR_NAME_BYTES
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    if names.len() > MAX_AVOIDED {
        return Err(RequestError::Query("avoids too many mirrors"));
    }
    if !names.iter().all(valid) {
        return Err(RequestError::Query("avoids what cannot be a mirror"));
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
