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
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, Self, TypeAlias

from msgspec import Raw

from durably.engine.log.records import (
    NOTHING,
    AttemptStarted,
    Record,
    RunCreated,
    RunStarted,
    RunSucceeded,
    StepSucceeded,
    encode_record,
)
from durably.store.sqlite.connection import connect, settle
from durably.store.sqlite.migrate import migrate
from durably.store.sqlite.queries import QUERIES

__all__ = ["Appender", "append_run"]

LogRow: TypeAlias = tuple[int, int, int, bytes]

ROWS_PER_STATEMENT = 64

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
        connection = connect(path, "rwc")
        settle(connection, str(path))
        migrate(connection, str(path))
        connection.close()
        self._runs = 0
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

    def new_run(self) -> int:
        self._runs += 1
        return self._runs

    def append(
        self,
        rows: list[LogRow],
        created: tuple[Any, ...] | None = None,
        change: tuple[Any, ...] | None = None,
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
        if not (self._busy or self._flushing):
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


async def append_run(appender: Appender, steps: int) -> None:
    """Append a run of that many steps, group after group, each when the one before is durable."""
    run = appender.new_run()
    at_us = _now_us()
    await appender.append(_beginning(run, steps, at_us), created=_run_row(run, at_us))
    for number in range(1, steps):
        at_us = _now_us()
        records = _success(number - 1), _start(number)
        await appender.append(_rows(run, 2 + 2 * number, at_us, records))
    at_us = _now_us()
    end = RunSucceeded(output=Raw(b"%d" % steps))
    last = 3 + 2 * steps
    await appender.append(
        _rows(run, last - 1, at_us, (_success(steps - 1), end)),
        change=("SUCCEEDED", None, None, steps, last, at_us, at_us, None, run),
    )


def _beginning(run: int, steps: int, at_us: int) -> list[LogRow]:
    created = RunCreated(
        workflow="sequence",
        version=1,
        input=Raw(b'{"steps":%d}' % steps),
        trigger="MANUAL",
        event=NOTHING,
        environment="production",
        test=False,
    )
    started = RunStarted(code="01234567", python="3.13.0", anyio="4.10.0", engine="0.1.0", seed=1 << 47)
    return _rows(run, 1, at_us, (created, started, _start(0)))


def _run_row(run: int, at_us: int) -> tuple[Any, ...]:
    name, version, trigger, environment = "sequence", 1, "MANUAL", "production"
    event = event_id = origin = due_us = finished_us = None
    return (
        *(run, f"{run:032x}", name, version, trigger, environment, event, event_id, origin, 0),
        *("RUNNING", "executing", due_us, 1, 3, at_us, at_us, finished_us, None),
    )


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
    output = Raw(b"%d" % (number + 1))
    return StepSucceeded(step=f"0/increment#{number}", name="increment", attempt=0, output=output)


def _rows(run: int, first: int, at_us: int, records: Iterable[Record]) -> list[LogRow]:
    return [(run, seq, at_us, encode_record(record)) for seq, record in enumerate(records, first)]


def _now_us() -> int:
    return time.time_ns() // 1000
