"""A run seen from another process while its server is killed and started again."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from durably import Client, Engine, publish, step, wait_for_signal, workflow

pytestmark = pytest.mark.anyio


@step
async def shout(word: str) -> str:
    return word.upper()


@workflow
async def chat() -> list[str]:
    said: list[str] = []
    while (heard := await wait_for_signal("say", type=str)).data != "bye":
        said.append(await shout(heard.data))
        await publish(said[-1])
    return said


class Place:
    """An engine on a file and the server beside it, which come and go at one address."""

    def __init__(self, folder: Path) -> None:
        self._store = f"sqlite:///{folder}/store.db"
        self._exits = AsyncExitStack()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def open(self) -> None:
        engine = Engine(self._store, workflows=[chat], drain_timeout=0)
        await self._exits.enter_async_context(engine)
        server = await engine.serve_http(port=self.port)
        self.port = server.port

    async def close(self) -> None:
        await self._exits.aclose()


@pytest.fixture
async def place(tmp_path: Path) -> Any:
    place = Place(tmp_path)
    await place.open()
    yield place
    await place.close()


async def test_a_result_outlives_the_server(place: Place) -> None:
    async with Client(place.url) as client:
        run = await client.start(chat)
        waiting = asyncio.ensure_future(run.result(timeout=60))
        await run.signal("say", "hello")
        await place.close()
        with pytest.raises(TimeoutError):
            await run.result(timeout=0.3)
        assert not waiting.done()
        await place.open()
        await run.signal("say", "bye")
        assert await waiting == ["HELLO"]


async def test_a_stream_goes_on_where_it_was(place: Place) -> None:
    async with Client(place.url) as client:
        run = await client.start(chat)
        async with aclosing(run.stream()) as messages:
            await run.signal("say", "one")
            assert (await anext(messages)).data == "ONE"
            following = asyncio.ensure_future(anext(messages))
            await place.close()
            await place.open()
            await run.signal("say", "two")
            assert (await following).data == "TWO"
            await run.signal("say", "bye")
            assert [message.data async for message in messages] == []
        assert [message.data async for message in run.stream()] == ["ONE", "TWO"]


async def test_who_waits_for_many_can_still_ask(place: Place) -> None:
    async with Client(place.url) as client:
        runs = await asyncio.gather(*(client.start(chat) for _ in range(120)))
        waiting = asyncio.gather(*(run.result(timeout=60) for run in runs))  # more than others have connections
        await asyncio.gather(*(run.signal("say", "bye") for run in runs))
        assert await waiting == [[]] * 120
