//! From a request's path to what is wanted. Refuses whatever has two readings.

use landfall_catalog::{Digest, FilePath, MAX_PATH_BYTES, Repository};
use percent_encoding::percent_decode_str;

use super::RouteKind;
use super::refusal::Refusal;
use crate::oci::Reference;

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Base,
    Manifest(Repository, Reference),
    Blob(Repository, Digest),
    Tags(Repository),
    Referrers(Repository, Digest),
    Object(Digest),
    Pieces(Digest),
    File(FilePath),
}

impl Wanted {
    pub(super) fn route(&self) -> RouteKind {
        match self {
            Self::Base | Self::Tags(_) | Self::Referrers(..) => RouteKind::Discovery,
            Self::Manifest(..) => RouteKind::Manifest,
            Self::Blob(..) => RouteKind::Blob,
            Self::Object(_) => RouteKind::Object,
            Self::Pieces(_) => RouteKind::Pieces,
            Self::File(_) => RouteKind::File,
        }
    }
}

/// True if errors are to be in the form that OCI clients understand.
pub(super) fn is_oci(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/")
}

/// Parses the path as it stands in the request.
pub(super) fn parse(path: &str) -> Result<Wanted, Refusal> {
    let decoded = decode(path.strip_prefix('/').ok_or(Refusal::Malformed)?)?;
    if decoded == "v2" || decoded == "v2/" {
        return Ok(Wanted::Base);
    }
    if let Some(rest) = decoded.strip_prefix("v2/") {
        return parse_oci(rest);
    }
    if let Some(hex) = decoded.strip_prefix("blobs/sha256/") {
        return Digest::from_hex(hex)
            .map(Wanted::Object)
            .map_err(|_| Refusal::NotFound);
    }
    if let Some(hex) = decoded.strip_prefix(".landfall/pieces/") {
        return Digest::from_hex(hex)
            .map(Wanted::Pieces)
            .map_err(|_| Refusal::NotFound);
    }
    // What is no publishable path cannot have been published.
    FilePath::try_new(decoded)
        .map(Wanted::File)
        .map_err(|_| Refusal::NotFound)
}

fn parse_oci(rest: &str) -> Result<Wanted, Refusal> {
    let (before, last) = rest.rsplit_once('/').ok_or(Refusal::NotFound)?;
    let (name, kind) = before.rsplit_once('/').ok_or(Refusal::NotFound)?;
    if !matches!(
        (kind, last),
        ("manifests" | "blobs" | "referrers", _) | ("tags", "list")
    ) {
        return Err(Refusal::NotFound);
    }
    let repository = Repository::try_new(name).map_err(|_| Refusal::NameInvalid)?;
    let digest = || last.parse().map_err(|_| Refusal::DigestInvalid);
    Ok(match kind {
        "manifests" => {
            let reference = last.parse().map_err(|_| Refusal::ManifestUnknown)?;
            Wanted::Manifest(repository, reference)
        }
        "blobs" => Wanted::Blob(repository, digest()?),
        "referrers" => Wanted::Referrers(repository, digest()?),
        _ => Wanted::Tags(repository),
    })
}

/// Decodes once. An encoded slash, NUL or broken escape has no good reading.
fn decode(path: &str) -> Result<String, Refusal> {
    if path.len() > 3 * MAX_PATH_BYTES {
        return Err(Refusal::Malformed);
    }
    for (at, _) in path.match_indices('%') {
        let escape = path.get(at + 1..at + 3).ok_or(Refusal::Malformed)?;
        let is_hex = escape.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || ["2f", "2F", "5c", "5C", "00"].contains(&escape) {
            return Err(Refusal::Malformed);
        }
    }
    let decoded = percent_decode_str(path).decode_utf8();
    decoded.map(String::from).map_err(|_| Refusal::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_one_meaning_or_none() {
        let digest = Digest::of(b"x");
        let hex = digest.to_hex();
        let repository = |text: &str| text.parse::<Repository>().unwrap();
        let cases = [
            ("/v2".to_owned(), Ok(Wanted::Base)),
            ("/v2/".to_owned(), Ok(Wanted::Base)),
            (
                "/v2/a/b/manifests/v1".to_owned(),
                Ok(Wanted::Manifest(repository("a/b"), "v1".parse().unwrap())),
            ),
            (
                format!("/v2/a/manifests/{digest}"),
                Ok(Wanted::Manifest(repository("a"), Reference::Digest(digest))),
            ),
            (
                format!("/v2/a/manifests/sha256%3A{hex}"),
                Ok(Wanted::Manifest(repository("a"), Reference::Digest(digest))),
            ),
            (
                format!("/v2/manifests/blobs/blobs/{digest}"),
                Ok(Wanted::Blob(repository("manifests/blobs"), digest)),
            ),
            (
                "/v2/a/tags/list".to_owned(),
                Ok(Wanted::Tags(repository("a"))),
            ),
            (
                format!("/v2/a/referrers/{digest}"),
                Ok(Wanted::Referrers(repository("a"), digest)),
            ),
            (format!("/blobs/sha256/{hex}"), Ok(Wanted::Object(digest))),
            (
                format!("/.landfall/pieces/{hex}"),
                Ok(Wanted::Pieces(digest)),
            ),
            (
                "/a%20b/c%2b".to_owned(),
                Ok(Wanted::File("a b/c+".parse().unwrap())),
            ),
            (
                "/a%2541".to_owned(),
                Ok(Wanted::File("a%41".parse().unwrap())),
            ),
            ("/v2/A/manifests/v1".to_owned(), Err(Refusal::NameInvalid)),
            ("/v2/manifests/v1".to_owned(), Err(Refusal::NotFound)),
            ("/v2/a/blobs/v1".to_owned(), Err(Refusal::DigestInvalid)),
            (
                "/v2/a/manifests/.x".to_owned(),
                Err(Refusal::ManifestUnknown),
            ),
            ("/v2/a/tags/other".to_owned(), Err(Refusal::NotFound)),
            ("/v2/_catalog".to_owned(), Err(Refusal::NotFound)),
            (
                format!("/blobs/sha256/{}", hex.to_uppercase()),
                Err(Refusal::NotFound),
            ),
            ("/".to_owned(), Err(Refusal::NotFound)),
            ("/index.json".to_owned(), Err(Refusal::NotFound)),
            ("/.landfall/partial/x".to_owned(), Err(Refusal::NotFound)),
            ("/%2elandfall/tmp/x".to_owned(), Err(Refusal::NotFound)),
            ("/a/../b".to_owned(), Err(Refusal::NotFound)),
            ("/a/%2e%2e/b".to_owned(), Err(Refusal::NotFound)),
            ("/a//b".to_owned(), Err(Refusal::NotFound)),
            ("/a%2fb".to_owned(), Err(Refusal::Malformed)),
            ("/a%00".to_owned(), Err(Refusal::Malformed)),
            ("/a%5Cb".to_owned(), Err(Refusal::Malformed)),
            ("/a%".to_owned(), Err(Refusal::Malformed)),
            ("/a%zz".to_owned(), Err(Refusal::Malformed)),
            ("/a%ff".to_owned(), Err(Refusal::Malformed)),
            (format!("/{}", "a".repeat(4000)), Err(Refusal::Malformed)),
        ];
        for (path, expected) in cases {
            assert_eq!(parse(&path), expected, "{path}");
        }
    }
}
