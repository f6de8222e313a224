"""Waits of runs: looking back to events that have arrived before one, and its deadline."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from msgspec import Raw

from durably.engine.execution.deadlines import wake
from durably.engine.execution.executor import Executor
from durably.engine.execution.inbox import Conditions, awaited_by, is_had
from durably.engine.execution.live import LiveRun
from durably.engine.execution.lookups import Lookups
from durably.engine.log.records import EventAwaited, EventReceived, TimerFired, refuse_sealed, to_us
from durably.engine.log.state import RunState
from durably.engine.values.codec import decode_json
from durably.store import Store

__all__ = ["Waits"]

PAGE = 500
"""Events read in one go."""


class _Found(NamedTuple):
    """An event of the past."""

    received_us: int
    event: Raw


class Waits:
    """Looks back for waits that ask for it: through the events of their name that are in the store, oldest first."""

    def __init__(self, store: Store, executor: Executor, lookups: Lookups) -> None:
        self._store = store
        self._executor = executor
        self._lookups = lookups

    def look_back(self, run: LiveRun, key: str, item: int) -> None:
        """See whether the wait is for an event that has arrived before it; `item` is the inbox item that asks so."""
        self._lookups.begin(run, item, partial(self._look_back, run, key, item), "looking back")

    async def _look_back(self, run: LiveRun, key: str, item: int) -> Callable[[], None]:
        return partial(self._give, run, await self._find(run, key), item)

    async def _find(self, run: LiveRun, key: str) -> _Found | None:
        """The oldest event that the wait is for and the run has not had."""
        after: tuple[int, int] | None = None
        while True:
            state = run.state
            wait = None if state is None else state.waits.get(key)
            if state is None or not isinstance(wait, EventAwaited) or wait.since is None:
                return None
            assert state.created is not None
            start = after or (to_us(wait.since), 0)
            page = await self._store.events_since(wait.event, start, PAGE, state.created.environment)
            conditions = Conditions(state)
            for number, row in page:
                after = (row.received_us, number)
                refuse_sealed(row.body)
                event = Raw(row.body)
                if conditions.hold(wait, decode_json(row.body)) and not is_had(event, state):
                    return _Found(row.received_us, event)
            if len(page) < PAGE:
                return None

    def _give(self, run: LiveRun, found: _Found | None, item: int) -> None:
        state, executor = run.state, self._executor
        assert state is not None
        waits = () if found is None else _reached(found, state)
        if found is None or not waits or run.instance is None:
            executor.append(run, executor.stamp(state), (), taken=(item,))
        else:
            executor.activate(run, EventReceived(waits=waits, event=found.event), taken=(item,))

    def expire(self, run: LiveRun, key: str) -> None:
        """A wait's deadline has come, and nothing in the inbox was for it."""
        if run.is_open and run.state is not None and key in run.state.waits:
            self._executor.activate(run, TimerFired(timer=key))
            wake(run, self._executor)


def _reached(found: _Found, state: RunState) -> tuple[str, ...]:
    """The run's waits that are for an event of the past: those that look back as far."""
    if is_had(found.event, state):
        return ()
    return tuple(key for key in awaited_by(found.event, state) if _looks_back(state, key, found.received_us))


def _looks_back(state: RunState, key: str, received_us: int) -> bool:
    wait = state.waits[key]
    return isinstance(wait, EventAwaited) and wait.since is not None and to_us(wait.since) <= received_us
