"""A handle on one run: what became of it, what it did, and how to stop it or run it again."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeVar

from msgspec import Raw

from durably.engine.errors import NotBuilt, RunCanceled, RunConflict, RunFailed, RunNotFound
from durably.engine.execution.inbox import CancelItem, encode_item
from durably.engine.execution.journal import settle
from durably.engine.log.history import History
from durably.engine.log.info import RunInfo, Status, describe_run
from durably.engine.log.records import NOTHING, End, RunCreated, RunSucceeded, decode_end, decode_record
from durably.engine.log.records import RunFailed as RunFailedRecord
from durably.engine.values.codec import Decode, encode
from durably.engine.values.durations import Duration, to_seconds
from durably.store import InboxRow, Missing, Put, Result, RunRow

if TYPE_CHECKING:
    from durably.engine.engine import Engine

__all__ = ["Run"]

R = TypeVar("R")


class Run(Generic[R]):
    """One run. Handles are cheap, hold nothing open, and stay good when the engine restarts on the same store."""

    __slots__ = ("_decode", "_engine", "_number", "id")

    def __init__(self, engine: "Engine", number: int, run_id: str, decode: Decode) -> None:
        self._engine = engine
        self._number = number
        self._decode = decode
        self.id = run_id

    async def result(self, timeout: Duration | None = None) -> R:  # noqa: ASYNC109 - the contract's signature
        """Wait for the run's end and return what it returned.

        Raises `RunFailed`, `RunCanceled`, or `TimeoutError` when `timeout` (seconds or a `timedelta`) passes first; the
        run goes on regardless.
        """
        waiting = self._engine.wait(self._last_record())
        record = await (waiting if timeout is None else asyncio.wait_for(waiting, to_seconds(timeout)))
        if isinstance(record, RunSucceeded):
            value: R = self._decode(record.output)
            return value
        if isinstance(record, RunFailedRecord):
            raise RunFailed(self.id, record.error)
        raise RunCanceled(self.id)

    async def _last_record(self) -> End:
        core = self._engine.core
        waiter = core.executor.wait_for(self._number)
        try:
            in_memory = core.runs.get(self._number) is not None  # and so has not ended, as far as anybody may know
            if in_memory or (await self._row()).phase is not None:
                return await waiter
        finally:
            core.executor.stop_waiting_for(self._number, waiter)
        [last] = (await core.store.last_records([self._number])).values()
        return decode_end(last.body)

    async def _row(self) -> RunRow:
        row = await self._engine.core.store.run_numbered(self._number)
        if row is None:
            raise RunNotFound(self.id)
        return row

    async def status(self) -> Status:
        """`PENDING`, `RUNNING`, `SUCCEEDED`, `FAILED` or `CANCELED`."""
        return (await self.info()).status

    async def info(self) -> RunInfo:
        """The run at a glance, as of its last committed record."""
        row = await self._row()
        logs = await self._engine.core.store.records([self._number])
        return describe_run(row, logs[self._number])

    async def history(self) -> History:
        """All records so far."""
        row = await self._row()
        logs = await self._engine.core.store.records([self._number])
        return History.of(row, logs[self._number])

    async def cancel(self) -> bool:
        """Ask for the run to be canceled: `asyncio.CancelledError` arrives at the await that it interrupts.

        True once that is durable, whatever the run makes of it; False when the run had ended. A second request
        interrupts again.
        """
        core = self._engine.core
        core.journal.check_writable()
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        row = InboxRow(self._number, core.clock.now_us(), encode_item(CancelItem()))
        core.journal.add(Put(row, after=partial(settle, answer)))
        if isinstance(await answer, Missing):
            return False
        await core.look_into_inbox(self._number)
        return True

    async def rerun(
        self,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the contract's name
        version: Literal["current", "original"] | int = "current",
        from_step: str | None = None,
    ) -> "Run[R]":
        """A new run with the same input, or with another: arguments by parameter name.

        `version`: the newest registered one, the one this run had, or a number.
        """
        if from_step is not None:
            raise NotBuilt("rerun(from_step=…)")
        engine, row = self._engine, await self._row()
        if row.phase is not None and input is None and row.status == "PENDING":
            raise RunConflict(f"run {self.id!r} has not begun yet; it needs no rerun")
        number = row.version if version == "original" else None if version == "current" else version
        registered = engine.registered(row.workflow, number)
        [first, *_] = (await engine.core.store.records([self._number]))[self._number]
        created = decode_record(first.body)
        assert isinstance(created, RunCreated)
        again = RunCreated(
            workflow=registered.name,
            version=registered.version,
            input=created.input if input is None else Raw(encode(dict(input))),
            event=created.event if input is None else NOTHING,
            trigger="RERUN",
            environment=engine.core.settings.environment,
            test=created.test,
            origin=self.id,
        )
        if input is not None:
            registered.signature.decode(again.input)
        return Run(engine, *(await engine.intake.start(registered, again)), self._decode)

    # -- of the contract, and not built yet

    async def signal(self, name: str, data: Any = None) -> NoReturn:
        """Send a signal to the run."""
        raise NotBuilt("Run.signal()")

    async def fork(
        self,
        *,
        at: int | str | None = None,
        patch: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> "Run[R]":
        """A new run that takes over a prefix of this one's history."""
        raise NotBuilt("Run.fork()")

    def stream(self) -> AsyncIterator[Any]:
        """What the run publishes, as it happens."""
        raise NotBuilt("Run.stream()")

    def __repr__(self) -> str:
        return f"<run {self.id}>"
