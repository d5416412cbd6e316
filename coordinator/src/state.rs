//! What the coordinator must not forget, in `SQLite`.
//!
//! One thread owns the one connection (WAL, `synchronous=FULL`) and runs what
//! it is handed, in order, over a bounded channel; so there is never a second
//! writer to collide with, and no async thread ever waits for a disk. What is
//! in one [`State::write`] is one transaction: all of it or nothing.
//!
//! Rows stop here: the submodules' functions take and give plain values.

pub(crate) mod audits;
pub(crate) mod follow;
pub(crate) mod gates;
pub(crate) mod held;
pub(crate) mod history;
pub(crate) mod log;
pub(crate) mod mirrors;
pub(crate) mod operations;
pub(crate) mod plans;
pub(crate) mod projects;
pub(crate) mod quarantine;
mod schema;
pub(crate) mod sparse;
pub(crate) mod tokens;

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use landfall_catalog::Digest;
use landfall_proto::status::{Classify, Fault, chain};
use landfall_runtime::ops::Condition;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

/// Jobs that may wait for the writer. Each is small; who comes later waits in
/// its own task, so this bounds memory and nothing else.
const QUEUED_JOBS: usize = 64;
/// How long the connection waits for a lock of another process (a backup).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The database cannot be opened.
    #[error("the database {path} cannot be opened", path = path.display())]
    Open {
        /// Its file.
        path: PathBuf,
        /// What `SQLite` says.
        #[source]
        source: rusqlite::Error,
    },
    /// The database was written by a later version of this program.
    #[error("the database has schema {found}, and this program knows up to {known}")]
    TooNew {
        /// `user_version` of the database.
        found: i64,
        /// Newest schema of this program.
        known: i64,
    },
    /// A statement failed; nothing of its transaction was kept.
    #[error("the database failed: {what}")]
    Query {
        /// What was being done.
        what: &'static str,
        /// What `SQLite` says.
        #[source]
        source: rusqlite::Error,
    },
    /// The state is closed: the program is stopping.
    #[error("the state is closed")]
    Closed,
}

impl Classify for StateError {
    fn fault(&self) -> Fault {
        match self {
            Self::Closed => Fault::Unavailable,
            // Whoever asked may know, and can do nothing about it.
            Self::Query { .. } if self.is_disk() => Fault::Exhausted,
            Self::Open { .. } | Self::TooNew { .. } | Self::Query { .. } => Fault::Bug,
        }
    }
}

impl StateError {
    /// Whether the disk under the database is full or refuses.
    fn is_disk(&self) -> bool {
        let Self::Query {
            source: rusqlite::Error::SqliteFailure(error, _),
            ..
        } = self
        else {
            return false;
        };
        matches!(
            error.code,
            ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
        )
    }
}

/// Whether the database can be written.
#[derive(Debug, Default)]
struct Writing {
    is_failing: AtomicBool,
    condition: OnceLock<Condition>,
}

impl Writing {
    /// Takes note of how a write went; tells people when that changes.
    fn went(&self, error: Option<&StateError>) {
        let is_failing = match error {
            None => false,
            Some(error) if error.is_disk() => true,
            // Says nothing about the disk.
            Some(_) => return,
        };
        if self.is_failing.swap(is_failing, Ordering::SeqCst) == is_failing {
            return;
        }
        match error {
            Some(error) => {
                tracing::error!(error = %chain(error), "the database cannot be written: make room on its disk");
            }
            None => tracing::info!("the database can be written again"),
        }
        if let Some(condition) = self.condition.get() {
            condition.set(!is_failing);
        }
    }
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle of the database; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct State {
    jobs: mpsc::Sender<Job>,
    asked: Arc<AtomicU64>,
    writing: Arc<Writing>,
}

/// The thread that owns the connection. It ends when the last [`State`] is
/// gone and everything handed over before has been done.
#[derive(Debug)]
pub(crate) struct StateThread(Option<JoinHandle<()>>);

impl StateThread {
    /// Waits for its end. Blocks; call it off the async threads.
    pub(crate) fn join(mut self) {
        if let Some(thread) = self.0.take()
            && thread.join().is_err()
        {
            tracing::error!("the database thread panicked");
        }
    }
}

impl State {
    /// Opens (or creates) the database and brings its schema up to date. Blocks.
    pub(crate) fn open(path: &Path) -> Result<(Self, StateThread), StateError> {
        let open = |source| StateError::Open {
            path: path.to_owned(),
            source,
        };
        keep_private(path)
            .map_err(|error| open(rusqlite::Error::ToSqlConversionFailure(Box::new(error))))?;
        let mut connection = Connection::open(path).map_err(open)?;
        configure(&connection).map_err(open)?;
        schema::migrate(&mut connection)?;
        let (jobs, mut waiting) = mpsc::channel::<Job>(QUEUED_JOBS);
        let thread = std::thread::Builder::new()
            .name("state".into())
            .spawn(move || {
                while let Some(job) = waiting.blocking_recv() {
                    job(&mut connection);
                }
                if let Err((_, error)) = connection.close() {
                    tracing::warn!(%error, "the database did not close cleanly");
                }
            })
            .map_err(|error| open(rusqlite::Error::ToSqlConversionFailure(Box::new(error))))?;
        let state = Self {
            jobs,
            asked: Arc::default(),
            writing: Arc::default(),
        };
        Ok((state, StateThread(Some(thread))))
    }

    /// Is told whether the database can be written.
    pub(crate) fn tell(&self, condition: Condition) {
        condition.set(!self.writing.is_failing.load(Ordering::SeqCst));
        // There is one program and one condition.
        let _ = self.writing.condition.set(condition);
    }

    /// Runs `job` in one durable transaction. It is kept if `job` is `Ok`.
    ///
    /// Dropping the future does not take the job back once it is handed over.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StateError> {
        let written = self.call(what, move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = job(&transaction)?;
            transaction.commit()?;
            Ok(value)
        });
        let written = written.await;
        self.writing.went(written.as_ref().err());
        written
    }

    /// Runs `job`, which only reads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StateError> {
        self.call(what, move |connection| job(connection)).await
    }

    /// How often the database was asked something, now and later on.
    pub(crate) fn asked(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.asked)
    }

    async fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StateError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Nobody waits any more: the work is done all the same.
            let _ = reply.send(job(connection));
        });
        self.jobs.send(job).await.map_err(|_| StateError::Closed)?;
        answer
            .await
            .map_err(|_| StateError::Closed)?
            .map_err(|source| StateError::Query { what, source })
    }
}

/// Hashes of tokens, and who did what, are nobody else's business. The files that
/// `SQLite` makes beside the database get its mode.
fn keep_private(path: &Path) -> std::io::Result<()> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    for beside in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(beside);
        match fs::set_permissions(&file, Permissions::from_mode(0o600)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    Ok(())
}

/// `u64` as `SQLite`'s signed integer. Sizes, times and counts stay far below 2^63.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A column that holds an unsigned number.
pub(crate) fn unsigned(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|error| corrupt(row, column, error))
}

/// A column that holds an unsigned number or nothing.
pub(crate) fn optional_unsigned(
    row: &rusqlite::Row<'_>,
    column: &str,
) -> rusqlite::Result<Option<u64>> {
    let value: Option<i64> = row.get(column)?;
    value
        .map(|value| u64::try_from(value).map_err(|error| corrupt(row, column, error)))
        .transpose()
}

/// A column that holds 32 bytes.
pub(crate) fn digest(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<Digest> {
    let bytes: Vec<u8> = row.get(column)?;
    Digest::try_from_slice(&bytes).map_err(|error| corrupt(row, column, error))
}

fn corrupt(
    row: &rusqlite::Row<'_>,
    column: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    let index = row.as_ref().column_index(column).unwrap_or_default();
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Blob, Box::new(error))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A database in a folder of its own.
    pub(crate) fn scratch() -> (tempfile::TempDir, State, StateThread) {
        let folder = tempfile::tempdir().unwrap();
        let (state, thread) = State::open(&folder.path().join("state.sqlite")).unwrap();
        (folder, state, thread)
    }

    #[tokio::test]
    async fn a_failed_transaction_leaves_nothing() {
        let (_folder, state, _thread) = scratch();
        let failed = state
            .write("test", |tx| {
                projects::register(
                    tx,
                    &projects::Half {
                        project: "kops".into(),
                        kind: projects::HalfKind::Images,
                        source: "gcr.io/k8s-staging-kops".into(),
                        destinations: vec!["registry.example.org".into()],
                    },
                    "loopback",
                    1,
                )?;
                Err::<(), _>(rusqlite::Error::QueryReturnedNoRows)
            })
            .await;
        assert!(matches!(failed, Err(StateError::Query { .. })));
        let count: i64 = state
            .read("test", |connection| {
                connection.query_row("SELECT count(*) FROM project", (), |row| row.get(0))
            })
            .await
            .unwrap();
        assert_eq!(count, 0);
    }

    #[tokio::test]
    async fn a_full_disk_is_told_with_its_cause_and_until_there_is_room() {
        let (_folder, state, _thread) = scratch();
        let ready = landfall_runtime::ops::Ready::new();
        state.tell(ready.condition("database"));
        let limit = async |pages: u32| {
            let set = format!("PRAGMA max_page_count = {pages}");
            let limited = state.read("limit", move |connection| {
                connection.query_row(&set, (), |row| row.get::<_, i64>(0))
            });
            limited.await.unwrap()
        };
        let write = async || {
            let write = state.write("write", |tx| {
                tx.execute(
                    "INSERT INTO transition (mirror, time, was, became, reason) VALUES (hex(zeroblob(100000)), 1, '', '', '')",
                    (),
                )
            });
            write.await
        };
        assert!(ready.is_ready());
        limit(1).await;
        let status = landfall_proto::status::to_status(&write().await.unwrap_err());
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().contains("full"), "{status}");
        assert_eq!(ready.unmet(), ["database"]);
        limit(1_000_000).await;
        write().await.unwrap();
        assert!(ready.is_ready());
    }

    #[tokio::test]
    async fn nobody_else_can_read_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.sqlite");
        fs::write(&path, b"").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let (_state, _thread) = State::open(&path).unwrap();
        for file in fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{file:?}");
        }
    }

    #[tokio::test]
    async fn every_write_is_durable_before_it_returns() {
        let (_folder, state, _thread) = scratch();
        let (journal, synchronous): (String, i64) = state
            .read("test", |connection| {
                Ok((
                    connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?,
                    connection.pragma_query_value(None, "synchronous", |row| row.get(0))?,
                ))
            })
            .await
            .unwrap();
        assert_eq!(journal, "wal");
        assert_eq!(synchronous, 2, "2 is FULL");
    }

    #[test]
    fn a_database_of_a_later_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.sqlite");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 999).unwrap();
        drop(connection);
        assert!(matches!(
            State::open(&path),
            Err(StateError::TooNew { found: 999, .. })
        ));
    }

    #[tokio::test]
    async fn what_was_handed_over_is_done_before_the_thread_ends() {
        let (folder, state, thread) = scratch();
        state
            .write("test", |tx| {
                tx.execute("INSERT INTO transition (mirror, time, was, became, reason) VALUES ('m', 1, '', 'active', '')", ())
            })
            .await
            .unwrap();
        drop(state);
        tokio::task::spawn_blocking(|| thread.join()).await.unwrap();
        let (state, _thread) = State::open(&folder.path().join("state.sqlite")).unwrap();
        let count: i64 = state
            .read("test", |connection| {
                connection.query_row("SELECT count(*) FROM transition", (), |row| row.get(0))
            })
            .await
            .unwrap();
        assert_eq!(count, 1);
    }
}
