//! Content on its way out, read in chunks on blocking threads. One chunk is in
//! memory for each client; a slow one holds no thread.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use landfall_catalog::Digest;
use tokio::task::spawn_blocking;

use super::{Access, RouteKind};
use crate::store::{DirectoryStore, StoreError};

/// Bytes read at once.
const CHUNK: u64 = 256 << 10;

/// Part of an object, the first chunk read already.
pub(super) struct Content {
    file: File,
    first: Bytes,
    left: u64,
}

/// Opens `length` bytes of an object from byte `from` on.
pub(super) async fn open(
    store: &DirectoryStore,
    digest: &Digest,
    size: u64,
    from: u64,
    length: u64,
) -> Result<Content, StoreError> {
    let digest = *digest;
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
            Ok(Content {
                file,
                left: length - first.len() as u64,
                first,
            })
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
        Body::from_stream(stream::try_unfold(
            (Some(self), counter),
            |(content, mut counter)| async move {
                let Some(Content {
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
                    Ok::<_, io::Error>(Content {
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
