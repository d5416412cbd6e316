//! What happened to names and to objects, newest first.
//!
//! Rows are derived from the log's entries, in the transaction that stores them;
//! so a question costs what its answer does, asks neither the log nor the fold,
//! and the rows say nothing that the log does not. Those of a database that is
//! older than this table are made from the log when it is opened.

use landfall_catalog::{Digest, Entry};
use rusqlite::{Connection, OptionalExtension, Statement, Transaction, params};

use super::{digest, signed, unsigned};

/// Changes below a prefix that are put in order for one answer.
pub(crate) const MOST_BELOW: u32 = 50_000;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// These ranges of names; together they are the answer.
    Names(Vec<Names>),
    /// An object: what happened to it, and to names because they mean it.
    Object(Digest),
}

/// Some names, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    One(String),
    /// From the first on, up to but not the second.
    Between(String, String),
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Empty: it happened to the object.
    pub(crate) name: String,
    /// Index in the log.
    pub(crate) log_index: u64,
    /// `set`, `moved`, `removed`, `pending`, `dropped`, `withdrawn`, `reinstated`.
    pub(crate) kind: String,
    /// What the name means after it or, of what it lost, meant before.
    pub(crate) digest: Digest,
    /// What a name that moved meant before.
    pub(crate) before: Option<Digest>,
    pub(crate) reason: String,
    pub(crate) revision: u64,
    /// POSIX seconds.
    pub(crate) time: u64,
    pub(crate) who: String,
    pub(crate) why: String,
    /// Id.
    pub(crate) operation: String,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Only changes of earlier revisions.
    pub(crate) before_revision: u64,
    /// Only what comes after this one in the order of answers: index and name.
    pub(crate) after: (u64, String),
}

impl Default for Place {
    fn default() -> Self {
        Self {
            before_revision: u64::MAX,
            after: (u64::MAX, String::new()),
        }
    }
}

/// Number of log entries whose changes are known.
pub(crate) fn known(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT size FROM history_known", (), |row| {
        unsigned(row, "size")
    })
}

/// Derives the changes of one whole revision, whose row is there; `first` is the
/// index of its first entry, and all before it is known.
pub(crate) fn record(tx: &Transaction<'_>, first: u64, entries: &[Entry]) -> rusqlite::Result<()> {
    let Some(Entry::Commit(commit)) = entries.last() else {
        return Err(rusqlite::Error::QueryReturnedNoRows);
    };
    let mut writer = Writer::new(tx, commit.revision.get())?;
    for (index, entry) in (first..).zip(entries) {
        writer.write(index, entry)?;
    }
    tx.execute(
        "UPDATE revision SET time = ?2, who = ?3, why = ?4, operation = ?5 WHERE revision = ?1",
        params![
            signed(commit.revision.get()),
            signed(commit.time),
            commit.who,
            commit.why,
            commit.operation
        ],
    )?;
    let end = first + entries.len() as u64;
    let changed = tx.execute(
        "UPDATE history_known SET size = ?2 WHERE size = ?1",
        params![signed(first), signed(end)],
    )?;
    match changed {
        1 => Ok(()),
        other => Err(rusqlite::Error::StatementChangedRows(other)),
    }
}

struct Writer<'tx> {
    revision: i64,
    insert: Statement<'tx>,
    meaning: Statement<'tx>,
    announced: Statement<'tx>,
    of_names: Statement<'tx>,
}

impl<'tx> Writer<'tx> {
    fn new(tx: &'tx Transaction<'_>, revision: u64) -> rusqlite::Result<Self> {
        Ok(Self {
            revision: signed(revision),
            insert: tx.prepare(
                "INSERT INTO name_change (name, log_index, revision, kind, digest, before, reason)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?,
            meaning: tx.prepare(
                "SELECT digest, kind = 'removed' AS is_gone FROM name_change
                 WHERE name = ?1 AND kind IN ('set', 'moved', 'removed')
                 ORDER BY log_index DESC LIMIT 1",
            )?,
            announced: tx.prepare(
                "SELECT digest FROM name_change WHERE name = ?1 AND kind = 'pending'
                 ORDER BY log_index DESC LIMIT 1",
            )?,
            // To each name that means the object now.
            of_names: tx.prepare(
                "INSERT INTO name_change (name, log_index, revision, kind, digest, reason)
                 SELECT c.name, ?2, ?3, ?4, c.digest, ?5 FROM name_change c
                 WHERE substr(c.digest, 1, 8) = substr(?1, 1, 8) AND c.digest = ?1
                   AND c.kind IN ('set', 'moved')
                   AND NOT EXISTS (
                     SELECT 1 FROM name_change later
                     WHERE later.name = c.name AND later.log_index > c.log_index
                       AND later.kind IN ('set', 'moved', 'removed'))",
            )?,
        })
    }

    fn write(&mut self, index: u64, entry: &Entry) -> rusqlite::Result<()> {
        match entry {
            Entry::NameSet { name, digest } => {
                let name = name.to_string();
                let before = self.meaning(&name)?.filter(|before| before != digest);
                let kind = before.map_or("set", |_| "moved");
                self.insert(&name, index, kind, digest, before.as_ref(), "")
            }
            Entry::NameRemoved { name, reason } => {
                let name = name.to_string();
                // The fold takes no removal of what is not there.
                let before = self.meaning(&name)?;
                let before = before.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
                self.insert(&name, index, "removed", &before, None, reason)
            }
            Entry::NamePending { name, digest } => {
                self.insert(&name.to_string(), index, "pending", digest, None, "")
            }
            Entry::NameDropped { name, reason } => {
                let name = name.to_string();
                let announced = self
                    .announced
                    .query_row(params![name], |row| digest(row, "digest"))?;
                self.insert(&name, index, "dropped", &announced, None, reason)
            }
            Entry::Withdrawn { digest, reason } => {
                self.of_object(index, "withdrawn", digest, reason)
            }
            Entry::Reinstated { digest, reason } => {
                self.of_object(index, "reinstated", digest, reason)
            }
            Entry::ObjectAdded(_)
            | Entry::ObjectDescribed(_)
            | Entry::Commit(_)
            | Entry::Unknown => Ok(()),
        }
    }

    fn insert(
        &mut self,
        name: &str,
        index: u64,
        kind: &str,
        digest: &Digest,
        before: Option<&Digest>,
        reason: &str,
    ) -> rusqlite::Result<()> {
        let before = before.map(Digest::as_bytes);
        let (index, digest) = (signed(index), digest.as_bytes());
        let row = params![name, index, self.revision, kind, digest, before, reason];
        self.insert.execute(row)?;
        Ok(())
    }

    fn of_object(
        &mut self,
        index: u64,
        kind: &str,
        digest: &Digest,
        reason: &str,
    ) -> rusqlite::Result<()> {
        self.insert("", index, kind, digest, None, reason)?;
        let index = signed(index);
        let row = params![digest.as_bytes(), index, self.revision, kind, reason];
        self.of_names.execute(row)?;
        Ok(())
    }

    /// What the name means by now.
    fn meaning(&mut self, name: &str) -> rusqlite::Result<Option<Digest>> {
        let last = self.meaning.query_row(params![name], |row| {
            let is_gone: bool = row.get("is_gone")?;
            Ok((!is_gone).then_some(digest(row, "digest")?))
        });
        Ok(last.optional()?.flatten())
    }
}

/// The next changes, newest first and those of one log entry by name. None if
/// there are more than [`MOST_BELOW`] below a prefix.
pub(crate) fn changes(
    connection: &Connection,
    subject: &Subject,
    from: &Place,
    limit: u32,
) -> rusqlite::Result<Option<Vec<Change>>> {
    let mut found = Vec::new();
    match subject {
        Subject::Names(ranges) => {
            for names in ranges {
                let (condition, first, end) = match names {
                    Names::One(name) => ("name = ?1 AND ?2 = ''", name.as_str(), ""),
                    Names::Between(first, end) => {
                        if is_too_much(connection, first, end)? {
                            return Ok(None);
                        }
                        ("name >= ?1 AND name < ?2", first.as_str(), end.as_str())
                    }
                };
                let key = params![
                    first,
                    end,
                    signed(from.before_revision),
                    signed(from.after.0),
                    from.after.1,
                    limit
                ];
                found.extend(select(connection, condition, key)?);
            }
        }
        Subject::Object(object) => {
            // Names that share its withdrawal tell nothing that it does not.
            for condition in [
                "substr(digest, 1, 8) = substr(?1, 1, 8) AND digest = ?1 AND ?2 = ''
                 AND (name = '' OR kind NOT IN ('withdrawn', 'reinstated'))",
                "substr(before, 1, 8) = substr(?1, 1, 8) AND before = ?1 AND ?2 = ''",
            ] {
                let key = params![
                    object.as_bytes(),
                    "",
                    signed(from.before_revision),
                    signed(from.after.0),
                    from.after.1,
                    limit
                ];
                found.extend(select(connection, condition, key)?);
            }
        }
    }
    found.sort_by(|a, b| b.log_index.cmp(&a.log_index).then(a.name.cmp(&b.name)));
    found.truncate(limit as usize);
    Ok(Some(found))
}

fn is_too_much(connection: &Connection, first: &str, end: &str) -> rusqlite::Result<bool> {
    let count: u32 = connection.query_row(
        "SELECT count(*) FROM (
             SELECT 1 FROM name_change WHERE name >= ?1 AND name < ?2 LIMIT ?3)",
        params![first, end, MOST_BELOW + 1],
        |row| row.get(0),
    )?;
    Ok(count > MOST_BELOW)
}

/// Revisions are looked up for what is told alone.
fn select(
    connection: &Connection,
    condition: &str,
    key: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Vec<Change>> {
    let statement = format!(
        "SELECT c.*, r.time, r.who, r.why, r.operation FROM (
             SELECT * FROM name_change
             WHERE {condition} AND revision < ?3
               AND (log_index < ?4 OR (log_index = ?4 AND name > ?5))
             ORDER BY log_index DESC, name LIMIT ?6
         ) c JOIN revision r ON r.revision = c.revision
         ORDER BY c.log_index DESC, c.name"
    );
    connection
        .prepare(&statement)?
        .query_map(key, |row| {
            let before: Option<Vec<u8>> = row.get("before")?;
            Ok(Change {
                name: row.get("name")?,
                log_index: unsigned(row, "log_index")?,
                kind: row.get("kind")?,
                digest: digest(row, "digest")?,
                before: before.map(|_| digest(row, "before")).transpose()?,
                reason: row.get("reason")?,
                revision: unsigned(row, "revision")?,
                time: unsigned(row, "time")?,
                who: row.get("who")?,
                why: row.get("why")?,
                operation: row.get("operation")?,
            })
        })?
        .collect()
}

#[cfg(test)]
mod tests;
