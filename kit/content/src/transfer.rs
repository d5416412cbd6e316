//! Verified transfer: an object comes from whichever source delivers it, in
//! bounded memory, and appears in the store only when it is right.
//!
//! The store is asked how far an earlier attempt came; every source continues
//! from there. With a piece list each 4 MiB are checked before they are
//! written, and a source that sent a wrong one is dropped by name. Without one
//! the digest of the whole decides: if it fails, what was written is thrown
//! away, and if several had a part in it each further attempt is made from one
//! source alone, so that the innocent is not blamed.

mod attempt;
mod fault;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use landfall_catalog::Digest;

use crate::piece::{PieceList, piece_count};
use crate::source::{ServedBy, Source, SourceError, fetch_bytes};
use crate::store::{Destination, StoreError, Writer, WriterOptions};
use attempt::{Attempt, Ended};
pub use fault::{FaultKind, SourceFault, TransferError};

/// What shall be there in the end.
#[derive(Clone, Debug)]
pub struct Want {
    /// The object.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Its piece list from a trusted place, if known.
    pub pieces: Option<PieceList>,
    /// Without a list: make and store one, if the object is larger than one
    /// piece.
    pub make_pieces: bool,
}

/// When to give up on a source, and on all of them.
#[derive(Clone, Debug)]
pub struct TransferLimits {
    /// How long a source may take to begin.
    pub open_timeout: Duration,
    /// Bytes per second below which a source is given up …
    pub min_throughput: u64,
    /// … measured over this long. Waiting for the own disk does not count.
    pub throughput_window: Duration,
    /// How often sources are opened, in all.
    pub max_attempts: u32,
}

impl Default for TransferLimits {
    fn default() -> Self {
        Self {
            open_timeout: Duration::from_secs(30),
            min_throughput: 4 << 10,
            throughput_window: Duration::from_secs(20),
            max_attempts: 32,
        }
    }
}

/// How an object came.
#[derive(Debug)]
pub struct Fetched {
    /// Number of the source that sent the last byte; none if everything was
    /// there already.
    pub source: Option<usize>,
    /// Who served that source's bytes, after redirects.
    pub served_by: Option<ServedBy>,
    /// Bytes that an earlier transfer had left.
    pub resumed_from: u64,
    /// Bytes that were received now, wrong and repeated ones included.
    pub received: u64,
    /// The piece list, if it was known or made.
    pub pieces: Option<PieceList>,
    /// What went wrong on the way; wrong bytes among it should be reported.
    pub faults: Vec<SourceFault>,
}

/// Brings one object to `destination`, from the first of `sources` that
/// delivers. `progress` is told how many bytes of the object are written: with
/// a piece list, those of whole pieces that were right.
///
/// Dropping the future leaves nothing visible. A directory keeps what arrived,
/// and the next call goes on from it. If another transfer of the same object is
/// under way, this one waits for it.
///
/// # Errors
///
/// [`TransferError::Sources`] if no source delivers, with the fault of each;
/// [`TransferError::Store`] if the store fails.
pub async fn transfer(
    destination: impl Into<Destination>,
    want: &Want,
    sources: &[Arc<dyn Source>],
    limits: &TransferLimits,
    progress: impl Fn(u64) + Send + Sync,
) -> Result<Fetched, TransferError> {
    let mut transfer = Transfer {
        destination: destination.into(),
        want,
        limits,
        candidates: sources
            .iter()
            .map(|source| Candidate {
                source: Arc::clone(source),
                usable: true,
            })
            .collect(),
        contributors: Vec::new(),
        one_at_a_time: false,
        attempts: 0,
        resumed_from: None,
        received: 0,
        faults: Vec::new(),
    };
    transfer.run(&progress).await
}

/// Fetches the piece list whose digest is `list`, of an object of `size` bytes.
///
/// # Errors
///
/// As [`fetch_bytes`].
pub async fn fetch_pieces(
    source: &dyn Source,
    list: &Digest,
    size: u64,
    patience: Duration,
) -> Result<PieceList, SourceError> {
    let limit = piece_count(size).saturating_mul(32);
    let bytes = fetch_bytes(source, list, limit, patience).await?;
    PieceList::decode(&bytes, size).map_err(|error| {
        SourceError::broken("sent a piece list that does not fit").caused_by(error)
    })
}

struct Candidate {
    source: Arc<dyn Source>,
    usable: bool,
}

struct Transfer<'a> {
    destination: Destination,
    want: &'a Want,
    limits: &'a TransferLimits,
    candidates: Vec<Candidate>,
    /// Who sent what is in the partial file, as far as it is known.
    contributors: Vec<(usize, Option<ServedBy>)>,
    /// Bytes of several sources turned out wrong together: no more mixing.
    one_at_a_time: bool,
    attempts: u32,
    resumed_from: Option<u64>,
    received: u64,
    faults: Vec<SourceFault>,
}

impl Transfer<'_> {
    async fn run(
        &mut self,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Fetched, TransferError> {
        let mut current = 0;
        loop {
            let Some(mut writer) = self.writer().await? else {
                return Ok(self.fetched(None, None, None));
            };
            self.resumed_from.get_or_insert(writer.resumed_from());
            let mut last = None;
            while writer.position() < writer.size() {
                let Some(index) = self.next_usable(current) else {
                    writer.give_up().await;
                    return Err(self.exhausted());
                };
                if self.one_at_a_time && !self.contributors.is_empty() {
                    self.contributors.clear();
                    writer = writer.start_over().await?;
                }
                self.attempts += 1;
                let source = Arc::clone(&self.candidates[index].source);
                let from = writer.position();
                let Attempt {
                    writer: after,
                    served_by,
                    received,
                    ended,
                } = attempt::run(writer, source.as_ref(), self.limits, progress).await?;
                self.received += received;
                if after.position() > from {
                    self.contributors.push((index, served_by.clone()));
                }
                let advanced = after.position() > from;
                writer = after;
                match ended {
                    Ended::Complete => last = Some((index, served_by)),
                    Ended::Fault(kind, detail) => {
                        self.blame(index, served_by, kind, from, detail, advanced);
                        current = index + 1;
                    }
                }
            }
            let committed = writer.commit().await;
            let (source, served_by) = last.map_or((None, None), |(index, by)| (Some(index), by));
            match committed {
                Ok(pieces) => return Ok(self.fetched(source, served_by, pieces)),
                Err(StoreError::Mismatch { found, .. }) => self.judge_mismatch(&found),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A writer, or none if the object is there.
    async fn writer(&self) -> Result<Option<Writer>, StoreError> {
        let options = WriterOptions {
            pieces: self.want.pieces.clone(),
            make_pieces: self.want.make_pieces,
        };
        let (digest, size) = (self.want.digest, self.want.size);
        self.destination.writer(&digest, size, options).await
    }

    fn next_usable(&self, current: usize) -> Option<usize> {
        let count = self.candidates.len();
        if self.attempts >= self.limits.max_attempts {
            return None;
        }
        (current..current + count)
            .map(|index| index % count)
            .find(|index| self.candidates[*index].usable)
    }

    fn blame(
        &mut self,
        index: usize,
        served_by: Option<ServedBy>,
        kind: FaultKind,
        at: u64,
        detail: String,
        advanced: bool,
    ) {
        let candidate = &mut self.candidates[index];
        let fault = SourceFault {
            source: index,
            name: candidate.source.name().to_owned(),
            served_by,
            kind,
            at,
            detail,
        };
        let again = match kind {
            FaultKind::Truncated | FaultKind::Stalled => advanced,
            FaultKind::Transient { retry_after } => advanced && retry_after.is_none(),
            FaultKind::NotFound
            | FaultKind::Refused
            | FaultKind::Broken
            | FaultKind::WrongBytes { .. } => false,
        };
        candidate.usable = candidate.source.amend(&fault) || again;
        self.faults.push(fault);
    }

    /// All bytes are there and wrong; the store threw them away.
    fn judge_mismatch(&mut self, found: &Digest) {
        let mut contributors = std::mem::take(&mut self.contributors);
        contributors.dedup();
        let resumed = self.resumed_from.replace(0) != Some(0);
        match contributors.as_slice() {
            [(index, served_by)] if !resumed => {
                let kind = FaultKind::WrongBytes { piece: None };
                let detail = format!("sent bytes that hash to {found}");
                self.blame(*index, served_by.clone(), kind, 0, detail, false);
            }
            _ => self.one_at_a_time = true,
        }
    }

    fn fetched(
        &mut self,
        source: Option<usize>,
        served_by: Option<ServedBy>,
        pieces: Option<PieceList>,
    ) -> Fetched {
        Fetched {
            source,
            served_by,
            resumed_from: self.resumed_from.unwrap_or(self.want.size),
            received: self.received,
            pieces,
            faults: std::mem::take(&mut self.faults),
        }
    }

    fn exhausted(&mut self) -> TransferError {
        TransferError::Sources {
            digest: self.want.digest,
            faults: std::mem::take(&mut self.faults),
        }
    }
}
