//! Reads that end: whatever comes from outside has a limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, TryStreamExt as _};
use tokio::time::{Instant, timeout_at};

use crate::tasks::BoxError;

/// Longer than anybody waits.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

/// Why a bounded read gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is more than the limit. What was read is thrown away.
    #[error("more than the {limit_bytes} bytes that are read here")]
    TooLarge {
        /// The limit that was exceeded, in bytes.
        limit_bytes: usize,
    },
    /// The stream broke off.
    #[error("stream broke off after {read_bytes} bytes")]
    Broken {
        /// How much had come until then.
        read_bytes: usize,
        /// What the stream said.
        #[source]
        source: BoxError,
    },
    /// It came too slowly. Worth another try.
    #[error("too slow: {read_bytes} bytes came in time")]
    TooSlow {
        /// How much had come until then.
        read_bytes: usize,
    },
    /// The file cannot be opened or read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl ReadError {
    /// Whether there was more than the limit.
    pub const fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge { .. })
    }
}

/// How fast an answer has to arrive. A connection's own timeout looks at single
/// reads only, and a byte every few seconds satisfies it for days.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// How long the whole answer may take.
    pub within: Duration,
    /// Bytes a second that have to come …
    pub bytes_per_second: u64,
    /// … in every such time.
    pub window: Duration,
}

impl Default for Arrival {
    /// Within a minute, and 4 KiB/s in every 20 s.
    fn default() -> Self {
        Self {
            within: Duration::from_secs(60),
            bytes_per_second: 4 << 10,
            window: Duration::from_secs(20),
        }
    }
}

impl Arrival {
    fn least(&self) -> usize {
        let window = u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX);
        let least = self.bytes_per_second.saturating_mul(window) / 1000;
        usize::try_from(least).unwrap_or(usize::MAX)
    }
}

/// Collects a stream of byte chunks of together at most `limit` bytes.
///
/// # Errors
/// [`ReadError::TooLarge`] as soon as a chunk goes past the limit,
/// [`ReadError::Broken`] when the stream fails.
pub async fn read_to_limit<S, E>(stream: S, limit: usize) -> Result<Bytes, ReadError>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<BoxError>,
{
    let patient = Arrival {
        within: FOREVER,
        bytes_per_second: 0,
        window: FOREVER,
    };
    read_in_time(stream, limit, &patient).await
}

/// As [`read_to_limit`], of a stream that has to arrive like that.
///
/// # Errors
/// As [`read_to_limit`]; [`ReadError::TooSlow`].
pub async fn read_in_time<S, E>(
    stream: S,
    limit: usize,
    arrival: &Arrival,
) -> Result<Bytes, ReadError>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<BoxError>,
{
    let mut stream = std::pin::pin!(stream);
    let mut body = BytesMut::new();
    let began = Instant::now();
    let end = began + arrival.within;
    let mut window_end = began + arrival.window;
    let mut before_window = 0;
    loop {
        let Ok(next) = timeout_at(end.min(window_end), stream.try_next()).await else {
            let in_window = body.len() - before_window;
            if Instant::now() >= end || in_window < arrival.least() {
                return Err(ReadError::TooSlow {
                    read_bytes: body.len(),
                });
            }
            before_window = body.len();
            window_end += arrival.window;
            continue;
        };
        let chunk = match next {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(body.freeze()),
            Err(error) => {
                return Err(ReadError::Broken {
                    read_bytes: body.len(),
                    source: error.into(),
                });
            }
        };
        if chunk.len() > limit - body.len() {
            return Err(ReadError::TooLarge { limit_bytes: limit });
        }
        body.extend_from_slice(&chunk);
    }
}

/// Collects the body of an HTTP response of at most `limit` bytes, which has to
/// arrive like that. A declared length past the limit is refused before
/// anything is read.
///
/// # Errors
/// As [`read_in_time`].
pub async fn read_response(
    response: reqwest::Response,
    limit: usize,
    arrival: &Arrival,
) -> Result<Bytes, ReadError> {
    let declared = response.content_length().unwrap_or(0);
    if declared > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(ReadError::TooLarge { limit_bytes: limit });
    }
    read_in_time(response.bytes_stream(), limit, arrival).await
}

/// Reads a whole file of at most `limit` bytes. Blocks: for start-up, or for
/// a blocking thread.
///
/// # Errors
/// [`ReadError::File`] when it cannot be read, [`ReadError::TooLarge`] when
/// it is longer, whatever its metadata says.
pub fn read_file(path: &Path, limit: usize) -> Result<Bytes, ReadError> {
    let file_error = |source| ReadError::File {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(file_error)?;
    let one_past_limit = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut content = Vec::new();
    file.take(one_past_limit)
        .read_to_end(&mut content)
        .map_err(file_error)?;
    if content.len() > limit {
        return Err(ReadError::TooLarge { limit_bytes: limit });
    }
    Ok(Bytes::from(content))
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn chunks(parts: &[&'static str]) -> impl Stream<Item = Result<Bytes, io::Error>> {
        stream::iter(parts.to_vec()).map_ok(|part| Bytes::from_static(part.as_bytes()))
    }

    trait MapOk: Stream<Item = &'static str> + Sized {
        fn map_ok<T>(self, f: fn(&'static str) -> T) -> impl Stream<Item = Result<T, io::Error>> {
            futures::StreamExt::map(self, move |part| Ok(f(part)))
        }
    }
    impl<S: Stream<Item = &'static str>> MapOk for S {}

    #[tokio::test]
    async fn a_stream_is_read_up_to_the_limit_and_not_a_byte_further() {
        for (parts, limit, expected) in [
            (&["abc", "de"][..], 5, Some("abcde")),
            (&["abc", "de"][..], 4, None),
            (&["abc"][..], 0, None),
            (&[][..], 0, Some("")),
            (&["", ""][..], 0, Some("")),
        ] {
            let read = read_to_limit(chunks(parts), limit).await;
            match expected {
                Some(text) => assert_eq!(read.unwrap(), text),
                None => assert!(read.unwrap_err().is_too_large()),
            }
        }
    }

    #[tokio::test]
    async fn a_broken_stream_says_how_far_it_came() {
        let broken = futures::StreamExt::chain(
            chunks(&["abc"]),
            stream::iter([Err(io::Error::other("reset"))]),
        );
        let error = read_to_limit(broken, 100).await.unwrap_err();
        assert_eq!(error.to_string(), "stream broke off after 3 bytes");
        assert!(!error.is_too_large());
    }

    /// One byte at a time, so many milliseconds apart, without end.
    fn drip(apart_ms: u64) -> impl Stream<Item = Result<Bytes, io::Error>> {
        stream::unfold((), move |()| async move {
            tokio::time::sleep(Duration::from_millis(apart_ms)).await;
            Some((Ok(Bytes::from_static(b"x")), ()))
        })
    }

    #[tokio::test]
    async fn an_answer_that_drips_is_given_up_after_one_window() {
        let arrival = Arrival {
            within: Duration::from_secs(600),
            bytes_per_second: 1_000,
            window: Duration::from_millis(300),
        };
        let error = read_in_time(drip(50), 16_000, &arrival).await.unwrap_err();
        let ReadError::TooSlow { read_bytes } = error else {
            panic!("{error}");
        };
        assert!(read_bytes < 10, "{read_bytes}");
    }

    #[tokio::test]
    async fn an_answer_that_is_never_whole_is_given_up_however_fast_it_comes() {
        let arrival = Arrival {
            within: Duration::from_millis(300),
            bytes_per_second: 1,
            window: Duration::from_millis(100),
        };
        let error = read_in_time(drip(1), 1 << 20, &arrival).await.unwrap_err();
        assert!(matches!(error, ReadError::TooSlow { .. }), "{error}");
        let arrival = Arrival::default();
        let quick = read_in_time(futures::StreamExt::take(drip(1), 30), 1 << 20, &arrival);
        assert_eq!(quick.await.unwrap().len(), 30);
    }

    #[test]
    fn a_file_is_read_up_to_the_limit_and_not_a_byte_further() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_file(&path, 5).unwrap(), "12345");
        assert!(read_file(&path, 4).unwrap_err().is_too_large());
        let missing = folder.path().join("missing");
        assert!(!read_file(&missing, 4).unwrap_err().is_too_large());
    }
}
