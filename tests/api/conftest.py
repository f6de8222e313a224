"""A real server on a loopback port, in front of a real engine, for the tests of the API."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from durably import Engine, Event, NonRetriableError, step, workflow
from durably.api.limits import LIMITS, Limits
from durably.api.responses import JSON_API
from durably.api.server import HttpServer, serve
from durably.store import MemoryStore, Operation, Store, StoreUnavailable
from durably.store.protocol import Done
from tests.conformance.jsonapi import flaws_of


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# -- workflows


@workflow
async def greet(name: str, times: int = 1) -> str:
    return "hello " * times + name


@workflow("greet", version=2)
async def greet_again(name: str, times: int = 1) -> str:
    return "good day " * times + name


@workflow
async def nap(seconds: float = 3600) -> str:
    await asyncio.sleep(seconds)
    return "awake"


@workflow
async def broken() -> None:
    raise NonRetriableError("out of order")


@workflow(on="app/user.*")
async def onboard(event: Event) -> Any:
    return event.data


@step(on="app/clicked")
async def record_click(event: Event) -> None:
    pass


WORKFLOWS = (greet, greet_again, nap, broken, onboard, record_click)


# -- a store that can be made to wait and to fail


class StubbornStore(MemoryStore):
    """Holds batches while `held`, and refuses everything while `failing`."""

    def __init__(self) -> None:
        super().__init__()
        self.held = False
        self.failing = False
        self._waiting: list[tuple[Sequence[Operation], Done]] = []

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        if self.failing:
            asyncio.get_running_loop().call_soon(done, StoreUnavailable("the disk is full"))
        elif self.held:
            self._waiting.append((batch, done))
        else:
            super().submit(batch, done)

    async def reopen(self) -> None:
        if self.failing:
            raise StoreUnavailable("the disk is full")
        await super().reopen()

    def release(self) -> None:
        """Carry out what was held."""
        self.held = False
        waiting, self._waiting = self._waiting, []
        for batch, done in waiting:
            super().submit(batch, done)


class StubbornEngine(Engine):
    """An engine on a `StubbornStore`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("memory://", *args, **kwargs)
        self.stubborn = StubbornStore()

    def _open_store(self) -> Store:
        return self.stubborn


# -- servers and clients


class Answer(NamedTuple):
    """A response, read whole."""

    status: int
    headers: CIMultiDictProxy[str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> Any:
        """The one error object; checks that it is a whole one."""
        assert self.headers["Content-Type"] == "application/vnd.api+json"
        [error] = self.json["errors"]
        assert error["status"] == str(self.status)
        assert error["code"]
        assert error["title"]
        assert error["detail"]
        return error


class Api:
    """A server, its engine, and a client of it."""

    def __init__(self, engine: Engine, server: HttpServer, session: aiohttp.ClientSession) -> None:
        self.engine = engine
        self.server = server
        self.session = session

    async def __call__(self, method: str, path: str, **options: Any) -> Answer:
        async with self.session.request(method, self.server.url + path, **options) as response:
            answer = Answer(response.status, response.headers, await response.text())
        if answer.text and answer.headers["Content-Type"] == JSON_API:  # also of what no application answers
            assert flaws_of(answer.json) == []
        return answer

    async def get(self, path: str, **options: Any) -> Answer:
        return await self("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        return await self("POST", path, **options)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection."""
        return await asyncio.open_connection(self.server.host, self.server.port)

    async def raw(self, data: bytes) -> bytes:
        """Everything the server says to these bytes until it closes the connection."""
        reader, writer = await self.open()
        writer.write(data)
        try:
            return await reader.read()
        finally:
            writer.close()


Launch = Callable[..., Awaitable[Api]]


@pytest.fixture
async def launch() -> AsyncIterator[Launch]:
    """Starts a server in front of an engine, by default one on memory://; both end with the test."""
    async with AsyncExitStack() as exits:

        async def start(engine: Engine | None = None, *, store: str = "memory://", limits: Limits = LIMITS) -> Api:
            if engine is None:
                engine = Engine(store, workflows=WORKFLOWS, drain_timeout=0)
            await exits.enter_async_context(engine)
            server = await exits.enter_async_context(await serve(engine, port=0, limits=limits))
            connector = aiohttp.TCPConnector(limit=200)
            session = await exits.enter_async_context(aiohttp.ClientSession(connector=connector))
            return Api(engine, server, session)

        yield start


@pytest.fixture
async def api(launch: Launch) -> Api:
    """A server in front of an engine on memory:// with the workflows above."""
    return await launch()


@pytest.fixture
async def sqlite_api(launch: Launch, tmp_path: Path) -> Api:
    """The same on a file."""
    return await launch(store=f"sqlite:///{tmp_path}/store.db")


@pytest.fixture
async def stubborn_api(launch: Launch) -> AsyncIterator[Api]:
    """The same on a store that can be made to wait and to fail: `api.engine.stubborn`."""
    engine = StubbornEngine(workflows=WORKFLOWS, drain_timeout=0)
    yield await launch(engine)
    engine.stubborn.failing = False
    engine.stubborn.release()
