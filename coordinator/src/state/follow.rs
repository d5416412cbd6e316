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
    use crate::state::operations::{self, Start};
    use crate::state::tests::scratch;

    #[tokio::test]
    async fn names_are_due_from_the_end_of_their_operation_until_they_are_followed() {
        let (_folder, state, _thread) = scratch();
        let start = Start {
            id: "op-1".into(),
            plan: Digest::of(b"plan"),
            who: String::new(),
            why: String::new(),
            source: String::new(),
            trace_parent: String::new(),
            started: 1,
        };
        let operation = state
            .write("test", move |tx| operations::start(tx, &start, &[]))
            .await
            .unwrap();
        let due_at = async |revision| {
            let due = state.read("test", move |connection| due(connection, revision));
            due.await.unwrap()
        };
        assert!(due_at(9).await.is_empty(), "it has not ended");
        state
            .write("test", move |tx| {
                operations::finish(tx, operation, 2, 7, 0, "")
            })
            .await
            .unwrap();
        assert!(due_at(6).await.is_empty(), "the catalog lacks its revision");
        assert_eq!(due_at(7).await, [operation]);
        state
            .write("test", move |tx| done(tx, operation))
            .await
            .unwrap();
        assert!(due_at(7).await.is_empty());
    }
}
