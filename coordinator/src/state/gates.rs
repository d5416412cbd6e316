//! Gates of operations: on what terms their names wait, since when, and what
//! somebody decided. How ready mirrors are is not kept here: that is looked at
//! anew.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{optional_unsigned, signed, unsigned};
use crate::promote::gate::{OnTimeout, Terms};

/// A gate as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GateRow {
    /// Its operation's key.
    pub(crate) operation: i64,
    pub(crate) terms: Terms,
    /// None until the content is recorded.
    pub(crate) announced: Option<Announced>,
    pub(crate) decided: Option<Decided>,
    pub(crate) end: Option<End>,
}

/// Since when names wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    /// The revision that has the content; 0: nothing waits.
    pub(crate) revision: u64,
    /// POSIX seconds.
    pub(crate) deadline: u64,
}

/// What somebody decided before the mirrors did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) way: Way,
    pub(crate) by: String,
    /// May be empty.
    pub(crate) reason: String,
}

/// Which way somebody decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    GiveUp,
}

/// How a gate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Opened,
    GivenUp,
}

impl End {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::GivenUp => "given-up",
        }
    }
}

/// Gives an operation a gate.
pub(crate) fn put(tx: &Transaction<'_>, operation: i64, terms: Terms) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO gate (operation, percent, minimum, timeout, on_timeout)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            operation,
            terms.percent,
            terms.minimum,
            signed(terms.timeout),
            terms.on_timeout.as_str()
        ],
    )?;
    Ok(())
}

/// The content is recorded in `revision`; its names wait until `deadline`.
pub(crate) fn announced(
    tx: &Transaction<'_>,
    operation: i64,
    revision: u64,
    deadline: u64,
) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE gate SET revision = ?2, deadline = ?3 WHERE operation = ?1 AND revision IS NULL",
        params![operation, signed(revision), signed(deadline)],
    )?;
    Ok(())
}

/// Takes a decision, unless there is one or the gate has ended. Gives whether it
/// was taken.
pub(crate) fn decide(
    tx: &Transaction<'_>,
    operation: i64,
    decided: &Decided,
) -> rusqlite::Result<bool> {
    let way = match decided.way {
        Way::Open => "open",
        Way::GiveUp => "give-up",
    };
    let changed = tx.execute(
        "UPDATE gate SET decision = ?2, decided_by = ?3, reason = ?4
         WHERE operation = ?1 AND decision IS NULL AND ended IS NULL",
        params![operation, way, decided.by, decided.reason],
    )?;
    Ok(changed > 0)
}

/// The gate has ended.
pub(crate) fn end(tx: &Transaction<'_>, operation: i64, end: End) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE gate SET ended = ?2 WHERE operation = ?1",
        params![operation, end.as_str()],
    )?;
    Ok(())
}

/// The gate of an operation, if it has one.
pub(crate) fn of(connection: &Connection, operation: i64) -> rusqlite::Result<Option<GateRow>> {
    connection
        .query_row(
            "SELECT * FROM gate WHERE operation = ?1",
            params![operation],
            from_row,
        )
        .optional()
}

/// The gates at which names wait, oldest first.
pub(crate) fn waiting(connection: &Connection) -> rusqlite::Result<Vec<GateRow>> {
    connection
        .prepare(
            "SELECT * FROM gate WHERE revision IS NOT NULL AND ended IS NULL ORDER BY operation",
        )?
        .query_map((), from_row)?
        .collect()
}

/// The operation at whose gate the names of a revision wait, by its id.
pub(crate) fn operation_of(
    connection: &Connection,
    revision: u64,
) -> rusqlite::Result<Option<String>> {
    connection
        .query_row(
            "SELECT o.id FROM gate g JOIN operation o ON o.sequence = g.operation
             WHERE g.revision = ?1 AND g.ended IS NULL",
            params![signed(revision)],
            |row| row.get(0),
        )
        .optional()
}

fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<GateRow> {
    let on_timeout: String = row.get("on_timeout")?;
    let decision: Option<String> = row.get("decision")?;
    let ended: Option<String> = row.get("ended")?;
    let (by, reason) = (row.get("decided_by")?, row.get("reason")?);
    let revision = optional_unsigned(row, "revision")?;
    Ok(GateRow {
        operation: row.get("operation")?,
        terms: Terms {
            percent: row.get("percent")?,
            minimum: row.get("minimum")?,
            timeout: unsigned(row, "timeout")?,
            on_timeout: match on_timeout.as_str() {
                "give-up" => OnTimeout::GiveUp,
                _ => OnTimeout::Hold,
            },
        },
        announced: match (revision, optional_unsigned(row, "deadline")?) {
            (Some(revision), Some(deadline)) => Some(Announced { revision, deadline }),
            (Some(_) | None, _) => None,
        },
        decided: decision.map(|way| Decided {
            way: match way.as_str() {
                "open" => Way::Open,
                _ => Way::GiveUp,
            },
            by,
            reason,
        }),
        end: ended.map(|end| match end.as_str() {
            "opened" => End::Opened,
            _ => End::GivenUp,
        }),
    })
}

#[cfg(test)]
mod tests {
    use landfall_catalog::Digest;

    use super::*;
    use crate::state::operations::{self, Start};
    use crate::state::tests::scratch;

    const TERMS: Terms = Terms {
        percent: 80,
        minimum: 2,
        timeout: 600,
        on_timeout: OnTimeout::GiveUp,
    };

    fn start(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<i64> {
        let start = Start {
            id: id.into(),
            plan: Digest::of(b"plan"),
            who: "loopback".into(),
            why: "test".into(),
            source: String::new(),
            trace_parent: String::new(),
            started: 5,
        };
        operations::start(tx, &start, &[])
    }

    fn decided(way: Way) -> Decided {
        Decided {
            way,
            by: "token 1".into(),
            reason: "enough".into(),
        }
    }

    #[tokio::test]
    async fn a_gate_keeps_its_terms_its_first_deadline_and_its_first_decision() {
        let (folder, state, thread) = scratch();
        let operation = state
            .write("test", |tx| {
                let operation = start(tx, "op-1")?;
                put(tx, operation, TERMS)?;
                start(tx, "op-2")?;
                Ok(operation)
            })
            .await
            .unwrap();
        let row = |state: &crate::state::State| {
            let state = state.clone();
            async move {
                let read = state.read("test", move |connection| of(connection, operation));
                read.await.unwrap().unwrap()
            }
        };
        let fresh = row(&state).await;
        assert_eq!((fresh.terms, fresh.announced), (TERMS, None));
        assert!(state.read("test", waiting).await.unwrap().is_empty());
        for deadline in [700, 900] {
            state
                .write("test", move |tx| announced(tx, operation, 3, deadline))
                .await
                .unwrap();
        }
        let taken = state
            .write("test", move |tx| {
                let first = decide(tx, operation, &decided(Way::Open))?;
                Ok((first, decide(tx, operation, &decided(Way::GiveUp))?))
            })
            .await
            .unwrap();
        assert_eq!(taken, (true, false));
        drop(state);
        tokio::task::spawn_blocking(|| thread.join()).await.unwrap();
        let path = folder.path().join("state.sqlite");
        let (state, _thread) = crate::state::State::open(&path).unwrap();
        let expected = GateRow {
            operation,
            terms: TERMS,
            announced: Some(Announced {
                revision: 3,
                deadline: 700,
            }),
            decided: Some(decided(Way::Open)),
            end: None,
        };
        assert_eq!(row(&state).await, expected);
        assert_eq!(state.read("test", waiting).await.unwrap(), [expected]);
        let id =
            |revision| state.read("test", move |connection| operation_of(connection, revision));
        assert_eq!(id(3).await.unwrap().as_deref(), Some("op-1"));
        state
            .write("test", move |tx| end(tx, operation, End::Opened))
            .await
            .unwrap();
        assert_eq!(id(3).await.unwrap(), None);
        assert!(state.read("test", waiting).await.unwrap().is_empty());
    }
}
