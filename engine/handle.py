"""A handle on one run: what became of it, what it did, and how to stop it or run it again."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from msgspec import Raw

from durably.engine.declare.event_content import signal_content
from durably.engine.errors import InvalidInput, RunCanceled, RunConflict, RunFailed, RunNotFound, StoreError
from durably.engine.execution.follow import Message, message_of
from durably.engine.execution.forking import fork, rerun_from
from durably.engine.execution.inbox import CancelItem, Item, SignalItem, encode_item
from durably.engine.execution.journal import settle
from durably.engine.log.changes import changes
from durably.engine.log.history import History
from durably.engine.log.info import RunInfo, Status, describe_run
from durably.engine.log.records import NOTHING, End, RunContinued, RunCreated, RunSucceeded, decode_end
from durably.engine.log.records import RunFailed as RunFailedRecord
from durably.engine.values.codec import Decode, encode
from durably.engine.values.durations import Duration, to_seconds
from durably.engine.values.names import check_name
from durably.store import InboxRow, Missing, Put, Result, RunRow, Written

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
        waiting = self._engine.wait(self._end())
        record = await (waiting if timeout is None else asyncio.wait_for(waiting, to_seconds(timeout)))
        if isinstance(record, RunSucceeded):
            value: R = self._decode(record.output)
            return value
        if isinstance(record, RunFailedRecord):
            raise RunFailed(self.id, record.error)
        raise RunCanceled(self.id)

    async def _end(self) -> End:
        """The last record of the run, or of the one that it goes on as."""
        record, core = await self._last_record(self._number), self._engine.core
        while isinstance(record, RunContinued):
            heir = await core.store.run(record.continued_to)
            if heir is None:
                raise RunNotFound(record.continued_to)
            record = await self._last_record(heir.run)
        return record

    async def _last_record(self, number: int) -> End:
        core = self._engine.core
        waiter = core.executor.waiters.add(number)
        try:
            in_memory = core.runs.get(number) is not None  # and so has not ended, as far as anybody may know
            if in_memory or (await self._row(number)).phase is not None:
                return await waiter
        finally:
            core.executor.waiters.remove(number, waiter)
        [last] = (await core.store.last_records([number])).values()
        return decode_end(last.body)

    async def _row(self, number: int | None = None) -> RunRow:
        row = await self._engine.core.store.run_numbered(self._number if number is None else number)
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
        return not isinstance(await self._put(CancelItem()), Missing)

    async def _put(self, item: Item) -> Result:
        """Put something into the run's inbox, or that of the one it goes on as, and let it be looked into."""
        core = self._engine.core
        core.journal.check_writable()
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        row = InboxRow(self._number, core.clock.now_us(), encode_item(item))

        def stored(result: Result | StoreError) -> bool:
            waited_for = settle(answer, result)
            if isinstance(result, Written):  # whether or not anybody still waits
                core.look(result.woken)
            return waited_for

        core.journal.add(Put(row, after=stored))
        return await answer

    async def rerun(
        self,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the contract's name
        version: Literal["current", "original"] | int = "current",
        from_step: str | None = None,
        run_id: str | None = None,
    ) -> "Run[R]":
        """A new run with the same input, or with another: arguments by parameter name.

        `version`: the newest registered one, the one this run had, or a number. `from_step`, a step's key or its name
        if only one has it: what was done is not done again, but for that step and what began after it had ended.
        `run_id`, unless there is a `from_step`: the new run's; a known one gives the run that exists, as with `start`.

        Raises `InvalidInput` for an input that misses its annotations, or a step that the run does not have.
        """
        if run_id is not None and from_step is not None:
            raise InvalidInput("run_id and from_step are both given: a rerun from a step has a new id each time")
        engine, row = self._engine, await self._row()
        if row.phase is not None and input is None and row.status == "PENDING":
            raise RunConflict(f"run {self.id!r} has not begun yet; it needs no rerun")
        number = row.version if version == "original" else None if version == "current" else version
        registered = engine.registered(row.workflow, number)
        entries = (await self.history()).entries()
        created = entries[0].record
        assert isinstance(created, RunCreated)
        again = RunCreated(
            workflow=registered.name,
            version=registered.version,
            input=created.input if input is None else Raw(encode(dict(input))),
            event=created.event if input is None else NOTHING,
            trigger="RERUN",
            environment=created.environment,
            test=created.test,
            origin=self.id,
            timeout=registered.timeout,
            scheduled_for=created.scheduled_for,
        )
        if input is not None:
            registered.signature.decode(again.input)
        if from_step is None:
            number, run_id = await engine.intake.start(registered, again, run_id)
        else:
            await engine.intake.admit()
            number, run_id = await rerun_from(engine.core, again, entries, from_step)
        return Run(engine, number, run_id, self._decode)

    async def signal(self, name: str, data: Any = None) -> None:
        """Send a signal to the run: it wakes one `wait_for_signal(name)`, and is kept until one is called.

        Returns once that is durable. Raises `RunConflict` when the run has ended, `InvalidInput` when `data` cannot be
        encoded or is too large.
        """
        item = SignalItem(
            check_name(name, "a signal's name"), Raw(signal_content(data)), self._engine.core.clock.now_us()
        )
        if isinstance(await self._put(item), Missing):
            raise RunConflict(f"run {self.id!r} has ended; nobody waits for signal {name!r} there")

    async def fork(
        self,
        *,
        at: int | str | None = None,
        patch: Mapping[str, Any] | None = None,
        args: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> "Run[R]":
        """A new run that takes over this one's history up to a point, and goes on from there with the code as it is.

        `at` is the last record taken over, an input; or a step, by its key or its name if only one has it: everything
        before it is taken over; or None: just before the failure. What had ended there is not done again, steps without
        an end start from attempt 0, and timers keep their due times.

        `patch` gives steps outcomes, a result or an exception each, in the place of what they came to or so that they
        need not run. `args` replaces arguments of steps that are still to run: `{step: {parameter: value}}`.

        Raises `InvalidInput` for a place, step or parameter that is not there, `NondeterminismError` when what would be
        taken over does not fit the code. Nothing is stored then.
        """
        engine, row = self._engine, await self._row()
        entries = (await self.history()).entries()
        changed = changes(entries, patch or {}, args or {})
        registered = engine.registered(row.workflow, row.version)
        await engine.intake.admit()
        number, run_id = await fork(engine.core, registered, row, entries, at=at, changed=changed)
        return Run(engine, number, run_id, self._decode)

    async def stream(self, *, topic: str | None = None, after: int = 0) -> AsyncGenerator[Message]:
        """What the run publishes, as it happens: from its first message on, until the run ends.

        `topic`: only messages of that topic. `after`: only those behind this `Message.seq`. Messages are durable before
        they are seen here; a run that goes on as a new one (`continue_as_new`) has ended.
        """
        engine = self._engine
        while records := await engine.wait(engine.core.followers.next_records(self._number, after)):
            for message in filter(None, map(message_of, records)):
                if topic is None or message.topic == topic:
                    yield message
            after = records[-1].seq

    def __repr__(self) -> str:
        return f"<run {self.id}>"
