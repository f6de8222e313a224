"""The floor: how fast CPython and SQLite append the same records when nothing else is done.

One asyncio task a run. Each appends what an engine appends for that run, the same records in the same groups
to the same tables, and waits until they are durable before it goes on: one commit for a step's result and
the next step's start. There is no workflow, no step, no replay and no retry around it. What is queued while
a commit runs is the next commit, written by a thread of its own: the fastest of the five ways that were
tried. Neither an event loop nor SQLite does that much faster, so a rate is worth something only as a
fraction of this one, measured in the same minute.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Self, TypeAlias

from msgspec import Raw

from durably.engine.records import (
    NOTHING,
    AttemptStarted,
    RunCreated,
    RunStarted,
    RunSucceeded,
    StepSucceeded,
    encode_record,
)
from durably.store.sqlite.connection import connect, settle
from durably.store.sqlite.migrate import migrate
from durably.store.sqlite.queries import QUERIES

__all__ = ["Appender", "append_runs"]

LogRow: TypeAlias = tuple[int, int, int, bytes]

ROWS_PER_STATEMENT = 64
CAP_ROWS = 512
"""Larger batches are not faster and make the loop wait."""

INSERT = QUERIES["insert_record"]
INSERT_MANY = INSERT + ", (?, ?, ?, ?)" * (ROWS_PER_STATEMENT - 1)


class Batch:
    """What one commit writes, and who waits for it."""

    __slots__ = ("changes", "created", "rows", "waiters")

    def __init__(self) -> None:
        self.rows: list[LogRow] = []
        self.created: list[tuple[Any, ...]] = []
        self.changes: list[tuple[Any, ...]] = []
        self.waiters: list[asyncio.Future[None]] = []


class Appender:
    """A store file and the thread that commits to it, batch after batch."""

    def __init__(self, path: Path, *, delay_s: float = 0) -> None:
        self.commits = 0
        self._connection = connect(path, "rwc")
        settle(self._connection, str(path))
        migrate(self._connection, str(path))
        self._connection.close()
        self._path = path
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._open = Batch()
        self._busy = self._flushing = False
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._commit_batches)

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join)

    def append(
        self, rows: list[LogRow], created: tuple[Any, ...] | None = None, change: tuple[Any, ...] | None = None
    ) -> asyncio.Future[None]:
        """Queue one group. The future is done once it is durable."""
        batch = self._open
        batch.rows += rows
        if created is not None:
            batch.created.append(created)
        if change is not None:
            batch.changes.append(change)
        done = self._loop.create_future()
        batch.waiters.append(done)
        if not self._busy:
            if len(batch.rows) >= CAP_ROWS:
                self._flush()
            elif not self._flushing:
                self._flushing = True
                self._loop.call_soon(self._flush)
        return done

    def _flush(self) -> None:
        self._flushing = False
        if not self._busy and self._open.waiters:
            self._busy = True
            self._batches.put(self._open)
            self._open = Batch()

    def _committed(self, batch: Batch) -> None:
        self.commits += 1
        self._busy = False
        self._flush()  # the next commit runs while these are told
        for waiter in batch.waiters:
            waiter.set_result(None)

    def _commit_batches(self) -> None:
        connection = connect(self._path, "rw")
        settle(connection, str(self._path))
        while (batch := self._batches.get()) is not None:
            _write(connection, batch)
            if self._delay_s:
                time.sleep(self._delay_s)
            self._loop.call_soon_threadsafe(self._committed, batch)
        connection.close()


def _write(connection: sqlite3.Connection, batch: Batch) -> None:
    rows = batch.rows
    connection.execute("BEGIN IMMEDIATE")
    if batch.created:
        connection.executemany(QUERIES["insert_run"], batch.created)
    whole = len(rows) - len(rows) % ROWS_PER_STATEMENT
    for start in range(0, whole, ROWS_PER_STATEMENT):
        connection.execute(INSERT_MANY, list(chain.from_iterable(rows[start : start + ROWS_PER_STATEMENT])))
    connection.executemany(INSERT, rows[whole:])
    if batch.changes:
        connection.executemany(QUERIES["change_run"], batch.changes)
    connection.execute("COMMIT")


# -- what a run of sequential steps leaves in the log


async def append_runs(appender: Appender, runs: int, steps: int) -> None:
    """Append that many runs of so many steps, all at once."""
    await asyncio.gather(*(_append_run(appender, run, steps) for run in range(1, runs + 1)))


async def _append_run(appender: Appender, run: int, steps: int) -> None:
    groups = _groups(run, steps)
    for group in groups:
        await appender.append(*group)


def _groups(run: int, steps: int) -> Iterator[tuple[list[LogRow], tuple[Any, ...] | None, tuple[Any, ...] | None]]:
    """The groups of one run, as the engine writes them for `workloads.sequence`, each made when it is due."""
    run_id = f"{run:032x}"
    at_us = _now_us()
    created = RunCreated(
        workflow="sequence",
        version=1,
        input=Raw(b'{"steps":%d}' % steps),
        trigger="MANUAL",
        event=NOTHING,
        environment="production",
        test=False,
    )
    started = RunStarted(code="0123456789abcdef", python="3.13.0", anyio="4.10.0", engine="0.1.0", seed=1 << 47)
    row = (run, run_id, "sequence", 1, "MANUAL", "production", None, None, None, 0, "RUNNING", "executing", None)
    yield (
        [
            (run, 1, at_us, encode_record(created)),
            (run, 2, at_us, encode_record(started)),
            (run, 3, at_us, encode_record(_start(0))),
        ],
        (*row, 1, 3, at_us, at_us, None),
        None,
    )
    for number in range(1, steps):
        at_us = _now_us()
        seq = 2 + 2 * number
        rows = [
            (run, seq, at_us, encode_record(_success(number - 1))),
            (run, seq + 1, at_us, encode_record(_start(number))),
        ]
        yield rows, None, None
    at_us = _now_us()
    seq = 2 + 2 * steps
    rows = [
        (run, seq, at_us, encode_record(_success(steps - 1))),
        (run, seq + 1, at_us, encode_record(RunSucceeded(output=Raw(b"%d" % steps)))),
    ]
    yield rows, None, ("SUCCEEDED", None, None, steps, seq + 1, at_us, at_us, run)


def _start(number: int) -> AttemptStarted:
    return AttemptStarted(
        step=f"0/increment#{number}",
        name="increment",
        attempt=0,
        start=0,
        input=Raw(b'{"number":%d}' % number),
        digest="01234567",
        line="workloads.py:20",
    )


def _success(number: int) -> StepSucceeded:
    return StepSucceeded(step=f"0/increment#{number}", name="increment", attempt=0, output=Raw(b"%d" % number))


def _now_us() -> int:
    return time.time_ns() // 1000
