//! Audits of the origin and what they found. Kept for the last few; an audit is
//! not resumed, so what was unfinished at a start was interrupted.

use landfall_catalog::Digest;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{signed, unsigned};

/// Audits that are kept.
const KEPT: u32 = 16;
/// Findings of one audit that are kept; more are only counted.
pub(crate) const KEPT_FINDINGS: u64 = 10_000;

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
}

/// An audit as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audit {
    pub(crate) sequence: i64,
    pub(crate) start: Start,
    /// POSIX seconds; 0 while it runs.
    pub(crate) finished: u64,
    pub(crate) tally: Tally,
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

/// Begins an audit, and forgets the oldest ones.
pub(crate) fn start(tx: &Transaction<'_>, start: &Start) -> rusqlite::Result<i64> {
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
    let oldest = sequence - i64::from(KEPT);
    tx.execute(
        "DELETE FROM audit_finding WHERE audit <= ?1",
        params![oldest],
    )?;
    tx.execute("DELETE FROM audit WHERE sequence <= ?1", params![oldest])?;
    Ok(sequence)
}

/// Adds findings after the `after` that are there.
pub(crate) fn add(
    tx: &Transaction<'_>,
    audit: i64,
    after: u64,
    findings: &[Finding],
) -> rusqlite::Result<()> {
    let mut insert = tx.prepare(
        "INSERT INTO audit_finding (audit, position, code, digest, name, detail, outcome)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (position, finding) in (after + 1..=KEPT_FINDINGS).zip(findings) {
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
    Ok(())
}

/// Ends an audit.
pub(crate) fn finish(
    tx: &Transaction<'_>,
    audit: i64,
    now: u64,
    tally: &Tally,
) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE audit SET finished = ?2, objects = ?3, bytes = ?4, found = ?5, repaired = ?6,
           lost = ?7, failed = ?8, notes = ?9, error = ?10
         WHERE sequence = ?1 AND finished = 0",
        params![
            audit,
            signed(now),
            signed(tally.objects),
            signed(tally.bytes),
            signed(tally.found),
            signed(tally.repaired),
            signed(tally.lost),
            signed(tally.failed),
            signed(tally.notes),
            tally.error
        ],
    )?;
    Ok(())
}

/// Ends what an earlier run of this program left unfinished.
pub(crate) fn interrupt(tx: &Transaction<'_>, now: u64) -> rusqlite::Result<usize> {
    // What it had found is counted, so that nobody takes it for clean.
    let count = |outcome: &str| {
        format!(
            "(SELECT count(*) FROM audit_finding f WHERE f.audit = sequence AND f.outcome = '{outcome}')"
        )
    };
    let [found, repaired, lost, failed, notes] =
        ["found", "repaired", "lost", "failed", "note"].map(count);
    tx.execute(
        &format!(
            "UPDATE audit SET finished = ?1, error = 'interrupted: the coordinator stopped',
               found = {found}, repaired = {repaired}, lost = {lost}, failed = {failed}, notes = {notes}
             WHERE finished = 0"
        ),
        params![signed(now)],
    )
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

    #[tokio::test]
    async fn what_was_unfinished_was_interrupted_and_keeps_its_findings() {
        let (_folder, state, _thread) = scratch();
        let audit = begun(&state, "a".into()).await;
        let (whole, found) = state
            .write("test", move |tx| {
                add(tx, audit, 0, &[finding("repaired")])?;
                add(tx, audit, 1, &[finding("lost"), finding("note")])?;
                assert_eq!(interrupt(tx, 9)?, 1);
                assert_eq!(interrupt(tx, 10)?, 0);
                Ok((last_whole(tx)?, findings(tx, audit, 1, 10)?))
            })
            .await
            .unwrap();
        assert_eq!(whole, None);
        assert_eq!(found, [finding("lost"), finding("note")]);
        let kept = state.read("test", |connection| find(connection, "a"));
        let kept = kept.await.unwrap().unwrap();
        let tally = kept.tally;
        assert_eq!(
            (kept.finished, tally.drift(), tally.repaired, tally.notes),
            (9, 1, 1, 1)
        );
        assert!(tally.error.contains("interrupted"));
    }

    #[tokio::test]
    async fn the_newest_audits_are_kept_and_the_last_whole_one_counts() {
        let (_folder, state, _thread) = scratch();
        for number in 0..20 {
            let audit = begun(&state, format!("a{number}")).await;
            let tally = Tally {
                objects: number,
                error: if number == 19 {
                    "x".into()
                } else {
                    String::new()
                },
                ..Tally::default()
            };
            let done = move |tx: &Transaction<'_>| {
                add(tx, audit, 0, &[finding("found")])?;
                finish(tx, audit, 9, &tally)
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
