//! One try with one source: bytes are received here and checked and written
//! elsewhere, a bounded queue between the two.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::StreamExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use super::{FaultKind, TransferLimits};
use crate::source::{Opened, ServedBy, Source, SourceError};
use crate::store::{PartialWriter, StoreError, Writer};

/// Bytes that are handed over together.
const BATCH: usize = 512 << 10;
/// Batches on their way to the disk.
const QUEUED_BATCHES: usize = 4;
/// How long bytes wait for more to be handed over with.
const LINGER: Duration = Duration::from_millis(50);

/// What became of a try.
pub(super) struct Attempt {
    pub(super) writer: Writer,
    pub(super) served_by: Option<ServedBy>,
    /// Bytes received.
    pub(super) received: u64,
    pub(super) ended: Ended,
}

pub(super) enum Ended {
    /// Every byte is there; whether they are right, the commit tells.
    Complete,
    Fault(FaultKind, String),
}

pub(super) async fn run(
    writer: Writer,
    source: &dyn Source,
    limits: &TransferLimits,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<Attempt, StoreError> {
    let from = writer.position();
    let opened = match timeout(limits.open_timeout, source.open(from)).await {
        Ok(opened) => opened.and_then(|opened| check(opened, from, writer.size())),
        Err(_) => {
            return Ok(Attempt {
                writer,
                served_by: None,
                received: 0,
                ended: Ended::Fault(FaultKind::Stalled, "did not answer in time".to_owned()),
            });
        }
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            return Ok(Attempt {
                writer,
                served_by: error.served_by.clone(),
                received: 0,
                ended: fault(&error),
            });
        }
    };

    let served_by = Some(opened.served_by.clone());
    let size = writer.size();
    let (batches, queue) = mpsc::channel(QUEUED_BATCHES);
    let (position, there) = watch::channel(from);
    let mut receiver = Receiver {
        skip: from - opened.start,
        there: from,
        size,
        received: 0,
        watchdog: Watchdog::new(limits),
        batch: Vec::new(),
        batch_length: 0,
        batch_due: Instant::now(),
        batches,
    };
    let receiving = async move {
        let ended = receiver.receive(opened).await;
        let received = receiver.received;
        // Closes the queue: the writer finishes what it has.
        drop(receiver);
        (ended, received)
    };
    let (writer, written, ended, received) = match writer {
        Writer::Partial(writer) => {
            let writing = spawn_blocking(move || write_all(*writer, queue, &position));
            let ((ended, received), ()) = tokio::join!(receiving, tell(there, progress));
            let (writer, written) = writing.await.map_err(|_| StoreError::Cancelled)?;
            (Writer::Partial(Box::new(writer)), written, ended, received)
        }
        Writer::Stream(mut writer) => {
            let writing = writer.write_all(queue, position);
            let (written, (ended, received), ()) =
                tokio::join!(writing, receiving, tell(there, progress));
            (Writer::Stream(writer), written, ended, received)
        }
    };
    let ended = match written {
        Ok(()) => ended,
        Err(StoreError::WrongPiece { index, .. }) => Ended::Fault(
            FaultKind::WrongBytes { piece: Some(index) },
            format!("sent a wrong piece {index}"),
        ),
        Err(error) => {
            writer.give_up().await;
            return Err(error);
        }
    };
    Ok(Attempt {
        writer,
        served_by,
        received,
        ended,
    })
}

/// Tells of bytes when they are written, and not before: whoever drops the
/// transfer then finds them again.
async fn tell(mut there: watch::Receiver<u64>, progress: &(dyn Fn(u64) + Send + Sync)) {
    while there.changed().await.is_ok() {
        progress(*there.borrow_and_update());
    }
}

/// Writes what comes until the queue ends or something fails.
fn write_all(
    mut writer: PartialWriter,
    mut queue: mpsc::Receiver<Vec<Bytes>>,
    position: &watch::Sender<u64>,
) -> (PartialWriter, Result<(), StoreError>) {
    let mut written = Ok(());
    while written.is_ok()
        && let Some(batch) = queue.blocking_recv()
    {
        written = batch.into_iter().try_for_each(|chunk| writer.write(chunk));
        position.send_replace(writer.position());
    }
    writer.forget_pending();
    (writer, written)
}

fn check(opened: Opened, from: u64, size: u64) -> Result<Opened, SourceError> {
    let wrong = match opened.total {
        Some(total) if total != size => Some(format!("has {total} bytes instead of {size}")),
        _ if opened.start > from => Some("begins too late".to_owned()),
        _ => None,
    };
    match wrong {
        Some(detail) => Err(SourceError::broken(detail).from(&opened.served_by)),
        None => Ok(opened),
    }
}

fn fault(error: &SourceError) -> Ended {
    let detail = match &error.cause {
        Some(cause) => format!("{}: {}", error.detail, chain(cause.as_ref())),
        None => error.detail.clone(),
    };
    Ended::Fault(error.kind.into(), detail)
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(inner) => format!("{error}: {}", chain(inner)),
        None => error.to_string(),
    }
}

struct Receiver<'a> {
    /// Bytes to pass over, because the source began earlier.
    skip: u64,
    /// Bytes of the object that were received, by anybody.
    there: u64,
    size: u64,
    received: u64,
    watchdog: Watchdog<'a>,
    batch: Vec<Bytes>,
    batch_length: usize,
    /// When the batch is handed over, if nothing more comes.
    batch_due: Instant,
    batches: mpsc::Sender<Vec<Bytes>>,
}

impl Receiver<'_> {
    async fn receive(&mut self, mut opened: Opened) -> Ended {
        let ended = loop {
            if self.there == self.size {
                // More than that is not asked for.
                break Ended::Complete;
            }
            match timeout_at(self.patience(), opened.stream.next()).await {
                Ok(Some(Ok(chunk))) => {
                    self.received += chunk.len() as u64;
                    self.watchdog.received(chunk.len() as u64);
                    if self.take(chunk).await.is_err() {
                        // The writer ended first and says why.
                        return Ended::Complete;
                    }
                }
                Ok(Some(Err(error))) => break fault(&error),
                Ok(None) => {
                    let detail = format!("ended after {} of {} bytes", self.there, self.size);
                    break Ended::Fault(FaultKind::Truncated, detail);
                }
                Err(_) => {
                    if self.send().await.is_err() {
                        return Ended::Complete;
                    }
                }
            }
            if self.watchdog.is_stalled() {
                break Ended::Fault(FaultKind::Stalled, "became too slow".to_owned());
            }
        };
        // What arrived is of use, whatever came after it.
        let _ = self.send().await;
        ended
    }

    /// Until when the next bytes are waited for.
    fn patience(&self) -> Instant {
        if self.batch.is_empty() {
            self.watchdog.deadline
        } else {
            self.watchdog.deadline.min(self.batch_due)
        }
    }

    async fn take(&mut self, mut chunk: Bytes) -> Result<(), ()> {
        let passed_over = self.skip.min(chunk.len() as u64);
        self.skip -= passed_over;
        chunk = chunk.split_off(usize::try_from(passed_over).unwrap_or(usize::MAX));
        let wanted = self.size - self.there;
        chunk.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        if chunk.is_empty() {
            return Ok(());
        }
        if self.batch.is_empty() {
            self.batch_due = Instant::now() + LINGER;
        }
        self.there += chunk.len() as u64;
        self.batch_length += chunk.len();
        self.batch.push(chunk);
        if self.batch_length >= BATCH {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), ()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batch_length = 0;
        let batch = std::mem::take(&mut self.batch);
        match self.batches.try_send(batch) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(()),
            Err(mpsc::error::TrySendError::Full(batch)) => {
                let before = Instant::now();
                let sent = self.batches.send(batch).await;
                self.watchdog.pardon(before.elapsed());
                sent.map_err(|_| ())
            }
        }
    }
}

impl Drop for Receiver<'_> {
    /// A transfer that is dropped keeps what arrived.
    fn drop(&mut self) {
        if !self.batch.is_empty() {
            let _ = self.batches.try_send(std::mem::take(&mut self.batch));
        }
    }
}

/// Sees to it that a source delivers a minimum in every window of time.
struct Watchdog<'a> {
    limits: &'a TransferLimits,
    deadline: Instant,
    in_window: u64,
}

impl<'a> Watchdog<'a> {
    fn new(limits: &'a TransferLimits) -> Self {
        Self {
            limits,
            deadline: Instant::now() + limits.throughput_window,
            in_window: 0,
        }
    }

    fn received(&mut self, bytes: u64) {
        self.in_window += bytes;
    }

    /// Time in which the source could not deliver does not count.
    fn pardon(&mut self, waited: Duration) {
        self.deadline += waited;
    }

    /// At the end of a window: whether too little came in it.
    fn is_stalled(&mut self) -> bool {
        if Instant::now() < self.deadline {
            return false;
        }
        let window = u64::try_from(self.limits.throughput_window.as_millis()).unwrap_or(u64::MAX);
        let least = self.limits.min_throughput.saturating_mul(window) / 1000;
        let stalled = self.in_window < least;
        self.in_window = 0;
        self.deadline = Instant::now() + self.limits.throughput_window;
        stalled
    }
}
