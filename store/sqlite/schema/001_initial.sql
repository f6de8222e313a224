-- Version 1: sessions, runs and their log, events, inbox, triggers.
-- Times are microseconds since the Unix epoch. Bodies are JSON in UTF-8, so that a person with only the sqlite3
-- shell can read a history: SELECT * FROM history WHERE id = '…';

-- One opening of the store by one engine. Only the newest session may write; `first_record` is the `log.id` its records
-- begin at, so every record belongs to one session without carrying it.
CREATE TABLE sessions (
    session      INTEGER PRIMARY KEY AUTOINCREMENT,
    token        TEXT    NOT NULL UNIQUE,
    began_us     INTEGER NOT NULL,
    ended_us     INTEGER,
    first_record INTEGER NOT NULL
);

-- What lists show of a run: a projection of its log. `phase` is NULL once the run has ended.
CREATE TABLE runs (
    run         INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    workflow    TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    "trigger"   TEXT    NOT NULL,
    environment TEXT    NOT NULL,
    event       TEXT,
    event_id    TEXT,
    origin      TEXT,
    test        INTEGER NOT NULL,
    status      TEXT    NOT NULL,
    phase       TEXT,
    due_us      INTEGER,
    tasks       INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    created_us  INTEGER NOT NULL,
    started_us  INTEGER,
    finished_us INTEGER
);
CREATE INDEX runs_open ON runs (run) WHERE phase IS NOT NULL;
CREATE INDEX runs_due ON runs (due_us) WHERE due_us IS NOT NULL;
CREATE INDEX runs_origin ON runs (origin) WHERE origin IS NOT NULL;

-- The append-only log of all runs, in the order of commits. A table clustered by (run, seq) would dirty a page for
-- every record of long interleaved runs: 4.6 times the WAL and 2.7 times the CPU of this one.
CREATE TABLE log (
    id    INTEGER PRIMARY KEY,
    run   INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    body  BLOB    NOT NULL,
    UNIQUE (run, seq)
);

-- Events as they were received. An id may come again after the window in which it counts as a duplicate.
CREATE TABLE events (
    event       INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    received_us INTEGER NOT NULL,
    digest      TEXT    NOT NULL,
    body        BLOB    NOT NULL
);
CREATE INDEX events_id ON events (id);

-- What others want a run to see. AUTOINCREMENT, because its owner remembers item numbers: none may come twice.
CREATE TABLE inbox (
    item  INTEGER PRIMARY KEY AUTOINCREMENT,
    run   INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    body  BLOB    NOT NULL
);
CREATE INDEX inbox_run ON inbox (run);

-- Event names and patterns that start workflows.
CREATE TABLE triggers (
    workflow    TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    event       TEXT    NOT NULL,
    environment TEXT    NOT NULL
);
CREATE INDEX triggers_workflow ON triggers (workflow, version);

-- A history as a person reads it.
CREATE VIEW history AS
SELECT runs.id,
       log.seq,
       strftime('%Y-%m-%dT%H:%M:%fZ', log.at_us / 1e6, 'unixepoch') AS at,
       json_extract(CAST(log.body AS TEXT), '$.type') AS type,
       CAST(log.body AS TEXT) AS record
FROM runs JOIN log ON log.run = runs.run
ORDER BY log.run, log.seq;
