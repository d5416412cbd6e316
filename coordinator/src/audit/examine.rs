//! Reading something whole and comparing it with what the catalog says, in
//! bounded memory; the hashing is off the async threads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use landfall_catalog::{Digest, Hasher};
use landfall_content::{PieceHasher, PieceList, Source, SourceError, SourceErrorKind};
use landfall_proto::status::chain;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::run::Auditor;

/// Bytes hashed at once.
const BATCH: usize = 1 << 20;
/// How often something is read that breaks off.
const ATTEMPTS: u32 = 3;
/// Pause before it is read again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the next bytes may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What lies where something is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// What is expected; with its piece list, if that was asked for.
    Right(Option<PieceList>),
    Missing,
    WrongSize {
        /// At least so many bytes, if there are more than expected.
        found: u64,
    },
    WrongBytes {
        found: Digest,
    },
    /// It cannot be told.
    Unreadable(String),
}

/// What is expected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// Whether the piece list is to be made on the way.
    pub(super) pieces: bool,
}

struct Hashing {
    whole: Hasher,
    pieces: Option<PieceHasher>,
}

impl Hashing {
    fn update(&mut self, batch: &[Bytes]) {
        for chunk in batch {
            self.whole.update(chunk);
            if let Some(pieces) = &mut self.pieces {
                pieces.update(chunk);
            }
        }
    }
}

impl Auditor<'_> {
    /// Reads `source` whole, within the budget.
    pub(super) async fn examine(&self, source: Arc<dyn Source>, expected: Expected) -> Seen {
        let mut counted = 0;
        let mut attempt = 1;
        let seen = loop {
            match self.read(source.as_ref(), expected, &mut counted).await {
                Ok(seen) => break seen,
                Err(error) => match error.kind {
                    SourceErrorKind::NotFound => break Seen::Missing,
                    SourceErrorKind::Transient { retry_after } if attempt < ATTEMPTS => {
                        attempt += 1;
                        tokio::time::sleep(retry_after.unwrap_or(PAUSE).min(PATIENCE)).await;
                    }
                    SourceErrorKind::Transient { .. }
                    | SourceErrorKind::Refused
                    | SourceErrorKind::Broken => break Seen::Unreadable(chain(&error)),
                },
            }
        };
        // What was not read is done with, too.
        self.count_bytes(expected.size.saturating_sub(counted));
        seen
    }

    async fn read(
        &self,
        source: &dyn Source,
        expected: Expected,
        counted: &mut u64,
    ) -> Result<Seen, SourceError> {
        let late = |_| SourceError::transient("did not answer in time");
        let opened = timeout(PATIENCE, source.open(0)).await.map_err(late)??;
        if let Some(found) = opened.total.filter(|total| *total != expected.size) {
            return Ok(Seen::WrongSize { found });
        }
        let mut stream = opened.stream;
        let mut hashing = Hashing {
            whole: Hasher::new(),
            pieces: expected.pieces.then(PieceHasher::default),
        };
        let (mut read, mut batch, mut batched) = (0_u64, Vec::new(), 0);
        loop {
            let chunk = timeout(PATIENCE, stream.next()).await.map_err(late)?;
            let chunk = chunk.transpose()?;
            let ended = chunk.is_none();
            if let Some(chunk) = chunk {
                let length = chunk.len() as u64;
                read += length;
                if read > expected.size {
                    return Ok(Seen::WrongSize { found: read });
                }
                // What is read a second time is work, and no progress.
                self.count_bytes(read.saturating_sub(*counted));
                *counted = read.max(*counted);
                self.budget.spend(length).await;
                batched += chunk.len();
                batch.push(chunk);
            }
            if batched >= BATCH || ended {
                batched = 0;
                let taken = std::mem::take(&mut batch);
                hashing = spawn_blocking(move || {
                    hashing.update(&taken);
                    hashing
                })
                .await
                .map_err(|_| SourceError::transient("stopping"))?;
            }
            if ended {
                break;
            }
        }
        if read < expected.size {
            return Ok(Seen::WrongSize { found: read });
        }
        let found = hashing.whole.finish();
        if found == expected.digest {
            Ok(Seen::Right(hashing.pieces.map(PieceHasher::finish)))
        } else {
            Ok(Seen::WrongBytes { found })
        }
    }
}
