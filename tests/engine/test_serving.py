"""An engine that serves its API itself: `Engine.serve_http`."""

import socket

import aiohttp
import pytest

from durably import DurablyError, Engine, workflow
from durably.engine.serving import HttpServer

pytestmark = pytest.mark.anyio


@workflow
async def greet(name: str) -> str:
    return f"hello {name}"


async def ask(server: HttpServer) -> int:
    """The status of an answer."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/api/v1/workflows") as response:
        return response.status


async def test_it_answers_beside_the_engine_and_ends_with_it() -> None:
    async with Engine("memory://", workflows=[greet]) as engine:
        server = await engine.serve_http(port=0)
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert await ask(server) == 200
        assert await (await engine.start(greet, "Ada")).result() == "hello Ada"
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(server)


async def test_it_can_be_closed_before_and_be_one_of_several() -> None:
    async with Engine("memory://", workflows=[greet]) as engine:
        other = await engine.serve_http("localhost", 0)
        async with await engine.serve_http(port=0) as server:
            assert await ask(server) == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(server)
        assert await ask(other) == 200
        await other.close()
        assert await (await engine.start(greet, "Ada")).result() == "hello Ada"


async def test_it_says_why_it_cannot() -> None:
    engine = Engine("memory://", workflows=[greet])
    with pytest.raises(DurablyError, match="the engine is not running"):
        await engine.serve_http(port=0)
    async with engine:
        with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(DurablyError, match="cannot listen"):
            await engine.serve_http(port=taken.getsockname()[1])
