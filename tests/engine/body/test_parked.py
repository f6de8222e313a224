"""Where a run's asyncio tasks are, and what each of them waits for: another one, something asked for, or neither."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import anyio
import pytest

from durably import start_child, step, workflow
from durably.engine.body.parked import ParkedTask
from durably.engine.body.playback import Playback
from durably.engine.log.grammar import parse
from durably.replay import Replayer
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


@step
async def pack(parcel: int) -> int:
    return parcel


@workflow
async def ship(parcel: int) -> int:
    await asyncio.sleep(3600)
    return parcel


async def walk(parcel: int) -> None:
    await asyncio.sleep(parcel)


async def that_gathers_children() -> None:
    await asyncio.gather(*(ship(each) for each in range(2)))


async def that_gathers_steps() -> None:
    await asyncio.gather(*(pack(each) for each in range(2)))


async def with_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(walk(10))
        group.create_task(walk(20))


async def with_a_group_of_anyio() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(walk, 10)
        group.start_soon(walk, 20)


async def that_waits_for_the_first() -> None:
    await asyncio.wait([asyncio.create_task(walk(each)) for each in (10, 20)], return_when=asyncio.FIRST_COMPLETED)


async def that_shields() -> None:
    await asyncio.shield(asyncio.create_task(walk(10)))


async def that_awaits_one_of_two() -> None:
    first, second = (asyncio.create_task(walk(each)) for each in (10, 20))
    await second
    await first


async def with_a_child_on_the_side() -> None:
    child = await start_child(ship, 1)
    await asyncio.sleep(7200)
    await child.result()


async def that_waits_for_the_child_it_has_started() -> None:
    await (await start_child(ship, 1)).result()


async def that_waits_for_nothing_known() -> None:
    task = asyncio.create_task(walk(10))
    await asyncio.Event().wait()
    await task


class Case(NamedTuple):
    """A body, and what its first asyncio task waits for."""

    body: Callable[[], Coroutine[Any, Any, None]]
    tasks: tuple[str, ...]
    waits: tuple[str, ...] = ()
    running: tuple[str, ...] = ()


CASES = [
    Case(that_gathers_children, ("0/0", "0/1")),
    Case(that_gathers_steps, ("0/0", "0/1")),
    Case(with_a_group, ("0/0", "0/1")),
    Case(with_a_group_of_anyio, ("0/0", "0/1")),
    Case(that_waits_for_the_first, ("0/0", "0/1")),
    Case(that_shields, ("0/0",)),
    Case(that_awaits_one_of_two, ("0/1",)),
    Case(with_a_child_on_the_side, (), ("0/timer#0",), ("0/ship#0",)),
    Case(that_waits_for_the_child_it_has_started, (), ("0/ship#0",)),
    Case(that_waits_for_nothing_known, ()),
]


async def tasks_of(body: Callable[[], Coroutine[Any, Any, None]]) -> list[ParkedTask]:
    parent = workflow("parent")(body)
    async with TestEngine(workflows=[parent, ship], max_parked=10) as engine:
        engine.mock(pack, takes=1000)
        run = await engine.start(parent)
        await engine.settle()
        log = parse((await run.history()).entries())
    with Playback(Replayer([parent, ship]).workflow_of(log), run.id, log, 2) as played:
        assert played.misfit is None
        return played.tasks()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.body.__name__)
async def test_what_it_waits_for_is_told_as_far_as_it_is_known(case: Case) -> None:
    root, *_ = await tasks_of(case.body)
    assert root.tasks == case.tasks
    assert tuple(each.key for each in root.waits) == case.waits
    assert tuple(each.key for each in root.running) == case.running


@pytest.mark.parametrize("body", [that_gathers_children, that_gathers_steps])
async def test_what_is_gathered_without_a_line_of_the_users_shows_no_line_of_ours(
    body: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    root, *gathered = await tasks_of(body)
    assert [line.function for line in root.stack] == [body.__name__]
    assert [task.stack for task in gathered] == [(), ()]
    assert [len(task.waits) for task in gathered] == [1, 1]
