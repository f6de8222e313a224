"""What a run has to find out from the store before it goes on. It stays in memory meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from durably.engine.errors import DurablyError
from durably.engine.execution.background import Background
from durably.engine.execution.live import LiveRun

__all__ = ["Lookup", "Lookups"]

Lookup: TypeAlias = Callable[[], Awaitable[Callable[[], None]]]
"""Finds something out, and gives what is to be done then."""


class Lookups:
    """Looks up what inbox items of loaded runs ask for, one beside the other.

    `block` is told of a run for which something cannot be read, `rest` of one that waits again.
    """

    def __init__(
        self,
        background: Background,
        *,
        block: Callable[[LiveRun, DurablyError], None],
        rest: Callable[[LiveRun], None],
    ) -> None:
        self._background = background
        self._block = block
        self._rest = rest

    def begin(self, run: LiveRun, item: int, look_up: Lookup, name: str) -> None:
        """Look up what an item asks for, and do what comes of it.

        Nothing is done if the run was loaded anew meanwhile: the item was read again then, and it is looked up again.
        """
        run.lookups[item] = done = asyncio.get_running_loop().create_future()
        self._background.spawn(self._look_up(run, item, look_up, done), name)

    async def _look_up(self, run: LiveRun, item: int, look_up: Lookup, done: "asyncio.Future[None]") -> None:
        act = error = None
        try:
            act = await self._background.read(look_up)
        except DurablyError as unreadable:  # a sealed body, of which the key was not given
            error = unreadable
        done.set_result(None)
        if run.lookups.get(item) is not done:
            return
        del run.lookups[item]
        if not run.is_open or run.blocked:
            return
        if error is not None:
            self._block(run, error)
        elif act is not None:
            act()
        self._rest(run)

    async def settled(self, run: LiveRun) -> None:
        """Wait until nothing is looked up for this run."""
        while run.lookups:
            await asyncio.wait(run.lookups.values())
