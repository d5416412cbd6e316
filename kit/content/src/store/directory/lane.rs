//! Work beside the writing of a large object: hashing all of it, and pushing
//! it to the disk while more arrives, each on a thread of its own, so that
//! neither waits for the other. The threads end with the writer that owns them.

use std::fs::File;
use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use landfall_catalog::{Digest, Hasher};

/// Objects with less than this to come are hashed in passing.
const WORTH_A_THREAD: u64 = 1 << 20;
/// Chunks on their way to the hasher; each is at most a few hundred KiB.
const QUEUED_CHUNKS: usize = 32;
/// Bytes written between two pushes to the disk.
const FLUSH_EVERY: u64 = 32 << 20;

/// SHA-256 of everything sent, in order.
#[derive(Debug)]
pub(super) enum HashLane {
    Inline(Hasher),
    Thread(SyncSender<Bytes>, JoinHandle<Digest>),
}

impl HashLane {
    /// Goes on from `hasher` with about `to_come` bytes.
    pub(super) fn start(hasher: Hasher, to_come: u64) -> Self {
        if to_come < WORTH_A_THREAD {
            return Self::Inline(hasher);
        }
        let (sender, chunks) = mpsc::sync_channel::<Bytes>(QUEUED_CHUNKS);
        let mut threaded = hasher.clone();
        let spawned = thread::Builder::new()
            .name("content-hash".to_owned())
            .spawn(move || {
                for chunk in chunks {
                    threaded.update(&chunk);
                }
                threaded.finish()
            });
        match spawned {
            Ok(thread) => Self::Thread(sender, thread),
            // Out of threads: slower, not wrong.
            Err(_) => Self::Inline(hasher),
        }
    }

    pub(super) fn send(&mut self, chunk: Bytes) {
        match self {
            Self::Inline(hasher) => hasher.update(&chunk),
            // The receiver only goes away when its thread panicked, which
            // `finish` reports.
            Self::Thread(sender, _) => drop(sender.send(chunk)),
        }
    }

    /// The digest; none if the hashing thread died.
    pub(super) fn finish(self) -> Option<Digest> {
        match self {
            Self::Inline(hasher) => Some(hasher.finish()),
            Self::Thread(sender, thread) => {
                drop(sender);
                thread.join().ok()
            }
        }
    }
}

/// Starts writing back early, so that the final fsync finds little left.
#[derive(Debug)]
pub(super) struct Flusher {
    running: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
    unflushed: u64,
}

impl Flusher {
    pub(super) fn start(file: &File, to_come: u64) -> Self {
        let running = (to_come > 2 * FLUSH_EVERY)
            .then(|| {
                let file = file.try_clone().ok()?;
                let (sender, pushes) = mpsc::sync_channel::<()>(1);
                let thread = thread::Builder::new()
                    .name("content-flush".to_owned())
                    .spawn(move || pushes.into_iter().try_for_each(|()| file.sync_data()))
                    .ok()?;
                Some((sender, thread))
            })
            .flatten();
        Self {
            running,
            unflushed: 0,
        }
    }

    pub(super) fn wrote(&mut self, bytes: u64) {
        self.unflushed += bytes;
        if self.unflushed >= FLUSH_EVERY
            && let Some((sender, _)) = &self.running
        {
            self.unflushed = 0;
            // Full means that a push is pending already.
            let _ = sender.try_send(());
        }
    }

    /// Waits for the pushes; an error of one is an error of the file, because
    /// the kernel reports a lost write only once.
    pub(super) fn finish(self) -> io::Result<()> {
        let Some((sender, thread)) = self.running else {
            return Ok(());
        };
        drop(sender);
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the flushing thread died")))
    }
}
