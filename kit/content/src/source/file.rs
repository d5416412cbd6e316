//! A file on this machine.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::task::spawn_blocking;

use super::{Opened, ServedBy, Source, SourceError, SourceErrorKind};

/// Bytes read at once.
const CHUNK: u64 = 1 << 20;

/// One regular file.
#[derive(Clone, Debug)]
pub struct FileSource {
    path: PathBuf,
    name: String,
}

impl FileSource {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            name: format!("file://{}", path.display()),
        }
    }

    pub(super) fn error(error: io::Error) -> SourceError {
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "the kinds are not all named yet"
        )]
        let kind = match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => SourceErrorKind::NotFound,
            ErrorKind::PermissionDenied | ErrorKind::IsADirectory => SourceErrorKind::Refused,
            _ => SourceErrorKind::Transient { retry_after: None },
        };
        SourceError::new(kind, "cannot read the file").caused_by(error)
    }
}

impl Source for FileSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, SourceError>> {
        let path = self.path.clone();
        Box::pin(async move {
            let opened = spawn_blocking(move || {
                let mut file = File::open(&path)?;
                let metadata = file.metadata()?;
                if !metadata.is_file() {
                    return Err(ErrorKind::IsADirectory.into());
                }
                file.seek(SeekFrom::Start(from))?;
                Ok((file, metadata.len()))
            });
            let (file, total) = opened
                .await
                .map_err(|_| SourceError::transient("stopping"))?
                .map_err(Self::error)?;
            Ok(Opened {
                start: from,
                total: Some(total),
                served_by: ServedBy {
                    location: self.name.clone(),
                    mirror: None,
                },
                stream: chunks(file),
            })
        })
    }
}

fn chunks(file: File) -> BoxStream<'static, Result<Bytes, SourceError>> {
    stream::try_unfold(file, |mut file| async move {
        let read = spawn_blocking(move || {
            let mut chunk = Vec::with_capacity(usize::try_from(CHUNK).unwrap_or(0));
            (&mut file).take(CHUNK).read_to_end(&mut chunk)?;
            Ok((chunk, file))
        });
        let (chunk, file) = read
            .await
            .map_err(|_| SourceError::transient("stopping"))?
            .map_err(FileSource::error)?;
        Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), file)))
    })
    .boxed()
}
