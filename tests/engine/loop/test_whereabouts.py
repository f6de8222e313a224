"""Naming the line where suspended code is."""

import asyncio
from collections.abc import Callable

from durably.engine.loop.run_loop import RunLoop
from durably.engine.loop.whereabouts import own_frames, stack

Start = Callable[..., RunLoop]


def test_where_names_the_innermost_line_of_the_users(started: Start) -> None:
    async def inner(loop: RunLoop) -> None:
        await asyncio.wait_for(loop.call("a", None), 5)

    async def body(loop: RunLoop) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(inner(loop))
            await asyncio.sleep(1)

    loop = started(body)
    loop.drive()
    first = test_where_names_the_innermost_line_of_the_users.__code__.co_firstlineno
    root, child = loop.where()
    name = "test_where_names_the_innermost_line_of_the_users.<locals>"
    assert root == f"0: {name}.body ({__file__}:{first + 7})"
    assert child == f"0/0: {name}.inner ({__file__}:{first + 2})"
    loop.evict()
    assert loop.where() == []


def test_an_asyncio_task_without_a_line_of_the_users_shows_none_of_others(started: Start) -> None:
    async def body(loop: RunLoop) -> None:  # noqa: ARG001 - as each body gets it
        await asyncio.gather(asyncio.sleep(1))

    loop = started(body)
    loop.drive()
    _, sleeping = loop.alive()
    assert own_frames(sleeping.get_coro()) == []
    assert stack(sleeping.get_coro()) == "in no line of yours"
    assert loop.where()[1] == "0/0: in no line of yours"
    loop.evict()
