use std::fmt;
use std::time::Duration;

use landfall_catalog::Digest;

use crate::source::{ServedBy, SourceErrorKind};
use crate::store::StoreError;

/// How a source failed a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It does not have the object.
    NotFound,
    /// It does not give it to us.
    Refused,
    /// It could not just then.
    Transient {
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// It does not keep to the protocol, or has an object of another length.
    Broken,
    /// It ended too early.
    Truncated,
    /// It was too slow to begin or to go on.
    Stalled,
    /// It sent bytes that are not the object's.
    WrongBytes {
        /// The piece, counted from 0; none if only the whole is known wrong.
        piece: Option<u64>,
    },
}

impl From<SourceErrorKind> for FaultKind {
    fn from(kind: SourceErrorKind) -> Self {
        match kind {
            SourceErrorKind::NotFound => Self::NotFound,
            SourceErrorKind::Refused => Self::Refused,
            SourceErrorKind::Transient { retry_after } => Self::Transient { retry_after },
            SourceErrorKind::Broken => Self::Broken,
        }
    }
}

/// One failure of one source.
#[derive(Clone, Debug)]
pub struct SourceFault {
    /// Number of the source in the list that was given.
    pub source: usize,
    /// Its name.
    pub name: String,
    /// Who served its bytes, after redirects, if it came that far.
    pub served_by: Option<ServedBy>,
    /// How it failed.
    pub kind: FaultKind,
    /// Position from which it was asked.
    pub at: u64,
    /// What happened.
    pub detail: String,
}

impl fmt::Display for SourceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.served_by {
            Some(by) if by.location != self.name => write!(f, "{by}")?,
            _ => f.write_str(&self.name)?,
        }
        write!(f, " {}", self.detail)
    }
}

/// Why an object could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The store failed; the sources had no part in it.
    #[error("the store could not take the object")]
    Store(#[from] StoreError),
    /// No source delivered. What arrived is kept for the next transfer.
    #[error("no source delivered {digest}{}", listed(faults))]
    Sources {
        /// The object.
        digest: Digest,
        /// What each source did wrong, in order.
        faults: Vec<SourceFault>,
    },
}

impl TransferError {
    /// What the sources did wrong.
    #[must_use]
    pub fn faults(&self) -> &[SourceFault] {
        match self {
            Self::Store(_) => &[],
            Self::Sources { faults, .. } => faults,
        }
    }

    /// The shortest wait that a source asked for.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.faults()
            .iter()
            .filter_map(|fault| match fault.kind {
                FaultKind::Transient { retry_after } => retry_after,
                FaultKind::NotFound
                | FaultKind::Refused
                | FaultKind::Broken
                | FaultKind::Truncated
                | FaultKind::Stalled
                | FaultKind::WrongBytes { .. } => None,
            })
            .min()
    }

    /// True if every source was asked and none has the object.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        let faults = self.faults();
        !faults.is_empty() && faults.iter().all(|fault| fault.kind == FaultKind::NotFound)
    }
}

fn listed(faults: &[SourceFault]) -> String {
    faults.iter().map(|fault| format!("; {fault}")).collect()
}
