"""`durably.as_completed`: results as they come, in an order that a replay repeats (DESIGN rules 4, 7).

asyncio's own makes tasks of coroutines in the order of a set of them, another one in each process.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable, Iterator
from typing import Any, Generic, TypeVar

__all__ = ["Completions", "as_completed"]

T = TypeVar("T")


class Completions(AsyncIterator[T], Iterator[Awaitable[T]], Generic[T]):
    """What `as_completed` gives. Each item is given once, to whichever iteration asks first."""

    def __init__(self, aws: Iterable[Awaitable[T]]) -> None:
        # A future that is given twice counts once, as with asyncio's.
        futures = dict.fromkeys(map(asyncio.ensure_future, aws))
        self._done: asyncio.Queue[asyncio.Future[T]] = asyncio.Queue()
        self._left = len(futures)
        for future in futures:
            future.add_done_callback(self._done.put_nowait)

    def __aiter__(self) -> "Completions[T]":
        return self

    async def __anext__(self) -> T:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return await self._next_result()

    def __iter__(self) -> "Completions[T]":
        return self

    def __next__(self) -> Coroutine[Any, Any, T]:
        if not self._left:
            raise StopIteration
        self._left -= 1
        return self._next_result()

    async def _next_result(self) -> T:
        try:
            future = await self._done.get()
        except asyncio.CancelledError:
            self._left += 1  # the item is still to come
            raise
        return future.result()


def as_completed(aws: Iterable[Awaitable[T]]) -> Completions[T]:
    """Results in the order in which they come: `async for result in durably.as_completed(map(fetch, urls))`.

    Also `for next_one in durably.as_completed(…): result = await next_one`, as with asyncio's. Takes coroutines,
    asyncio tasks and futures; coroutines become asyncio tasks at once, in the order given.

    An error is raised in the place of its result, and ends nothing: whoever catches it can go on iterating. Leaving
    the loop early cancels nothing either: what still runs goes on, until the body ends or you cancel it yourself.
    For a time limit, put `asyncio.timeout()` around the loop.
    """
    return Completions(aws)
