//! Requests to a mirror: paths, `Range` and conditional headers, through the very
//! service that answers them.

use std::error::Error;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt as _;
use landfall_catalog::{Digest, FilePath, MediaType, Repository, Tag};
use landfall_content::DirectoryStore;
use landfall_content::oci::Reference;
use landfall_content::serve::{BlobInfo, ReferrerInfo, Visible, router};
use tower::ServiceExt as _;

use crate::Target;

const CONTENT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// One blob.
struct One;

impl Visible for One {
    fn blob(&self, digest: &Digest) -> Option<BlobInfo> {
        (*digest == Digest::of(CONTENT)).then(|| BlobInfo {
            digest: *digest,
            size: CONTENT.len() as u64,
            media_type: MediaType::octet_stream(),
        })
    }

    fn file(&self, path: &FilePath) -> Option<BlobInfo> {
        (path.as_str() == "a/file b").then(|| self.blob(&Digest::of(CONTENT)))?
    }

    fn oci_manifest(&self, repository: &Repository, _: &Reference) -> Option<BlobInfo> {
        (repository.as_str() == "a/b").then(|| self.blob(&Digest::of(CONTENT)))?
    }

    fn oci_blob(&self, repository: &Repository, digest: &Digest) -> Option<BlobInfo> {
        (repository.as_str() == "a/b").then(|| self.blob(digest))?
    }

    fn tags(&self, _: &Repository, after: Option<&str>, most: usize) -> Option<Vec<Tag>> {
        let tags = ["v1", "v2", "v3"].iter();
        let tags = tags.filter(|tag| after.is_none_or(|after| **tag > after));
        Some(tags.filter_map(|tag| tag.parse().ok()).take(most).collect())
    }

    fn referrers(&self, _: &Repository, _: &Digest) -> Option<Vec<ReferrerInfo>> {
        None
    }
}

pub(crate) fn targets() -> Result<[Target; 2], Box<dyn Error>> {
    let digest = Digest::of(CONTENT);
    let ranges = [
        "bytes=0-4".to_owned(),
        "bytes=-5".to_owned(),
        "bytes=10-".to_owned(),
        "bytes=0-0,5-9".to_owned(),
        "bytes=36-40".to_owned(),
        format!("bytes=1-2\n\"{digest}\", W/\"x\""),
        "\n*".to_owned(),
    ];
    let paths = [
        format!("/blobs/sha256/{}", digest.to_hex()),
        format!("/.landfall/pieces/{}", digest.to_hex()),
        "/a/file%20b".to_owned(),
        "/v2/".to_owned(),
        "/v2/a/b/manifests/v1".to_owned(),
        format!("/v2/a/b/blobs/{digest}"),
        "/v2/a/b/tags/list?n=2&last=v1".to_owned(),
        format!("/v2/a/b/referrers/{digest}?artifactType=a%2Fb"),
    ];
    let (service, path) = (Service::start()?, paths[0].clone());
    let ranges = Target::new("range-headers", ranges, move |input| {
        let mut lines = input.splitn(2, |byte| *byte == b'\n');
        let mut request = Request::get(path.as_str());
        for name in ["range", "if-none-match"] {
            if let Some(Ok(value)) = lines.next().map(HeaderValue::from_bytes) {
                request = request.header(name, value);
            }
        }
        service.ask(request)
    });
    let service = Service::start()?;
    let paths = Target::new("served-paths", paths, move |input| {
        service.ask(Request::get(input))
    });
    Ok([ranges, paths])
}

/// The service, and what it lives on.
struct Service {
    router: axum::Router,
    runtime: tokio::runtime::Runtime,
    /// Kept for as long as the store is read.
    _folder: tempfile::TempDir,
}

impl Service {
    fn start() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let store = DirectoryStore::open(folder.path())?;
        store.put_bytes(&Digest::of(CONTENT), CONTENT)?;
        Ok(Self {
            router: router(store, Arc::new(One), Arc::new(())),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            _folder: folder,
        })
    }

    fn ask(&self, request: http::request::Builder) -> String {
        match request.body(Body::empty()) {
            Ok(request) => self
                .runtime
                .block_on(answered(self.router.clone(), request)),
            Err(_) => "no request".to_owned(),
        }
    }
}

/// A part is exactly the part that it says it is.
async fn answered(service: axum::Router, request: Request<Body>) -> String {
    let response = match service.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let status = response.status();
    let range = response.headers().get("content-range").cloned();
    let range = range.and_then(|range| Some(range.to_str().ok()?.to_owned()));
    let is_content = response.headers().contains_key("etag");
    let body = response.into_body().collect().await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    match status {
        StatusCode::OK => assert!(!is_content || body == CONTENT),
        StatusCode::PARTIAL_CONTENT => {
            let range = range.unwrap_or_default();
            let (first, rest) = range
                .trim_start_matches("bytes ")
                .split_once('-')
                .unwrap_or_default();
            let (last, total) = rest.split_once('/').unwrap_or_default();
            assert_eq!(total.parse(), Ok(CONTENT.len()));
            let (first, last) = (first.parse::<usize>(), last.parse::<usize>());
            let part = first
                .ok()
                .zip(last.ok())
                .and_then(|(first, last)| CONTENT.get(first..=last));
            assert_eq!(Some(&*body), part, "{range}");
        }
        StatusCode::RANGE_NOT_SATISFIABLE => assert_eq!(range.as_deref(), Some("bytes */36")),
        StatusCode::NOT_MODIFIED => assert!(body.is_empty()),
        other => assert!(other.is_client_error(), "{other}"),
    }
    format!("{status} {}", body.len())
}
