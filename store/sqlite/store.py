"""The SQLite store: one file, one writer thread, one reader, one engine at a time."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from durably.store.errors import CorruptStore, NotAStore, StoreFailure, StoreLocked, StoreUnavailable
from durably.store.protocol import Done
from durably.store.rows import Operation, TriggerRow
from durably.store.runtime import Clock, Randomness, SystemClock, SystemRandomness, Worker
from durably.store.sqlite.connection import damage_or, opening_failure
from durably.store.sqlite.lock import FileLock
from durably.store.sqlite.reader import SqliteReader
from durably.store.sqlite.session import begin_session, last_run, open_for_writing
from durably.store.sqlite.writer import Writer

__all__ = ["SqliteStore", "run_on"]

T = TypeVar("T")


class SqliteStore(SqliteReader):
    """A `Store` in one SQLite file (WAL, `synchronous=FULL`).

    All writing, opening and checkpointing happens on one thread, a batch at a time; reading on a connection
    of its own. `path` is a file name: the folder has to exist, the file is created. Beside it lie `-wal` and
    `-shm`, which belong to it, and `.lock`.
    """

    def __init__(self, path: str | Path, *, randomness: Randomness | None = None, clock: Clock | None = None) -> None:
        super().__init__(path)
        if str(path) in {"", ".", ":memory:"}:
            raise NotAStore("A SQLite store needs a file name. For one that lives in memory use memory://")
        self._randomness = randomness or SystemRandomness()
        self._clock = clock or SystemClock()
        self._lock = FileLock(self.path.with_name(self.path.name + ".lock"), self.location)
        self._worker: Worker | None = None
        self._writer: Writer | None = None
        self._next_token: str | None = None
        self._last_run = 0

    @staticmethod
    def reader(path: str | Path) -> SqliteReader:
        """The reading half, for a store that may be in use: it takes no lock and cannot write."""
        return SqliteReader(path)

    async def open(self) -> None:
        if self._worker is not None:
            raise StoreLocked(f"{self.location} is open already. Close it first.")
        self._lock.acquire()
        self._worker = Worker("durably-store")
        token, now_us = self._randomness.token(), self._clock.now_us()
        try:
            await self._on_worker(lambda: self._open(token, now_us))
            await self._connect()
        except BaseException:
            await self.close()
            raise

    async def reopen(self) -> None:
        """See `Store.reopen`.

        The reader stays until the new writer is trusted, so that reads are answered while the disk is full.
        It cannot see what an unknown commit left in the WAL, and holds up the checkpoint only while a
        statement runs.
        """
        # The same token until it has worked: an earlier try may have been committed although it failed.
        token = self._next_token = self._next_token or self._randomness.token()
        now_us = self._clock.now_us()
        await self._on_worker(lambda: self._reopen(token, now_us))
        await self._connect()
        self._next_token = None

    async def close(self) -> None:
        worker, self._worker = self._worker, None
        try:
            await super().close()
        finally:
            if worker is not None:
                now_us = self._clock.now_us()
                try:
                    await run_on(worker, lambda: self._close(now_us))
                finally:
                    worker.stop()

    def new_run(self) -> int:
        self._last_run += 1
        return self._last_run

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        loop = asyncio.get_running_loop()
        worker, writer = self._worker, self._writer
        if worker is None or writer is None:
            loop.call_soon(done, StoreUnavailable(f"{self.location} is not open."))
            return
        worker.submit(lambda: _tell(loop, done, writer.commit(batch)))

    async def register_triggers(self, workflows: Sequence[tuple[str, int]], triggers: Sequence[TriggerRow]) -> None:
        writer = self._writer
        if writer is None:
            raise StoreUnavailable(f"{self.location} is not open.")
        await self._on_worker(lambda: writer.register(workflows, triggers))

    async def _on_worker(self, job: Callable[[], T]) -> T:
        if self._worker is None:
            raise StoreUnavailable(f"{self.location} is not open.")
        return await run_on(self._worker, job)

    # -- on the worker's thread

    def _open(self, token: str, now_us: int) -> None:
        try:
            connection = self._begin("rwc", token, now_us, after=None)
            self._last_run = last_run(connection)
        except sqlite3.Error as error:
            raise opening_failure(error, self.location) from error

    def _reopen(self, token: str, now_us: int) -> None:
        before = self._writer
        if before is None:
            raise StoreUnavailable(f"{self.location} is not open.")
        if before.damaged:
            raise CorruptStore(f"{self.location} is damaged. Restore it from a backup.")
        with suppress(sqlite3.Error):  # it has failed already: nothing it says now matters
            before.close()
        try:
            self._begin("rw", token, now_us, after=before.token)
        except sqlite3.Error as error:
            raise damage_or(StoreUnavailable, error, self.location, "It cannot be written just now.") from error

    def _begin(self, mode: Literal["rw", "rwc"], token: str, now_us: int, after: str | None) -> sqlite3.Connection:
        connection = open_for_writing(self.path, self.location, mode)
        try:
            begin_session(connection, token, now_us, after)
        except BaseException:
            connection.close()
            raise
        self._writer = Writer(connection, token, self.location)
        return connection

    def _close(self, now_us: int) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(StoreFailure):  # the next session ends this one anyway
                writer.end(now_us)
            writer.close()
        self._lock.release()


async def run_on(worker: Worker, job: Callable[[], T]) -> T:
    """The job's result, or its exception. It is carried out even if nobody waits for it any more."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def resolve(settle: Callable[[Any], None], outcome: object) -> None:
        if not future.done():
            settle(outcome)

    def work() -> None:
        try:
            result = job()
        except BaseException as error:  # noqa: BLE001 - it is raised where the job was asked for
            _tell(loop, resolve, future.set_exception, error)
        else:
            _tell(loop, resolve, future.set_result, result)

    worker.submit(work)
    return await future


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: Any) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
        loop.call_soon_threadsafe(callback, *arguments)
