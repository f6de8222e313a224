-- Version 3: documents, deliveries, schedules, usage; runs of jobs; environments of events; retention.

-- What people name, write and change: retry policies, jobs, keys, environments. Of one kind and id at most one is not
-- deleted; deleted ones stay as they were.
CREATE TABLE documents (
    document   INTEGER PRIMARY KEY,
    kind       TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    body       BLOB    NOT NULL,
    version    INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    deleted_us INTEGER
);
CREATE UNIQUE INDEX documents_living ON documents (kind, id) WHERE deleted_us IS NULL;
CREATE INDEX documents_kind ON documents (kind);

-- When each schedule is due next.
CREATE TABLE positions (
    schedule TEXT    PRIMARY KEY,
    due_us   INTEGER NOT NULL
) WITHOUT ROWID;

-- Messages about runs to somebody outside, and what became of them. `due_us` is when the next attempt is.
CREATE TABLE deliveries (
    delivery    INTEGER PRIMARY KEY,
    message     TEXT    NOT NULL UNIQUE,
    run_id      TEXT    NOT NULL,
    destination TEXT    NOT NULL,
    created_us  INTEGER NOT NULL,
    status      TEXT    NOT NULL,
    attempts    INTEGER NOT NULL,
    due_us      INTEGER,
    error       TEXT,
    body        BLOB    NOT NULL
);
CREATE INDEX deliveries_due ON deliveries (due_us) WHERE due_us IS NOT NULL;
CREATE INDEX deliveries_run ON deliveries (run_id);

-- What was used on each day. Days are counted from 1970 in UTC: date(day * 86400, 'unixepoch').
CREATE TABLE usage (
    day         INTEGER NOT NULL,
    environment TEXT    NOT NULL,
    workflow    TEXT    NOT NULL,
    runs        INTEGER NOT NULL,
    tasks       INTEGER NOT NULL,
    PRIMARY KEY (day, environment, workflow)
) WITHOUT ROWID;

-- Events start and wake only what belongs to their own environment. Before this version an engine had one for all its
-- events, that of the runs they started; those that started none are taken for its too.
ALTER TABLE events ADD COLUMN environment TEXT NOT NULL DEFAULT 'production';
UPDATE events SET environment = (SELECT environment FROM runs ORDER BY run DESC LIMIT 1) WHERE EXISTS (SELECT 1 FROM runs);
UPDATE events SET environment = runs.environment FROM runs WHERE runs.event_id = events.id;
DROP INDEX events_name;
CREATE INDEX events_name ON events (environment, name, received_us);
ALTER TABLE waits ADD COLUMN environment TEXT NOT NULL DEFAULT 'production';
UPDATE waits SET environment = runs.environment FROM runs WHERE runs.run = waits.run;

-- Runs of jobs, and the time that a schedule or the wait before a retry gave a run.
ALTER TABLE runs ADD COLUMN job TEXT;
ALTER TABLE runs ADD COLUMN scheduled_us INTEGER;

-- The lists that are asked for most, newest first: of workflows and of jobs, of all of them and of one; the last run of
-- each job; what is still to come, what has failed. (What is open has an index already.)
CREATE INDEX runs_created ON runs (created_us) WHERE job IS NULL;
CREATE INDEX runs_workflow ON runs (workflow, created_us) WHERE job IS NULL;
CREATE INDEX runs_job_created ON runs (created_us) WHERE job IS NOT NULL;
CREATE INDEX runs_job ON runs (job, created_us) WHERE job IS NOT NULL;
CREATE INDEX runs_job_latest ON runs (job, environment, run) WHERE job IS NOT NULL AND phase IS NULL;
CREATE INDEX runs_pending ON runs (scheduled_us) WHERE status = 'PENDING';
CREATE INDEX runs_failed ON runs (created_us) WHERE status = 'FAILED';

-- What is old enough to be forgotten: runs that have ended, and events that no open run can look back to.
CREATE INDEX runs_finished ON runs (finished_us) WHERE phase IS NULL;
DROP INDEX runs_open;
CREATE INDEX runs_open ON runs (run, created_us) WHERE phase IS NOT NULL;
CREATE INDEX events_received ON events (received_us);

-- The largest run number there was when runs were last forgotten: numbers go on from there.
ALTER TABLE sessions ADD COLUMN last_run INTEGER NOT NULL DEFAULT 0;
