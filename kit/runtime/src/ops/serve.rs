//! The HTTP/1.1 server loop: bounded, and with an end.

mod stall;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use self::stall::WithoutStalls;
use crate::Shutdown;

/// How long to wait after the operating system refused to accept: it is out
/// of file descriptors, and only time gives them back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a server grants its clients.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Connections at a time; more wait in the operating system's backlog.
    pub connections: usize,
    /// How long a client may take for the head of a request, which is also
    /// how long a connection may stay idle.
    pub head_timeout: Duration,
    /// How long a client may take nothing of an answer that is ready for it:
    /// then the connection is closed.
    pub stall_timeout: Duration,
    /// How long requests under way may take after the shutdown request.
    pub drain: Duration,
}

impl Default for ServeLimits {
    /// 8,192 connections, 30 s for a head, 60 s without progress, 5 s to drain.
    fn default() -> Self {
        Self {
            connections: 8_192,
            head_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(5),
        }
    }
}

/// Serves `router` on `listener` until the shutdown is requested, with the
/// default limits. Handlers find the peer's address as
/// `ConnectInfo<SocketAddr>`. Then it stops accepting, lets requests under way
/// end, and closes what is left when their time is over.
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) {
    serve_within(listener, router, shutdown, ServeLimits::default()).await;
}

/// As [`serve`], with limits of one's own.
pub async fn serve_within(
    listener: TcpListener,
    router: Router,
    shutdown: Shutdown,
    limits: ServeLimits,
) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    // Dropping the set aborts what is in it: no connection outlives this.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.requested() => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            continue;
        };
        let connection = Connection {
            stream,
            peer,
            router: router.clone(),
            shutdown: shutdown.clone(),
            limits,
            _permit: permit,
        };
        connections.spawn(connection.serve());
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain, all_ended).await.is_err() {
        let open = connections.len();
        tracing::warn!(open, "connections closed that did not end in time");
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    shutdown: Shutdown,
    limits: ServeLimits,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve(self) {
        if let Err(error) = self.stream.set_nodelay(true) {
            tracing::debug!(%error, "connection is gone already");
            return;
        }
        let stream = WithoutStalls::new(self.stream, self.limits.stall_timeout);
        let (router, peer) = (self.router, self.peer);
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.shutdown.requested() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::trace!(%error, "connection ended early");
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::State;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;

    use super::*;
    use crate::{OnError, Tasks};

    const LONG: Duration = Duration::from_secs(60);

    struct Served {
        address: SocketAddr,
        tasks: Tasks,
        entered: Arc<Notify>,
        release: Arc<Notify>,
    }

    /// `/peer` answers at once; `/slow` says that it was entered, and waits;
    /// `/endless` sends for as long as somebody reads.
    async fn serve_sample(limits: ServeLimits) -> Served {
        let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let router = Router::new()
            .route("/peer", get(peer))
            .route("/slow", get(slow))
            .route("/endless", get(endless))
            .with_state((Arc::clone(&entered), Arc::clone(&release)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let shutdown = tasks.shutdown().clone();
        let server = serve_within(listener, router, shutdown, limits);
        tasks.spawn("http", OnError::Fail, server);
        Served {
            address,
            tasks,
            entered,
            release,
        }
    }

    type Gate = (Arc<Notify>, Arc<Notify>);

    async fn peer(ConnectInfo(peer): ConnectInfo<SocketAddr>, _gate: State<Gate>) -> String {
        peer.to_string()
    }

    async fn slow(State((entered, release)): State<Gate>) -> &'static str {
        entered.notify_one();
        release.notified().await;
        "done"
    }

    async fn endless(_gate: State<Gate>) -> Body {
        let chunk = || Ok::<_, std::io::Error>(bytes::Bytes::from_static(&[b'x'; 65_536]));
        Body::from_stream(futures::stream::repeat_with(chunk))
    }

    async fn send(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn read_to_end(mut stream: TcpStream) -> String {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_handler_sees_the_address_of_its_peer() {
        let served = serve_sample(ServeLimits::default()).await;
        let stream = send(served.address, "/peer").await;
        let own_address = stream.local_addr().unwrap().to_string();
        let mut stream = stream;
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer[..length].to_vec()).unwrap();
        assert!(answer.ends_with(&own_address), "{answer}");
    }

    #[tokio::test]
    async fn a_request_under_way_ends_after_the_stop_and_none_begins() {
        let served = serve_sample(ServeLimits::default()).await;
        let under_way = send(served.address, "/slow").await;
        served.entered.notified().await;
        served.tasks.shutdown().trigger();
        served.release.notify_one();
        let answer = read_to_end(under_way).await;
        assert!(answer.ends_with("done"), "{answer}");
        served.tasks.join(LONG).await.unwrap();
        assert!(TcpStream::connect(served.address).await.is_err());
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_is_cut_off() {
        let limits = ServeLimits {
            drain: Duration::from_millis(10),
            ..ServeLimits::default()
        };
        let served = serve_sample(limits).await;
        let endless = send(served.address, "/slow").await;
        served.entered.notified().await;
        served.tasks.shutdown().trigger();
        served.tasks.join(LONG).await.unwrap();
        assert_eq!(read_to_end(endless).await, "");
    }

    #[tokio::test]
    async fn a_client_that_sends_no_request_is_let_go() {
        let limits = ServeLimits {
            head_timeout: Duration::from_millis(20),
            ..ServeLimits::default()
        };
        let served = serve_sample(limits).await;
        let silent = TcpStream::connect(served.address).await.unwrap();
        read_to_end(silent).await;
    }

    #[tokio::test]
    async fn a_client_that_stops_reading_gives_up_its_place() {
        let limits = ServeLimits {
            connections: 1,
            stall_timeout: Duration::from_millis(50),
            ..ServeLimits::default()
        };
        let served = serve_sample(limits).await;
        let reads_nothing = send(served.address, "/endless").await;
        let mut second = send(served.address, "/peer").await;
        let mut byte = [0];
        let served_then = tokio::time::timeout(LONG, second.read(&mut byte)).await;
        assert_eq!(served_then.unwrap().unwrap(), 1);
        drop(reads_nothing);
    }

    #[tokio::test]
    async fn a_client_that_reads_on_is_served_for_as_long_as_it_does() {
        let limits = ServeLimits {
            stall_timeout: Duration::from_millis(200),
            ..ServeLimits::default()
        };
        let served = serve_sample(limits).await;
        let mut stream = send(served.address, "/endless").await;
        let mut bytes = vec![0; 1 << 20];
        let mut pauses = tokio::time::interval(Duration::from_millis(20));
        // Longer than the limit as a whole, and never still for as long as it.
        for _ in 0..20 {
            pauses.tick().await;
            stream.read_exact(&mut bytes).await.unwrap();
        }
    }

    #[tokio::test]
    async fn connections_past_the_limit_wait_for_their_turn() {
        let limits = ServeLimits {
            connections: 1,
            ..ServeLimits::default()
        };
        let served = serve_sample(limits).await;
        let first = send(served.address, "/slow").await;
        served.entered.notified().await;
        let mut second = send(served.address, "/peer").await;
        let mut byte = [0];
        let early = tokio::time::timeout(Duration::from_millis(20), second.read(&mut byte)).await;
        assert!(early.is_err(), "served while the only place was taken");
        drop(first);
        served.release.notify_one();
        assert_eq!(second.read(&mut byte).await.unwrap(), 1);
    }
}
