//! Mirrors, their last reports, and what changed about them.

use rusqlite::{Connection, Transaction, params};

use super::{signed, unsigned};

/// A mirror as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MirrorRow {
    pub(crate) name: String,
    /// Encoded `landfall.v1.Mirror`: what it said of itself.
    pub(crate) declaration: Vec<u8>,
    /// Its state in the fleet, in kebab case.
    pub(crate) state: String,
    /// Version of its agent.
    pub(crate) version: String,
    /// POSIX seconds.
    pub(crate) first_seen: u64,
    /// POSIX seconds.
    pub(crate) last_seen: u64,
}

/// A readiness report as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReportRow {
    pub(crate) mirror: String,
    /// POSIX seconds.
    pub(crate) received: u64,
    /// Length-delimited `landfall.v1.ReadinessChunk` messages.
    pub(crate) body: Vec<u8>,
}

/// What changed about a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) mirror: String,
    /// POSIX seconds.
    pub(crate) time: u64,
    pub(crate) was: String,
    pub(crate) became: String,
    pub(crate) reason: String,
}

/// Stores a mirror; `first_seen` is kept as it was.
pub(crate) fn put_mirror(tx: &Transaction<'_>, mirror: &MirrorRow) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO mirror (name, declaration, state, version, first_seen, last_seen)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (name) DO UPDATE
         SET declaration = ?2, state = ?3, version = ?4, last_seen = ?6",
        params![
            mirror.name,
            mirror.declaration,
            mirror.state,
            mirror.version,
            signed(mirror.first_seen),
            signed(mirror.last_seen)
        ],
    )?;
    Ok(())
}

/// All mirrors, by name.
pub(crate) fn mirrors(connection: &Connection) -> rusqlite::Result<Vec<MirrorRow>> {
    connection
        .prepare("SELECT * FROM mirror ORDER BY name")?
        .query_map((), |row| {
            Ok(MirrorRow {
                name: row.get("name")?,
                declaration: row.get("declaration")?,
                state: row.get("state")?,
                version: row.get("version")?,
                first_seen: unsigned(row, "first_seen")?,
                last_seen: unsigned(row, "last_seen")?,
            })
        })?
        .collect()
}

/// Replaces the last reports of these mirrors.
pub(crate) fn put_reports(tx: &Transaction<'_>, reports: &[ReportRow]) -> rusqlite::Result<()> {
    let mut upsert = tx.prepare(
        "INSERT INTO report (mirror, received, body) VALUES (?1, ?2, ?3)
         ON CONFLICT (mirror) DO UPDATE SET received = ?2, body = ?3",
    )?;
    for report in reports {
        upsert.execute(params![report.mirror, signed(report.received), report.body])?;
    }
    Ok(())
}

/// Forgets the last report of a mirror.
pub(crate) fn delete_report(tx: &Transaction<'_>, mirror: &str) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM report WHERE mirror = ?1", [mirror])?;
    Ok(())
}

/// The last report of each mirror that ever sent one.
pub(crate) fn reports(connection: &Connection) -> rusqlite::Result<Vec<ReportRow>> {
    connection
        .prepare("SELECT * FROM report ORDER BY mirror")?
        .query_map((), |row| {
            Ok(ReportRow {
                mirror: row.get("mirror")?,
                received: unsigned(row, "received")?,
                body: row.get("body")?,
            })
        })?
        .collect()
}

/// Records what changed about a mirror.
pub(crate) fn add_transition(
    tx: &Transaction<'_>,
    transition: &Transition,
) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO transition (mirror, time, was, became, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            transition.mirror,
            signed(transition.time),
            transition.was,
            transition.became,
            transition.reason
        ],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{State, tests::scratch};

    fn mirror(last_seen: u64) -> MirrorRow {
        MirrorRow {
            name: "oslo".into(),
            declaration: vec![1, 2],
            state: "active".into(),
            version: "0.1.0".into(),
            first_seen: last_seen,
            last_seen,
        }
    }

    #[tokio::test]
    async fn the_last_report_survives_a_restart_and_first_seen_stays() {
        let (folder, state, thread) = scratch();
        for (time, body) in [(10, b"old"), (20, b"new")] {
            state
                .write("test", move |tx| {
                    put_mirror(tx, &mirror(time))?;
                    put_reports(
                        tx,
                        &[ReportRow {
                            mirror: "oslo".into(),
                            received: time,
                            body: body.to_vec(),
                        }],
                    )
                })
                .await
                .unwrap();
        }
        drop(state);
        tokio::task::spawn_blocking(|| thread.join()).await.unwrap();
        let (state, _thread) = State::open(&folder.path().join("state.sqlite")).unwrap();
        let held = state.read("test", mirrors).await.unwrap();
        assert_eq!(
            held,
            [MirrorRow {
                first_seen: 10,
                ..mirror(20)
            }]
        );
        let held = state.read("test", reports).await.unwrap();
        assert_eq!(held.len(), 1);
        assert_eq!((held[0].received, &held[0].body[..]), (20, &b"new"[..]));
    }

    #[tokio::test]
    async fn a_report_of_an_unknown_mirror_is_refused() {
        let (_folder, state, _thread) = scratch();
        let refused = state
            .write("test", |tx| {
                put_reports(
                    tx,
                    &[ReportRow {
                        mirror: "nobody".into(),
                        received: 1,
                        body: vec![],
                    }],
                )
            })
            .await;
        assert!(refused.is_err());
    }
}
