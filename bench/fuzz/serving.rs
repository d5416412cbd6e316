//! `Range` and conditional headers, through the very service that answers them.

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

    fn file(&self, _: &FilePath) -> Option<BlobInfo> {
        None
    }

    fn oci_manifest(&self, _: &Repository, _: &Reference) -> Option<BlobInfo> {
        None
    }

    fn oci_blob(&self, _: &Repository, _: &Digest) -> Option<BlobInfo> {
        None
    }

    fn tags(&self, _: &Repository, _: Option<&str>, _: usize) -> Option<Vec<Tag>> {
        None
    }

    fn referrers(&self, _: &Repository, _: &Digest) -> Option<Vec<ReferrerInfo>> {
        None
    }
}

/// The input is `Range`, and from its second line on `If-None-Match`.
pub(crate) fn target() -> Result<Target, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = DirectoryStore::open(folder.path())?;
    let digest = Digest::of(CONTENT);
    store.put_bytes(&digest, CONTENT)?;
    let service = router(store, Arc::new(One), Arc::new(()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let path = format!("/blobs/sha256/{}", digest.to_hex());
    let seeds = [
        "bytes=0-4".to_owned(),
        "bytes=-5".to_owned(),
        "bytes=10-".to_owned(),
        "bytes=0-0,5-9".to_owned(),
        "bytes=36-40".to_owned(),
        format!("bytes=1-2\n\"{digest}\", W/\"x\""),
        "\n*".to_owned(),
    ];
    Ok(Target::new("range-headers", seeds, move |input| {
        // Kept for as long as the store is read.
        let _ = folder.path();
        let mut lines = input.splitn(2, |byte| *byte == b'\n');
        let mut request = Request::get(path.as_str());
        for name in ["range", "if-none-match"] {
            if let Some(Ok(value)) = lines.next().map(HeaderValue::from_bytes) {
                request = request.header(name, value);
            }
        }
        let Ok(request) = request.body(Body::empty()) else {
            return "no request".to_owned();
        };
        runtime.block_on(answered(service.clone(), request))
    }))
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
    let body = response.into_body().collect().await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    match status {
        StatusCode::OK => assert_eq!(body, CONTENT),
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
