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
SELECT max((SELECT coalesce(max(run), 0) FROM runs), (SELECT coalesce(max(last_run), 0) FROM sessions))

-- name: insert_run
-- A new run; values in the order of RunRow's fields.
INSERT INTO runs (run, id, workflow, version, "trigger", environment, event, event_id, origin, test, status, phase,
                  due_us, tasks, seq, created_us, started_us, finished_us, continued_to, job, scheduled_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: change_run
-- What an append changes; values in the order of Change's fields, then the run.
UPDATE runs
SET status = ?, phase = ?, due_us = ?, tasks = ?, seq = ?, started_us = ?, finished_us = ?, continued_to = ?
WHERE run = ?

-- name: insert_record
-- One record; the writer repeats the parenthesis for many.
INSERT INTO log (run, seq, at_us, body) VALUES (?, ?, ?, ?)

-- name: head
-- The last sequence number of a run.
SELECT max(seq) FROM log WHERE run = ?

-- name: standing
-- Whether a run has ended, which is when it has no phase, and what it goes on as.
SELECT phase, continued_to FROM runs WHERE run = ?

-- name: number
-- The number of the run with this public id.
SELECT run FROM runs WHERE id = ?

-- name: insert_event
-- An event; values in the order of EventRow's fields.
INSERT INTO events (id, name, received_us, digest, body, environment) VALUES (?, ?, ?, ?, ?, ?)

-- name: known_event
-- The digest of the newest event with this id in an environment, if it was received after a given time.
SELECT digest FROM events WHERE id = ? AND environment = ? AND received_us > ? ORDER BY event DESC LIMIT 1

-- name: insert_item
-- An inbox row.
INSERT INTO inbox (run, at_us, body) VALUES (?, ?, ?)

-- name: delete_item
-- An inbox row that its run has taken.
DELETE FROM inbox WHERE item = ?

-- name: bequeath
-- What is left in a run's inbox goes to another run.
UPDATE inbox SET run = ? WHERE run = ?

-- name: insert_wait
-- A wait for an event; one that is there is the same one, from before its body was run again.
INSERT OR REPLACE INTO waits (run, key, event, paths, topic, since_us, environment) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: delete_wait
-- A wait that has ended.
DELETE FROM waits WHERE run = ? AND key = ?

-- name: waiting
-- The waits that an event of these topics is for, in its environment.
SELECT run, key FROM waits WHERE topic IN (SELECT value FROM json_each(?)) AND environment = ?

-- name: has_arrived
-- One row when an event of that name was received in that environment at that time or later.
SELECT 1 FROM events WHERE environment = ? AND name = ? AND received_us >= ? LIMIT 1

-- name: delete_triggers
-- The triggers of one version of a workflow.
DELETE FROM triggers WHERE workflow = ? AND version = ?

-- name: insert_trigger
-- A trigger; values in the order of TriggerRow's fields.
INSERT INTO triggers (workflow, version, event, environment, condition) VALUES (?, ?, ?, ?, ?)

-- name: runs
-- All runs; values in the order of RunRow's fields.
SELECT run, id, workflow, version, "trigger", environment, event, event_id, origin, test, status, phase, due_us, tasks,
       seq, created_us, started_us, finished_us, continued_to, job, scheduled_us
FROM runs

-- name: latest
-- The newest of some runs.
SELECT max(run) FROM runs

-- name: tally
-- How many of some runs were created in each bucket of so many microseconds, by status.
SELECT created_us / ? * ?, status, count(*) FROM runs

-- name: records
-- The whole logs of these runs.
SELECT run, seq, at_us, body FROM log WHERE run IN (SELECT value FROM json_each(?)) ORDER BY run, seq

-- name: records_after
-- The next records of one run.
SELECT run, seq, at_us, body FROM log WHERE run = ? AND seq > ? ORDER BY seq LIMIT ?

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
-- The newest event with this id in an environment; values in the order of EventRow's fields.
SELECT id, name, received_us, digest, body, environment FROM events
WHERE id = ? AND environment = ? ORDER BY event DESC LIMIT 1

-- name: events_since
-- Events of that name in an environment, oldest first; number, and the values of EventRow's fields behind it. The index
-- events_name has them in this order, so that a page costs what it holds.
SELECT event, id, name, received_us, digest, body, environment FROM events
WHERE environment = ? AND name = ? AND (received_us, event) > (?, ?)
ORDER BY received_us, event LIMIT ?

-- name: wait_paths
-- Which values waits look at, by event name.
SELECT DISTINCT event, paths FROM waits

-- name: triggers
-- All triggers; values in the order of TriggerRow's fields.
SELECT workflow, version, event, environment, condition FROM triggers
ORDER BY workflow, version, event, environment, condition

-- name: documents
-- All documents of a kind; values in the order of DocumentRow's fields.
SELECT kind, id, body, version, created_us, updated_us, deleted_us FROM documents WHERE kind = ? ORDER BY document

-- name: living_version
-- The version of the document of this kind and id that is not deleted.
SELECT version FROM documents WHERE kind = ? AND id = ? AND deleted_us IS NULL

-- name: insert_document
-- A new document; values in the order of DocumentRow's fields.
INSERT INTO documents (kind, id, body, version, created_us, updated_us, deleted_us) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: change_document
-- The next version of a document; values in the order of DocumentRow's fields, but kind and id come last.
UPDATE documents SET body = ?, version = ?, created_us = ?, updated_us = ?, deleted_us = ?
WHERE kind = ? AND id = ? AND deleted_us IS NULL

-- name: positions
-- When each schedule is due next.
SELECT schedule, due_us FROM positions ORDER BY schedule

-- name: set_position
-- When a schedule is due next.
INSERT OR REPLACE INTO positions (schedule, due_us) VALUES (?, ?)

-- name: delete_position
-- There is no such schedule any more.
DELETE FROM positions WHERE schedule = ?

-- name: due_deliveries
-- Deliveries with a next attempt, soonest first; values in the order of DeliveryRow's fields.
SELECT message, run_id, destination, created_us, status, attempts, due_us, error, body FROM deliveries
WHERE due_us IS NOT NULL ORDER BY due_us, delivery LIMIT ?

-- name: deliveries
-- The deliveries about these runs; values in the order of DeliveryRow's fields.
SELECT message, run_id, destination, created_us, status, attempts, due_us, error, body FROM deliveries
WHERE run_id IN (SELECT value FROM json_each(?)) ORDER BY delivery

-- name: notify
-- A delivery, in the place of one with fewer attempts; values in the order of DeliveryRow's fields.
INSERT INTO deliveries (message, run_id, destination, created_us, status, attempts, due_us, error, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (message) DO UPDATE
SET run_id = excluded.run_id, destination = excluded.destination, created_us = excluded.created_us,
    status = excluded.status, attempts = excluded.attempts, due_us = excluded.due_us, error = excluded.error,
    body = excluded.body
WHERE excluded.attempts > deliveries.attempts

-- name: usage
-- What was used from a day, inclusive, until another, exclusive; values in the order of UsageRow's fields.
SELECT day, environment, workflow, runs, tasks FROM usage WHERE day >= ? AND day < ? ORDER BY day, environment, workflow

-- name: use
-- Added to what was used on a day; values in the order of UsageRow's fields.
INSERT INTO usage (day, environment, workflow, runs, tasks) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (day, environment, workflow) DO UPDATE
SET runs = runs + excluded.runs, tasks = tasks + excluded.tasks

-- name: old_runs
-- Runs that ended before a time, the oldest first, and how long their logs are.
SELECT run, id, seq FROM runs WHERE phase IS NULL AND finished_us < ? ORDER BY finished_us, run LIMIT ?

-- name: keep_last_run
-- The session remembers the largest run number before some are forgotten.
UPDATE sessions SET last_run = max(last_run, (SELECT coalesce(max(run), 0) FROM runs)) WHERE ended_us IS NULL

-- name: forget_log
-- The logs of these runs are deleted.
DELETE FROM log WHERE run IN (SELECT value FROM json_each(?))

-- name: forget_inbox
-- What lies in the inbox of these runs is deleted.
DELETE FROM inbox WHERE run IN (SELECT value FROM json_each(?))

-- name: forget_waits
-- The waits of these runs are deleted.
DELETE FROM waits WHERE run IN (SELECT value FROM json_each(?))

-- name: forget_runs
-- These runs are deleted.
DELETE FROM runs WHERE run IN (SELECT value FROM json_each(?))

-- name: forget_deliveries
-- The deliveries about the runs with these public ids are deleted.
DELETE FROM deliveries WHERE run_id IN (SELECT value FROM json_each(?))

-- name: forget_events
-- The oldest events received before a time are deleted, but for those that came since an open run was created.
DELETE FROM events WHERE event IN (
    SELECT event FROM events
    WHERE received_us < min(?, coalesce((SELECT min(created_us) FROM runs WHERE phase IS NOT NULL), 9e18))
    ORDER BY received_us, event LIMIT ?)
