"""Programs carried out on an engine in virtual time, with a copy of the store after each of its commits."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple

from durably import History, Run, current
from durably.engine.log.state import RunState, fold
from durably.store import MemoryStore, Operation, Result, RunRow
from durably.store.runtime import Clock
from durably.engine.testing import START_US, TestEngine
from tests.properties.machine import STEPS
from tests.properties.programs import Program, perform

__all__ = ["Finished", "Snapshot", "carry_out", "go_on"]

SECOND_US = 1_000_000


class Snapshot(NamedTuple):
    """What was durable after a commit, and when that was: what a process that is killed then leaves behind."""

    store: "PhotographedStore"
    at_us: int
    canceled: int
    """How many cancels of the program were in the store by then."""


class PhotographedStore(MemoryStore):
    """A store that keeps a copy of itself after each commit."""

    def __init__(self) -> None:
        super().__init__()
        self.clock: Clock | None = None
        self.canceled = 0
        self.snapshots: list[Snapshot] = []

    def _carry_out(self, batch: Sequence[Operation]) -> list[Result]:
        results = super()._carry_out(batch)
        self.canceled += sum(type(each).__name__ == "Put" for each in batch)
        if self.clock is not None:
            self.snapshots.append(Snapshot(self._copied(), self.clock.now_us(), self.canceled))
        return results

    def _copied(self) -> "PhotographedStore":
        twin = PhotographedStore()
        for name, value in vars(self).items():
            if name not in {"snapshots", "clock"}:
                setattr(twin, name, _copied(value))
        twin._is_open = False
        return twin


def _copied(value: Any) -> Any:
    """A copy of containers; what they hold is never changed."""
    match value:
        case dict():
            return {key: _copied(each) for key, each in value.items()}
        case list() | set():
            return copy(value)
        case _:
            return value


class Laboratory(TestEngine):
    """An engine that starts at a given time, on a given store, and counts the bodies that run to their end."""

    def __init__(self, store: PhotographedStore, *, max_parked: int, at_us: int = START_US) -> None:
        super().__init__(workflows=[perform], max_parked=max_parked)
        self._virtual.jump(at_us)
        store.clock = self._virtual
        self.use_store(store)
        self.bodies: Counter[str] = Counter()
        """By idempotency key: bodies that were begun."""
        for each in STEPS.values():
            self.mock(each, side_effect=self._counted(each.fn), takes=_takes)

    def _counted(self, body: Any) -> Any:
        async def counted(*args: Any) -> Any:
            self.bodies[current().idempotency_key] += 1
            return await body(*args)

        return counted


def _takes(_name: str, _fails: int, takes: float, _drawn: str) -> float:
    return takes


class Finished(NamedTuple):
    """A run that is left alone: what stands in the store, and how often bodies ran."""

    history: History
    row: RunRow
    bodies: Counter[str]
    snapshots: list[Snapshot]

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records with everything in them. The run's id is in none."""
        return [record.to_dict() for record in self.history]

    @property
    def state(self) -> RunState:
        """What the log adds up to."""
        return fold((entry.at_us, entry.record) for entry in self.history.entries())

    @property
    def outcome(self) -> Any:
        """The run's value or error, without the trace, which depends on time."""
        last = self.history.records[-1]
        match last.type:
            case "run.succeeded":
                return last.output["value"]
            case "run.failed":
                return last.error["type"], last.error["message"]
            case _:
                return last.type


async def carry_out(program: Program, *, max_parked: int, run_id: str = "run") -> Finished:
    """Run a program that nothing happens to but its own cancels."""
    store = PhotographedStore()
    async with Laboratory(store, max_parked=max_parked) as engine:
        run = await engine.start(perform, program, run_id=run_id)
        return await _drive(engine, run, program, 0)


async def go_on(program: Program, snapshot: Snapshot, *, max_parked: int, down_for: float, run_id: str) -> Finished:
    """What comes of a run whose process was killed and is started again after so many seconds."""
    store = snapshot.store
    at_us = snapshot.at_us + round(down_for * SECOND_US)
    async with Laboratory(store, max_parked=max_parked, at_us=at_us) as engine:
        return await _drive(engine, await engine.get_run(run_id, perform), program, snapshot.canceled)


async def _drive(engine: Laboratory, run: Run[Any], program: Program, canceled: int) -> Finished:
    for at in sorted(program.cancels)[canceled:]:
        elapsed = (engine._virtual.now_us() - START_US) / SECOND_US
        await engine.clock.advance(max(0.0, at - elapsed))
        await run.cancel()
    await engine.settle()
    row = await engine.core.store.run(run.id)
    assert row is not None
    history = await run.history()
    store = engine.core.store
    assert isinstance(store, PhotographedStore)
    return Finished(history, row, engine.bodies, store.snapshots)
