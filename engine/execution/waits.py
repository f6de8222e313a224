"""Waits of runs: looking back to events that have arrived before one, and its deadline."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from msgspec import Raw

from durably.engine.execution.background import Background
from durably.engine.execution.executor import Executor
from durably.engine.execution.inbox import awaited_by, is_had
from durably.engine.execution.live import LiveRun
from durably.engine.log.records import EventAwaited, EventReceived, TimerFired, to_us
from durably.store import Store

__all__ = ["Waits"]

PAGE = 500
"""Events read in one go."""


class Waits:
    """Looks back for waits that ask for it: through the events of their name that are in the store, oldest first."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        background: Background,
        when_loaded: Callable[[LiveRun, Callable[[], None]], None],
    ) -> None:
        self._store = store
        self._executor = executor
        self._background = background
        self._when_loaded = when_loaded
        self._looking: defaultdict[LiveRun, set[asyncio.Future[None]]] = defaultdict(set)

    def look_back(self, run: LiveRun, key: str, item: int) -> None:
        """See whether the wait is for an event that has arrived before it; `item` is the inbox item that asks so."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._looking[run].add(done)
        self._background.spawn(self._look_back(run, key, item, done), "looking back")

    async def settled(self, run: LiveRun) -> None:
        """Wait until nobody looks back for this run."""
        while run in self._looking:
            await asyncio.wait(self._looking[run])

    async def _look_back(self, run: LiveRun, key: str, item: int, done: "asyncio.Future[None]") -> None:
        try:
            found = await self._find(run, key)
            self._when_loaded(run, partial(self._give, run, found, item))
        finally:
            self._looking[run].discard(done)
            if not self._looking[run]:
                del self._looking[run]
            done.set_result(None)

    async def _find(self, run: LiveRun, key: str) -> Raw | None:
        """The oldest event that the wait is for and the run has not had."""
        after = 0
        while True:
            wait = None if run.state is None else run.state.waits.get(key)
            if not isinstance(wait, EventAwaited) or wait.since is None:
                return None
            page = await self._store.events_since(wait.event, to_us(wait.since), after, PAGE)
            for after, row in page:  # noqa: B007 - the last one is where the next page begins
                event = Raw(row.body)
                if run.state is not None and not is_had(event, run.state) and key in awaited_by(event, run.state):
                    return event
            if len(page) < PAGE:
                return None

    def _give(self, run: LiveRun, event: Raw | None, item: int) -> None:
        state, executor = run.state, self._executor
        if state is None or state.ended:
            return
        waits = () if event is None or is_had(event, state) else awaited_by(event, state)
        if event is None or not waits or run.instance is None:
            executor.append(run, executor.stamp(state), (), taken=(item,))
        else:
            executor.activate(run, EventReceived(waits=waits, event=event), taken=(item,))

    def expire(self, run: LiveRun, key: str) -> None:
        """A wait's deadline has come, and nothing in the inbox was for it."""
        if run.is_open and run.state is not None and key in run.state.waits:
            self._executor.activate(run, TimerFired(timer=key))
            self._executor.wake(run)
