//! Indexes of which staging lacked children when they were planned: what is
//! recorded of them may be less than staging has by now.

use std::collections::BTreeSet;

use landfall_catalog::Digest;
use rusqlite::{Connection, Transaction, params};

/// All of them.
pub(crate) fn all(connection: &Connection) -> rusqlite::Result<BTreeSet<Digest>> {
    connection
        .prepare("SELECT digest FROM sparse_index")?
        .query_map((), |row| Ok(Digest::from_raw(row.get(0)?)))?
        .collect()
}

/// Staging lacks children of these.
pub(crate) fn put(tx: &Transaction<'_>, digests: &BTreeSet<Digest>) -> rusqlite::Result<()> {
    let mut put = tx.prepare("INSERT OR IGNORE INTO sparse_index (digest) VALUES (?1)")?;
    for digest in digests {
        put.execute(params![digest.as_bytes()])?;
    }
    Ok(())
}

/// These are recorded with all their children.
pub(crate) fn remove(tx: &Transaction<'_>, digests: &BTreeSet<Digest>) -> rusqlite::Result<()> {
    let mut remove = tx.prepare("DELETE FROM sparse_index WHERE digest = ?1")?;
    for digest in digests {
        remove.execute(params![digest.as_bytes()])?;
    }
    Ok(())
}
