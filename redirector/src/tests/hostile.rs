//! The real listener and clients that mean no good, byte by byte.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use landfall_runtime::ops::{self, Ready};
use landfall_runtime::{Shutdown, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::world::*;
use crate::came_back::CameBack;
use crate::config::Probe;
use crate::http::serve::{Front, router};
use crate::metrics::Metrics;
use crate::oci_manifests::Manifests;

/// Runs `client` against a listener that knows the small world, and trusts the proxies in 127.0.0.0/8 if told so.
fn against(trusting: bool, client: impl FnOnce(SocketAddr) + Send + 'static) {
    landfall_runtime::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let http = landfall_runtime::dial::http_client().unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let (_log, log) = watch::channel(None);
    let view = Arc::new(view(&mirrors()));
    let front = Arc::new(Front {
        view: Arc::clone(&view),
        manifests: Manifests::open(folder.path(), http.clone()).unwrap(),
        came_back: CameBack::new(
            view,
            http,
            &Probe::default(),
            Arc::new(SystemClock),
            Arc::default(),
        )
        // The mirrors of the small world are nowhere.
        .with_looks(0),
        metrics: Arc::clone(&metrics),
        trusted: trusting
            .then(|| "127.0.0.0/8".parse().unwrap())
            .into_iter()
            .collect(),
        ops: Router::new().nest(
            "/.landfall",
            ops::router(Ready::new(), metrics.registry().clone()),
        ),
        log,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        let client = tokio::task::spawn_blocking(move || {
            // Also when the client panics.
            let _stop = StopOnDrop(stop);
            client(address);
        });
        ops::serve(listener, router(front), shutdown).await;
        client.await.unwrap();
    });
}

struct StopOnDrop(Shutdown);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

/// Sends these bytes, which have to end the connection in some way, and reads until the server closes it.
fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A server that refused may reset the connection behind its answer.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn ask(address: SocketAddr, target: &str, headers: &str) -> String {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: artifacts.example.org\r\nConnection: close\r\n{headers}\r\n"
    );
    exchange(address, request.as_bytes())
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or("")
}

fn line<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.split("\r\n").find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[track_caller]
fn refused(answer: &str) {
    assert!(["400", "404"].contains(&status(answer)), "{answer}");
    assert_eq!(line(answer, "location"), None, "{answer}");
    assert!(
        !answer.to_ascii_lowercase().contains("\r\nset-cookie"),
        "{answer}"
    );
}

const TOOL_TARGET: &str = "/binaries/tool/v1/tool";

#[test]
fn xff_untrusted_peer_ignored() {
    against(false, |at| {
        let answer = ask(at, TOOL_TARGET, "X-Forwarded-For: 198.51.100.7\r\n");
        // The peer's address is in no table: anywhere, and not Berlin because of what the client claims.
        assert_eq!(status(&answer), "302");
        let honest = ask(at, TOOL_TARGET, "");
        assert_eq!(line(&answer, "location"), line(&honest, "location"));
        assert_eq!(line(&answer, "landfall-decision"), Some("1.0"));
    });
}

#[test]
fn xff_multi_hop_right_to_left() {
    against(true, |at| {
        let mirror = |headers: &str| {
            let answer = ask(at, TOOL_TARGET, headers);
            line(&answer, "landfall-mirror").unwrap().to_owned()
        };
        assert_eq!(mirror("X-Forwarded-For: 198.51.100.7\r\n"), "berlin");
        assert_eq!(
            mirror("X-Forwarded-For: 198.51.100.7, 192.0.2.1, 127.0.0.9\r\n"),
            "oslo"
        );
        assert_eq!(
            mirror("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 198.51.100.7\r\n"),
            "berlin"
        );
        assert_eq!(mirror("Forwarded: for=\"198.51.100.7:80\"\r\n"), "berlin");
    });
}

#[test]
fn xff_proto_keeps_https_clients_from_plain_text() {
    against(true, |at| {
        let answer = ask(at, TOOL_TARGET, "X-Forwarded-Proto: https\r\n");
        assert_eq!(
            status(&answer),
            "503",
            "all mirrors and the origin are http"
        );
    });
    against(false, |at| {
        let answer = ask(at, TOOL_TARGET, "X-Forwarded-Proto: https\r\n");
        assert_eq!(status(&answer), "302");
    });
}

#[test]
fn open_redirect_double_slash() {
    against(false, |at| {
        for target in [
            "//evil.example",
            "//evil.example/binaries/tool/v1/tool",
            "/.//evil.example",
            "///evil.example",
            "/binaries//tool",
        ] {
            refused(&ask(at, target, ""));
        }
    });
}

#[test]
fn open_redirect_backslash_at() {
    against(false, |at| {
        for target in [
            "/\\evil.example",
            "/%5cevil.example",
            "/%5C%5Cevil.example",
            "/@evil.example",
            "/binaries/tool/v1/tool@evil.example",
            "@evil.example/binaries/tool/v1/tool",
        ] {
            refused(&ask(at, target, ""));
        }
    });
}

#[test]
fn crlf_in_path_and_query() {
    against(false, |at| {
        refused(&ask(at, "/binaries/tool%0d%0aSet-Cookie:x", ""));
        refused(&ask(at, "/binaries/tool\rSet-Cookie:x", ""));
        let avoid = ask(at, &format!("{TOOL_TARGET}?avoid=%0d%0aSet-Cookie:x"), "");
        refused(&avoid);
        let kept_out = ask(at, &format!("{TOOL_TARGET}?to=http://evil.example"), "");
        assert_eq!(
            line(&kept_out, "location"),
            line(&ask(at, TOOL_TARGET, ""), "location"),
            "a query never reaches the location"
        );
    });
}

#[test]
fn absolute_form_uri() {
    against(false, |at| {
        refused(&ask(at, "http://evil.example/binaries/tool/v1/tool", ""));
        refused(&ask(at, "https://artifacts.example.org/", ""));
        refused(&ask(at, "evil.example:443", ""));
    });
}

#[test]
fn percent_encoded_slash() {
    against(false, |at| {
        refused(&ask(at, "/binaries%2ftool/v1/tool", ""));
        refused(&ask(at, "/binaries/tool/v1%2Ftool", ""));
        refused(&ask(at, "/v2/app%2fx/manifests/v1", ""));
    });
}

#[test]
fn dotdot_encoded_twice() {
    against(false, |at| {
        for target in [
            "/../etc/passwd",
            "/%2e%2e/etc/passwd",
            "/%252e%252e/etc/passwd",
            "/binaries/..%2f..%2fetc/passwd",
            "/.landfall/tile/../../x",
            "/.landfall/%2e%2e/x",
            "/%c0%ae%c0%ae/x",
            "/binaries/tool%00",
        ] {
            refused(&ask(at, target, ""));
        }
    });
}

#[test]
fn digest_uppercase_or_short() {
    against(false, |at| {
        let hex = hex(LAYER);
        for digest in [hex.to_uppercase(), hex[1..].to_owned(), format!("{hex}0")] {
            let oci = ask(at, &format!("/v2/app/blobs/sha256:{digest}"), "");
            refused(&oci);
            assert!(oci.contains("DIGEST_INVALID"), "{oci}");
            refused(&ask(at, &format!("/blobs/sha256/{digest}"), ""));
            refused(&ask(at, &format!("/.landfall/pieces/{digest}"), ""));
        }
        refused(&ask(at, &format!("/v2/app/blobs/md5:{hex}"), ""));
    });
}

#[test]
fn host_is_needed_once_and_never_reflected() {
    against(false, |at| {
        let with = |hosts: &str| {
            exchange(
                at,
                format!("GET {TOOL_TARGET} HTTP/1.1\r\nConnection: close\r\n{hosts}\r\n")
                    .as_bytes(),
            )
        };
        for hosts in [
            "",
            "Host: \r\n",
            "Host: a.example\r\nHost: b.example\r\n",
            "Host: a.example/x\r\n",
            "Host: user@a.example\r\n",
            "Host: a example\r\n",
        ] {
            refused(&with(hosts));
        }
        for host in ["a.example", "a.example:80", "[::1]:7680", "127.0.0.1:1"] {
            let answer = with(&format!("Host: {host}\r\n"));
            assert_eq!(status(&answer), "302", "{host}");
            assert!(!line(&answer, "location").unwrap().contains("a.example"));
        }
    });
}

#[test]
fn body_on_get_rejected() {
    against(false, |at| {
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        for headers in [
            format!("Content-Length: {}\r\n\r\n{smuggled}", smuggled.len()),
            format!("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{smuggled}"),
        ] {
            let request = format!("GET {TOOL_TARGET} HTTP/1.1\r\nHost: x\r\n{headers}");
            let answer = exchange(at, request.as_bytes());
            refused(&answer);
            assert_eq!(line(&answer, "connection"), Some("close"));
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        }
    });
}

#[test]
fn te_cl_conflict() {
    against(false, |at| {
        let request = "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX";
        let answer = exchange(at, request.as_bytes());
        assert_eq!(status(&answer), "400");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    });
}

#[test]
fn huge_headers_431() {
    against(false, |at| {
        let answer = ask(at, "/", &format!("X-Long: {}\r\n", "a".repeat(64 << 10)));
        assert!(["431", "400", ""].contains(&status(&answer)), "{answer}");
        assert!(!answer.contains(" 200 "));
        let long = format!("/{}", "a".repeat(2000));
        refused(&ask(at, &long, ""));
    });
}

#[test]
fn other_methods_are_not_allowed() {
    against(false, |at| {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            let request =
                format!("{method} {TOOL_TARGET} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let answer = exchange(at, request.as_bytes());
            assert_eq!(status(&answer), "405", "{method}");
            assert_eq!(line(&answer, "allow"), Some("GET, HEAD"));
            assert_eq!(line(&answer, "location"), None);
        }
    });
}

#[test]
fn head_equals_get() {
    against(false, |at| {
        for target in [
            TOOL_TARGET,
            "/",
            "/v2/",
            "/v2/app/tags/list",
            "/v2/app/manifests/v9",
            "/binaries/gone",
            "/.landfall/mirrors.json",
            "/.landfall/explain?from=1.2.3.4&name=app:v1",
            "/.landfall/healthz",
            "/.landfall/readyz",
            "/.landfall/nothing",
            "/no//such",
        ] {
            let of = |method: &str| {
                let request =
                    format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                let answer = exchange(at, request.as_bytes());
                let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                let mut lines: Vec<String> = head
                    .split("\r\n")
                    .filter(|line| !line.to_ascii_lowercase().starts_with("date:"))
                    .map(str::to_owned)
                    .collect();
                lines.sort();
                (lines, body.to_owned())
            };
            let (get, body) = of("GET");
            let (head, nothing) = of("HEAD");
            assert_eq!(get, head, "{target}");
            assert_eq!(nothing, "", "{target}");
            let length = format!("content-length: {}", body.len());
            assert!(get.contains(&length), "{target}: {get:?}");
            assert!(
                get.iter()
                    .any(|line| line.starts_with("landfall-catalog: revision=2")),
                "{target}: {get:?}"
            );
        }
    });
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    against(false, |at| {
        let one = format!("GET {TOOL_TARGET} HTTP/1.1\r\nHost: x\r\n\r\n");
        let last = format!("GET {TOOL_TARGET} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = exchange(at, format!("{one}{one}{last}").as_bytes());
        assert_eq!(answer.matches("HTTP/1.1 302").count(), 3, "{answer}");
    });
}

#[test]
fn requests_are_counted_by_kind_outcome_and_tier() {
    against(false, |at| {
        ask(at, TOOL_TARGET, "");
        ask(at, "/nothing", "");
        ask(at, "//x", "");
        let page = ask(at, "/.landfall/metrics", "");
        for line in [
            r#"landfall_redirector_requests_total{kind="file",outcome="mirror"} 1"#,
            r#"landfall_redirector_requests_total{kind="file",outcome="not-found"} 1"#,
            r#"landfall_redirector_requests_total{kind="other",outcome="refused"} 1"#,
            r#"landfall_redirector_decisions_total{tier="anywhere"} 1"#,
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    });
}
