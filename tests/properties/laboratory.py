"""Programs carried out on an engine in virtual time, with a copy of the store after each of its commits."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from durably import History, Run, current
from durably.engine.log.state import RunState, fold
from durably.engine.testing import START_US, TestEngine
from durably.store import Change, MemoryStore, Operation, Put, Result
from durably.store.runtime import SECOND_US, Clock
from tests.properties.machine import STEPS
from tests.properties.programs import Program, perform

__all__ = ["Evidence", "Snapshot", "carry_out", "go_on", "without_addresses"]

RUN = "run"
"""The id of the one run of a store, unless a test says otherwise."""


class Evidence:
    """What a store holds of a run: its history, what that adds up to, and what lists show of it."""

    def __init__(self, store: "PhotographedStore") -> None:
        [row] = store.all_runs()
        self.history = History.of(row, store.log_of(row.run))
        self.records: list[Any] = [without_addresses(record.to_dict()) for record in self.history]
        """All records with everything in them. The run's id is in none."""
        self.state: RunState = fold((entry.at_us, entry.record) for entry in self.history.entries())
        self.shown = Change(*(getattr(row, name) for name in Change._fields))
        if not self.state.ended:  # until then the number of tasks and records is that of the last change of phase
            self.shown = self.shown._replace(tasks=self.state.tasks, seq=self.state.seq)

    @property
    def outcome(self) -> Any:
        """The run's value or error; without the trace, which depends on time."""
        last = self.history.records[-1]
        match last.type:
            case "run.succeeded":
                return last.output["value"]
            case "run.failed":
                return last.error["type"], last.error["message"]
            case _:
                return last.type


_SCOPE = re.compile(r"(?<=cancel scope )[0-9a-f]+")


def without_addresses(value: Any) -> Any:
    """The value without what anyio writes into the text of its cancels: where in memory a scope is."""
    match value:
        case str():
            return _SCOPE.sub("…", value)
        case dict():
            return {key: without_addresses(each) for key, each in value.items()}
        case list():
            return [without_addresses(each) for each in value]
        case _:
            return value


class Snapshot(NamedTuple):
    """What was durable after a commit, and when that was: what a process that is killed then leaves behind."""

    store: "PhotographedStore"
    at_us: int

    @property
    def evidence(self) -> Evidence:
        """What stands in it."""
        return Evidence(self.store)


class PhotographedStore(MemoryStore):
    """A store that keeps a copy of itself after each commit."""

    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        self.snapshots: list[Snapshot] = []
        self.cancels = 0
        """Cancels that were asked for and are durable."""

    def _carry_out(self, batch: Sequence[Operation]) -> list[Result]:
        results = super()._carry_out(batch)
        self.cancels += sum(isinstance(operation, Put) for operation in batch)
        self.snapshots.append(Snapshot(self.copied(), self.clock.now_us()))
        return results

    def copied(self) -> "PhotographedStore":
        """A closed store with the same content, and no snapshots."""
        twin = PhotographedStore()
        twin.__dict__.update({name: _copied(value) for name, value in vars(self).items()})
        twin.snapshots, twin._is_open = [], False
        return twin

    def all_runs(self) -> Sequence[Any]:
        """The rows that lists show."""
        return tuple(self._runs.values())

    def log_of(self, run: int) -> Sequence[Any]:
        """The log of one run."""
        return self._log[run]


def _copied(value: Any) -> Any:
    """A copy of containers; what they hold in the end is never changed."""
    match value:
        case dict():
            return {key: _copied(each) for key, each in value.items()}
        case list() | set():
            return value.copy()
        case _:
            return value


class Laboratory(TestEngine):
    """An engine that begins at a given time on a given store, and counts the bodies of steps that begin."""

    def __init__(self, store: PhotographedStore, *, max_parked: int, at_us: int = START_US) -> None:
        super().__init__(workflows=[perform], max_parked=max_parked)
        self._virtual.jump(at_us)
        store.clock = self._virtual
        self.use_store(store)
        self.store = store
        self.bodies: Counter[str] = Counter()
        """How often the body of a step began, by idempotency key."""
        for each in STEPS.values():
            self.mock(each, side_effect=self._counted(each.fn), takes=_takes)

    def _counted(self, body: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self.bodies[current().idempotency_key] += 1
            return body(*args)

        return counted

    async def drive(self, run: Run[Any], program: Program) -> None:
        """Cancel the run when its program says so, unless that is done, and leave it alone until nothing happens."""
        for at in sorted(program.cancels)[self.store.cancels :]:
            ahead_us = START_US + round(at * SECOND_US) - self._virtual.now_us()
            await self.clock.advance(timedelta(microseconds=max(0, ahead_us)))
            await run.cancel()
        await self.settle()


def _takes(_name: str, _fails: int, takes: float, _drawn: str) -> float:
    return takes


class Finished(Evidence):
    """A run that was left alone until nothing more happened."""

    def __init__(self, engine: Laboratory) -> None:
        super().__init__(engine.store)
        self.bodies = engine.bodies
        self.snapshots = engine.store.snapshots


async def carry_out(program: Program, *, max_parked: int, run_id: str = RUN) -> Finished:
    """Run a program that nothing happens to but its own cancels."""
    async with Laboratory(PhotographedStore(), max_parked=max_parked) as engine:
        await engine.drive(await engine.start(perform, program, run_id=run_id), program)
        return Finished(engine)


async def go_on(program: Program, snapshot: Snapshot, *, max_parked: int, down_for: float) -> Finished:
    """What comes of a run whose process was killed after that commit, and is started again so many seconds later."""
    at_us = snapshot.at_us + round(down_for * SECOND_US)
    async with Laboratory(snapshot.store.copied(), max_parked=max_parked, at_us=at_us) as engine:
        await engine.drive(await engine.get_run(RUN, perform), program)
        return Finished(engine)
