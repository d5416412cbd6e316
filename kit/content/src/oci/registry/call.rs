//! One request to a registry, until it is answered.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use landfall_catalog::Repository;
use landfall_runtime::dial::without_secrets;
use landfall_runtime::retry::{Advice, Retryable};
use serde::Deserialize;
use url::Url;

use super::Registry;
use super::auth::is_denial;
use crate::source::{Clients, ServedBy, SourceError, SourceErrorKind, next_hop, status_error};

/// Redirects of one request: to a bucket or CDN, and once within it.
const REDIRECTS: u8 = 3;
/// Longest answer of which the reason is read.
const MAX_REASON: usize = 16 << 10;
/// Longest code of a reason that is shown.
const MAX_CODE: usize = 64;

/// What is asked of a registry.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) repository: &'a Repository,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    /// Whether it changes the registry.
    pub(super) pushes: bool,
    /// Another repository that it reads.
    pub(super) mounts: Option<&'a Repository>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, url: Url, repository: &'a Repository) -> Self {
        Self {
            method,
            url,
            repository,
            headers: HeaderMap::new(),
            body: None,
            pushes: false,
            mounts: None,
        }
    }
}

impl Registry {
    /// Sends a request when its turn has come, with a token if one is asked for,
    /// and follows redirects, whose targets get neither token nor credentials.
    /// Success and 416 are returned, everything else is an error.
    pub(super) async fn call(
        &self,
        call: Call<'_>,
    ) -> Result<(reqwest::Response, ServedBy), SourceError> {
        let inner = &self.inner;
        let repository = format!("{}{}", inner.prefix, call.repository);
        let mut scope = format!(
            "repository:{repository}:{}",
            if call.pushes { "pull,push" } else { "pull" }
        );
        if let Some(other) = call.mounts {
            scope = format!("{scope} repository:{}{other}:pull", inner.prefix);
        }
        let mut url = call.url;
        let mut authorization = inner.tokens.held(&scope);
        let mut may_authenticate = true;
        let mut redirects = REDIRECTS;
        loop {
            let by = ServedBy {
                location: without_secrets(&url),
                mirror: None,
            };
            let at_home = url.origin() == inner.base.origin();
            let client = inner.clients.of(&url).map_err(|error| error.from(&by))?;
            let mut request = client.request(call.method.clone(), url.clone());
            request = request.headers(call.headers.clone());
            if let Some(body) = &call.body {
                request = request.body(body.clone());
            }
            if let Some(authorization) = authorization.clone().filter(|_| at_home) {
                request = request.header(AUTHORIZATION, authorization);
            }
            let sent = inner.clients.send(request).await;
            let response = sent.map_err(|error| error.from(&by))?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && at_home && may_authenticate {
                may_authenticate = false;
                let sent = authorization.as_ref();
                let headers = response.headers();
                let renewed = inner.tokens.renew(&scope, &repository, sent, headers).await;
                authorization = Some(renewed.map_err(|error| error.from(&by))?);
            } else if status.is_redirection() && redirects > 0 {
                redirects -= 1;
                url = next_hop(&url, response.headers()).map_err(|error| error.from(&by))?;
            } else if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
                return Ok((response, by));
            } else {
                let mut error = status_error(status, response.headers()).from(&by);
                if let Some(code) = reason(&inner.clients, response).await {
                    error.detail = format!("{} ({code})", error.detail);
                }
                if at_home && is_denial(status) {
                    error
                        .detail
                        .push_str(&inner.tokens.denied(&repository).await);
                }
                return Err(error);
            }
        }
    }
}

/// The code of a registry's first complaint (OCI distribution specification,
/// "Error Codes").
async fn reason(clients: &Clients, response: reqwest::Response) -> Option<String> {
    let bytes = clients.read(response, MAX_REASON, "a reason").await.ok()?;
    complaint(&bytes)
}

pub(crate) fn complaint(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        errors: Vec<Complaint>,
    }
    #[derive(Deserialize)]
    struct Complaint {
        code: String,
    }
    let answer: Answer = serde_json::from_slice(bytes).ok()?;
    let code = answer.errors.into_iter().next()?.code;
    let plain = code.len() <= MAX_CODE && code.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then_some(code)
}

impl Retryable for SourceError {
    fn advice(&self) -> Advice {
        match self.kind {
            SourceErrorKind::Transient {
                retry_after: Some(after),
            } => Advice::After(after),
            SourceErrorKind::Transient { retry_after: None } => Advice::Again,
            SourceErrorKind::NotFound | SourceErrorKind::Refused | SourceErrorKind::Broken => {
                Advice::Stop
            }
        }
    }
}
