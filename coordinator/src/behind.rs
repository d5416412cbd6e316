//! Whether somebody holds more of this log than this coordinator, under its own
//! signature.
//!
//! A coordinator that was put back from an old copy does not know what it signed
//! after that. Its readers do: each says which checkpoint it holds, and a
//! checkpoint counts for what this coordinator's own keys have signed, so nobody
//! else can claim anything. Once there is such a checkpoint nothing is committed
//! or signed any more: another history under the same sizes would be refused by
//! everybody who has seen the first. What is published goes on being served.
//!
//! A start waits a moment for the mirrors that it knows before it commits, so that
//! they can say so in time. What nobody says who still holds it cannot be known.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use landfall_catalog::{LogPosition, PinnedKeys, SignedCheckpoint};
use landfall_proto::status::chain;
use landfall_runtime::ops::Condition;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::fleet::{LineageError, OwnLog};

/// Proof that this coordinator signed what it does not know of any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Who presented it.
    pub reader: String,
    /// Entries that were signed.
    pub size: u64,
    /// Entries that this coordinator has.
    pub own: u64,
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reader, size, own } = self;
        if size > own {
            write!(f, "{reader} holds {size} entries of it and this one {own}")
        } else {
            write!(f, "{reader} holds other entries of it, {size} of them")
        }?;
        f.write_str(
            ": this coordinator is an old copy. It serves, and commits nothing more. Stop it, and \
             put its newest data_dir back, whole",
        )
    }
}

/// What was signed, as far as readers say; cheap to clone.
#[derive(Clone)]
pub(crate) struct Signature {
    inner: Arc<Inner>,
}

struct Inner {
    keys: PinnedKeys,
    own: OwnLog,
    ahead: Mutex<Option<Ahead>>,
    condition: OnceLock<Condition>,
    /// Mirrors that are waited for, until then.
    absent: watch::Sender<BTreeSet<String>>,
    until: Mutex<Option<Instant>>,
}

impl Signature {
    pub(crate) fn new(keys: PinnedKeys, own: OwnLog) -> Self {
        Self {
            inner: Arc::new(Inner {
                keys,
                own,
                ahead: Mutex::default(),
                condition: OnceLock::new(),
                absent: watch::Sender::default(),
                until: Mutex::default(),
            }),
        }
    }

    /// The log whose signature it is.
    pub(crate) fn own(&self) -> &OwnLog {
        &self.inner.own
    }

    /// Is told whether everything that was signed is known.
    pub(crate) fn tell(&self, condition: Condition) {
        condition.set(self.ahead().is_none());
        // There is one program and one condition.
        let _ = self.inner.condition.set(condition);
    }

    /// Mirrors that may know more are waited for, so long.
    pub(crate) fn expect(&self, mirrors: BTreeSet<String>, patience: Duration) {
        self.inner.absent.send_replace(mirrors);
        *lock(&self.inner.until) = Some(Instant::now() + patience);
    }

    /// Waits until all that are expected have said what they hold, or for as long
    /// as that may take.
    pub(crate) async fn everybody_heard(&self) {
        let Some(until) = *lock(&self.inner.until) else {
            return;
        };
        let mut absent = self.inner.absent.subscribe();
        let all = absent.wait_for(BTreeSet::is_empty);
        if tokio::time::timeout_at(until, all).await.is_err() {
            let absent = self.inner.absent.send_replace(BTreeSet::new());
            let absent: Vec<_> = absent.into_iter().collect();
            if !absent.is_empty() {
                tracing::warn!(
                    ?absent,
                    "mirrors did not come back; commits begin without knowing what log they hold"
                );
            }
        }
    }

    /// Takes the checkpoint that a reader holds, as a signed note; empty: none.
    pub(crate) async fn hear(&self, reader: &str, note: &[u8]) {
        if !note.is_empty() {
            match self.inner.keys.verify(note) {
                Ok(signed) => self.judge(reader, &signed).await,
                // Anybody may hold, or make up, another log.
                Err(error) => {
                    tracing::debug!(reader, error = %chain(&error), "a reader's checkpoint is not ours");
                }
            }
        }
        self.inner
            .absent
            .send_if_modified(|absent| absent.remove(reader));
    }

    async fn judge(&self, reader: &str, signed: &SignedCheckpoint) {
        let checkpoint = &signed.checkpoint;
        let position = LogPosition {
            origin: checkpoint.origin.clone(),
            size: checkpoint.size,
            root: checkpoint.root,
        };
        let ahead = match self.inner.own.judge(&position).await {
            Ok(()) => return,
            Err(LineageError::Longer { found, own }) => Ahead {
                reader: reader.to_owned(),
                size: found,
                own,
            },
            Err(LineageError::OtherRoot { size, .. }) => Ahead {
                reader: reader.to_owned(),
                size,
                own: size,
            },
            Err(error) => {
                tracing::error!(reader, error = %chain(&error), "what a reader holds cannot be compared with the log");
                return;
            }
        };
        let mut held = lock(&self.inner.ahead);
        if held.is_some() {
            return;
        }
        tracing::error!(
            reader,
            signed = ahead.size,
            root = %checkpoint.root,
            signed_at = signed.time,
            own = ahead.own,
            "behind its own signature: {ahead}"
        );
        *held = Some(ahead);
        drop(held);
        if let Some(condition) = self.inner.condition.get() {
            condition.set(false);
        }
    }

    /// The proof that something was signed that is not known here.
    pub(crate) fn ahead(&self) -> Option<Ahead> {
        lock(&self.inner.ahead).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // One assignment at a time: it is whole whatever panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
