"""The HTTP API as methods, against the real API."""

import asyncio
import socket
from typing import Any

import pytest

from durably import DurablyError, InvalidInput, NotBuilt, RunNotFound
from durably.api.client.errors import NoAnswer, NoServer
from durably.api.client.remote import DEFAULT_URL, Remote
from durably.api.server import DEFAULT_HOST, DEFAULT_PORT
from durably.store import RunQuery

pytestmark = pytest.mark.anyio


async def test_it_is_where_servers_are_by_default() -> None:
    assert f"http://{DEFAULT_HOST}:{DEFAULT_PORT}" == DEFAULT_URL


async def test_a_run_from_start_to_history(api: Any) -> None:
    async with Remote(api.server.url + "/") as remote:
        info = await remote.start("greet", {"name": "Ada"}, "r/1 ü")
        info = await remote.run(info.id, wait=True)
        assert (info.id, info.status, info.output) == ("r/1 ü", "SUCCEEDED", "good day Ada")
        assert await remote.run("r/1 ü") == info
        assert await remote.start("greet", {"name": "Ada"}, "r/1 ü") == info
        assert [record.type for record in await remote.history("r/1 ü")][-1] == "run.succeeded"
        again = await remote.rerun("r/1 ü", version="original", input={"name": "Bob"})
        assert (again.trigger, again.origin, again.input["name"]) == ("RERUN", "r/1 ü", "Bob")


async def test_events_and_cancel(api: Any) -> None:
    async with Remote(api.server.url) as remote:
        assert await remote.send([{"name": "app/user.created", "data": {"n": 1}, "id": "e1"}]) == ["e1"]
        await remote.start("nap", {}, "sleeper")
        assert (await remote.cancel("sleeper")).id == "sleeper"


async def test_lists_go_on_over_pages(api: Any) -> None:
    async with Remote(api.server.url) as remote:
        for number in range(103):
            await remote.send([{"name": "app/clicked", "id": f"e{number}"}])
        await remote.start("greet", {"name": "Ada"}, "other")
        found = await remote.runs(RunQuery(workflow=("record_click",), limit=1_000))
        assert len({info.id for info in found}) == len(found) == 103
        assert [info.created_at for info in found] == sorted((info.created_at for info in found), reverse=True)
        assert len(await remote.runs(RunQuery(limit=101))) == 101
        assert await remote.runs(RunQuery(status=("FAILED", "CANCELED"), limit=10)) == []
        late = max(info.created_at for info in found)
        since_us = int(late.timestamp() * 1_000_000) + 3_600_000_000
        assert await remote.runs(RunQuery(created_from_us=since_us)) == []


async def test_a_value_with_a_comma_is_no_filter_over_http(api: Any) -> None:
    async with Remote(api.server.url) as remote:
        with pytest.raises(InvalidInput, match="event has a comma in it"):
            await remote.runs(RunQuery(event=("a", "b,c")))


async def test_refusals_say_what_the_server_said(api: Any) -> None:
    async with Remote(api.server.url) as remote:
        with pytest.raises(RunNotFound, match="there is no run 'nobody'") as missing:
            await remote.run("nobody")
        assert missing.value.run_id == "nobody"
        with pytest.raises(InvalidInput, match="misses its parameter 'name'"):
            await remote.start("greet", {}, "r")
        with pytest.raises(InvalidInput, match="name"):
            await remote.send([{"name": "", "id": "e1"}])
        await remote.start("nap", {}, "r2")
        with pytest.raises(InvalidInput, match="has no step 'x'"):
            await remote.rerun("r2", from_step="x")
        with pytest.raises(InvalidInput, match="has not failed: say with at= where"):
            await remote.fork("r2")


NOT_BUILT = b'{"errors":[{"detail":"a new thing is part of the contract and not built yet"}]}'


async def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with Remote(f"http://127.0.0.1:{port}") as remote:
        with pytest.raises(NoServer, match=r"nothing answers at .* \(connection refused\)"):
            await remote.run("r")


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (b"", NoAnswer, "whether it was done is not known"),
        (
            b"HTTP/1.1 501 Not Implemented\r\nContent-Length: %d\r\n\r\n%b" % (len(NOT_BUILT), NOT_BUILT),
            NotBuilt,
            "a new",
        ),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnginx", DurablyError, "it answered 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", DurablyError, "does not answer as a Durably server"),
    ],
)
async def test_somebody_else_there(answer: bytes, error: type[Exception], said: str) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    async with server, Remote(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as remote:
        with pytest.raises(error, match=said):
            await remote.run("r")


@pytest.mark.parametrize("url", ["127.0.0.1:8484", "ftp://x", "http://", ""])
async def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(DurablyError, match="is no server's address"):
        Remote(url)
