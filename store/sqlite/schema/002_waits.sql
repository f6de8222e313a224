-- Version 2: waits for events, looking back, runs that go on as another one, triggers with a condition.

-- Waits for events, registered in the group that asks for them. `topic` is the engine's digest of the event's name and of
-- the values it must have at `paths`, a JSON array.
CREATE TABLE waits (
    run      INTEGER NOT NULL,
    key      TEXT    NOT NULL,
    event    TEXT    NOT NULL,
    paths    TEXT    NOT NULL,
    topic    TEXT    NOT NULL,
    since_us INTEGER,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE INDEX waits_topic ON waits (topic);

-- For looking back.
CREATE INDEX events_name ON events (name, received_us);

ALTER TABLE runs ADD COLUMN continued_to TEXT;

-- A trigger's condition on the event, in CEL.
ALTER TABLE triggers ADD COLUMN condition TEXT NOT NULL DEFAULT '';
