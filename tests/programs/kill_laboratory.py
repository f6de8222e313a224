"""A process that dies at a given commit, the world around it, which does not, and what is left in the end."""

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from durably import History, RunCanceled, RunFailed, Step, Workflow, current
from durably.engine.log.history import HistoryRecord
from durably.engine.testing import START_US, TestEngine
from durably.store import Ingest, LogRow, MemoryStore, Operation, Put, Result
from durably.store.protocol import Done
from durably.store.runtime import SECOND_US
from tests.programs.a_scenario import CANCELED, Scenario, first_run

__all__ = ["Finished", "Kill", "World", "carry_out", "outcome_of"]


class Kill(NamedTuple):
    """A process is killed at its n-th commit: behind it, before anybody hears of it, or when it wants the next one.

    In the latter case everything has happened that this commit allowed, such as steps, and their ends are lost.
    """

    commit: int
    hears_of_it: bool


class MortalStore(MemoryStore):
    """A store whose process dies when its time has come."""

    def __init__(self) -> None:
        super().__init__()
        self._kill: Kill | None = None
        self.durable: list[int] = []
        """The number of durable records, of all runs, after each commit."""
        self.acts = 0
        """How many acts from outside are durable."""
        self.death = asyncio.Event()

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        if self._is_time(hears_of_it=True):
            self.death.set()
        if not self._is_dead:
            super().submit(batch, partial(self._tell, done))

    def _tell(self, done: Done, results: Any) -> None:
        if self._is_time(hears_of_it=False):
            self.death.set()
        if not self._is_dead:
            done(results)

    def _carry_out(self, batch: Sequence[Operation]) -> list[Result]:
        results = super()._carry_out(batch)
        self.acts += sum(isinstance(operation, Put | Ingest) for operation in batch)
        self.durable.append(sum(map(len, self._log.values())))
        return results

    def _is_time(self, *, hears_of_it: bool) -> bool:
        kill = self._kill
        return kill is not None and kill.hears_of_it == hears_of_it and len(self.durable) >= kill.commit

    @property
    def _is_dead(self) -> bool:
        return self.death.is_set()

    def destine(self, kill: Kill) -> None:
        """Say when the process that has it now will die."""
        self._kill = kill

    def revive(self) -> None:
        """Let the next process have it."""
        self._kill = None
        self.death.clear()

    def logs(self) -> dict[str, list[LogRow]]:
        """Of every run, by id."""
        return {row.id: list(self._log[row.run]) for row in self._runs.values()}

    def histories(self) -> dict[str, History]:
        """The same for readers."""
        return {row.id: History.of(row, self._log[row.run]) for row in self._runs.values()}


class World:
    """What steps do things to. It outlives every process, and knows a call that is made again by its key."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        """How often a body has begun, by idempotency key."""
        self.effects: dict[str, str] = {}
        """The step that had an effect, by idempotency key."""

    def begin(self, key: str) -> None:
        """A body begins."""
        self.begun[key] += 1

    def take_effect(self, key: str, step: str) -> None:
        """A body has done what it is for."""
        self.effects[key] = step

    def perform(self, step: Step[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """A body that calls `fn` and is seen doing so."""

        async def performed(*args: Any, **kwargs: Any) -> Any:
            key = current().idempotency_key
            self.begin(key)
            given = fn(*args, **kwargs)
            result = await given if inspect.isawaitable(given) else given
            self.take_effect(key, step.name)
            return result

        return performed


def prepare(engine: TestEngine, scenario: Scenario, world: World) -> None:
    """Put the world in the place of the steps' bodies."""
    for step in scenario.steps:
        body = world.perform(step, scenario.fakes.get(step.name, step.fn))
        engine.mock(step, side_effect=body, takes=scenario.takes.get(step.name, 1))


async def live(engine: TestEngine, scenario: Scenario, done: Callable[[], int]) -> None:
    """All that happens to a program, from the first act that is not done yet."""
    if scenario.args is not None:
        await engine.start(scenario.workflow, *scenario.args, run_id="run")
    for at, act in scenario.plan[done() :]:
        elapsed = engine.clock.now().timestamp() - START_US / SECOND_US
        await engine.clock.advance(max(0.0, at - elapsed))
        await act(engine)
    await engine.settle()


async def outcome_of(engine: TestEngine) -> Any:
    """What came of a run that has ended."""
    try:
        return await (await first_run(engine)).result()
    except RunFailed as failed:
        return failed.error.type
    except RunCanceled:
        return CANCELED


class Finished(NamedTuple):
    """What is left when nothing more happens."""

    outcome: Any
    histories: dict[str, History]
    world: World
    durable: list[int]
    """The number of durable records after each commit."""
    killed: int
    """How many of the kills it came to."""
    logs: dict[str, list[LogRow]]
    before: dict[str, list[LogRow]]
    """The logs as they were when the last process died."""
    begun_before: Counter[str]

    def old(self, run: str) -> Sequence[HistoryRecord]:
        """What was durable of a run when the last process died."""
        return self.histories[run].records[: len(self.before.get(run, ()))]

    def new(self, run: str) -> Sequence[HistoryRecord]:
        """What came after that."""
        return self.histories[run].records[len(self.before.get(run, ())) :]

    @property
    def effects(self) -> Counter[str]:
        """How many calls of each step had an effect."""
        return Counter(self.world.effects.values())

    @property
    def published(self) -> list[Any]:
        """What was published, run after run."""
        return [
            each.data for history in self.histories.values() for each in history if each.type == "message.published"
        ]


async def carry_out(
    scenario: Scenario, *kills: Kill, max_parked: int, deployed: Workflow[..., Any] | None = None
) -> Finished:
    """Run a program to its end, with kills on the way if need be, and with other code `deployed` after the first."""
    store, world, killed = MortalStore(), World(), 0
    before, begun_before = store.logs(), Counter[str]()
    engine = TestEngine([scenario.workflow, *scenario.others], max_parked=max_parked)
    engine.use_store(store)
    async with engine:
        prepare(engine, scenario, world)
        for kill in kills:
            store.destine(kill)
            await die(store, live(engine, scenario, lambda: store.acts))
            before, begun_before = store.logs(), world.begun.copy()
            killed += store.death.is_set()
            store.revive()
            engine.workflows = engine.workflows if deployed is None else (deployed,)
            await engine.restart()
        await live(engine, scenario, lambda: store.acts)
        assert [info for info in await engine.list_runs() if info.finished_at is None] == [], "all runs have ended"
        outcome = await outcome_of(engine)
        await engine.replay_finished()
    return Finished(outcome, store.histories(), world, store.durable, killed, store.logs(), before, begun_before)


async def die(store: MortalStore, living: Any) -> None:
    """Live until the process is killed, or until nothing more happens."""
    life, death = asyncio.ensure_future(living), asyncio.ensure_future(store.death.wait())
    await asyncio.wait({life, death}, return_when=asyncio.FIRST_COMPLETED)
    death.cancel()
    if not life.cancel():
        life.result()
