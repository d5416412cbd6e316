//! The shell: requests in, answers out.
//!
//! What is refused before anything is looked up: methods other than GET and HEAD, requests with a body, without
//! exactly one usable `Host`, with more headers than any client has a use for, and absolute-form targets, which only a
//! proxy has a use for. HTTP itself is parsed strictly by hyper, below.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode};
use landfall_log::LogReader;
use landfall_log::publish::static_router;
use landfall_route::{Prefix, client_network};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::client::client;
use super::reply::{LANDFALL_CATALOG, LANDFALL_MIRROR, Reply};
use super::{Answer, ClientRequest, answer, answer_without};
use crate::came_back::CameBack;
use crate::metrics::{Asked, Metrics, Outcome};
use crate::oci_manifests::Manifests;
use crate::view::View;

/// Name of the mirror whose agent asks.
const LANDFALL_AGENT: &str = "landfall-agent";
/// Most headers that are taken, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// What requests are answered with.
pub struct Front {
    /// What answers are given from.
    pub view: Arc<View>,
    /// The bytes of OCI manifests.
    pub manifests: Manifests,
    /// Who was sent where a moment ago.
    pub came_back: CameBack,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Proxies whose word about the client counts.
    pub trusted: Vec<Prefix>,
    /// Health and metrics, below `/.landfall/`.
    pub ops: Router,
    /// The log, whose static files are below `/.landfall/`; none before it is open.
    pub log: watch::Receiver<Option<LogReader>>,
}

/// The whole surface, for the server loop.
pub fn router(front: Arc<Front>) -> Router {
    Router::new().fallback(handle).with_state(front)
}

async fn handle(
    State(front): State<Arc<Front>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response<Body> {
    let (request, _body) = request.into_parts();
    let head = request.method == Method::HEAD;
    let response = match refusal(&request) {
        Some(reply) => front.send(reply, head),
        None => front.respond(peer, head, &request).await,
    };
    tracing::trace!(
        client = %client_network(peer.ip()),
        method = %request.method,
        path = request.uri.path(),
        status = response.status().as_u16(),
        "answered"
    );
    response
}

impl Front {
    async fn respond(&self, peer: SocketAddr, head: bool, request: &Parts) -> Response<Body> {
        let headers = &request.headers;
        let asked = ClientRequest {
            head,
            path: request.uri.path(),
            query: request.uri.query(),
            client: client(peer.ip(), headers, &self.trusted),
            agent: headers.get(LANDFALL_AGENT).and_then(|it| it.to_str().ok()),
        };
        match answer(&self.view, &asked) {
            Answer::Reply(reply) => {
                let reply = self.unless_in_vain(&asked, reply).await;
                self.send(reply, head)
            }
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
            Answer::Internal(path) => self.internal(&path, request).await,
        }
    }

    /// The reply, unless it sends a client that came back to a mirror that does not answer: then the next best.
    async fn unless_in_vain(&self, asked: &ClientRequest<'_>, reply: Reply) -> Reply {
        if reply.outcome != Outcome::Mirror {
            return reply;
        }
        let mirror = reply.headers.get(LANDFALL_MIRROR);
        let Some(mirror) = mirror.and_then(|it| it.to_str().ok()) else {
            return reply;
        };
        let client = asked.client.address;
        if !self.came_back.in_vain(client, asked.path, mirror).await {
            return reply;
        }
        match answer_without(&self.view, asked, Some(mirror)) {
            Answer::Reply(reply) => reply,
            Answer::Manifest(..) | Answer::Internal(_) => reply,
        }
    }

    /// The log's files and the state of this program have servers of their own; they get method, path and conditions.
    async fn internal(&self, path: &str, request: &Parts) -> Response<Body> {
        let is_of_log = path == "checkpoint" || path.starts_with("tile/");
        let log = is_of_log.then(|| self.log.borrow().clone()).flatten();
        let server = log.map_or_else(|| self.ops.clone(), static_router);
        let mut forwarded = Request::new(Body::empty());
        *forwarded.method_mut() = request.method.clone();
        *forwarded.uri_mut() = request.uri.clone();
        *forwarded.headers_mut() = request.headers.clone();
        let Ok(mut response) = server.oneshot(forwarded).await;
        let outcome = if response.status().is_success() {
            Outcome::Served
        } else {
            Outcome::NotFound
        };
        self.metrics.count(Asked::Internal, outcome, None);
        response
            .headers_mut()
            .insert(LANDFALL_CATALOG, self.view.catalog().header());
        response
    }

    fn send(&self, reply: Reply, head: bool) -> Response<Body> {
        self.metrics.count(reply.asked, reply.outcome, reply.tier);
        let mut headers = reply.headers;
        if !headers.contains_key(LANDFALL_CATALOG) {
            headers.insert(LANDFALL_CATALOG, self.view.catalog().header());
        }
        let body = if head { Bytes::new() } else { reply.body };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = reply.status;
        *response.headers_mut() = headers;
        response
    }
}

/// What is wrong with a request before anything is looked up.
fn refusal(request: &Parts) -> Option<Reply> {
    let refuse = |status, message: &str| {
        let reply = Reply::text(status, message).counted(Asked::Other, Outcome::Refused);
        // Whatever else the client sent is not to be taken for a request.
        reply.with(CONNECTION, HeaderValue::from_static("close"))
    };
    let headers = &request.headers;
    if request.method != Method::GET && request.method != Method::HEAD {
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
    let head_bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if head_bytes > MAX_HEAD_BYTES {
        return Some(refuse(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "fewer or shorter headers are needed\n",
        ));
    }
    if request.uri.authority().is_some() || request.uri.scheme().is_some() {
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
