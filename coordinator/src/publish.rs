//! The one committer: turns what an operation put in place into a revision of
//! the log, and signs the checkpoint.
//!
//! Order: content durable at the origin (before anybody comes here) -> database
//! (entries, signed checkpoint, outcomes: one transaction) -> the catalog in
//! memory -> tiles -> checkpoint -> stream. Whatever is killed when, the next
//! start publishes what the outbox holds; so a signed checkpoint is never taken
//! back and never contradicted.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use landfall_catalog::{
    Catalog, Checkpoint, Commit, Digest, Entry, FoldError, Frontier, LogSigner, Revision,
    SignError, SignedCheckpoint, leaf_hash,
};
use landfall_log::publish::{PendingRevision, Publisher};
use landfall_log::{LogDisk, LogError, LogReader, load_catalog};
use landfall_proto::WireError;
use landfall_proto::model::{decode_entry, encode_entry};
use landfall_proto::status::{Classify, Fault, chain};
use landfall_runtime::Shutdown;
use landfall_runtime::clock::Clock;
use rusqlite::Transaction;
use tokio::sync::{mpsc, oneshot};

use crate::behind::{Ahead, Signature};
use crate::catalog::SharedCatalog;
use crate::fleet::OwnLog;
use crate::promote::compose::Composed;
use crate::promote::hold::Holding;
use crate::state::log::{self as rows, Head};
use crate::state::operations::Decision;
use crate::state::{State, StateError, gates, held, history, operations};

#[cfg(test)]
mod tests;

/// Operations that may wait for the committer; each waits in its own task.
const WAITING_DRAFTS: usize = 16;
/// Log entries, and bytes of them, that are read at once.
const READ_ENTRIES: usize = 8192;
const READ_BYTES: usize = 8 << 20;

/// Why the log could not be opened or a revision not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The database failed.
    #[error("the log's state failed")]
    State(#[from] StateError),
    /// The log on disk failed.
    #[error("the log on disk failed")]
    Log(#[from] LogError),
    /// The checkpoint cannot be signed.
    #[error("the checkpoint cannot be signed")]
    Sign(#[from] SignError),
    /// The commit entry cannot be encoded.
    #[error("the commit cannot be recorded")]
    Entry(#[from] WireError),
    /// The revision contradicts the catalog. Nothing of it was kept.
    #[error("the revision contradicts the catalog")]
    Fold(#[from] FoldError),
    /// A revision was stored that the catalog then did not take. A defect.
    #[error("the stored revision contradicts the catalog")]
    Stored(#[source] FoldError),
    /// The database is of a log of another name.
    #[error("the database holds the log {held}, and the configuration names {configured}")]
    OtherLog {
        /// In the database.
        held: String,
        /// In the configuration.
        configured: String,
    },
    /// The log on disk has more entries than the database ever signed: the
    /// database is an old copy, and going on would fork the log.
    #[error(
        "the log has {disk} entries and the database knows of {database}: the database is an old copy"
    )]
    DatabaseBehind {
        /// Entries on disk.
        disk: u64,
        /// Entries in the database's checkpoint.
        database: u64,
    },
    /// Entries that the database signed are neither on disk nor in its outbox.
    #[error(
        "the log has {disk} entries, the database signed {database}, and its outbox does not hold the rest"
    )]
    EntriesLost {
        /// Entries on disk.
        disk: u64,
        /// Entries in the database's checkpoint.
        database: u64,
    },
    /// The fold and the database count differently.
    #[error(
        "the log folds to {folded} entries and {revisions} revisions; the database knows of {size} and {known}"
    )]
    Miscounted {
        /// Entries folded.
        folded: u64,
        /// Revisions folded.
        revisions: u64,
        /// Entries in the database's checkpoint.
        size: u64,
        /// Revisions in the database.
        known: u64,
    },
    /// Somebody holds more of the log, under its own signature.
    #[error("nothing can be committed: {0}")]
    Behind(Ahead),
    /// The program is stopping.
    #[error("the committer has stopped")]
    Stopped,
}

impl Classify for PublishError {
    fn fault(&self) -> Fault {
        match self {
            Self::State(error) => error.fault(),
            Self::Stopped => Fault::Unavailable,
            Self::Behind(_) => Fault::Conflict,
            Self::Log(_)
            | Self::Sign(_)
            | Self::Entry(_)
            | Self::Fold(_)
            | Self::Stored(_)
            | Self::OtherLog { .. }
            | Self::DatabaseBehind { .. }
            | Self::EntriesLost { .. }
            | Self::Miscounted { .. } => Fault::Bug,
        }
    }
}

impl PublishError {
    /// Whether memory, database and log may differ after it. What fails before
    /// anything was changed fails its operation alone.
    const fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Self::Fold(_) | Self::Entry(_) | Self::Sign(_) | Self::Behind(_)
        )
    }
}

/// Makes the entries of a revision of the catalog as it is when its turn comes.
pub(crate) type Compose = Box<dyn FnOnce(&Catalog) -> Composed + Send>;

/// Records what becomes of an operation, in the transaction of its revision.
type End = Box<dyn FnOnce(&Transaction<'_>, &[Decision]) -> rusqlite::Result<()> + Send>;

/// What an operation wants to be a revision.
pub(crate) struct Draft {
    pub(crate) compose: Compose,
    /// The operation's row; it ends with the revision.
    pub(crate) operation: OperationRow,
    /// Names that were already as asked.
    pub(crate) unchanged: u64,
    pub(crate) author: Author,
    pub(crate) after: After,
    /// What it means for names that were taken back, or are.
    pub(crate) holding: Holding,
}

/// What becomes of the operation with the revision, in the same transaction.
#[derive(Clone, Debug)]
pub(crate) enum After {
    /// It ends.
    Ends,
    /// It waits at its gate, for so many seconds until its time is over.
    Waits { timeout: u64 },
    /// It ends, and its gate with it.
    GateEnds {
        end: gates::End,
        /// Why it could not be carried on; empty if it was.
        error: String,
    },
}

impl After {
    fn record(
        &self,
        tx: &Transaction<'_>,
        operation: i64,
        now: u64,
        revision: u64,
        unchanged: u64,
    ) -> rusqlite::Result<()> {
        match self {
            Self::Ends => operations::finish(tx, operation, now, revision, unchanged, ""),
            Self::Waits { timeout } => {
                let deadline = now.saturating_add(*timeout);
                gates::announced(tx, operation, revision, deadline)
            }
            Self::GateEnds { end, error } => {
                gates::end(tx, operation, *end)?;
                operations::finish(tx, operation, now, revision, unchanged, error)
            }
        }
    }
}

/// The row of the operation that makes a revision.
#[derive(Debug)]
pub(crate) enum OperationRow {
    /// It is there.
    Started(i64),
    /// It begins and ends with the revision, in one transaction.
    New {
        start: operations::Start,
        /// Name and digest of each entry, by position.
        entries: Vec<(String, Digest)>,
        /// Whose names these are.
        projects: BTreeSet<String>,
    },
}

impl OperationRow {
    fn key(&self, tx: &Transaction<'_>) -> rusqlite::Result<i64> {
        match self {
            Self::Started(key) => Ok(*key),
            Self::New {
                start,
                entries,
                projects,
            } => {
                let key = operations::start(tx, start, entries)?;
                operations::set_projects(tx, key, projects)?;
                Ok(key)
            }
        }
    }
}

/// Who makes the revision, and why.
#[derive(Debug)]
pub(crate) struct Author {
    pub(crate) who: String,
    pub(crate) why: String,
    pub(crate) source: String,
    pub(crate) plan: Digest,
    pub(crate) operation: String,
    pub(crate) trace_parent: String,
}

struct Request {
    draft: Draft,
    reply: oneshot::Sender<Result<u64, PublishError>>,
}

/// A handle of the committer; cheap to clone.
#[derive(Clone)]
pub(crate) struct Ledger {
    requests: mpsc::Sender<Request>,
    signature: Signature,
}

impl Ledger {
    /// Nothing, unless it is known that nothing can be committed.
    pub(crate) fn check(&self) -> Result<(), PublishError> {
        match self.signature.ahead() {
            Some(ahead) => Err(PublishError::Behind(ahead)),
            None => Ok(()),
        }
    }

    /// Commits what can be committed of `draft`, as one revision; its operation
    /// ends, or waits. Gives the revision, or 0 if nothing changed.
    pub(crate) async fn commit(&self, draft: Draft) -> Result<u64, PublishError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request { draft, reply })
            .await
            .map_err(|_| PublishError::Stopped)?;
        answer.await.map_err(|_| PublishError::Stopped)?
    }
}

/// Owns the right to sign. There is one.
pub(crate) struct Committer {
    state: State,
    publisher: Publisher,
    signer: LogSigner,
    catalog: SharedCatalog,
    clock: Arc<dyn Clock>,
    head: Head,
    frontier: Frontier,
    signature: Signature,
    requests: mpsc::Receiver<Request>,
}

/// What opening the log gives.
pub(crate) struct Opened {
    pub(crate) committer: Committer,
    pub(crate) ledger: Ledger,
    pub(crate) signature: Signature,
    pub(crate) publisher: Publisher,
    pub(crate) catalog: SharedCatalog,
}

/// Opens the log: signs the empty one if there is none, publishes what an
/// earlier run left in the outbox, and folds it.
pub(crate) async fn open(
    state: State,
    folder: PathBuf,
    signer: LogSigner,
    clock: Arc<dyn Clock>,
) -> Result<Opened, PublishError> {
    let mut head = first_head(&state, &signer, clock.unix_seconds()).await?;
    if head.origin != signer.origin() {
        return Err(PublishError::OtherLog {
            held: head.origin,
            configured: signer.origin().to_owned(),
        });
    }
    let keys = signer.keys().clone();
    let disk = blocking(move || Ok(LogDisk::open(&folder, &keys)?)).await?;
    let (first, entries) = state.read("read the outbox", rows::outbox).await?;
    let on_disk = disk.size();
    if on_disk > head.size {
        return Err(PublishError::DatabaseBehind {
            disk: on_disk,
            database: head.size,
        });
    }
    if on_disk < head.size && (first != on_disk || first + entries.len() as u64 != head.size) {
        return Err(PublishError::EntriesLost {
            disk: on_disk,
            database: head.size,
        });
    }
    let publisher = Publisher::new(disk);
    let unpublished = PendingRevision {
        entries,
        note: head.note.clone(),
        trace_parent: Some(head.trace_parent.clone()).filter(|parent| !parent.is_empty()),
    };
    if on_disk < head.size {
        tracing::warn!(
            entries = head.size - on_disk,
            "publishing what was left in the outbox"
        );
    }
    publisher.publish(unpublished).await?;
    state.write("clear the outbox", rows::clear_outbox).await?;
    let checkpoint = refresh(&state, &publisher, &signer, &mut head, clock.unix_seconds()).await?;

    catch_up(&state, &publisher.reader(), head.size).await?;
    let reader = publisher.reader();
    let catalog = blocking(move || Ok(load_catalog(&reader)?)).await?;
    let ends = state.read("read revisions", rows::revision_ends).await?;
    let (folded, revisions) = (catalog.log_size(), catalog.revision().get());
    if folded != head.size || revisions != ends.len() as u64 {
        return Err(PublishError::Miscounted {
            folded,
            revisions,
            size: head.size,
            known: ends.len() as u64,
        });
    }
    let catalog = SharedCatalog::new(catalog, checkpoint, ends);
    let (sender, requests) = mpsc::channel(WAITING_DRAFTS);
    let own = OwnLog::new(signer.origin(), publisher.reader());
    let signature = Signature::new(signer.keys().clone(), own);
    Ok(Opened {
        committer: Committer {
            state,
            frontier: publisher.frontier(),
            publisher: publisher.clone(),
            signer,
            catalog: catalog.clone(),
            clock,
            head,
            signature: signature.clone(),
            requests,
        },
        ledger: Ledger {
            requests: sender,
            signature: signature.clone(),
        },
        signature,
        publisher,
        catalog,
    })
}

/// Derives from the log what the history does not know yet: all of it, if the
/// database is older than that is kept.
async fn catch_up(state: &State, reader: &LogReader, size: u64) -> Result<(), PublishError> {
    let mut at = state.read("read what is known", history::known).await?;
    while at < size {
        let (reader, from) = (reader.clone(), at);
        let revisions = blocking(move || revisions_from(&reader, from)).await?;
        let entries: usize = revisions.iter().map(Vec::len).sum();
        if entries == 0 {
            break;
        }
        state
            .write("derive the history", move |tx| {
                let mut first = from;
                for revision in &revisions {
                    history::record(tx, first, revision)?;
                    first += revision.len() as u64;
                }
                Ok(())
            })
            .await?;
        at += entries as u64;
        tracing::info!(size, at, "history derived from the log");
    }
    Ok(())
}

/// Whole revisions from the entry at index `from` on, some at a time.
fn revisions_from(reader: &LogReader, from: u64) -> Result<Vec<Vec<Entry>>, PublishError> {
    let (mut revisions, mut revision) = (Vec::new(), Vec::new());
    let mut at = from;
    loop {
        let read = reader.read_entries(at, READ_ENTRIES, READ_BYTES)?;
        if read.is_empty() {
            return Ok(revisions);
        }
        for bytes in read {
            let entry = decode_entry(&bytes)?;
            let ends = matches!(entry, Entry::Commit(_));
            revision.push(entry);
            at += 1;
            if ends {
                revisions.push(std::mem::take(&mut revision));
            }
        }
        if at - from >= READ_ENTRIES as u64 && !revisions.is_empty() {
            return Ok(revisions);
        }
    }
}

/// The head in the database; the signed empty log if there is none.
pub(crate) async fn first_head(
    state: &State,
    signer: &LogSigner,
    now: u64,
) -> Result<Head, PublishError> {
    if let Some(head) = state.read("read the log's head", rows::head).await? {
        return Ok(head);
    }
    let empty = Checkpoint {
        origin: signer.origin().to_owned(),
        size: 0,
        root: landfall_catalog::empty_root(),
    };
    let head = Head {
        note: signer.sign(&empty, now)?,
        origin: empty.origin,
        size: empty.size,
        root: Digest::from_raw(*empty.root.as_bytes()),
        trace_parent: String::new(),
    };
    let stored = head.clone();
    state
        .write("store the first checkpoint", move |tx| {
            rows::set_head(tx, &stored)
        })
        .await?;
    Ok(head)
}

/// The same checkpoint with a newer timestamp: signed, stored, published.
async fn refresh(
    state: &State,
    publisher: &Publisher,
    signer: &LogSigner,
    head: &mut Head,
    now: u64,
) -> Result<SignedCheckpoint, PublishError> {
    let checkpoint = Checkpoint {
        origin: head.origin.clone(),
        size: head.size,
        root: landfall_catalog::TreeHash::from_raw(*head.root.as_bytes()),
    };
    head.note = signer.sign(&checkpoint, now)?;
    let stored = head.clone();
    state
        .write("store a fresh checkpoint", move |tx| {
            rows::set_head(tx, &stored)
        })
        .await?;
    Ok(publisher.refresh(head.note.clone()).await?)
}

impl Committer {
    /// Commits what comes and keeps the checkpoint fresh, until the stop.
    ///
    /// An error means that memory, database and log may differ by a revision:
    /// the program has to end, and the next start puts it right.
    pub(crate) async fn run(
        mut self,
        every: Duration,
        shutdown: Shutdown,
    ) -> Result<(), PublishError> {
        let mut due = tokio::time::interval(every);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        due.reset();
        loop {
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                _ = due.tick() => {
                    if self.signature.ahead().is_some() {
                        continue;
                    }
                    // The old checkpoint stands; readers see it age, and so do people.
                    if let Err(error) = self.refresh().await {
                        tracing::error!(error = %chain(&error), "the checkpoint could not be signed anew");
                    }
                }
                request = self.requests.recv() => match request {
                    Some(Request { draft, reply }) => {
                        let heard = shutdown.unless_requested(self.signature.everybody_heard());
                        if heard.await.is_none() {
                            return Ok(());
                        }
                        let result = match self.signature.ahead() {
                            Some(ahead) => Err(PublishError::Behind(ahead)),
                            None => self.commit(draft).await,
                        };
                        let fatal = result.as_ref().err().filter(|error| error.is_fatal());
                        let fatal = fatal.map(|error| chain(error));
                        // Nobody waits any more: the operation ended all the same.
                        let _ = reply.send(result);
                        if let Some(error) = fatal {
                            tracing::error!(error, "a revision could not be published");
                            return Err(PublishError::Stopped);
                        }
                        due.reset();
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    async fn refresh(&mut self) -> Result<(), PublishError> {
        let now = self.clock.unix_seconds();
        let fresh = refresh(
            &self.state,
            &self.publisher,
            &self.signer,
            &mut self.head,
            now,
        );
        let checkpoint = fresh.await?;
        self.catalog.publish(checkpoint);
        Ok(())
    }

    async fn commit(&mut self, draft: Draft) -> Result<u64, PublishError> {
        let catalog = self.catalog.clone();
        let Draft {
            compose,
            operation,
            unchanged,
            author,
            after,
            holding,
        } = draft;
        // Off the async threads: a promotion may have a million entries.
        let composed = blocking(move || Ok(catalog.read(compose))).await?;
        let now = self.clock.unix_seconds();
        if composed.entries.is_empty() {
            let (changes, by) = holding.taken(&composed.decisions, 0);
            self.state
                .write("end an operation without changes", move |tx| {
                    let operation = operation.key(tx)?;
                    operations::decide(tx, operation, &composed.decisions)?;
                    held::apply(tx, &changes, &by)?;
                    after.record(tx, operation, now, 0, unchanged)
                })
                .await?;
            return Ok(0);
        }
        let revision = self.catalog.read(|catalog| catalog.revision().next());
        let (changes, by) = holding.taken(&composed.decisions, revision.get());
        let end: End = Box::new(move |tx, decisions| {
            let operation = operation.key(tx)?;
            operations::decide(tx, operation, decisions)?;
            held::apply(tx, &changes, &by)?;
            after.record(tx, operation, now, revision.get(), unchanged)
        });
        self.append(composed, revision, author, end, now).await
    }

    async fn append(
        &mut self,
        composed: Composed,
        revision: Revision,
        author: Author,
        end: End,
        now: u64,
    ) -> Result<u64, PublishError> {
        let trace_parent = author.trace_parent.clone();
        let commit = commit_entry(revision, now, author);
        let commit_bytes = encode_entry(&commit)?;
        let Composed {
            mut entries,
            mut encoded,
            decisions,
        } = composed;
        entries.push(commit);
        encoded.push(commit_bytes);

        let frontier = grown(&self.frontier, &encoded);
        let checkpoint = Checkpoint {
            origin: self.head.origin.clone(),
            size: frontier.size(),
            root: frontier.root(),
        };
        let head = Head {
            note: self.signer.sign(&checkpoint, now)?,
            origin: checkpoint.origin,
            size: checkpoint.size,
            root: Digest::from_raw(*checkpoint.root.as_bytes()),
            trace_parent: trace_parent.clone(),
        };
        let catalog = self.catalog.clone();
        let entries = blocking(move || {
            catalog.read(|catalog| catalog.check(&entries))?;
            Ok(Arc::new(entries))
        })
        .await?;

        let (first, stored, stored_head) = (self.head.size, encoded.clone(), head.clone());
        let recorded = Arc::clone(&entries);
        self.state
            .write("store a revision", move |tx| {
                rows::append_revision(tx, revision, first, &stored, &stored_head)?;
                history::record(tx, first, &recorded)?;
                end(tx, &decisions)
            })
            .await?;
        // What was checked is applied: nobody else writes to the catalog.
        let catalog = self.catalog.clone();
        blocking(move || catalog.apply(&entries).map_err(PublishError::Stored)).await?;
        let pending = PendingRevision {
            entries: encoded,
            note: head.note.clone(),
            trace_parent: Some(trace_parent).filter(|parent| !parent.is_empty()),
        };
        let published = self.publisher.publish(pending).await?;
        self.catalog.publish(published);
        self.state
            .write("clear the outbox", rows::clear_outbox)
            .await?;
        self.head = head;
        self.frontier = frontier;
        tracing::info!(
            revision = revision.get(),
            size = self.head.size,
            "revision published"
        );
        Ok(revision.get())
    }
}

fn commit_entry(revision: Revision, time: u64, author: Author) -> Entry {
    Entry::Commit(Commit {
        revision,
        time,
        who: author.who,
        why: author.why,
        source: author.source,
        plan: Some(author.plan),
        operation: author.operation,
    })
}

fn grown(frontier: &Frontier, entries: &[Bytes]) -> Frontier {
    let mut grown = frontier.clone();
    for entry in entries {
        grown.push(leaf_hash(entry));
    }
    grown
}

/// Runs disk and fold work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PublishError> + Send + 'static,
) -> Result<T, PublishError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| PublishError::Stopped)?
}
