-- The statements of the SQLite store, by name. Lists are passed as one JSON array, so that a statement has the same
-- text and one parameter whatever their length.

-- name: current_session
-- The token of the newest session: the only one that may write.
SELECT token FROM sessions ORDER BY session DESC LIMIT 1

-- name: begin_session
-- A new session, which ends the ones before.
INSERT INTO sessions (token, began_us, first_record)
VALUES (:token, :now_us, (SELECT coalesce(max(id), 0) + 1 FROM log))

-- name: end_sessions
-- All sessions that are still open end now.
UPDATE sessions SET ended_us = :now_us WHERE ended_us IS NULL

-- name: last_run
-- The largest run number ever used.
SELECT coalesce(max(run), 0) FROM runs

-- name: insert_run
-- A new run; values in the order of RunRow's fields.
INSERT INTO runs (run, id, workflow, version, "trigger", environment, event, event_id, origin, test, status, phase,
                  due_us, tasks, seq, created_us, started_us, finished_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: change_run
-- What an append changes; values in the order of Change's fields, then the run.
UPDATE runs SET status = ?, phase = ?, due_us = ?, tasks = ?, seq = ?, started_us = ?, finished_us = ? WHERE run = ?

-- name: insert_record
-- One record; the writer repeats the parenthesis for many.
INSERT INTO log (run, seq, at_us, body) VALUES (?, ?, ?, ?)

-- name: head
-- The last sequence number of a run.
SELECT max(seq) FROM log WHERE run = ?

-- name: is_open
-- One row when the run exists and has not ended.
SELECT 1 FROM runs WHERE run = ? AND phase IS NOT NULL

-- name: insert_event
-- An event; values in the order of EventRow's fields.
INSERT INTO events (id, name, received_us, digest, body) VALUES (?, ?, ?, ?, ?)

-- name: known_event
-- The digest of the newest event with this id, if it was received after a given time.
SELECT digest FROM events WHERE id = ? AND received_us > ? ORDER BY event DESC LIMIT 1

-- name: insert_item
-- An inbox row.
INSERT INTO inbox (run, at_us, body) VALUES (?, ?, ?)

-- name: delete_item
-- An inbox row that its run has taken.
DELETE FROM inbox WHERE item = ?

-- name: delete_triggers
-- The triggers of one version of a workflow.
DELETE FROM triggers WHERE workflow = ? AND version = ?

-- name: insert_trigger
-- A trigger; values in the order of TriggerRow's fields.
INSERT INTO triggers (workflow, version, event, environment) VALUES (?, ?, ?, ?)

-- name: runs
-- All runs; values in the order of RunRow's fields.
SELECT run, id, workflow, version, "trigger", environment, event, event_id, origin, test, status, phase, due_us, tasks,
       seq, created_us, started_us, finished_us
FROM runs

-- name: records
-- The whole logs of these runs.
SELECT run, seq, at_us, body FROM log WHERE run IN (SELECT value FROM json_each(?)) ORDER BY run, seq

-- name: run_ids
-- The public ids of the runs in a JSON array.
SELECT run, id FROM runs WHERE run IN (SELECT value FROM json_each(?))

-- name: first_records
-- The oldest record of each of these runs.
SELECT run, seq, at_us, body FROM log WHERE run IN (SELECT value FROM json_each(?)) AND seq = 1

-- name: last_records
-- The newest record of each of these runs: two index look-ups a run.
SELECT log.run, log.seq, log.at_us, log.body
FROM json_each(?) AS wanted
JOIN log ON log.run = wanted.value AND log.seq = (SELECT max(seq) FROM log WHERE run = wanted.value)

-- name: open_runs
-- Runs that have not ended, by number.
SELECT run, phase, due_us FROM runs WHERE phase IS NOT NULL AND run > ? ORDER BY run LIMIT ?

-- name: due_runs
-- Open runs that are due, soonest first.
SELECT due_us, run FROM runs
WHERE due_us IS NOT NULL AND due_us < ? AND (due_us, run) > (?, ?) AND phase IS NOT NULL
ORDER BY due_us, run LIMIT ?

-- name: inbox
-- All inbox rows of these runs; values in the order of InboxRow's fields.
SELECT run, at_us, body, item FROM inbox WHERE run IN (SELECT value FROM json_each(?)) ORDER BY item

-- name: inbox_runs
-- The runs for which something lies in the inbox.
SELECT DISTINCT run FROM inbox ORDER BY run

-- name: event
-- The newest event with this id; values in the order of EventRow's fields.
SELECT id, name, received_us, digest, body FROM events WHERE id = ? ORDER BY event DESC LIMIT 1

-- name: triggers
-- All triggers; values in the order of TriggerRow's fields.
SELECT workflow, version, event, environment FROM triggers ORDER BY workflow, version, event, environment
