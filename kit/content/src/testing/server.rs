//! Real HTTP servers on port 0 that behave as told.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::header::{CONTENT_RANGE, LOCATION, RANGE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

/// What a server does with requests for its content.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    Honest,
    /// One bit is wrong at this position.
    Flips(usize),
    /// Answers 200 with everything, whatever is asked for.
    IgnoresRange,
    /// Ends properly, without a length, after this many bytes of an answer.
    EndsAfter(usize),
    /// Promises all and breaks off after this many bytes of an answer.
    BreaksAfter(usize),
    /// Says nothing more after this many bytes of an answer.
    StallsAfter(usize),
    /// Sends a few bytes every 10 ms.
    Trickles,
    /// Answers 206 for another range.
    WrongRange,
    /// Goes on after the end, with and without saying so before.
    TooMuch {
        says_so: bool,
    },
    Unavailable,
    /// Sends to the mirror of that name, unless it shall be avoided; then to
    /// the next.
    Redirects(Vec<(&'static str, Url)>),
}

/// A server that ends with the test.
pub(crate) struct TestServer {
    pub(crate) url: Url,
    requests: Arc<Mutex<Vec<HeaderMap>>>,
    _tasks: JoinSet<()>,
}

impl TestServer {
    /// Serves `content` at every path.
    pub(crate) async fn start(content: &Bytes, behaviour: Behaviour) -> Self {
        let content = content.clone();
        Self::with(move |request| {
            let response = answer(&content, &behaviour, &request);
            async move { response }
        })
        .await
    }

    /// Serves what `handler` answers.
    pub(crate) async fn with<H, F>(handler: H) -> Self
    where
        H: Fn(Request) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let router = Router::new().fallback(move |request: Request| {
            seen.lock().unwrap().push(request.headers().clone());
            handler(request)
        });
        Self::run(router, requests).await
    }

    /// Serves a whole router.
    pub(crate) async fn router(router: Router) -> Self {
        Self::run(router, Arc::default()).await
    }

    async fn run(router: Router, requests: Arc<Mutex<Vec<HeaderMap>>>) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url: url.parse().unwrap(),
            requests,
            _tasks: tasks,
        }
    }

    /// The `Range` of each request so far.
    pub(crate) fn ranges(&self) -> Vec<Option<String>> {
        let requests = self.requests.lock().unwrap();
        let range = |headers: &HeaderMap| Some(headers.get(RANGE)?.to_str().unwrap().to_owned());
        requests.iter().map(range).collect()
    }
}

fn answer(content: &Bytes, behaviour: &Behaviour, request: &Request) -> Response {
    let from = request.headers().get(RANGE).map(|range| {
        let range = range.to_str().unwrap();
        range
            .strip_prefix("bytes=")
            .unwrap()
            .strip_suffix('-')
            .unwrap()
            .parse()
            .unwrap()
    });
    let mut content = content.clone();
    let rest = |content: &Bytes| content.slice(from.unwrap_or(0)..);
    match behaviour {
        Behaviour::Honest => honest(&content, from),
        Behaviour::Flips(at) => {
            let mut spoiled = content.to_vec();
            spoiled[*at] ^= 1;
            content = spoiled.into();
            honest(&content, from)
        }
        Behaviour::IgnoresRange => honest(&content, None),
        Behaviour::EndsAfter(length) => {
            let rest = rest(&content);
            let part = rest.slice(..rest.len().min(*length));
            partial(
                content.len(),
                from,
                Body::from_stream(stream::iter([Ok::<_, Infallible>(part)])),
            )
        }
        Behaviour::BreaksAfter(length) => {
            let rest = rest(&content);
            let part = rest.slice(..rest.len().min(*length));
            // In small chunks, because hyper drops what it has not sent yet.
            let chunks: Vec<Bytes> = part
                .chunks(64 << 10)
                .map(|chunk| part.slice_ref(chunk))
                .collect();
            let chunks = chunks.into_iter().map(Ok).chain([Err("broken off")]);
            let broken = stream::iter(chunks).then(|chunk| async {
                tokio::task::yield_now().await;
                chunk
            });
            let mut response = partial(content.len(), from, Body::from_stream(broken));
            response
                .headers_mut()
                .insert("content-length", rest.len().into());
            response
        }
        Behaviour::StallsAfter(length) => {
            let part = rest(&content).slice(..*length);
            let stalled = stream::iter([Ok::<_, Infallible>(part)]).chain(stream::pending());
            partial(content.len(), from, Body::from_stream(stalled))
        }
        Behaviour::Trickles => {
            let rest = rest(&content);
            let drops: Vec<Bytes> = rest.chunks(3).map(|drop| rest.slice_ref(drop)).collect();
            let drops = stream::iter(drops).then(|drop| async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok::<_, Infallible>(drop)
            });
            partial(content.len(), from, Body::from_stream(drops))
        }
        Behaviour::WrongRange => {
            let start = from.unwrap_or(0) + 1;
            partial(
                content.len(),
                Some(start),
                Body::from(content.slice(start..)),
            )
        }
        Behaviour::TooMuch { says_so } => {
            let longer: Bytes = [rest(&content), content].concat().into();
            if *says_so {
                Response::new(Body::from(longer))
            } else {
                let chunks = stream::iter([Ok::<_, Infallible>(longer)]);
                Response::new(Body::from_stream(chunks))
            }
        }
        Behaviour::Unavailable => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response.headers_mut().insert(RETRY_AFTER, 7.into());
            response
        }
        Behaviour::Redirects(mirrors) => {
            let query = request.uri().query().unwrap_or_default();
            let (name, url) = mirrors
                .iter()
                .find(|(name, _)| !query.contains(&format!("avoid={name}")))
                .unwrap();
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            response
                .headers_mut()
                .insert(LOCATION, url.as_str().parse().unwrap());
            response
                .headers_mut()
                .insert("landfall-mirror", name.parse().unwrap());
            response
        }
    }
}

fn honest(content: &Bytes, from: Option<usize>) -> Response {
    let body = content.slice(from.unwrap_or(0)..);
    partial(content.len(), from, Body::from(body))
}

fn partial(total: usize, from: Option<usize>, body: Body) -> Response {
    let mut response = Response::new(body);
    if let Some(from) = from {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {from}-{}/{total}", total - 1);
        response
            .headers_mut()
            .insert(CONTENT_RANGE, range.parse().unwrap());
    }
    response
}
