//! Reads that end: whatever comes from outside has a limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use futures::{Stream, TryStreamExt as _};

use crate::tasks::BoxError;

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
    let mut stream = std::pin::pin!(stream);
    let mut body = BytesMut::new();
    loop {
        let chunk = match stream.try_next().await {
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

/// Collects the body of an HTTP response of at most `limit` bytes. A declared
/// length past the limit is refused before anything is read.
///
/// # Errors
/// As [`read_to_limit`].
pub async fn read_response(response: reqwest::Response, limit: usize) -> Result<Bytes, ReadError> {
    let declared = response.content_length().unwrap_or(0);
    if declared > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(ReadError::TooLarge { limit_bytes: limit });
    }
    read_to_limit(response.bytes_stream(), limit).await
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
