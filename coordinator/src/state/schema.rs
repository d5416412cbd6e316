//! The tables, and how an older database becomes a newer one.
//!
//! `PRAGMA user_version` is the number of migrations that were applied. A
//! migration is never edited once it was released; a change is a new one.

use rusqlite::{Connection, TransactionBehavior};

use super::StateError;

const MIGRATIONS: [&str; 10] = [
    FIRST,
    TOKENS,
    GATES,
    AUDITS,
    TO_FOLLOW,
    TOKEN_NAMES,
    HISTORY,
    AUDIT_PLACES,
    HELD,
    SPARSE,
];

const FIRST: &str = "
-- The newest checkpoint that was ever signed. What the tiles must come to show.
CREATE TABLE log_head (
    only         INTEGER PRIMARY KEY CHECK (only = 0),
    origin       TEXT    NOT NULL,
    size         INTEGER NOT NULL CHECK (size >= 0),
    root         BLOB    NOT NULL CHECK (length(root) = 32),
    note         BLOB    NOT NULL,
    trace_parent TEXT    NOT NULL
) STRICT;

-- Entries of the newest revision until its tiles and checkpoint are published.
CREATE TABLE outbox (
    log_index INTEGER PRIMARY KEY,
    entry     BLOB NOT NULL
) STRICT;

-- Where each revision ends in the log.
CREATE TABLE revision (
    revision INTEGER PRIMARY KEY,
    size     INTEGER NOT NULL
) STRICT;

-- The sensitive half of a project's manifests, as registered.
CREATE TABLE project (
    project       TEXT    NOT NULL,
    kind          TEXT    NOT NULL CHECK (kind IN ('images', 'files')),
    source        TEXT    NOT NULL,
    destinations  TEXT    NOT NULL, -- JSON, sorted
    registered_by TEXT    NOT NULL,
    registered_at INTEGER NOT NULL,
    PRIMARY KEY (project, kind)
) STRICT, WITHOUT ROWID;

-- Resolved plans that may still be confirmed, or are being executed.
CREATE TABLE plan (
    digest BLOB    PRIMARY KEY CHECK (length(digest) = 32),
    made   INTEGER NOT NULL,
    body   BLOB    NOT NULL -- JSON
) STRICT;

CREATE TABLE operation (
    sequence     INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    plan         BLOB    NOT NULL CHECK (length(plan) = 32),
    who          TEXT    NOT NULL,
    why          TEXT    NOT NULL,
    source       TEXT    NOT NULL,
    trace_parent TEXT    NOT NULL,
    started      INTEGER NOT NULL,
    finished     INTEGER,          -- NULL while it runs
    revision     INTEGER NOT NULL DEFAULT 0,
    present      INTEGER NOT NULL DEFAULT 0,
    copied       INTEGER NOT NULL DEFAULT 0,
    lost         INTEGER NOT NULL DEFAULT 0,
    refused      INTEGER NOT NULL DEFAULT 0,
    failed       INTEGER NOT NULL DEFAULT 0,
    removed      INTEGER NOT NULL DEFAULT 0,
    error        TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX operation_running ON operation (sequence) WHERE finished IS NULL;

-- One row for each name that an operation sets or removes.
CREATE TABLE operation_entry (
    operation INTEGER NOT NULL REFERENCES operation (sequence),
    position  INTEGER NOT NULL,
    name      TEXT    NOT NULL,
    digest    BLOB    NOT NULL CHECK (length(digest) = 32),
    staged    TEXT,                -- 'present' or 'copied' once the origin holds all of it
    outcome   TEXT,                -- NULL until it is final
    detail    TEXT    NOT NULL DEFAULT '',
    decided   INTEGER,             -- 1, 2, 3 … in the order of the decisions
    PRIMARY KEY (operation, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX operation_entry_decided ON operation_entry (operation, decided)
    WHERE decided IS NOT NULL;

CREATE TABLE mirror (
    name        TEXT    PRIMARY KEY,
    declaration BLOB    NOT NULL, -- landfall.v1.Mirror, as it said of itself
    state       TEXT    NOT NULL,
    version     TEXT    NOT NULL,
    first_seen  INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL
) STRICT;

-- The last complete readiness report of each mirror.
CREATE TABLE report (
    mirror   TEXT    PRIMARY KEY REFERENCES mirror (name),
    received INTEGER NOT NULL,
    body     BLOB    NOT NULL -- landfall.v1.ReadinessChunk, length-delimited
) STRICT;

-- What changed about a mirror, for people.
CREATE TABLE transition (
    id     INTEGER PRIMARY KEY,
    mirror TEXT    NOT NULL,
    time   INTEGER NOT NULL,
    was    TEXT    NOT NULL,
    became TEXT    NOT NULL,
    reason TEXT    NOT NULL
) STRICT;
CREATE INDEX transition_of_mirror ON transition (mirror, id);
";

const TOKENS: &str = "
-- API tokens. The secret itself is not here.
CREATE TABLE token (
    id          TEXT    PRIMARY KEY,
    secret_hash BLOB    NOT NULL CHECK (length(secret_hash) = 32),
    roles       TEXT    NOT NULL, -- words
    created     INTEGER NOT NULL,
    created_by  TEXT    NOT NULL,
    expires     INTEGER,          -- NULL: never
    revoked     INTEGER
) STRICT, WITHOUT ROWID;
";

const GATES: &str = "
-- The gate of an operation: content first, names when mirrors have it.
CREATE TABLE gate (
    operation  INTEGER PRIMARY KEY REFERENCES operation (sequence),
    percent    INTEGER NOT NULL, -- of each region's mirrors
    minimum    INTEGER NOT NULL, -- mirrors of each region
    timeout    INTEGER NOT NULL, -- seconds
    on_timeout TEXT    NOT NULL CHECK (on_timeout IN ('hold', 'give-up')),
    revision   INTEGER,          -- that has the content; NULL before, 0: nothing waits
    deadline   INTEGER,          -- POSIX seconds
    decision   TEXT    CHECK (decision IN ('open', 'give-up')), -- somebody's
    decided_by TEXT    NOT NULL DEFAULT '',
    reason     TEXT    NOT NULL DEFAULT '',
    ended      TEXT    CHECK (ended IN ('opened', 'given-up'))
) STRICT;
";

const AUDITS: &str = "
-- Audits of the origin; the last few.
CREATE TABLE audit (
    sequence         INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT    NOT NULL UNIQUE,
    who              TEXT    NOT NULL,
    repair           INTEGER NOT NULL,
    bytes_per_second INTEGER NOT NULL, -- 0: no limit
    started          INTEGER NOT NULL,
    finished         INTEGER NOT NULL DEFAULT 0, -- 0 while it runs
    objects          INTEGER NOT NULL DEFAULT 0,
    bytes            INTEGER NOT NULL DEFAULT 0,
    found            INTEGER NOT NULL DEFAULT 0,
    repaired         INTEGER NOT NULL DEFAULT 0,
    lost             INTEGER NOT NULL DEFAULT 0,
    failed           INTEGER NOT NULL DEFAULT 0,
    notes            INTEGER NOT NULL DEFAULT 0,
    error            TEXT    NOT NULL DEFAULT ''
) STRICT;

-- What an audit found, with what became of it.
CREATE TABLE audit_finding (
    audit    INTEGER NOT NULL REFERENCES audit (sequence),
    position INTEGER NOT NULL, -- 1, 2, 3 … as they were found
    code     TEXT    NOT NULL,
    digest   BLOB    CHECK (length(digest) = 32), -- NULL: it is no object
    name     TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    outcome  TEXT    NOT NULL,
    PRIMARY KEY (audit, position)
) STRICT, WITHOUT ROWID;
";

const TO_FOLLOW: &str = "
-- Operations whose names the origin's store has yet to show as the catalog does.
CREATE TABLE to_follow (
    operation INTEGER PRIMARY KEY REFERENCES operation (sequence)
) STRICT;
INSERT INTO to_follow SELECT sequence FROM operation WHERE finished IS NULL;
";

const TOKEN_NAMES: &str = "
-- What people call a token; empty: nothing.
ALTER TABLE token ADD COLUMN name TEXT NOT NULL DEFAULT '';
";

const HISTORY: &str = "
-- What happened to names, and (name '') to objects; derived from the log.
CREATE TABLE name_change (
    name      TEXT    NOT NULL,
    log_index INTEGER NOT NULL,
    revision  INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    digest    BLOB    NOT NULL CHECK (length(digest) = 32),
    before    BLOB    CHECK (length(before) = 32), -- of what moved
    reason    TEXT    NOT NULL,
    PRIMARY KEY (name, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX name_change_of ON name_change (substr(digest, 1, 8));
CREATE INDEX name_change_from ON name_change (substr(before, 1, 8)) WHERE before IS NOT NULL;

-- How many entries of the log these rows are derived from.
CREATE TABLE history_known (
    only INTEGER PRIMARY KEY CHECK (only = 0),
    size INTEGER NOT NULL
) STRICT;
INSERT INTO history_known (only, size) VALUES (0, 0);

-- What the commit of each revision says; derived from the log.
ALTER TABLE revision ADD COLUMN time      INTEGER NOT NULL DEFAULT 0;
ALTER TABLE revision ADD COLUMN who       TEXT    NOT NULL DEFAULT '';
ALTER TABLE revision ADD COLUMN why       TEXT    NOT NULL DEFAULT '';
ALTER TABLE revision ADD COLUMN operation TEXT    NOT NULL DEFAULT '';

-- Which projects an operation was about. Said when it starts, or of an older one
-- when the database is opened.
CREATE TABLE operation_project (
    project   TEXT    NOT NULL,
    operation INTEGER NOT NULL REFERENCES operation (sequence),
    PRIMARY KEY (project, operation)
) STRICT, WITHOUT ROWID;
ALTER TABLE operation ADD COLUMN has_projects INTEGER NOT NULL DEFAULT 1;
UPDATE operation SET has_projects = 0;
CREATE INDEX operation_without_projects ON operation (sequence) WHERE has_projects = 0;
CREATE INDEX operation_of_revision ON operation (revision);
CREATE INDEX gate_of_revision ON gate (revision);

-- Entries of the manifests that were left out for a finding: how many, and why,
-- as far as that is kept.
ALTER TABLE operation ADD COLUMN quarantined INTEGER NOT NULL DEFAULT 0;
CREATE TABLE operation_quarantine (
    operation    INTEGER NOT NULL REFERENCES operation (sequence),
    position     INTEGER NOT NULL,
    severity     TEXT    NOT NULL,
    rule         TEXT    NOT NULL,
    file         TEXT    NOT NULL,
    line         INTEGER NOT NULL,
    at_column    INTEGER NOT NULL,
    message      TEXT    NOT NULL,
    content_hash BLOB    NOT NULL CHECK (length(content_hash) = 32),
    PRIMARY KEY (operation, position)
) STRICT, WITHOUT ROWID;
";

const AUDIT_PLACES: &str = "
-- An audit that a stop interrupts is carried on at its next start.
ALTER TABLE audit ADD COLUMN interruptions     INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN interrupted_after INTEGER NOT NULL DEFAULT 0; -- the last time
ALTER TABLE audit ADD COLUMN carried_on        INTEGER NOT NULL DEFAULT 0; -- the last time

-- How far an audit is that runs.
CREATE TABLE audit_place (
    audit      INTEGER PRIMARY KEY REFERENCES audit (sequence),
    stored     INTEGER NOT NULL,
    elapsed_ms INTEGER NOT NULL DEFAULT 0, -- that it ran
    cursor     TEXT    NOT NULL DEFAULT '', -- JSON; empty: at its beginning
    hashed     BLOB    NOT NULL DEFAULT x'', -- Roaring bitmap; of a registry
    restarts   INTEGER NOT NULL DEFAULT 0  -- at this very place
) STRICT;

-- One from before this table cannot be carried on. What it had found is counted, so
-- that nobody takes it for clean.
UPDATE audit SET finished = started, error = 'interrupted: the coordinator stopped',
    found = (SELECT count(*) FROM audit_finding f WHERE f.audit = sequence AND f.outcome = 'found'),
    repaired = (SELECT count(*) FROM audit_finding f WHERE f.audit = sequence AND f.outcome = 'repaired'),
    lost = (SELECT count(*) FROM audit_finding f WHERE f.audit = sequence AND f.outcome = 'lost'),
    failed = (SELECT count(*) FROM audit_finding f WHERE f.audit = sequence AND f.outcome = 'failed'),
    notes = (SELECT count(*) FROM audit_finding f WHERE f.audit = sequence AND f.outcome = 'note')
WHERE finished = 0;
";

const HELD: &str = "
-- What names are not given again by what nobody confirmed: a person took it back.
CREATE TABLE held (
    name     TEXT    NOT NULL,
    digest   BLOB    NOT NULL CHECK (length(digest) IN (0, 32)), -- empty: that it is gone
    how      TEXT    NOT NULL CHECK (how IN ('reverted', 'given up')),
    revision INTEGER NOT NULL, -- 0: nothing had to be published
    who      TEXT    NOT NULL,
    why      TEXT    NOT NULL,
    PRIMARY KEY (name, digest)
) STRICT, WITHOUT ROWID;
";

const SPARSE: &str = "
-- Indexes that were to be promoted without children that staging lacked.
CREATE TABLE sparse_index (
    digest BLOB PRIMARY KEY CHECK (length(digest) = 32)
) STRICT, WITHOUT ROWID;
";

/// Applies what is missing, in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StateError> {
    let failed = |source| StateError::Query {
        what: "migrate the schema",
        source,
    };
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    let found: i64 = transaction
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed)?;
    let applied = usize::try_from(found)
        .ok()
        .filter(|applied| *applied <= MIGRATIONS.len())
        .ok_or(StateError::TooNew { found, known })?;
    for migration in &MIGRATIONS[applied..] {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    transaction
        .pragma_update(None, "user_version", known)
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}
