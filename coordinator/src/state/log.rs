//! The head of the log and the outbox.
//!
//! The head is the newest checkpoint that was ever signed; it changes in the
//! transaction that stores the entries it covers. So there is no way to sign
//! two histories, whatever is killed when.

use landfall_catalog::{Digest, Revision};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{digest, signed, unsigned};

/// The newest signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Origin line of the log.
    pub(crate) origin: String,
    /// Number of entries.
    pub(crate) size: u64,
    /// Root of the tree, as raw bytes.
    pub(crate) root: Digest,
    /// The signed note.
    pub(crate) note: Vec<u8>,
    /// Trace of the operation that made the newest revision; may be empty.
    pub(crate) trace_parent: String,
}

/// The head, or none before the first start.
pub(crate) fn head(connection: &Connection) -> rusqlite::Result<Option<Head>> {
    connection
        .query_row("SELECT * FROM log_head", (), |row| {
            Ok(Head {
                origin: row.get("origin")?,
                size: unsigned(row, "size")?,
                root: digest(row, "root")?,
                note: row.get("note")?,
                trace_parent: row.get("trace_parent")?,
            })
        })
        .optional()
}

/// Replaces the head, unless the new one is smaller: a defect that must never
/// reach the disk.
pub(crate) fn set_head(tx: &Transaction<'_>, head: &Head) -> rusqlite::Result<()> {
    let changed = tx.execute(
        "INSERT INTO log_head (only, origin, size, root, note, trace_parent)
         VALUES (0, ?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (only) DO UPDATE
         SET size = ?2, root = ?3, note = ?4, trace_parent = ?5
         WHERE origin = ?1 AND (size < ?2 OR (size = ?2 AND root = ?3))",
        params![
            head.origin,
            signed(head.size),
            head.root.as_bytes(),
            head.note,
            head.trace_parent
        ],
    )?;
    if changed == 1 {
        Ok(())
    } else {
        Err(rusqlite::Error::StatementChangedRows(changed))
    }
}

/// Stores a revision: head, outbox, and where the revision ends.
pub(crate) fn append_revision(
    tx: &Transaction<'_>,
    revision: Revision,
    first_index: u64,
    entries: &[bytes::Bytes],
    head: &Head,
) -> rusqlite::Result<()> {
    set_head(tx, head)?;
    let mut insert = tx.prepare("INSERT INTO outbox (log_index, entry) VALUES (?1, ?2)")?;
    for (index, entry) in (first_index..).zip(entries) {
        insert.execute(params![signed(index), &entry[..]])?;
    }
    tx.execute(
        "INSERT INTO revision (revision, size) VALUES (?1, ?2)",
        params![signed(revision.get()), signed(head.size)],
    )?;
    Ok(())
}

/// What was stored and perhaps not yet published: index of the first, entries.
pub(crate) fn outbox(connection: &Connection) -> rusqlite::Result<(u64, Vec<bytes::Bytes>)> {
    let mut select =
        connection.prepare("SELECT log_index, entry FROM outbox ORDER BY log_index")?;
    let mut rows = select.query(())?;
    let mut first = None;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        first.get_or_insert(unsigned(row, "log_index")?);
        entries.push(row.get::<_, Vec<u8>>("entry")?.into());
    }
    Ok((first.unwrap_or_default(), entries))
}

/// Forgets the outbox: everything in it is published.
pub(crate) fn clear_outbox(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM outbox", ())?;
    Ok(())
}

/// The newest revision that was published before that time, in POSIX seconds; 0:
/// there is none.
pub(crate) fn newest_before(connection: &Connection, time: u64) -> rusqlite::Result<u64> {
    connection.query_row(
        "SELECT coalesce(max(revision), 0) AS revision FROM revision WHERE time < ?1",
        params![signed(time)],
        |row| unsigned(row, "revision"),
    )
}

/// Log size at the end of each revision, in order from revision 1.
pub(crate) fn revision_ends(connection: &Connection) -> rusqlite::Result<Vec<u64>> {
    connection
        .prepare("SELECT size FROM revision ORDER BY revision")?
        .query_map((), |row| unsigned(row, "size"))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{State, tests::scratch};

    fn head_of(size: u64, root: &[u8]) -> Head {
        Head {
            origin: "example.org".into(),
            size,
            root: Digest::of(root),
            note: format!("note of {size}").into(),
            trace_parent: String::new(),
        }
    }

    async fn append(state: &State, revision: u64, first: u64, head: Head) -> bool {
        state
            .write("test", move |tx| {
                let entries: Vec<_> = (first..head.size)
                    .map(|_| bytes::Bytes::from_static(b"entry"))
                    .collect();
                append_revision(tx, Revision::new(revision), first, &entries, &head)
            })
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn head_and_outbox_survive_a_restart_together() {
        let (folder, state, thread) = scratch();
        assert!(append(&state, 1, 0, head_of(3, b"a")).await);
        drop(state);
        tokio::task::spawn_blocking(|| thread.join()).await.unwrap();
        let (state, _thread) = State::open(&folder.path().join("state.sqlite")).unwrap();
        let held = state.read("test", head).await.unwrap().unwrap();
        assert_eq!(held, head_of(3, b"a"));
        let (first, entries) = state.read("test", outbox).await.unwrap();
        assert_eq!((first, entries.len()), (0, 3));
        assert_eq!(state.read("test", revision_ends).await.unwrap(), [3]);
    }

    #[tokio::test]
    async fn the_head_never_goes_back_and_never_forks() {
        let (_folder, state, _thread) = scratch();
        assert!(append(&state, 1, 0, head_of(3, b"a")).await);
        state.write("test", clear_outbox).await.unwrap();
        assert!(!append(&state, 2, 0, head_of(2, b"b")).await, "smaller");
        assert!(
            !append(&state, 2, 3, head_of(3, b"b")).await,
            "another tree of that size"
        );
        let other = Head {
            origin: "other.org".into(),
            ..head_of(9, b"c")
        };
        assert!(!append(&state, 2, 3, other).await, "another log");
        let held = state.read("test", head).await.unwrap().unwrap();
        assert_eq!(held, head_of(3, b"a"));
        assert_eq!(state.read("test", outbox).await.unwrap().1.len(), 0);
    }

    #[tokio::test]
    async fn the_same_head_takes_a_newer_note() {
        let (_folder, state, _thread) = scratch();
        assert!(append(&state, 1, 0, head_of(3, b"a")).await);
        let newer = Head {
            note: b"later".to_vec(),
            ..head_of(3, b"a")
        };
        let stored = newer.clone();
        state
            .write("test", move |tx| set_head(tx, &stored))
            .await
            .unwrap();
        assert_eq!(state.read("test", head).await.unwrap(), Some(newer));
    }
}
