//! The shell: connections, requests in, answers out.
//!
//! HTTP/1.1 by hyper, strictly parsed. What is refused before anything is looked up: methods other than GET and
//! HEAD, requests with a body, without exactly one usable `Host`, and absolute-form targets, which only a proxy
//! has a use for. A connection that is slow with its headers is closed.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use landfall_route::{Prefix, client_network};
use landfall_runtime::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::client::client;
use super::reply::{LANDFALL_CATALOG, Reply};
use super::{Answer, ClientRequest, answer};
use crate::metrics::{Asked, Metrics, Outcome};
use crate::oci_manifests::Manifests;
use crate::view::View;

/// Name of the mirror whose agent asks.
const LANDFALL_AGENT: &str = "landfall-agent";
/// How long a client may take to send its headers, and to begin its next request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest request line with headers, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Most connections at a time; beyond it, new ones wait to be accepted.
const MAX_CONNECTIONS: usize = 50_000;
/// How long open connections may take to finish their request when the program stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after the system had no resources to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What requests are answered with.
pub struct Front {
    /// What answers are given from.
    pub view: Arc<View>,
    /// The bytes of OCI manifests.
    pub manifests: Manifests,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Proxies whose word about the client counts.
    pub trusted: Vec<Prefix>,
    /// The log's static files, below `/.landfall/`.
    pub log: Router,
}

type Sent = Response<Either<Full<Bytes>, Body>>;

/// Serves until the stop is requested, then finishes what is under way.
///
/// # Errors
/// None now: a listener that fails to accept is tried again.
pub async fn serve(listener: TcpListener, front: Arc<Front>, shutdown: Shutdown) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            () = shutdown.requested() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, Arc::clone(&front), shutdown.clone()));
                }
                Err(fault) => {
                    tracing::warn!(error = %fault, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        connections.abort_all();
    }
    Ok(())
}

async fn connection(stream: TcpStream, peer: SocketAddr, front: Arc<Front>, shutdown: Shutdown) {
    // Only costs latency if it fails.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.handle(peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(fault) = ended {
        tracing::trace!(client = %client_network(peer.ip()), error = %fault, "a connection ended early");
    }
}

impl Front {
    async fn handle(&self, peer: SocketAddr, request: Request<Incoming>) -> Sent {
        let head = request.method() == Method::HEAD;
        let sent = match refusal(&request) {
            Some(reply) => self.send(reply, head),
            None => self.respond(peer, head, &request).await,
        };
        tracing::trace!(
            client = %client_network(peer.ip()),
            method = %request.method(),
            path = request.uri().path(),
            status = sent.status().as_u16(),
            "answered"
        );
        sent
    }

    async fn respond(&self, peer: SocketAddr, head: bool, request: &Request<Incoming>) -> Sent {
        let headers = request.headers();
        let asked = ClientRequest {
            head,
            path: request.uri().path(),
            query: request.uri().query(),
            client: client(peer.ip(), headers, &self.trusted),
            agent: headers.get(LANDFALL_AGENT).and_then(|it| it.to_str().ok()),
        };
        match answer(&self.view, &asked) {
            Answer::Reply(reply) => self.send(reply, head),
            Answer::Manifest(reply, wanted) => {
                let key = landfall_route::client_key(asked.client.address);
                let reply = match self.manifests.get(wanted).await {
                    Ok(body) => Reply { body, ..reply },
                    Err(fault) => {
                        tracing::warn!(error = %fault, "an OCI manifest could not be had");
                        Reply::unavailable(key).counted(Asked::Manifest, Outcome::Unavailable)
                    }
                };
                self.send(reply, head)
            }
            Answer::Internal(path) => self.internal(&path, head, request).await,
        }
    }

    async fn internal(&self, path: &str, head: bool, request: &Request<Incoming>) -> Sent {
        let reply = match path {
            "healthz" => Reply::text(StatusCode::OK, "ok\n"),
            "readyz" if self.view.is_ready() => Reply::text(StatusCode::OK, "ready\n"),
            "readyz" => Reply::text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the catalog or the fleet is not known yet\n",
            ),
            "metrics" => self.metrics.page(),
            "checkpoint" => return self.log_file(request).await,
            tile if tile.starts_with("tile/") => return self.log_file(request).await,
            _ => {
                let reply = Reply::text(StatusCode::NOT_FOUND, "there is nothing of that name\n");
                return self.send(reply.counted(Asked::Internal, Outcome::NotFound), head);
            }
        };
        self.send(reply.counted(Asked::Internal, Outcome::Served), head)
    }

    /// The log's files have a server of their own; it gets method, path and conditions.
    async fn log_file(&self, request: &Request<Incoming>) -> Sent {
        let mut forwarded = Request::new(Body::empty());
        *forwarded.method_mut() = request.method().clone();
        *forwarded.uri_mut() = request.uri().clone();
        *forwarded.headers_mut() = request.headers().clone();
        let Ok(response) = self.log.clone().oneshot(forwarded).await;
        let outcome = if response.status().is_success() {
            Outcome::Served
        } else {
            Outcome::NotFound
        };
        self.metrics.count(Asked::Internal, outcome, None);
        let mut response = response.map(Either::Right);
        response
            .headers_mut()
            .insert(LANDFALL_CATALOG, self.view.catalog().header());
        response
    }

    fn send(&self, reply: Reply, head: bool) -> Sent {
        self.metrics.count(reply.asked, reply.outcome, reply.tier);
        let mut headers = reply.headers;
        if !headers.contains_key(LANDFALL_CATALOG) {
            headers.insert(LANDFALL_CATALOG, self.view.catalog().header());
        }
        let body = if head { Bytes::new() } else { reply.body };
        let mut response = Response::new(Either::Left(Full::new(body)));
        *response.status_mut() = reply.status;
        *response.headers_mut() = headers;
        response
    }
}

/// What is wrong with a request before anything is looked up.
fn refusal<B>(request: &Request<B>) -> Option<Reply> {
    let refuse = |status, message: &str| {
        let reply = Reply::text(status, message).counted(Asked::Other, Outcome::Refused);
        // Whatever else the client sent is not to be taken for a request.
        reply.with(CONNECTION, HeaderValue::from_static("close"))
    };
    let headers = request.headers();
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let reply = refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are answered here\n",
        );
        return Some(reply.with(ALLOW, HeaderValue::from_static("GET, HEAD")));
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get_all(CONTENT_LENGTH)
            .iter()
            .any(|length| length != "0");
    if has_body {
        return Some(refuse(
            StatusCode::BAD_REQUEST,
            "no request body is taken here\n",
        ));
    }
    if request.uri().authority().is_some() || request.uri().scheme().is_some() {
        return Some(refuse(
            StatusCode::BAD_REQUEST,
            "the target has to be a path\n",
        ));
    }
    let mut hosts = headers.get_all(HOST).iter();
    let is_usable = |host: &HeaderValue| {
        !host.is_empty()
            && Authority::try_from(host.as_bytes()).is_ok_and(|it| !it.as_str().contains('@'))
    };
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_usable(host) => None,
        _ => Some(refuse(
            StatusCode::BAD_REQUEST,
            "exactly one Host is needed\n",
        )),
    }
}
