"""Programs carried out on an engine in virtual time, with a copy of the store after each of its commits."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple, cast

from durably import Event, History, Run, RunConflict, current
from durably.engine.log.records import from_us
from durably.engine.log.state import fold
from durably.engine.testing import START_US, TestEngine
from durably.replay import Replayer
from durably.store import Change, Ingest, LogRow, MemoryStore, Operation, Put, Result, RunRow
from durably.store.runtime import SECOND_US, Clock, Randomness
from tests.properties.machine import STEPS
from tests.properties.programs import WORKFLOWS, Message, Program, perform
from tests.properties.values import changed

__all__ = ["RUN", "Evidence", "Finished", "Snapshot", "carry_out", "go_on", "without_addresses"]

RUN = "run"
"""The id of a program's run. Its children's ids come from it."""


UNWINDS_US = 250_613
"""How long an interrupted body takes to end. If it took no time at all, that would be a race with what comes next."""

# -- what is found in a store


class Evidence:
    """What a store holds: of each run its records, what they add up to, and what lists show of it."""

    def __init__(self, store: "PhotographedStore") -> None:
        rows = store.run_rows()
        self.histories = {row.id: History.of(row, store.log_of(row)) for row in rows}
        self.records: dict[str, list[Any]] = {
            run_id: without_addresses([record.to_dict() for record in history])
            for run_id, history in self.histories.items()
        }
        """All records with everything in them."""
        self.states = {
            run_id: fold((entry.at_us, entry.record) for entry in history.entries())
            for run_id, history in self.histories.items()
        }
        self._rows = rows
        self._used = store.used()

    def at_work(self, at_us: int) -> bool:
        """Whether a body was running then, or unwinding with steps behind it waiting: lost if the process is killed."""
        since = from_us(at_us - UNWINDS_US)
        return any(state.running for state in self.states.values()) or any(
            record.type == "step.canceled" and record.at >= since
            for history in self.histories.values()
            for record in history
        )

    @property
    def outcome(self) -> Any:
        """The run's value or error; without the trace, which depends on time."""
        last = self.histories[RUN].records[-1]
        match last.type:
            case "run.succeeded":
                return last.output["value"]
            case "run.failed":
                return last.error["type"], last.error["message"]
            case _:
                return last.type

    def exported(self) -> dict[str, str]:
        """The histories as `durably export` writes them, by run id."""
        return {run_id: history.to_json() for run_id, history in self.histories.items()}

    def check(self) -> None:
        """What holds of every store at rest: histories replay, and lists show what logs add up to."""
        replayer = Replayer(WORKFLOWS)
        for row in self._rows:
            replayer.replay(self.histories[row.id])
            shown, folded = Change(*(getattr(row, name) for name in Change._fields)), self.states[row.id].change()
            if row.phase is not None:  # an open run's number of tasks and records is that of its last change of phase
                shown = shown._replace(tasks=folded.tasks, seq=folded.seq)
            assert shown == folded, row.id
        states = self.states.values()
        began = sum(state.started_us is not None for state in states)
        assert self._used == (began, sum(state.tasks for state in states)), "nothing is counted twice, or not at all"


_SCOPE = re.compile(r"(?<=cancel scope )[0-9a-f]+")


def without_addresses(value: Any, *, without: Collection[str] = ()) -> Any:
    """The value without what anyio writes into the text of its cancels, where in memory a scope is; and without fields
    of those names."""
    return changed(value, lambda each: _SCOPE.sub("…", each) if isinstance(each, str) else each, without=without)


# -- a store that remembers


class Snapshot(NamedTuple):
    """What was durable after a commit, and when that was: what a process that is killed then leaves behind."""

    store: "PhotographedStore"
    at_us: int


class PhotographedStore(MemoryStore):
    """A store that keeps a copy of itself after each commit."""

    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        self.snapshots: list[Snapshot] = []
        self.messages = 0
        """How many of the program's messages are durable. What runs send each other comes with their groups."""

    def _carry_out(self, batch: Sequence[Operation]) -> list[Result]:
        results = super()._carry_out(batch)
        self.messages += sum(isinstance(operation, Put | Ingest) for operation in batch)
        self.snapshots.append(Snapshot(self.copied(), self.clock.now_us()))
        return results

    def copied(self) -> "PhotographedStore":
        """A closed store with the same content, and no snapshots."""
        twin = PhotographedStore()
        twin.__dict__.update({name: _copied(value) for name, value in vars(self).items()})
        twin.snapshots, twin._is_open = [], False
        return twin

    def run_rows(self) -> list[RunRow]:
        """The runs as lists show them."""
        return list(self._runs.values())

    def used(self) -> tuple[int, int]:
        """All that was ever used: runs that began, and tasks."""
        return sum(row.runs for row in self._usage.values()), sum(row.tasks for row in self._usage.values())

    def log_of(self, row: RunRow) -> list[LogRow]:
        """The log of one run."""
        return self._log[row.run]


def _copied(value: Any) -> Any:
    """A copy of containers; what they hold in the end is never changed."""
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in cast("dict[Any, Any]", value).items()}
    return cast("list[Any] | set[Any]", value).copy() if isinstance(value, list | set) else value


# -- an engine that counts


class SameRandomness:
    """Gives the same each time, so that it makes no difference how often it was asked before a kill."""

    def token(self) -> str:
        return f"{4711:032x}"

    def uniform(self, most: float) -> float:
        return most / 2


class Laboratory(TestEngine):
    """An engine that begins at a given time on a given store, and counts the bodies of steps that begin."""

    def __init__(self, store: PhotographedStore, *, max_parked: int, at_us: int = START_US) -> None:
        super().__init__(workflows=WORKFLOWS, max_parked=max_parked)
        self._virtual.jump(at_us)
        store.clock = self._virtual
        self.use_store(store)
        self.store = store
        self.bodies: Counter[str] = Counter()
        """How often the body of a step began, by idempotency key."""
        for each in STEPS.values():
            self.mock(each, side_effect=self._counted(each.fn), takes=_takes)

    def _make_randomness(self) -> Randomness:
        return SameRandomness()

    async def _sleep(self, duration_us: int) -> None:
        try:
            await super()._sleep(duration_us)
        except asyncio.CancelledError:
            await super()._sleep(UNWINDS_US)
            raise

    def _counted(self, body: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self.bodies[current().idempotency_key] += 1
            return body(*args)

        return counted

    async def drive(self, run: Run[Any], program: Program) -> None:
        """Send the messages that are not durable yet, each at its time; then wait until nothing more happens."""
        messages = sorted(program.messages, key=lambda message: message.at)
        for number, message in list(enumerate(messages))[self.store.messages :]:
            ahead_us = START_US + round(message.at * SECOND_US) - self._virtual.now_us()
            await self.clock.advance(timedelta(microseconds=max(0, ahead_us)))
            with suppress(RunConflict):  # it has ended
                await self._send(run, message, number)
        await self.settle()

    async def _send(self, run: Run[Any], message: Message, number: int) -> None:
        match message.what:
            case "cancel":
                await run.cancel()
            case "event":
                await self.send(Event(f"app/{message.name}", {"n": number}, id=f"message-{number}"))
            case "signal":
                await run.signal(message.name, number)


def _takes(_name: str, _fails: int, takes: float, _drawn: str) -> float:
    return takes


class Finished(Evidence):
    """What is found when an engine has nothing more to do."""

    def __init__(self, engine: Laboratory) -> None:
        super().__init__(engine.store)
        self.bodies = engine.bodies
        self.snapshots = engine.store.snapshots


async def carry_out(program: Program, *, max_parked: int) -> Finished:
    """Run a program that nothing happens to but its own messages."""
    async with Laboratory(PhotographedStore(), max_parked=max_parked) as engine:
        await engine.drive(await engine.start(perform, program, run_id=RUN), program)
        return Finished(engine)


async def go_on(program: Program, snapshot: Snapshot, *, max_parked: int, down_for: float) -> Finished:
    """What comes of a run whose process was killed after that commit, and is started again so many seconds later."""
    at_us = snapshot.at_us + round(down_for * SECOND_US)
    async with Laboratory(snapshot.store.copied(), max_parked=max_parked, at_us=at_us) as engine:
        await engine.drive(await engine.get_run(RUN, perform), program)
        return Finished(engine)
