//! Audits of the origin and what they found, for the last few; and how far the one
//! that runs is.

use landfall_catalog::Digest;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{signed, unsigned};

/// Audits that are kept.
const KEPT: u32 = 16;
/// Findings of one audit that are kept; more are only counted.
pub(crate) const KEPT_FINDINGS: u64 = 10_000;
/// How often an audit is carried on without getting any further: what it looks at
/// there may be what stops the program.
pub(crate) const MOST_RESTARTS: u32 = 8;

/// What an audit is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) id: String,
    pub(crate) who: String,
    pub(crate) repair: bool,
    /// 0: no limit.
    pub(crate) bytes_per_second: u64,
    /// POSIX seconds.
    pub(crate) started: u64,
}

/// What an audit has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Objects that were compared.
    pub(crate) objects: u64,
    /// Bytes that were hashed.
    pub(crate) bytes: u64,
    /// Drift that nobody asked to repair.
    pub(crate) found: u64,
    pub(crate) repaired: u64,
    pub(crate) lost: u64,
    pub(crate) failed: u64,
    /// What is no drift.
    pub(crate) notes: u64,
    /// Why it did not come to its end; empty if it did.
    pub(crate) error: String,
}

impl Tally {
    /// Drift that is there still.
    pub(crate) const fn drift(&self) -> u64 {
        self.found + self.lost + self.failed
    }

    /// Counts something that was found, by what became of it.
    pub(crate) fn count(&mut self, outcome: &str) {
        let count = match outcome {
            "found" => &mut self.found,
            "repaired" => &mut self.repaired,
            "lost" => &mut self.lost,
            "note" => &mut self.notes,
            _ => &mut self.failed,
        };
        *count += 1;
    }

    /// All that was found, notes included.
    pub(crate) const fn findings(&self) -> u64 {
        self.drift() + self.repaired + self.notes
    }
}

/// When a stop interrupted an audit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interruptions {
    /// 0: never.
    pub(crate) count: u64,
    /// When it was last known to run before the last one, in POSIX seconds.
    pub(crate) after: u64,
    /// When it was carried on after that, in POSIX seconds.
    pub(crate) carried_on: u64,
}

/// How far an audit is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// How long it ran, in milliseconds.
    pub(crate) elapsed_ms: u64,
    /// Text of whoever carries it on; empty: it is at its beginning.
    pub(crate) cursor: String,
    /// Bytes likewise.
    pub(crate) hashed: Vec<u8>,
}

/// An audit as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audit {
    pub(crate) sequence: i64,
    pub(crate) start: Start,
    /// POSIX seconds; 0 while it runs.
    pub(crate) finished: u64,
    /// While it runs, of all that was found before its place.
    pub(crate) tally: Tally,
    pub(crate) interruptions: Interruptions,
}

/// Something that an audit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) check: String,
    pub(crate) digest: Option<Digest>,
    pub(crate) name: String,
    pub(crate) detail: String,
    pub(crate) outcome: String,
}

/// Begins an audit, and forgets the oldest ones. One whose end could not be stored is
/// ended.
pub(crate) fn start(tx: &Transaction<'_>, start: &Start) -> rusqlite::Result<i64> {
    tx.execute(
        "UPDATE audit SET finished = ?1, error = 'its end could not be stored'
         WHERE finished = 0",
        params![signed(start.started)],
    )?;
    tx.execute("DELETE FROM audit_place", ())?;
    tx.execute(
        "INSERT INTO audit (id, who, repair, bytes_per_second, started) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            start.id,
            start.who,
            start.repair,
            signed(start.bytes_per_second),
            signed(start.started)
        ],
    )?;
    let sequence = tx.last_insert_rowid();
    tx.execute(
        "INSERT INTO audit_place (audit, stored) VALUES (?1, ?2)",
        params![sequence, signed(start.started)],
    )?;
    let oldest = sequence - i64::from(KEPT);
    tx.execute(
        "DELETE FROM audit_finding WHERE audit <= ?1",
        params![oldest],
    )?;
    tx.execute("DELETE FROM audit WHERE sequence <= ?1", params![oldest])?;
    Ok(sequence)
}

/// The audit is at `place` now; `tally` counts what it found before, of which
/// `findings` are new.
pub(crate) fn advance(
    tx: &Transaction<'_>,
    audit: i64,
    now: u64,
    findings: &[Finding],
    tally: &Tally,
    place: &Place,
) -> rusqlite::Result<()> {
    let mut insert = tx.prepare(
        "INSERT INTO audit_finding (audit, position, code, digest, name, detail, outcome)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let known = tally.findings().saturating_sub(findings.len() as u64);
    for (position, finding) in (known + 1..=KEPT_FINDINGS).zip(findings) {
        insert.execute(params![
            audit,
            signed(position),
            finding.check,
            finding
                .digest
                .as_ref()
                .map(|digest| digest.as_bytes().to_vec()),
            finding.name,
            finding.detail,
            finding.outcome
        ])?;
    }
    count(tx, audit, tally)?;
    tx.execute(
        "UPDATE audit_place SET stored = ?2, elapsed_ms = ?3, cursor = ?4, hashed = ?5,
           restarts = 0
         WHERE audit = ?1",
        params![
            audit,
            signed(now),
            signed(place.elapsed_ms),
            place.cursor,
            place.hashed
        ],
    )?;
    Ok(())
}

fn count(tx: &Transaction<'_>, audit: i64, tally: &Tally) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE audit SET objects = ?2, bytes = ?3, found = ?4, repaired = ?5, lost = ?6,
           failed = ?7, notes = ?8
         WHERE sequence = ?1",
        params![
            audit,
            signed(tally.objects),
            signed(tally.bytes),
            signed(tally.found),
            signed(tally.repaired),
            signed(tally.lost),
            signed(tally.failed),
            signed(tally.notes),
        ],
    )?;
    Ok(())
}

/// Ends an audit; `error` says why it did not come to its end.
pub(crate) fn finish(
    tx: &Transaction<'_>,
    audit: i64,
    now: u64,
    error: &str,
) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE audit SET finished = ?2, error = ?3 WHERE sequence = ?1 AND finished = 0",
        params![audit, signed(now), error],
    )?;
    tx.execute("DELETE FROM audit_place WHERE audit = ?1", params![audit])?;
    Ok(())
}

/// The audit that an earlier run of this program left unfinished, and its place. One
/// that gets no further is ended.
pub(crate) fn carry_on(tx: &Transaction<'_>, now: u64) -> rusqlite::Result<Option<(Audit, Place)>> {
    let unfinished = tx
        .query_row(
            "SELECT audit, stored, elapsed_ms, cursor, hashed, restarts FROM audit_place",
            (),
            |row| {
                let place = Place {
                    elapsed_ms: unsigned(row, "elapsed_ms")?,
                    cursor: row.get("cursor")?,
                    hashed: row.get("hashed")?,
                };
                let (audit, stored, restarts): (i64, i64, u32) =
                    (row.get("audit")?, row.get("stored")?, row.get("restarts")?);
                Ok((audit, stored, restarts, place))
            },
        )
        .optional()?;
    let Some((audit, stored, restarts, place)) = unfinished else {
        return Ok(None);
    };
    if restarts >= MOST_RESTARTS {
        let why = format!("interrupted: the coordinator stopped {restarts} times at this place");
        finish(tx, audit, now, &why)?;
        return Ok(None);
    }
    tx.execute(
        "UPDATE audit_place SET restarts = restarts + 1 WHERE audit = ?1",
        params![audit],
    )?;
    tx.execute(
        "UPDATE audit SET interruptions = interruptions + 1, interrupted_after = ?2,
           carried_on = ?3
         WHERE sequence = ?1",
        params![audit, stored, signed(now)],
    )?;
    let audit = tx.query_row(
        "SELECT * FROM audit WHERE sequence = ?1",
        params![audit],
        from_row,
    )?;
    Ok(Some((audit, place)))
}

/// The audit of that id, or the newest.
pub(crate) fn find(connection: &Connection, id: &str) -> rusqlite::Result<Option<Audit>> {
    connection
        .query_row(
            "SELECT * FROM audit WHERE ?1 = '' OR id = ?1 ORDER BY sequence DESC LIMIT 1",
            params![id],
            from_row,
        )
        .optional()
}

/// The newest audit that came to its end.
pub(crate) fn last_whole(connection: &Connection) -> rusqlite::Result<Option<Audit>> {
    connection
        .query_row(
            "SELECT * FROM audit WHERE finished > 0 AND error = '' ORDER BY sequence DESC LIMIT 1",
            (),
            from_row,
        )
        .optional()
}

/// Findings after the `after`-th; they are numbered from 1.
pub(crate) fn findings(
    connection: &Connection,
    audit: i64,
    after: u64,
    limit: u32,
) -> rusqlite::Result<Vec<Finding>> {
    connection
        .prepare(
            "SELECT * FROM audit_finding WHERE audit = ?1 AND position > ?2
             ORDER BY position LIMIT ?3",
        )?
        .query_map(params![audit, signed(after), limit], |row| {
            let digest: Option<Vec<u8>> = row.get("digest")?;
            Ok(Finding {
                check: row.get("code")?,
                digest: match digest {
                    Some(_) => Some(super::digest(row, "digest")?),
                    None => None,
                },
                name: row.get("name")?,
                detail: row.get("detail")?,
                outcome: row.get("outcome")?,
            })
        })?
        .collect()
}

fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Audit> {
    Ok(Audit {
        sequence: row.get("sequence")?,
        start: Start {
            id: row.get("id")?,
            who: row.get("who")?,
            repair: row.get("repair")?,
            bytes_per_second: unsigned(row, "bytes_per_second")?,
            started: unsigned(row, "started")?,
        },
        finished: unsigned(row, "finished")?,
        tally: Tally {
            objects: unsigned(row, "objects")?,
            bytes: unsigned(row, "bytes")?,
            found: unsigned(row, "found")?,
            repaired: unsigned(row, "repaired")?,
            lost: unsigned(row, "lost")?,
            failed: unsigned(row, "failed")?,
            notes: unsigned(row, "notes")?,
            error: row.get("error")?,
        },
        interruptions: Interruptions {
            count: unsigned(row, "interruptions")?,
            after: unsigned(row, "interrupted_after")?,
            carried_on: unsigned(row, "carried_on")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{State, tests::scratch};

    async fn begun(state: &State, id: String) -> i64 {
        let row = Start {
            id,
            who: "loopback".into(),
            repair: true,
            bytes_per_second: 7,
            started: 5,
        };
        state
            .write("test", move |tx| start(tx, &row))
            .await
            .unwrap()
    }

    fn finding(outcome: &str) -> Finding {
        Finding {
            check: "missing".into(),
            digest: Some(Digest::of(b"x")),
            name: "a".into(),
            detail: "gone".into(),
            outcome: outcome.into(),
        }
    }

    fn tally(outcomes: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for outcome in outcomes {
            tally.count(outcome);
        }
        tally
    }

    #[tokio::test]
    async fn an_unfinished_audit_is_carried_on_from_its_place_with_its_findings() {
        let (_folder, state, _thread) = scratch();
        let audit = begun(&state, "a".into()).await;
        let place = Place {
            elapsed_ms: 7,
            cursor: "here".into(),
            hashed: vec![1, 2],
        };
        let expected = place.clone();
        let (whole, found, carried_on, none) = state
            .write("test", move |tx| {
                let first = tally(&["repaired"]);
                advance(tx, audit, 7, &[finding("repaired")], &first, &place)?;
                let all = tally(&["repaired", "lost", "note"]);
                let more = [finding("lost"), finding("note")];
                advance(tx, audit, 8, &more, &all, &place)?;
                let carried_on = carry_on(tx, 100)?;
                let found = (last_whole(tx)?, findings(tx, audit, 1, 10)?);
                finish(tx, audit, 110, "")?;
                Ok((found.0, found.1, carried_on, carry_on(tx, 120)?))
            })
            .await
            .unwrap();
        assert_eq!((whole, none), (None, None));
        assert_eq!(found, [finding("lost"), finding("note")]);
        let (kept, place) = carried_on.unwrap();
        assert_eq!(place, expected);
        assert_eq!(kept.tally, tally(&["repaired", "lost", "note"]));
        let interruptions = Interruptions {
            count: 1,
            after: 8,
            carried_on: 100,
        };
        assert_eq!(kept.interruptions, interruptions);
        let last = state.read("test", last_whole).await.unwrap().unwrap();
        assert_eq!((last.finished, last.interruptions), (110, interruptions));
    }

    #[tokio::test]
    async fn an_audit_that_never_gets_further_is_ended() {
        let (_folder, state, _thread) = scratch();
        let audit = begun(&state, "a".into()).await;
        let times = |count: u32| {
            let state = state.clone();
            async move {
                let again = move |tx: &Transaction<'_>| {
                    let again = (0..count).map(|_| Ok(carry_on(tx, 9)?.is_some()));
                    again.collect::<rusqlite::Result<Vec<_>>>()
                };
                state.write("test", again).await.unwrap()
            }
        };
        assert!(times(MOST_RESTARTS).await.iter().all(|it| *it));
        let moved = move |tx: &Transaction<'_>| {
            advance(tx, audit, 9, &[], &Tally::default(), &Place::default())
        };
        state.write("test", moved).await.unwrap();
        assert!(times(MOST_RESTARTS).await.iter().all(|it| *it));
        assert_eq!(times(2).await, [false, false]);
        let ended = state.read("test", |connection| find(connection, "a"));
        let ended = ended.await.unwrap().unwrap();
        assert!(ended.tally.error.contains("interrupted"), "{ended:?}");
        assert_eq!(ended.finished, 9);
    }

    #[tokio::test]
    async fn the_newest_audits_are_kept_and_the_last_whole_one_counts() {
        let (_folder, state, _thread) = scratch();
        for number in 0..20 {
            let audit = begun(&state, format!("a{number}")).await;
            let error = if number == 19 { "x" } else { "" };
            let done = move |tx: &Transaction<'_>| {
                let tally = tally(&["found"]);
                advance(tx, audit, 8, &[finding("found")], &tally, &Place::default())?;
                finish(tx, audit, 9, error)
            };
            state.write("test", done).await.unwrap();
        }
        let count = |table: &str| format!("SELECT count(*) FROM {table}");
        let (audits, rows, last, newest) = state
            .read("test", move |connection| {
                let count = |table| connection.query_row(&count(table), (), |row| row.get(0));
                let counts: (i64, i64) = (count("audit")?, count("audit_finding")?);
                Ok((
                    counts.0,
                    counts.1,
                    last_whole(connection)?,
                    find(connection, "")?,
                ))
            })
            .await
            .unwrap();
        assert_eq!((audits, rows), (16, 16));
        assert_eq!(last.unwrap().start.id, "a18");
        assert_eq!(newest.unwrap().start.id, "a19");
    }
}
