//! HTTP and HTTPS, with `Range` (RFC 9110 section 14).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use http::header::{CONTENT_ENCODING, CONTENT_RANGE, LOCATION, RANGE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use landfall_runtime::dial::without_secrets;
use url::Url;

use super::{Clients, Opened, ServedBy, Source, SourceError, SourceErrorKind};
use crate::transfer::SourceFault;

/// The name of the mirror that a redirector sends to.
const MIRROR: &str = "landfall-mirror";
/// What the redirector shall leave out, as a query parameter.
const AVOID: &str = "avoid";
/// Longest wait that a server may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// Mirrors that one source avoids before it gives up.
const MOST_AVOIDED: usize = 8;

/// One URL.
#[derive(Debug)]
pub struct HttpSource {
    clients: Clients,
    headers: HeaderMap,
    redirects: u8,
    amends: bool,
    avoid: Mutex<Vec<String>>,
    name: String,
}

impl HttpSource {
    /// Reads `url` with a client that follows no redirects itself, and so
    /// none at all.
    #[must_use]
    pub fn new(client: reqwest::Client, url: Url) -> Self {
        Self::by(Clients::new(client, url))
    }

    /// Reads the home of `clients`.
    pub(crate) fn by(clients: Clients) -> Self {
        Self {
            name: without_secrets(clients.home()),
            clients,
            headers: HeaderMap::new(),
            redirects: 0,
            amends: false,
            avoid: Mutex::default(),
        }
    }

    /// Sends `headers` too, but only to the origin of the URL itself.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// Follows up to `redirects` redirects; never from https to http.
    #[must_use]
    pub fn with_redirects(mut self, redirects: u8) -> Self {
        self.redirects = redirects;
        self
    }

    /// The URL is a redirector's: when a mirror that it named is at fault, it
    /// is asked again with `?avoid=<mirror>`.
    #[must_use]
    pub fn with_avoidance(mut self) -> Self {
        self.amends = true;
        self
    }

    fn target(&self) -> Url {
        let mut url = self.clients.home().clone();
        let avoid = self.avoid.lock().unwrap_or_else(PoisonError::into_inner);
        if !avoid.is_empty() {
            let mut query = url.query_pairs_mut();
            for mirror in avoid.iter() {
                query.append_pair(AVOID, mirror);
            }
        }
        url
    }

    async fn send(&self, from: u64) -> Result<(reqwest::Response, ServedBy), SourceError> {
        let mut url = self.target();
        let mut mirror = None;
        let mut left = self.redirects;
        loop {
            let served_by = ServedBy {
                location: without_secrets(&url),
                mirror: mirror.clone(),
            };
            let client = self.clients.of(&url);
            let mut request = client
                .map_err(|error| error.from(&served_by))?
                .get(url.clone());
            if url.origin() == self.clients.home().origin() {
                request = request.headers(self.headers.clone());
            }
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let sent = self.clients.send(request).await;
            let response = sent.map_err(|error| error.from(&served_by))?;
            if !response.status().is_redirection() {
                return Ok((response, served_by));
            }
            if left == 0 {
                return Err(SourceError::broken("redirects too often").from(&served_by));
            }
            left -= 1;
            if let Some(named) = response.headers().get(MIRROR) {
                mirror = named.to_str().ok().map(str::to_owned);
            }
            url = next_hop(&url, response.headers()).map_err(|error| error.from(&served_by))?;
        }
    }
}

impl Source for HttpSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, SourceError>> {
        Box::pin(async move {
            let (response, served_by) = self.send(from).await?;
            body(response, from, &served_by).map_err(|error| error.from(&served_by))
        })
    }

    fn amend(&self, fault: &SourceFault) -> bool {
        let Some(mirror) = fault.served_by.as_ref().and_then(|by| by.mirror.as_ref()) else {
            return false;
        };
        let mut avoid = self.avoid.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = self.amends && avoid.len() < MOST_AVOIDED && !avoid.contains(mirror);
        if fresh {
            avoid.push(mirror.clone());
        }
        fresh
    }
}

/// Where a redirect leads: http or https, never from https to http.
pub(crate) fn next_hop(url: &Url, headers: &HeaderMap) -> Result<Url, SourceError> {
    let target = headers
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| url.join(text).ok())
        .ok_or_else(|| SourceError::broken("redirects to nowhere"))?;
    let secure = target.scheme() == "https";
    if secure || (target.scheme() == "http" && url.scheme() == "http") {
        Ok(target)
    } else {
        Err(SourceError::broken("redirects to something less secure"))
    }
}

/// Takes the answer to a request for everything from byte `from` on.
pub(crate) fn body(
    response: reqwest::Response,
    from: u64,
    served_by: &ServedBy,
) -> Result<Opened, SourceError> {
    let headers = response.headers();
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        return Err(SourceError::broken("sent the object in another coding"));
    }
    let (start, total) = match response.status() {
        // Ignores Range: begins at the beginning.
        StatusCode::OK => (0, response.content_length()),
        StatusCode::PARTIAL_CONTENT => headers
            .get(CONTENT_RANGE)
            .and_then(content_range)
            .filter(|(start, _)| *start <= from)
            .ok_or_else(|| SourceError::broken("sent another range than it was asked for"))?,
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(SourceError::broken("has a shorter object"));
        }
        status => return Err(status_error(status, headers)),
    };
    let by = served_by.clone();
    let stream = response.bytes_stream().map_err(move |error| {
        SourceError::transient("the transfer broke off")
            .caused_by(error.without_url())
            .from(&by)
    });
    Ok(Opened {
        start,
        total,
        served_by: served_by.clone(),
        stream: stream.map_ok(Bytes::from).boxed(),
    })
}

/// First position and total length of `bytes 5-9/10` (RFC 9110 section 14.4).
pub(crate) fn content_range(value: &HeaderValue) -> Option<(u64, Option<u64>)> {
    let (range, total) = value
        .to_str()
        .ok()?
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (decimal(first)?, decimal(last)?);
    let total = match total {
        "*" => None,
        total => Some(decimal(total)?),
    };
    let consistent = first <= last && total.is_none_or(|total| last < total);
    consistent.then_some((first, total))
}

fn decimal(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// What an answer that is neither success nor redirect means.
pub(crate) fn status_error(status: StatusCode, headers: &HeaderMap) -> SourceError {
    let kind = match status.as_u16() {
        404 | 410 => SourceErrorKind::NotFound,
        408 | 425 | 429 | 500..=599 => SourceErrorKind::Transient {
            retry_after: headers
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok())
                .and_then(|text| text.trim().parse().ok())
                .map(|seconds| Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER)),
        },
        400..=499 => SourceErrorKind::Refused,
        _ => SourceErrorKind::Broken,
    };
    SourceError::new(kind, format!("answered {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_is_read_strictly() {
        for (text, expected) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 0-0/*", Some((0, None))),
            ("bytes 5-10/10", None),
            ("bytes 9-5/10", None),
            ("bytes */10", None),
            ("bytes +5-9/10", None),
            ("bytes 5-/10", None),
            ("5-9/10", None),
            ("items 5-9/10", None),
            ("bytes 99999999999999999999-5/6", None),
        ] {
            assert_eq!(
                content_range(&HeaderValue::from_static(text)),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn redirects_stay_on_http_and_never_become_less_secure() {
        for (from, to, expected) in [
            ("http://a/x", "/y", Some("http://a/y")),
            ("http://a/x", "https://b/y", Some("https://b/y")),
            ("https://a/x", "//b/y", Some("https://b/y")),
            ("https://a/x", "http://a/y", None),
            ("http://a/x", "file:///etc/passwd", None),
            ("http://a/x", "http://", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_static(to));
            let next = next_hop(&from.parse().unwrap(), &headers);
            assert_eq!(next.as_ref().map(Url::as_str).ok(), expected, "{from} {to}");
        }
        assert!(next_hop(&"http://a/".parse().unwrap(), &HeaderMap::new()).is_err());
    }

    #[test]
    fn statuses_say_what_may_be_done() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        let kind = |status: u16| status_error(StatusCode::from_u16(status).unwrap(), &headers).kind;
        let later = Some(Duration::from_secs(7));
        assert_eq!(kind(404), SourceErrorKind::NotFound);
        assert_eq!(kind(410), SourceErrorKind::NotFound);
        assert_eq!(kind(403), SourceErrorKind::Refused);
        assert_eq!(kind(429), SourceErrorKind::Transient { retry_after: later });
        assert_eq!(kind(503), SourceErrorKind::Transient { retry_after: later });
        assert_eq!(kind(204), SourceErrorKind::Broken);
    }
}
