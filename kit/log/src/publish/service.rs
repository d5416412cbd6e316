//! `Catalog.Watch`: a cursor over the log for each reader, and no queue.
//!
//! Everybody is sent the same encoded bytes, so this implements the gRPC method
//! by hand where the generated code would encode each message for each stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes};
use futures::stream::{BoxStream, StreamExt as _, unfold};
use landfall_proto::v1::{CatalogWatchRequest, catalog_server};
use landfall_runtime::{Clock, Shutdown};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Code, Request, Response, Status};

use super::chunks::{self, Chunk, MAX_MESSAGE_ENTRIES, entry_bytes_limit};
use super::{Head, Publisher, blocking};

/// Entries that are read from the disk for one message.
const READ_ENTRIES: usize = 1024;
/// A request is an integer.
const MAX_REQUEST_BYTES: usize = 1024;

/// Timing of the streams.
#[derive(Clone, Copy, Debug)]
pub struct WatchLimits {
    /// A message at least this often, so that a reader knows a quiet log from a
    /// dead connection.
    pub bookmark_every: Duration,
    /// A reader that takes a message no sooner than this is closed.
    pub slow_after: Duration,
}

impl Default for WatchLimits {
    fn default() -> Self {
        Self {
            bookmark_every: Duration::from_secs(15),
            slow_after: Duration::from_secs(60),
        }
    }
}

/// The gRPC service `landfall.v1.Catalog`, to be mounted as it is. Streams end
/// when the shutdown is requested.
#[derive(Clone)]
pub struct CatalogService {
    publisher: Publisher,
    limits: WatchLimits,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
}

impl CatalogService {
    /// Streams what `publisher` publishes.
    #[must_use]
    pub fn new(publisher: Publisher, clock: Arc<dyn Clock>, shutdown: Shutdown) -> Self {
        Self {
            publisher,
            limits: WatchLimits::default(),
            clock,
            shutdown,
        }
    }

    /// The same with other timing.
    #[must_use]
    pub fn with_limits(self, limits: WatchLimits) -> Self {
        Self { limits, ..self }
    }

    /// The encoded messages for a reader that holds `from_size` entries.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` with the current note as details if the log is
    /// smaller than that.
    fn stream(&self, from_size: u64) -> Result<BoxStream<'static, Result<Bytes, Status>>, Status> {
        let heads = self.publisher.watch();
        let head = Arc::clone(&heads.borrow());
        if from_size > head.size {
            return Err(Status::with_details(
                Code::FailedPrecondition,
                format!("the log has {} entries, fewer than {from_size}", head.size),
                head.note.clone(),
            ));
        }
        let cursor = Cursor {
            service: self.clone(),
            heads,
            cursor: from_size,
            said_hello: false,
            sent: Arc::default(),
            handed_over: None,
            ended: false,
        };
        let stream = unfold(cursor, |mut cursor| async move {
            let item = cursor.next().await?;
            Some((item, cursor))
        });
        Ok(stream.boxed())
    }
}

/// Where one reader is.
struct Cursor {
    service: CatalogService,
    heads: watch::Receiver<Arc<Head>>,
    cursor: u64,
    said_hello: bool,
    /// The head whose checkpoint was sent last.
    sent: Arc<Head>,
    /// When the last message was given to the transport.
    handed_over: Option<Instant>,
    ended: bool,
}

impl Cursor {
    /// The next message, once there is one. The transport asks only when it has
    /// room again, so the time since the last one is what the reader took.
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        if self.ended {
            return None;
        }
        let now = self.service.clock.now();
        let slow_after = self.service.limits.slow_after;
        let item = match self.handed_over {
            Some(then) if now.duration_since(then) > slow_after => {
                Err(Status::resource_exhausted("the reader is too slow"))
            }
            Some(_) | None => self.message().await,
        };
        self.ended = item.is_err();
        self.handed_over = Some(self.service.clock.now());
        Some(item)
    }

    async fn message(&mut self) -> Result<Bytes, Status> {
        // Before every message, not only when there is nothing to send: a reader
        // of a long log must not hold up the stop.
        if self.service.shutdown.is_requested() {
            return Err(stopping());
        }
        let publisher = &self.service.publisher;
        if !self.said_hello {
            self.said_hello = true;
            return Ok(chunks::hello(&publisher.origin, &publisher.keys));
        }
        loop {
            let head = Arc::clone(&self.heads.borrow_and_update());
            if self.cursor < head.size {
                let chunk = self.chunk(head.size).await?;
                self.cursor = chunk.end;
                return Ok(chunk.message);
            }
            if head.note != self.sent.note {
                let message = chunks::checkpoint(head.note.clone(), head.trace_parent.as_deref());
                self.sent = head;
                return Ok(message);
            }
            tokio::select! {
                () = self.service.shutdown.requested() => {
                    return Err(stopping());
                }
                changed = self.heads.changed() => {
                    changed.map_err(|_| Status::unavailable("the log is closed"))?;
                }
                () = tokio::time::sleep(self.service.limits.bookmark_every) => {
                    return Ok(chunks::bookmark(self.cursor));
                }
            }
        }
    }

    /// Entries from the cursor on, not past `size`.
    async fn chunk(&self, size: u64) -> Result<Chunk, Status> {
        let publisher = &self.service.publisher;
        let first = self.cursor;
        if let Some(chunk) = publisher.recent.at(first, size) {
            return Ok(chunk);
        }
        let reader = publisher.reader();
        let left = usize::try_from(size - first).unwrap_or(usize::MAX);
        let count = left.min(READ_ENTRIES).min(MAX_MESSAGE_ENTRIES);
        let entries =
            blocking(move || reader.read_entries(first, count, entry_bytes_limit(READ_ENTRIES)));
        let entries = entries.await.map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the log cannot be read"
            );
            Status::internal("the log cannot be read")
        })?;
        Ok(Chunk::of_beginning(first, &entries))
    }
}

fn stopping() -> Status {
    Status::unavailable("the server is stopping")
}

impl NamedService for CatalogService {
    const NAME: &'static str = catalog_server::SERVICE_NAME;
}

impl<B> Service<http::Request<B>> for CatalogService
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != "/landfall.v1.Catalog/Watch" {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let mut grpc = Grpc::new(Encoded).max_decoding_message_size(MAX_REQUEST_BYTES);
            Ok(grpc.server_streaming(Watch(service), request).await)
        })
    }
}

struct Watch(CatalogService);

impl ServerStreamingService<CatalogWatchRequest> for Watch {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<CatalogWatchRequest>) -> Self::Future {
        let stream = self.0.stream(request.get_ref().from_size);
        Box::pin(async move { Ok(Response::new(stream?)) })
    }
}

/// Decodes requests, and passes on responses that are encoded already.
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = CatalogWatchRequest;
    type Encoder = Self;
    type Decoder = tonic_prost::ProstDecoder<CatalogWatchRequest>;

    fn encoder(&mut self) -> Self::Encoder {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        Self::Decoder::new(BufferSettings::default())
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use landfall_catalog::{Checkpoint, LogSigner, empty_root};
    use landfall_runtime::ManualClock;

    use super::*;
    use crate::disk::LogDisk;

    #[tokio::test]
    async fn a_stop_ends_a_stream_that_has_more_to_send() {
        let (_dir, publisher) = empty_log().await;
        let shutdown = Shutdown::new();
        let clock = Arc::new(ManualClock::new(1));
        let service = CatalogService::new(publisher, clock, shutdown.clone());
        let mut stream = service.stream(0).unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        shutdown.trigger();
        let stopped = stream.next().await.unwrap().unwrap_err();
        assert_eq!(stopped.code(), Code::Unavailable);
        assert!(stream.next().await.is_none());
    }

    /// A log whose checkpoint there is to send.
    async fn empty_log() -> (tempfile::TempDir, Publisher) {
        let signer = LogSigner::from_seeds("log.example", [1; 32], [2; 32]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let publisher = Publisher::new(LogDisk::open(dir.path(), signer.keys()).unwrap());
        let empty = Checkpoint {
            origin: "log.example".to_owned(),
            size: 0,
            root: empty_root(),
        };
        publisher
            .refresh(signer.sign(&empty, 1).unwrap())
            .await
            .unwrap();
        (dir, publisher)
    }

    #[tokio::test]
    async fn a_reader_that_takes_no_message_for_a_minute_is_closed() {
        let (_dir, publisher) = empty_log().await;
        let clock = Arc::new(ManualClock::new(1));
        let service = CatalogService::new(publisher, clock.clone(), Shutdown::new());

        let mut in_time = service.stream(0).unwrap();
        assert!(in_time.next().await.unwrap().is_ok());
        let mut late = service.stream(0).unwrap();
        assert!(late.next().await.unwrap().is_ok());
        clock.advance(Duration::from_secs(60));
        assert!(in_time.next().await.unwrap().is_ok());
        clock.advance(Duration::from_secs(1));
        let closed = late.next().await.unwrap().unwrap_err();
        assert_eq!(closed.code(), Code::ResourceExhausted);
        assert!(late.next().await.is_none());
    }
}
