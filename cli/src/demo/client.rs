//! A client of the public name at some address: it asks, follows a redirect by
//! hand, and hashes what it gets. It believes nothing.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use futures::StreamExt;
use landfall_catalog::{Digest, Hasher};
use landfall_runtime::{bounded, dial::http_client};
use reqwest::{
    Response, StatusCode,
    header::{HeaderMap, LOCATION},
};

use super::configuration::Addresses;
use crate::failure::Failure;

/// Largest answer that is read whole: what every registry has to accept as a manifest.
const MAX_DOCUMENT: usize = 4 << 20;
const ACCEPT: &str =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";

/// Somebody who asks.
pub(super) struct Client<'a> {
    http: reqwest::Client,
    at: &'a Addresses,
    public: SocketAddr,
    /// Where it says it is.
    pub(super) address: IpAddr,
}

/// What a redirect led to.
pub(super) struct Followed {
    /// Name of the mirror, or `origin`.
    pub(super) mirror: String,
    /// Id of the decision.
    pub(super) decision: String,
    /// SHA-256 of what came.
    pub(super) digest: Digest,
    /// Bytes that came.
    pub(super) size: u64,
}

impl<'a> Client<'a> {
    /// A client that comes from `address`.
    pub(super) fn new(at: &'a Addresses, address: IpAddr) -> Result<Self, Failure> {
        Ok(Self {
            http: http_client()
                .map_err(|error| Failure::failed("cannot set up an HTTP client", &error))?,
            at,
            public: at.public(),
            address,
        })
    }

    /// Asks for a document that the redirector answers by itself.
    pub(super) async fn document(&self, path: &str) -> Result<Bytes, String> {
        let response = self.ask(path).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("{path}: answered {}", response.status()));
        }
        bounded::read_response(response, MAX_DOCUMENT, &bounded::Arrival::default())
            .await
            .map_err(|error| chain(path, &error))
    }

    /// Asks for content, and follows the one redirect to it.
    pub(super) async fn content(&self, path: &str) -> Result<Followed, String> {
        let response = self.ask(path).await?;
        let status = response.status();
        if !matches!(status, StatusCode::FOUND | StatusCode::TEMPORARY_REDIRECT) {
            return Err(format!("{path}: answered {status} instead of a redirect"));
        }
        let headers = response.headers();
        let mirror = header(path, headers, "landfall-mirror")?;
        let decision = header(path, headers, "landfall-decision")?;
        let location = header(path, headers, LOCATION.as_str())?;
        if let Some(base) = self.at.mirror_url(&mirror)
            && !location.starts_with(&base)
        {
            return Err(format!(
                "{path}: sent to {location}, which is not the {mirror} that it says"
            ));
        }
        let response = self
            .http
            .get(&location)
            .send()
            .await
            .map_err(|error| chain(&location, &error))?;
        if response.status() != StatusCode::OK {
            return Err(format!("{location}: answered {}", response.status()));
        }
        let mut stream = response.bytes_stream();
        let mut hasher = Hasher::new();
        let mut size = 0;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| chain(&location, &error))?;
            hasher.update(&chunk);
            size += chunk.len() as u64;
        }
        Ok(Followed {
            mirror,
            decision,
            digest: hasher.finish(),
            size,
        })
    }

    async fn ask(&self, path: &str) -> Result<Response, String> {
        self.http
            .get(format!("http://{}{path}", self.public))
            .header("x-forwarded-for", self.address.to_string())
            .header("accept", ACCEPT)
            .send()
            .await
            .map_err(|error| chain(path, &error))
    }
}

fn header(path: &str, headers: &HeaderMap, name: &str) -> Result<String, String> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
        .ok_or_else(|| format!("{path}: the redirect has no {name}"))
}

fn chain(what: &str, error: &dyn std::error::Error) -> String {
    format!("{what}: {}", landfall_proto::status::chain(error))
}
