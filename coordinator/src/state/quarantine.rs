//! What of the manifests an operation left out, and for which finding: the only
//! trace of it, since what is left out is no entry.

use landfall_catalog::Digest;
use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{digest, signed};

/// A finding for which something was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quarantine {
    pub(crate) severity: String,
    pub(crate) rule: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) message: String,
    pub(crate) content_hash: Digest,
}

/// Says what an operation leaves out: how many entries, and the findings.
pub(crate) fn put(
    tx: &Transaction<'_>,
    operation: i64,
    entries: u64,
    findings: &[Quarantine],
) -> rusqlite::Result<()> {
    if entries == 0 {
        return Ok(());
    }
    tx.execute(
        "UPDATE operation SET quarantined = ?2 WHERE sequence = ?1",
        params![operation, signed(entries)],
    )?;
    let mut insert = tx.prepare(
        "INSERT INTO operation_quarantine
           (operation, position, severity, rule, file, line, at_column, message, content_hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for (position, finding) in (0_u32..).zip(findings) {
        insert.execute(params![
            operation,
            position,
            finding.severity,
            finding.rule,
            finding.file,
            finding.line,
            finding.column,
            finding.message,
            finding.content_hash.as_bytes()
        ])?;
    }
    Ok(())
}

/// Findings of an operation from a position on, with their positions.
pub(crate) fn of(
    connection: &Connection,
    operation: i64,
    from: u32,
    limit: u32,
) -> rusqlite::Result<Vec<(u32, Quarantine)>> {
    connection
        .prepare(
            "SELECT * FROM operation_quarantine WHERE operation = ?1 AND position >= ?2
             ORDER BY position LIMIT ?3",
        )?
        .query_map(params![operation, from, limit], |row| {
            let finding = Quarantine {
                severity: row.get("severity")?,
                rule: row.get("rule")?,
                file: row.get("file")?,
                line: row.get("line")?,
                column: row.get("at_column")?,
                message: row.get("message")?,
                content_hash: digest(row, "content_hash")?,
            };
            Ok((row.get("position")?, finding))
        })?
        .collect()
}
