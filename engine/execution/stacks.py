"""Where an open run's code stands: for looking at it from outside while it waits."""

import asyncio

from durably.engine.body.instance import Instance
from durably.engine.body.parked import ParkedTask, asked_at, parked
from durably.engine.body.replay import replay
from durably.engine.declare.registry import Registered
from durably.engine.execution.core import Core
from durably.engine.execution.loader import Loaded, read_log
from durably.engine.execution.pump import SLICE_US
from durably.store.runtime import Clock

__all__ = ["stack_of"]


async def stack_of(core: Core, number: int, run_id: str) -> list[ParkedTask]:
    """The asyncio tasks of a run, as of its last committed record; none before its body begins and after it has ended.

    It is replayed for that, whether it is in memory or not: so what is shown is what is durable, the run itself is left
    alone, and one that was evicted is not brought back. Raises `NondeterminismError` when its code does not fit.
    """
    rows = (await core.store.records([number]))[number]
    loaded = read_log(run_id, rows)
    if loaded.incarnation is None or loaded.state.created is None:
        return []
    registered = core.registry.get(loaded.state.created.workflow, loaded.state.created.version)
    if registered is None:
        return []
    instance = await _replayed(registered, loaded, core.clock)
    try:
        return parked(instance, asked_at(loaded.incarnation.groups))
    finally:
        instance.evict()


async def _replayed(registered: Registered, loaded: Loaded, clock: Clock) -> Instance:
    """Replay, giving way to others every few milliseconds."""
    assert loaded.beginning is not None
    assert loaded.incarnation is not None
    steps = replay(registered, loaded.beginning, loaded.incarnation)
    end_us = clock.elapsed_us() + SLICE_US
    try:
        while True:
            try:
                next(steps)
            except StopIteration as done:
                instance: Instance = done.value
                return instance
            if clock.elapsed_us() > end_us:
                await asyncio.sleep(0)
                end_us = clock.elapsed_us() + SLICE_US
    finally:
        steps.close()  # of effect on one that was left half-way: its instance is evicted
