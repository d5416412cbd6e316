//! Operations whose names the origin's store has yet to show as the catalog has
//! them: an outbox.
//!
//! A row is written when an operation starts, before it can touch a name, and is
//! due from the transaction that ends it.

use rusqlite::{Connection, Transaction, params};

use super::signed;

/// The names of an operation are to be followed.
pub(super) fn put(tx: &Transaction<'_>, operation: i64) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT OR IGNORE INTO to_follow (operation) VALUES (?1)",
        params![operation],
    )?;
    Ok(())
}

/// An operation has ended: without an entry that may show anywhere there is
/// nothing to follow. The same rule as
/// [`may_be_shown`](super::operations::EntryRow::may_be_shown).
pub(super) fn settle(tx: &Transaction<'_>, operation: i64) -> rusqlite::Result<()> {
    tx.execute(
        "DELETE FROM to_follow WHERE operation = ?1 AND NOT EXISTS (
           SELECT 1 FROM operation_entry e WHERE e.operation = ?1
           AND (e.outcome IS NULL OR e.staged IS NOT NULL
                OR e.outcome NOT IN ('lost', 'refused', 'failed')))",
        params![operation],
    )?;
    Ok(())
}

/// Ended operations whose names are to be followed, oldest first; of those that
/// a catalog of this revision knows of.
pub(crate) fn due(connection: &Connection, revision: u64) -> rusqlite::Result<Vec<i64>> {
    connection
        .prepare(
            "SELECT operation FROM to_follow JOIN operation ON sequence = operation
             WHERE finished IS NOT NULL AND revision <= ?1 ORDER BY operation",
        )?
        .query_map(params![signed(revision)], |row| row.get(0))?
        .collect()
}

/// The origin's store shows the names of an operation as the catalog has them.
pub(crate) fn done(tx: &Transaction<'_>, operation: i64) -> rusqlite::Result<()> {
    tx.execute(
        "DELETE FROM to_follow WHERE operation = ?1",
        params![operation],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use landfall_catalog::Digest;

    use super::*;
    use crate::state::operations::{self, Decision, Start};
    use crate::state::{State, tests::scratch};

    async fn started(state: &State, names: &[&str]) -> i64 {
        let start = Start {
            id: "op-1".into(),
            plan: Digest::of(b"plan"),
            who: String::new(),
            why: String::new(),
            source: String::new(),
            trace_parent: String::new(),
            started: 1,
        };
        let names: Vec<_> = names
            .iter()
            .map(|name| ((*name).to_owned(), Digest::of(b"content")))
            .collect();
        let started = state.write("test", move |tx| operations::start(tx, &start, &names));
        started.await.unwrap()
    }

    async fn due_at(state: &State, revision: u64) -> Vec<i64> {
        let due = state.read("test", move |connection| due(connection, revision));
        due.await.unwrap()
    }

    #[tokio::test]
    async fn names_are_due_from_the_end_of_their_operation_until_they_are_followed() {
        let (_folder, state, _thread) = scratch();
        let operation = started(&state, &["app:v1"]).await;
        assert!(due_at(&state, 9).await.is_empty(), "it has not ended");
        state
            .write("test", move |tx| {
                operations::finish(tx, operation, 2, 7, 0, "")
            })
            .await
            .unwrap();
        assert!(
            due_at(&state, 6).await.is_empty(),
            "the catalog lacks its revision"
        );
        assert_eq!(due_at(&state, 7).await, [operation]);
        state
            .write("test", move |tx| done(tx, operation))
            .await
            .unwrap();
        assert!(due_at(&state, 7).await.is_empty());
    }

    #[tokio::test]
    async fn what_an_operation_did_not_touch_is_never_due() {
        for (outcomes, staged, expected) in [
            (&["refused", "lost", "failed"][..], None, false),
            (&["refused", "copied"], None, true),
            (&["refused", "removed"], None, true),
            // It was in place, and may have been shown, before it was refused.
            (&["lost", "refused"], Some(1), true),
        ] {
            let (_folder, state, _thread) = scratch();
            let names: Vec<_> = (0..outcomes.len()).map(|at| format!("f/{at}")).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let operation = started(&state, &names).await;
            let decisions: Vec<_> = (0..)
                .zip(outcomes)
                .map(|(position, outcome)| Decision {
                    position,
                    outcome,
                    detail: String::new(),
                })
                .collect();
            state
                .write("test", move |tx| {
                    let staged: Vec<_> = staged.into_iter().map(|at| (at, true)).collect();
                    operations::stage(tx, operation, &staged)?;
                    operations::decide(tx, operation, &decisions)?;
                    operations::finish(tx, operation, 2, 7, 0, "")
                })
                .await
                .unwrap();
            let is_due = !due_at(&state, 7).await.is_empty();
            assert_eq!(is_due, expected, "{outcomes:?} {staged:?}");
        }
    }
}
