//! The one place that opens connections to others.
//!
//! Every connection has a connect timeout, and keepalives that notice a peer
//! which vanished without a word: without them an HTTP/2 channel over a
//! silently dropped connection never recovers. Plain text is for loopback
//! alone; gRPC over TLS needs an identity on both sides, and until there is
//! one, `https://` is refused for it rather than dialled without.

mod reach;

use std::net::IpAddr;
use std::time::Duration;

pub use reach::{Network, NetworkError, OutOfReach, Reach};
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
/// It goes straight to where a URL says. `HTTP_PROXY` and its like in the
/// environment are meant for other programs: a proxy reaches neither this
/// machine's loopback nor, often, the mirrors, and what it answers in their
/// place would be taken for what they say.
///
/// # Errors
/// [`DialError::HttpClient`].
pub fn http_client() -> Result<reqwest::Client, DialError> {
    http_client_builder().build().map_err(DialError::HttpClient)
}

fn http_client_builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .tcp_keepalive(KEEPALIVE_INTERVAL)
        .pool_idle_timeout(Duration::from_secs(60))
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

    /// Set in a process of this test's own, whose environment is nobody else's.
    const ASKED: &str = "LANDFALL_TEST_ASKED_URL";

    #[tokio::test]
    async fn a_proxy_in_the_environment_is_not_asked() {
        if let Ok(asked) = std::env::var(ASKED) {
            crate::install_crypto();
            let answer = http_client().unwrap().get(asked).send().await.unwrap();
            assert_eq!(answer.status(), http::StatusCode::NOT_FOUND);
            return;
        }
        let tasks = crate::Tasks::new(crate::Shutdown::new());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let asked = format!("http://{}/", listener.local_addr().unwrap());
        let server = crate::ops::serve(listener, axum::Router::new(), tasks.shutdown().clone());
        tasks.spawn("server", crate::OnError::Fail, server);

        // Nobody listens on a port that was just given back.
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("http://{}", nobody.local_addr().unwrap());
        drop(nobody);
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "dial::tests::a_proxy_in_the_environment_is_not_asked",
            ])
            .env(ASKED, asked);
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env(name, &proxy);
        }
        for name in ["NO_PROXY", "no_proxy", "REQUEST_METHOD"] {
            command.env_remove(name);
        }
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
        tasks.shutdown().trigger();
        tasks.join(Duration::from_secs(60)).await.unwrap();
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
