//! API tokens: who they are for, and the hash of their secret.

use landfall_catalog::Digest;
use rusqlite::{Connection, Transaction, params};

use super::{digest, optional_unsigned, signed, unsigned};

/// A token as stored. The secret is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenRow {
    /// Its public half.
    pub(crate) id: String,
    /// What people call it; may be empty.
    pub(crate) name: String,
    /// SHA-256 of the secret.
    pub(crate) secret_hash: Digest,
    /// Words, separated by spaces.
    pub(crate) roles: String,
    /// POSIX seconds.
    pub(crate) created: u64,
    pub(crate) created_by: String,
    /// POSIX seconds; none: never.
    pub(crate) expires: Option<u64>,
    /// POSIX seconds; none: it is not revoked.
    pub(crate) revoked: Option<u64>,
}

/// All tokens, oldest first.
pub(crate) fn all(connection: &Connection) -> rusqlite::Result<Vec<TokenRow>> {
    connection
        .prepare("SELECT * FROM token ORDER BY created, id")?
        .query_map((), |row| {
            Ok(TokenRow {
                id: row.get("id")?,
                name: row.get("name")?,
                secret_hash: digest(row, "secret_hash")?,
                roles: row.get("roles")?,
                created: unsigned(row, "created")?,
                created_by: row.get("created_by")?,
                expires: optional_unsigned(row, "expires")?,
                revoked: optional_unsigned(row, "revoked")?,
            })
        })?
        .collect()
}

/// Stores a new token; an id that is taken is an error.
pub(crate) fn insert(tx: &Transaction<'_>, token: &TokenRow) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO token (id, secret_hash, roles, created, created_by, expires, name)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            token.id,
            token.secret_hash.as_bytes(),
            token.roles,
            signed(token.created),
            token.created_by,
            token.expires.map(signed),
            token.name
        ],
    )?;
    Ok(())
}

/// Revokes tokens for good. What is revoked stays as it is.
pub(crate) fn revoke(tx: &Transaction<'_>, ids: &[String], now: u64) -> rusqlite::Result<()> {
    let mut update =
        tx.prepare("UPDATE token SET revoked = coalesce(revoked, ?2) WHERE id = ?1")?;
    for id in ids {
        update.execute(params![id, signed(now)])?;
    }
    Ok(())
}
