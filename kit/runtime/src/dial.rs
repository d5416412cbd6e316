//! The one place that opens connections to others.
//!
//! Every connection has a connect timeout, and keepalives that notice a peer
//! which vanished without a word: without them an HTTP/2 channel over a
//! silently dropped connection never recovers. Plain text is for loopback
//! alone; gRPC over TLS needs an identity on both sides, and until there is
//! one, `https://` is refused for it rather than dialled without.

use std::net::IpAddr;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use url::{Host, Url};

/// How long opening a connection may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an HTTP/2 connection is pinged, also when idle.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long the answer to a ping may take before the connection is given up.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an HTTP response may stay silent between two reads.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Redirects that [`http_client_following`] follows at most.
pub const MAX_REDIRECTS: usize = 5;

const USER_AGENT: &str = concat!("landfall/", env!("CARGO_PKG_VERSION"));

/// Why a connection is not even tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Plain text to another machine.
    #[error("{url} is plain text to another machine: http:// is for loopback addresses only")]
    PlainTextElsewhere {
        /// The URL, without user name, password and query.
        url: String,
    },
    /// gRPC over TLS, for which there is no identity.
    #[error(
        "{url} needs TLS with an identity, and none is configured: use http:// on a loopback address"
    )]
    NoIdentity {
        /// The URL, without user name, password and query.
        url: String,
    },
    /// Neither `http` nor `https`, or no host.
    #[error("{url} is not an http:// or https:// URL")]
    Scheme {
        /// The URL, without user name, password and query.
        url: String,
    },
    /// The gRPC library does not take the URL.
    #[error("{url} cannot be dialled")]
    Endpoint {
        /// The URL, without user name, password and query.
        url: String,
        /// What it said.
        #[source]
        source: tonic::transport::Error,
    },
    /// The HTTP client cannot be built: TLS roots or the resolver are broken.
    #[error("cannot set up the HTTP client")]
    HttpClient(#[source] reqwest::Error),
}

/// Opens gRPC channels. Programs take it as an argument, so that simulated
/// networks and, later, channels with an identity fit in.
pub trait Dial: Send + Sync {
    /// A channel to `url` that connects when it is first used, and again
    /// whenever it has to.
    ///
    /// # Errors
    /// When the URL is one that must not or cannot be dialled.
    fn grpc(&self, url: &Url) -> Result<Channel, DialError>;
}

/// Dials loopback in plain text, and nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopbackDial;

impl Dial for LoopbackDial {
    fn grpc(&self, url: &Url) -> Result<Channel, DialError> {
        grpc_channel(url)
    }
}

/// A gRPC channel to `url` that connects when it is first used, with
/// keepalives while idle.
///
/// # Errors
/// When `url` is `http://` to another machine, `https://` (there is no
/// identity to use), or no URL that gRPC can dial.
///
/// # Panics
/// Outside a tokio runtime.
pub fn grpc_channel(url: &Url) -> Result<Channel, DialError> {
    refuse_plain_text_elsewhere(url)?;
    if url.scheme() == "https" {
        return Err(DialError::NoIdentity {
            url: without_secrets(url),
        });
    }
    let endpoint = Endpoint::from_shared(url.as_str().to_owned())
        .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
        .map_err(|source| DialError::Endpoint {
            url: without_secrets(url),
            source,
        })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_lazy())
}

/// An HTTP client that follows no redirects. Requests have a connect and a
/// read timeout; one for the whole request is the caller's to set, because
/// how long a body may take depends on its size.
///
/// # Errors
/// [`DialError::HttpClient`].
pub fn http_client() -> Result<reqwest::Client, DialError> {
    build_http_client(reqwest::redirect::Policy::none())
}

/// An HTTP client that follows up to [`MAX_REDIRECTS`] redirects, but never
/// from `https://` to `http://`. Otherwise as [`http_client`].
///
/// # Errors
/// [`DialError::HttpClient`].
pub fn http_client_following() -> Result<reqwest::Client, DialError> {
    build_http_client(reqwest::redirect::Policy::custom(|attempt| {
        let from_tls = attempt
            .previous()
            .last()
            .is_some_and(|previous| previous.scheme() == "https");
        if from_tls && attempt.url().scheme() != "https" {
            attempt.error("redirect from https:// to a plain-text URL")
        } else if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else {
            attempt.follow()
        }
    }))
}

fn build_http_client(redirects: reqwest::redirect::Policy) -> Result<reqwest::Client, DialError> {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirects)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .tcp_keepalive(KEEPALIVE_INTERVAL)
        .pool_idle_timeout(Duration::from_secs(60))
        .build()
        .map_err(DialError::HttpClient)
}

/// Refuses `http://` URLs of other machines, and what is not HTTP at all.
///
/// # Errors
/// [`DialError::PlainTextElsewhere`] or [`DialError::Scheme`].
pub fn refuse_plain_text_elsewhere(url: &Url) -> Result<(), DialError> {
    match url.scheme() {
        "https" if url.has_host() => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        "http" if url.has_host() => Err(DialError::PlainTextElsewhere {
            url: without_secrets(url),
        }),
        _ => Err(DialError::Scheme {
            url: without_secrets(url),
        }),
    }
}

/// Whether the URL's host is this machine's loopback: `127.0.0.0/8`, `::1`,
/// or a `localhost` name (RFC 6761 section 6.3).
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
    }
}

/// The URL for a message: without user name, password, query and fragment.
pub fn without_secrets(url: &Url) -> String {
    let mut shown = url.clone();
    // These fail on URLs that cannot have credentials, which then have none.
    let _has_no_user_name = shown.set_username("");
    let _has_no_password = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn loopback_is_recognised_by_address_and_by_name() {
        for (text, expected) in [
            ("http://127.0.0.1:80/", true),
            ("http://127.9.8.7/", true),
            ("http://[::1]:7443/", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("http://LOCALHOST/", true),
            ("http://a.localhost./", true),
            ("http://128.0.0.1/", false),
            ("http://0.0.0.0/", false),
            ("http://[::]/", false),
            ("http://localhost.example.org/", false),
            ("http://127.0.0.1.example.org/", false),
            ("http://evillocalhost/", false),
            ("file:///tmp", false),
        ] {
            assert_eq!(is_loopback(&url(text)), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn grpc_is_dialled_in_plain_text_on_loopback_only() {
        assert!(grpc_channel(&url("http://127.0.0.1:1")).is_ok());
        assert!(LoopbackDial.grpc(&url("http://localhost:1")).is_ok());
        let refusal = |text| grpc_channel(&url(text)).unwrap_err();
        assert!(matches!(
            refusal("http://10.0.0.1:1"),
            DialError::PlainTextElsewhere { .. }
        ));
        assert!(matches!(
            refusal("https://127.0.0.1:1"),
            DialError::NoIdentity { .. }
        ));
        assert!(matches!(refusal("unix:///run/x"), DialError::Scheme { .. }));
    }

    #[test]
    fn a_refusal_never_shows_a_secret() {
        let error = grpc_channel(&url(
            "http://user:hunter2@example.org/p?token=hunter2#hunter2",
        ));
        let message = error.unwrap_err().to_string();
        assert!(message.contains("http://example.org/p"), "{message}");
        assert!(!message.contains("hunter2") && !message.contains("user"));
    }

    #[test]
    fn https_is_good_for_http_clients() {
        assert!(refuse_plain_text_elsewhere(&url("https://example.org/")).is_ok());
        assert!(refuse_plain_text_elsewhere(&url("ftp://127.0.0.1/")).is_err());
    }
}
