//! The base URL of an HTTP service.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

/// Why a text is not the base URL of an HTTP service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpUrlError {
    /// Not a URL, or not an HTTP one.
    #[error("must be an http:// or https:// URL with a host")]
    NotHttp,
    /// With a user name or a password.
    #[error("must not hold a user name or password")]
    Credentials,
    /// With a query or a fragment, onto which no path can be appended.
    #[error("must not have a query or a fragment")]
    QueryOrFragment,
}

/// An `http://` or `https://` URL that paths are appended to: no trailing
/// slash, no query, no fragment, no credentials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpUrl {
    url: Url,
    /// Without a trailing slash.
    text: String,
}

impl HttpUrl {
    /// Checks and normalises a URL.
    ///
    /// # Errors
    /// See [`HttpUrlError`].
    pub fn try_new(text: &str) -> Result<Self, HttpUrlError> {
        let mut url = Url::parse(text).map_err(|_| HttpUrlError::NotHttp)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(HttpUrlError::NotHttp);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(HttpUrlError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(HttpUrlError::QueryOrFragment);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let text = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { url, text })
    }

    /// The URL without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL as clients take it.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Whether it is `https`.
    pub fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether its host is this machine's loopback.
    pub fn is_loopback(&self) -> bool {
        crate::dial::is_loopback(&self.url)
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for HttpUrl {
    type Err = HttpUrlError;

    fn from_str(text: &str) -> Result<Self, HttpUrlError> {
        Self::try_new(text)
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = HttpUrlError;

    fn try_from(text: String) -> Result<Self, HttpUrlError> {
        Self::try_new(&text)
    }
}

impl From<HttpUrl> for String {
    fn from(url: HttpUrl) -> Self {
        url.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_normalised_or_refused_by_name() {
        use HttpUrlError::{Credentials, NotHttp, QueryOrFragment};
        for (text, expected) in [
            (
                "http://127.0.0.1:7480/origin",
                Ok("http://127.0.0.1:7480/origin"),
            ),
            ("https://Example.org/", Ok("https://example.org")),
            ("https://example.org:443//", Ok("https://example.org")),
            ("https://example.org/a/b/", Ok("https://example.org/a/b")),
            ("example.org", Err(NotHttp)),
            ("ftp://example.org", Err(NotHttp)),
            ("http://", Err(NotHttp)),
            ("https://me@example.org", Err(Credentials)),
            ("https://me:secret@example.org", Err(Credentials)),
            ("https://example.org/?q", Err(QueryOrFragment)),
            ("https://example.org/#f", Err(QueryOrFragment)),
        ] {
            let parsed = HttpUrl::try_new(text);
            assert_eq!(
                parsed.as_ref().map(HttpUrl::as_str).map_err(|error| *error),
                expected,
                "{text}"
            );
        }
    }
}
