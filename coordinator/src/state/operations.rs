//! Operations, their entries and what became of each.
//!
//! An entry first has its content *staged* (the origin holds all of it), and
//! then an outcome, which is final. The outcomes of what succeeded are written
//! in the transaction of the revision that makes the names visible; so an
//! operation that was killed resumes with exactly the entries without one.

use std::collections::BTreeSet;

use landfall_catalog::Digest;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{digest, follow, optional_unsigned, signed, unsigned};

/// What an operation starts from.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) id: String,
    /// Digest of the resolved plan that it executes.
    pub(crate) plan: Digest,
    pub(crate) who: String,
    pub(crate) why: String,
    /// Commit id of the manifests.
    pub(crate) source: String,
    pub(crate) trace_parent: String,
    /// POSIX seconds.
    pub(crate) started: u64,
}

/// An operation as stored.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// Its key in this database.
    pub(crate) sequence: i64,
    pub(crate) start: Start,
    /// POSIX seconds; none while it runs.
    pub(crate) finished: Option<u64>,
    pub(crate) result: Totals,
}

/// How an operation ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// 0: nothing was committed.
    pub(crate) revision: u64,
    pub(crate) present: u64,
    pub(crate) copied: u64,
    pub(crate) lost: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) removed: u64,
    /// Entries of the manifests that were left out for a finding.
    pub(crate) quarantined: u64,
    /// Why it could not be finished as a whole; empty if it was.
    pub(crate) error: String,
}

/// One name of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryRow {
    pub(crate) position: u32,
    pub(crate) name: String,
    pub(crate) digest: Digest,
    /// How the origin came to hold it: `present` or `copied`.
    pub(crate) staged: Option<String>,
    pub(crate) outcome: Option<String>,
    pub(crate) detail: String,
    /// Rank of the decision among those of the operation, from 1; 0: undecided.
    pub(crate) decided: u64,
}

impl EntryRow {
    /// Whether the catalog was changed as the entry asks, or was like that.
    pub(crate) fn is_done(&self) -> bool {
        let undone = ["lost", "refused", "failed"];
        let outcome = self.outcome.as_deref();
        outcome.is_some_and(|outcome| !undone.contains(&outcome))
    }

    /// Whether a store that shows new files before the catalog does may show this
    /// one: its content was in place, or nobody knows how far it came.
    pub(crate) fn may_be_shown(&self) -> bool {
        self.is_done() || self.staged.is_some() || self.outcome.is_none()
    }
}

/// A final outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) position: u32,
    pub(crate) outcome: &'static str,
    pub(crate) detail: String,
}

/// Starts an operation with its entries (name and digest); gives its key.
pub(crate) fn start(
    tx: &Transaction<'_>,
    start: &Start,
    entries: &[(String, Digest)],
) -> rusqlite::Result<i64> {
    tx.execute(
        "INSERT INTO operation (id, plan, who, why, source, trace_parent, started)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            start.id,
            start.plan.as_bytes(),
            start.who,
            start.why,
            start.source,
            start.trace_parent,
            signed(start.started)
        ],
    )?;
    let sequence = tx.last_insert_rowid();
    follow::put(tx, sequence)?;
    let mut insert = tx.prepare(
        "INSERT INTO operation_entry (operation, position, name, digest) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (position, (name, digest)) in (0_u32..).zip(entries) {
        insert.execute(params![sequence, position, name, digest.as_bytes()])?;
    }
    Ok(sequence)
}

/// Says which projects an operation is about.
pub(crate) fn set_projects(
    tx: &Transaction<'_>,
    operation: i64,
    projects: &BTreeSet<String>,
) -> rusqlite::Result<()> {
    let mut insert =
        tx.prepare("INSERT INTO operation_project (project, operation) VALUES (?1, ?2)")?;
    for project in projects {
        insert.execute(params![project, operation])?;
    }
    Ok(())
}

/// The same of an operation of which nobody said it when it started.
pub(crate) fn add_projects(
    tx: &Transaction<'_>,
    operation: i64,
    projects: &BTreeSet<String>,
) -> rusqlite::Result<()> {
    set_projects(tx, operation, projects)?;
    tx.execute(
        "UPDATE operation SET has_projects = 1 WHERE sequence = ?1",
        params![operation],
    )?;
    Ok(())
}

/// The oldest operation of which nobody said what projects it is about.
pub(crate) fn without_projects(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection
        .query_row(
            "SELECT sequence FROM operation WHERE has_projects = 0 ORDER BY sequence LIMIT 1",
            (),
            |row| row.get(0),
        )
        .optional()
}

/// The origin now holds all of these entries: position, and whether anything was copied.
pub(crate) fn stage(
    tx: &Transaction<'_>,
    operation: i64,
    staged: &[(u32, bool)],
) -> rusqlite::Result<()> {
    let mut update = tx
        .prepare("UPDATE operation_entry SET staged = ?3 WHERE operation = ?1 AND position = ?2")?;
    for (position, copied) in staged {
        let how = if *copied { "copied" } else { "present" };
        update.execute(params![operation, position, how])?;
    }
    Ok(())
}

/// Writes final outcomes. An outcome that is there is never changed.
pub(crate) fn decide(
    tx: &Transaction<'_>,
    operation: i64,
    decisions: &[Decision],
) -> rusqlite::Result<()> {
    let mut last: i64 = tx.query_row(
        "SELECT coalesce(max(decided), 0) FROM operation_entry
         WHERE operation = ?1 AND decided IS NOT NULL",
        params![operation],
        |row| row.get(0),
    )?;
    let mut update = tx.prepare(
        "UPDATE operation_entry SET outcome = ?3, detail = ?4, decided = ?5
         WHERE operation = ?1 AND position = ?2 AND outcome IS NULL",
    )?;
    for decision in decisions {
        let changed = update.execute(params![
            operation,
            decision.position,
            decision.outcome,
            decision.detail,
            last + 1
        ])?;
        last += i64::try_from(changed).unwrap_or_default();
    }
    Ok(())
}

/// Ends an operation. The totals are counted from its entries; `unchanged`
/// names were already as asked and have no rows. What was withdrawn counts as
/// removed, what was reinstated as present. Nobody is to follow names of which
/// none was touched.
pub(crate) fn finish(
    tx: &Transaction<'_>,
    operation: i64,
    now: u64,
    revision: u64,
    unchanged: u64,
    error: &str,
) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE operation SET finished = ?2, revision = ?3, error = ?5,
           present = ?4 + (SELECT count(*) FROM operation_entry e WHERE e.operation = ?1 AND e.outcome IN ('present', 'reinstated')),
           copied = (SELECT count(*) FROM operation_entry e WHERE e.operation = ?1 AND e.outcome = 'copied'),
           lost = (SELECT count(*) FROM operation_entry e WHERE e.operation = ?1 AND e.outcome = 'lost'),
           refused = (SELECT count(*) FROM operation_entry e WHERE e.operation = ?1 AND e.outcome = 'refused'),
           failed = (SELECT count(*) FROM operation_entry e WHERE e.operation = ?1 AND e.outcome = 'failed'),
           removed = (SELECT count(*) FROM operation_entry e WHERE e.operation = ?1 AND e.outcome IN ('removed', 'withdrawn'))
         WHERE sequence = ?1 AND finished IS NULL",
        params![operation, signed(now), signed(revision), signed(unchanged), error],
    )?;
    follow::settle(tx, operation)
}

/// The operation of that id.
pub(crate) fn find(connection: &Connection, id: &str) -> rusqlite::Result<Option<Operation>> {
    connection
        .query_row(
            "SELECT * FROM operation WHERE id = ?1",
            params![id],
            operation_from_row,
        )
        .optional()
}

/// The operation that published a revision, be it the content or the names.
pub(crate) fn of_revision(
    connection: &Connection,
    revision: u64,
) -> rusqlite::Result<Option<Operation>> {
    connection
        .query_row(
            "SELECT * FROM operation WHERE revision = ?1 AND ?1 > 0
             OR sequence IN (SELECT operation FROM gate WHERE revision = ?1 AND ?1 > 0)
             ORDER BY sequence LIMIT 1",
            params![signed(revision)],
            operation_from_row,
        )
        .optional()
}

/// The newest revision that set a name of an operation as it was asked to, of
/// those entries that succeeded; 0: none.
pub(crate) fn names_revision(connection: &Connection, operation: i64) -> rusqlite::Result<u64> {
    connection.query_row(
        "SELECT coalesce(max(c.revision), 0) AS revision FROM operation_entry e
         JOIN name_change c ON c.name = e.name AND c.digest = e.digest
         WHERE e.operation = ?1 AND e.outcome IN ('copied', 'present') AND c.kind IN ('set', 'moved')",
        params![operation],
        |row| unsigned(row, "revision"),
    )
}

/// Entries of an operation from a position on, in order.
pub(crate) fn entries_from(
    connection: &Connection,
    operation: i64,
    from: u64,
    limit: u32,
) -> rusqlite::Result<Vec<EntryRow>> {
    connection
        .prepare(
            "SELECT * FROM operation_entry WHERE operation = ?1 AND position >= ?2
             ORDER BY position LIMIT ?3",
        )?
        .query_map(params![operation, signed(from), limit], entry_from_row)?
        .collect()
}

/// Operations before the one of a key, newest first; of one project, if so.
pub(crate) fn newest(
    connection: &Connection,
    before: i64,
    project: Option<&str>,
    limit: u32,
) -> rusqlite::Result<Vec<Operation>> {
    let chosen = match project {
        None => "operation WHERE sequence < ?1 AND ?2 IS NULL",
        Some(_) => {
            "operation_project p JOIN operation ON sequence = p.operation
             WHERE p.operation < ?1 AND p.project = ?2"
        }
    };
    connection
        .prepare(&format!(
            "SELECT operation.* FROM {chosen} ORDER BY sequence DESC LIMIT ?3"
        ))?
        .query_map(params![before, project, limit], operation_from_row)?
        .collect()
}

/// Those that a restart has to resume, oldest first.
pub(crate) fn unfinished(connection: &Connection) -> rusqlite::Result<Vec<Operation>> {
    connection
        .prepare("SELECT * FROM operation WHERE finished IS NULL ORDER BY sequence")?
        .query_map((), operation_from_row)?
        .collect()
}

/// All entries of an operation, in order of their positions.
pub(crate) fn entries(connection: &Connection, operation: i64) -> rusqlite::Result<Vec<EntryRow>> {
    connection
        .prepare("SELECT * FROM operation_entry WHERE operation = ?1 ORDER BY position")?
        .query_map(params![operation], entry_from_row)?
        .collect()
}

/// Decided entries after the `after`-th decision, in order of the decisions.
pub(crate) fn decided_after(
    connection: &Connection,
    operation: i64,
    after: u64,
    limit: u32,
) -> rusqlite::Result<Vec<EntryRow>> {
    connection
        .prepare(
            "SELECT * FROM operation_entry WHERE operation = ?1 AND decided > ?2
             ORDER BY decided LIMIT ?3",
        )?
        .query_map(params![operation, signed(after), limit], entry_from_row)?
        .collect()
}

fn operation_from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Operation> {
    Ok(Operation {
        sequence: row.get("sequence")?,
        start: Start {
            id: row.get("id")?,
            plan: digest(row, "plan")?,
            who: row.get("who")?,
            why: row.get("why")?,
            source: row.get("source")?,
            trace_parent: row.get("trace_parent")?,
            started: unsigned(row, "started")?,
        },
        finished: optional_unsigned(row, "finished")?,
        result: Totals {
            revision: unsigned(row, "revision")?,
            present: unsigned(row, "present")?,
            copied: unsigned(row, "copied")?,
            lost: unsigned(row, "lost")?,
            refused: unsigned(row, "refused")?,
            failed: unsigned(row, "failed")?,
            removed: unsigned(row, "removed")?,
            quarantined: unsigned(row, "quarantined")?,
            error: row.get("error")?,
        },
    })
}

fn entry_from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<EntryRow> {
    Ok(EntryRow {
        position: row.get("position")?,
        name: row.get("name")?,
        digest: digest(row, "digest")?,
        staged: row.get("staged")?,
        outcome: row.get("outcome")?,
        detail: row.get("detail")?,
        decided: optional_unsigned(row, "decided")?.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{State, tests::scratch};

    async fn started(state: &State, id: &str, names: &[&str]) -> i64 {
        let start_of = Start {
            id: id.into(),
            plan: Digest::of(b"plan"),
            who: "loopback".into(),
            why: "test".into(),
            source: String::new(),
            trace_parent: String::new(),
            started: 5,
        };
        let names = names
            .iter()
            .map(|name| ((*name).to_owned(), Digest::of(name.as_bytes())))
            .collect::<Vec<_>>();
        state
            .write("test", move |tx| start(tx, &start_of, &names))
            .await
            .unwrap()
    }

    fn decision(position: u32, outcome: &'static str) -> Decision {
        Decision {
            position,
            outcome,
            detail: format!("why {outcome}"),
        }
    }

    #[tokio::test]
    async fn decisions_are_final_and_replayed_in_their_order() {
        let (_folder, state, _thread) = scratch();
        let operation = started(&state, "op-1", &["a", "b", "c"]).await;
        for decisions in [
            vec![decision(2, "lost")],
            vec![decision(0, "copied"), decision(2, "copied")],
            vec![decision(1, "present")],
        ] {
            state
                .write("test", move |tx| decide(tx, operation, &decisions))
                .await
                .unwrap();
        }
        let replayed = state
            .read("test", move |connection| {
                decided_after(connection, operation, 0, 10)
            })
            .await
            .unwrap();
        let seen: Vec<_> = replayed
            .iter()
            .map(|row| (row.decided, row.name.as_str(), row.outcome.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [
                (1, "c", Some("lost")),
                (2, "a", Some("copied")),
                (3, "b", Some("present"))
            ]
        );
        let later = state
            .read("test", move |connection| {
                decided_after(connection, operation, 2, 10)
            })
            .await
            .unwrap();
        assert_eq!(later.len(), 1);
    }

    #[tokio::test]
    async fn only_what_is_not_finished_is_resumed_and_totals_are_counted() {
        let (_folder, state, _thread) = scratch();
        let first = started(&state, "op-1", &["a", "b", "c"]).await;
        started(&state, "op-2", &["a"]).await;
        state
            .write("test", move |tx| {
                stage(tx, first, &[(0, true), (1, false)])?;
                decide(
                    tx,
                    first,
                    &[
                        decision(0, "copied"),
                        decision(1, "present"),
                        decision(2, "failed"),
                    ],
                )?;
                finish(tx, first, 9, 4, 10, "")
            })
            .await
            .unwrap();
        let left = state.read("test", unfinished).await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].start.id, "op-2");
        let done = state
            .read("test", |connection| find(connection, "op-1"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(done.finished, Some(9));
        assert_eq!(
            done.result,
            Totals {
                revision: 4,
                present: 11,
                copied: 1,
                failed: 1,
                ..Totals::default()
            }
        );
        let newest = state
            .read("test", |connection| newest(connection, i64::MAX, None, 1))
            .await
            .unwrap();
        assert_eq!(newest[0].start.id, "op-2");
    }
}
