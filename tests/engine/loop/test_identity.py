"""The keys of what a workflow asks for: where it is in the code, and no two alike."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest

from durably.engine.loop.run_loop import RunLoop

Body = Callable[[RunLoop], Coroutine[Any, Any, Any]]
Start = Callable[..., RunLoop]
Keys = Callable[[Iterable[Any]], list[str]]


async def one_after_the_other(loop: RunLoop) -> None:
    loop.call("a", None)
    loop.call("b", None)
    loop.call("a", None)


async def children(loop: RunLoop) -> None:
    async def child() -> None:
        loop.call("a", None)
        asyncio.create_task(grandchild())  # noqa: RUF006 - the loop holds it

    async def grandchild() -> None:
        loop.call("a", None)

    await asyncio.gather(child(), child())
    await asyncio.create_task(grandchild())


async def timers_share_the_count(loop: RunLoop) -> None:
    loop.call_later(1, print)
    loop.call("timer", None)
    loop.call_at(loop.time() + 1, print)


async def own_keys(loop: RunLoop) -> None:
    loop.call("a", None, key="mine")
    loop.call("a", None, key="/mine")
    loop.call("a", None)
    loop.call("a", None, key="a#7")


async def from_callbacks(loop: RunLoop) -> None:
    """Without an asyncio task: each task made by a bare callback has a path of its own."""

    async def child() -> None:
        loop.call("a", None)

    for _ in range(2):
        loop.call_soon(lambda: asyncio.ensure_future(child()))
    loop.call_soon(lambda: loop.call("bare", None))
    loop.call_soon(lambda: loop.call_later(1, print))
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (one_after_the_other, ["0/a#0", "0/b#0", "0/a#1"]),
        (children, ["0/0/a#0", "0/1/a#0", "0/0/0/a#0", "0/1/0/a#0", "0/2/a#0"]),
        (timers_share_the_count, ["0/timer#0", "0/timer#1", "0/timer#2"]),
        (own_keys, ["0/mine", "/mine", "0/a#0", "0/a#7"]),
        (from_callbacks, ["!/bare#0", "!/timer#0", "!0/a#0", "!1/a#0"]),
    ],
)
def test_a_key_is_the_place_of_a_command(started: Start, keys: Keys, body: Body, expected: list[str]) -> None:
    loop = started(body)
    assert keys(loop.drive()) == expected
    assert {*loop.pending, *loop.timers} == set(expected)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"name": "a", "key": "k"}, {"name": "b", "key": "k"}),
        ({"name": "a", "key": "/k"}, {"name": "a", "key": "/k"}),
        ({"name": "a"}, {"name": "b", "key": "a#0"}),
        ({"name": "b", "key": "a#0"}, {"name": "a"}),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_a_key_is_used_once(
    started: Start, keys: Keys, first: dict[str, Any], second: dict[str, Any], finished: bool
) -> None:
    """Whether the first is pending or done. The message names the key."""

    async def body(loop: RunLoop) -> None:
        future = loop.call(command=None, **first)
        if finished:
            await future
        loop.call(command=None, **second)

    loop = started(body)
    (key,) = keys(loop.drive())
    if finished:
        loop.resolve(key, None)
        loop.drive()
    with pytest.raises(ValueError, match=repr(key)):
        loop.outcome()


def test_a_key_may_look_like_a_number_to_come(started: Start, keys: Keys) -> None:
    """What is not in use is free: numbers are compared as numbers, not as text."""

    async def body(loop: RunLoop) -> None:
        loop.call("a", None)
        for key in ("a#00", "a#1", "a#x", "a#", "b#0"):
            loop.call("a", None, key=key)

    loop = started(body)
    assert keys(loop.drive()) == ["0/a#0", "0/a#00", "0/a#1", "0/a#x", "0/a#", "0/b#0"]
    assert loop.outcome() is None
