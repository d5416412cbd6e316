//! Content on its way out: of a folder read in chunks on blocking threads, from
//! elsewhere as it comes. One chunk is in memory for each client; a slow one
//! holds no thread.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use landfall_catalog::Digest;
use tokio::task::spawn_blocking;

use super::{Access, RouteKind};
use crate::source::{SourceError, SourceErrorKind};
use crate::store::{DirectoryStore, Item, Store, StoreError};

/// Bytes read at once.
const CHUNK: u64 = 256 << 10;

/// Part of an object that is there.
pub(super) enum Content {
    File(FileContent),
    Stream(StreamContent),
}

/// The first chunk read already.
pub(super) struct FileContent {
    file: File,
    first: Bytes,
    left: u64,
}

pub(super) struct StreamContent {
    stream: BoxStream<'static, Result<Bytes, SourceError>>,
    /// Bytes to pass over, because the other side began earlier.
    skip: u64,
    left: u64,
}

/// Opens `length` bytes of an object from byte `from` on.
pub(super) async fn open(
    store: &Store,
    item: &Item,
    from: u64,
    length: u64,
) -> Result<Content, StoreError> {
    if let Store::Directory(store) = store {
        return open_file(store, item, from, length).await;
    }
    let opened = store.source(item)?.open(from).await.map_err(|error| {
        if error.kind == SourceErrorKind::NotFound {
            StoreError::NotFound(item.digest)
        } else {
            StoreError::from_registry("open", &item.digest.to_string(), error)
        }
    })?;
    let found = opened.total.unwrap_or(item.size);
    if found != item.size || opened.start > from {
        return Err(StoreError::Incomplete {
            digest: item.digest,
            written: found,
            size: item.size,
        });
    }
    Ok(Content::Stream(StreamContent {
        skip: from - opened.start,
        stream: opened.stream,
        left: length,
    }))
}

async fn open_file(
    store: &DirectoryStore,
    item: &Item,
    from: u64,
    length: u64,
) -> Result<Content, StoreError> {
    let Item { digest, size, .. } = *item;
    store
        .run(move |store| {
            let (mut file, found) = store.open_blob(&digest)?;
            if found != size {
                return Err(StoreError::Incomplete {
                    digest,
                    written: found,
                    size,
                });
            }
            let first = file
                .seek(SeekFrom::Start(from))
                .and_then(|_| read(&mut file, length))
                .map_err(StoreError::io("read", store.root()))?;
            Ok(Content::File(FileContent {
                file,
                left: length - first.len() as u64,
                first,
            }))
        })
        .await
}

/// The next chunk of what is left; never empty unless nothing is.
fn read(file: &mut File, left: u64) -> io::Result<Bytes> {
    let wanted = left.min(CHUNK);
    let mut chunk = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
    file.take(wanted).read_to_end(&mut chunk)?;
    if chunk.len() as u64 == wanted {
        Ok(chunk.into())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

impl Content {
    /// The content as a body. If it cannot be read to its end the connection
    /// breaks, so that nobody takes it for complete.
    pub(super) fn stream(self, counter: Counter) -> Body {
        match self {
            Self::File(content) => content.stream(counter),
            Self::Stream(content) => content.stream(counter),
        }
    }
}

impl StreamContent {
    fn stream(self, counter: Counter) -> Body {
        Body::from_stream(stream::try_unfold(
            (self, counter),
            |(mut content, mut counter)| async move {
                while content.left > 0 {
                    let Some(chunk) = content.stream.next().await else {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    };
                    let mut chunk = chunk.map_err(io::Error::other)?;
                    let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
                    let passed_over = content.skip.min(chunk.len() as u64);
                    content.skip -= passed_over;
                    chunk = chunk.split_off(length(passed_over));
                    chunk.truncate(length(content.left));
                    if !chunk.is_empty() {
                        content.left -= chunk.len() as u64;
                        counter.bytes += chunk.len() as u64;
                        return Ok(Some((chunk, (content, counter))));
                    }
                }
                Ok::<_, io::Error>(None)
            },
        ))
    }
}

impl FileContent {
    fn stream(self, counter: Counter) -> Body {
        Body::from_stream(stream::try_unfold(
            (Some(self), counter),
            |(content, mut counter)| async move {
                let Some(Self {
                    mut file,
                    first,
                    left,
                }) = content
                else {
                    return Ok::<_, io::Error>(None);
                };
                if first.is_empty() {
                    return Ok(None);
                }
                counter.bytes += first.len() as u64;
                if left == 0 {
                    return Ok(Some((first, (None, counter))));
                }
                let next = spawn_blocking(move || {
                    let next = read(&mut file, left)?;
                    Ok::<_, io::Error>(Self {
                        file,
                        left: left - next.len() as u64,
                        first: next,
                    })
                });
                let next = next.await.map_err(io::Error::other)??;
                Ok(Some((first, (Some(next), counter))))
            },
        ))
    }
}

/// Tells how much was handed over, when nothing more will be.
pub(super) struct Counter {
    access: Arc<dyn Access>,
    route: RouteKind,
    digest: Digest,
    bytes: u64,
}

impl Counter {
    pub(super) fn new(access: Arc<dyn Access>, route: RouteKind, digest: Digest) -> Self {
        Self {
            access,
            route,
            digest,
            bytes: 0,
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.access.sent(self.route, &self.digest, self.bytes);
    }
}
