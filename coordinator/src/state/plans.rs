//! Resolved plans that may still be confirmed.

use landfall_catalog::Digest;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::signed;

/// How much is remembered. The newest plan always is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    pub(crate) plans: u32,
    pub(crate) bytes: u64,
}

/// Remembers a plan's body, and forgets the oldest beyond `keep` that no
/// unfinished operation executes.
pub(crate) fn remember(
    tx: &Transaction<'_>,
    digest: &Digest,
    body: &[u8],
    now: u64,
    keep: Keep,
) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO plan (digest, made, body) VALUES (?1, ?2, ?3)
         ON CONFLICT (digest) DO UPDATE SET made = ?2, body = ?3",
        params![digest.as_bytes(), signed(now), body],
    )?;
    tx.execute(
        "DELETE FROM plan
         WHERE digest IN (
             SELECT digest FROM (
                 SELECT digest, row_number() OVER newest AS place, sum(length(body)) OVER newest AS bytes
                 FROM plan WINDOW newest AS (ORDER BY made DESC, rowid DESC)
             ) WHERE place > 1 AND (place > ?1 OR bytes > ?2)
         )
         AND digest NOT IN (SELECT plan FROM operation WHERE finished IS NULL)",
        params![keep.plans, signed(keep.bytes)],
    )?;
    Ok(())
}

/// Whether the plan is remembered.
pub(crate) fn is_remembered(connection: &Connection, digest: &Digest) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM plan WHERE digest = ?1)",
        params![digest.as_bytes()],
        |row| row.get(0),
    )
}

/// A remembered plan's body.
pub(crate) fn recall(
    connection: &Connection,
    digest: &Digest,
) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .query_row(
            "SELECT body FROM plan WHERE digest = ?1",
            params![digest.as_bytes()],
            |row| row.get(0),
        )
        .optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{operations, tests::scratch};

    const TWO: Keep = Keep {
        plans: 2,
        bytes: 100,
    };

    #[tokio::test]
    async fn large_plans_push_out_old_ones_but_never_themselves() {
        let (_folder, state, _thread) = scratch();
        for (number, size) in [(1_u8, 60), (2, 30), (3, 200), (4, 60), (5, 30)] {
            let kept = state
                .write("test", move |tx| {
                    let keep = Keep { plans: 9, ..TWO };
                    let body = vec![number; size];
                    remember(tx, &Digest::of(&[number]), &body, number.into(), keep)?;
                    tx.query_row(
                        "SELECT group_concat(made, ' ' ORDER BY made) FROM plan",
                        (),
                        |row| row.get::<_, String>(0),
                    )
                })
                .await
                .unwrap();
            let expected = ["1", "1 2", "3", "4", "4 5"][usize::from(number) - 1];
            assert_eq!(kept, expected);
        }
    }

    #[tokio::test]
    async fn the_oldest_plans_are_forgotten_but_not_those_being_executed() {
        let (_folder, state, _thread) = scratch();
        let running = Digest::of(b"0");
        state
            .write("test", move |tx| {
                remember(tx, &running, b"0", 0, TWO)?;
                operations::start(
                    tx,
                    &operations::Start {
                        id: "op".into(),
                        plan: running,
                        who: String::new(),
                        why: String::new(),
                        source: String::new(),
                        trace_parent: String::new(),
                        started: 1,
                    },
                    &[],
                )
            })
            .await
            .unwrap();
        for number in 1_u8..=4 {
            state
                .write("test", move |tx| {
                    remember(
                        tx,
                        &Digest::of(&[number]),
                        &[number],
                        u64::from(number),
                        TWO,
                    )
                })
                .await
                .unwrap();
        }
        for (digest, kept) in [
            (running, true),
            (Digest::of(&[1]), false),
            (Digest::of(&[2]), false),
            (Digest::of(&[3]), true),
            (Digest::of(&[4]), true),
        ] {
            let found = state
                .read("test", move |connection| recall(connection, &digest))
                .await
                .unwrap();
            assert_eq!(found.is_some(), kept, "{digest}");
        }
    }
}
