"""`/api/v1/workflow-runs/{id}/stream`."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import pytest
from anyio.lowlevel import checkpoint

from durably import Engine, continue_as_new, publish, workflow
from durably.api.limits import LIMITS

pytestmark = pytest.mark.anyio

RUNS = "/api/v1/workflow-runs"
WHOLE = ["run.created", "run.started", "timer.set", "timer.fired", "run.succeeded", "end"]


class Sent(NamedTuple):
    """A server-sent event."""

    name: str
    id: str
    data: Any


class Stream:
    """An event stream as a browser reads it: fields of one line each, an event at each empty line."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def lines(self) -> AsyncIterator[str]:
        left = b""
        async for chunk in self.response.content.iter_any():
            *whole, left = (left + chunk).split(b"\n")
            for line in whole:
                yield line.decode()

    async def __aiter__(self) -> AsyncIterator[Sent]:
        fields: dict[str, str] = {}
        async for line in self.lines():
            name, _, value = line.partition(":")
            if line:
                fields[name] = fields[name] + "\n" + value if name in fields else value.removeprefix(" ")
            else:
                if "data" in fields:
                    yield Sent(fields["event"], fields["id"], json.loads(fields["data"]))
                fields = {}

    async def rest(self) -> list[Sent]:
        return [event async for event in self]


@asynccontextmanager
async def streaming(api: Any, run_id: str, query: str = "", **headers: str) -> AsyncGenerator[Stream]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with api.session.get(f"{api.server.url}{RUNS}/{run_id}/stream{query}", headers=named) as response:
        assert response.status == 200, await response.text()
        yield Stream(response)


async def asleep(api: Any, run_id: str = "r", seconds: float = 3600) -> Any:
    """A run that sleeps."""
    run = await api.engine.start("nap", seconds, run_id=run_id)
    while (await run.info()).phase != "sleeping":
        await checkpoint()
    return run


# -- what is in it


async def test_an_ended_run_is_told_whole(api: Any) -> None:
    run = await api.engine.start("nap", 0, run_id="r")
    await run.result(timeout=30)
    async with streaming(api, "r") as stream:
        assert stream.response.headers["Content-Type"] == "text/event-stream"
        assert stream.response.headers["Cache-Control"] == "no-store"
        *records, end = await stream.rest()
    history = (await api.get(f"{RUNS}/r/history")).json
    assert [event.data for event in records] == history["records"]
    assert [(event.name, event.id) for event in records] == [
        (record["type"], str(record["seq"])) for record in history["records"]
    ]
    assert end == Sent("end", str(len(records)), {"status": "SUCCEEDED"})


async def test_what_comes_is_told_as_it_comes_until_the_end(api: Any) -> None:
    run = await asleep(api)
    async with streaming(api, "r") as stream:
        events = aiter(stream)
        assert [(await anext(events)).name for _ in range(3)] == WHOLE[:3]
        await run.cancel()
        assert [event.name async for event in events] == ["cancel.requested", "timer.canceled", "run.canceled", "end"]


async def test_nobody_has_to_ask_twice(api: Any) -> None:
    """A client that is there from the beginning is told of everything, in as many pieces as it comes."""
    run = await api.engine.start("nap", 0.05, run_id="r")
    async with streaming(api, "r") as stream:
        assert [event.name for event in await stream.rest()] == WHOLE
    assert await run.status() == "SUCCEEDED"


@pytest.mark.parametrize(
    ("query", "headers"),
    [("?after=3", {}), ("", {"Last_Event_ID": "3"}), ("?after=1", {"Last_Event_ID": "3"})],
)
async def test_it_goes_on_where_the_client_was(api: Any, query: str, headers: dict[str, str]) -> None:
    await (await api.engine.start("nap", 0.001, run_id="r")).result(timeout=30)
    async with streaming(api, "r", query, **headers) as stream:
        assert [event.name for event in await stream.rest()] == WHOLE[3:]


async def test_a_browser_that_comes_back_after_the_end_stays_away(api: Any) -> None:
    await (await api.engine.start("nap", 0, run_id="r")).result(timeout=30)
    async with streaming(api, "r") as stream:
        last = (await stream.rest())[-1].id
    assert (await api.get(f"{RUNS}/r/stream", headers={"Last-Event-ID": last})).status == 204
    async with streaming(api, "r", f"?after={last}") as stream:
        assert [event.name for event in await stream.rest()] == ["end"]


async def test_values_with_line_breaks_stay_whole(api: Any) -> None:
    data = b'{"name":"app/user.created","data":{"text":\r\n"a\\r\\nb",\n\r"more":1}}'
    assert (await api.post("/e/k", data=data)).status == 200
    [info] = await api.engine.list_runs()
    async with streaming(api, info.id) as stream:
        [created, *_] = await stream.rest()
    assert created.data["event"]["data"] == {"text": "a\r\nb", "more": 1}


async def test_lines_of_a_file_too(sqlite_api: Any) -> None:
    await sqlite_api.engine.start("nap", 0.05, run_id="r")
    async with streaming(sqlite_api, "r") as stream:
        assert [event.name for event in await stream.rest()] == WHOLE


@pytest.mark.parametrize(
    ("path", "headers", "status", "says"),
    [
        ("nobody/stream", {}, 404, "'nobody'"),
        ("r/stream?after=x", {}, 400, "after is 'x'"),
        ("r/stream?after=-1", {}, 400, "after is '-1'"),
        ("r/stream?topics=x", {}, 400, "no parameter 'topics'"),
        ("r/stream", {"Last-Event-ID": "e"}, 400, "Last-Event-ID is 'e'"),
    ],
)
async def test_what_cannot_be_streamed(api: Any, path: str, headers: Any, status: int, says: str) -> None:
    await asleep(api)
    answer = await api.get(f"{RUNS}/{path}", headers=headers)
    assert answer.status == status
    assert says in answer.error["detail"]


@workflow
async def talk(about: str) -> str:
    for percent in (0, 100):
        await publish({"percent": percent, "of": about})
    await publish("done\nnow", topic="news")
    await publish(None, topic="gossip")
    return about


@workflow
async def again(times: int) -> int:
    await publish(times)
    return continue_as_new(times - 1) if times else 0


@pytest.fixture
async def talking(launch: Any) -> Any:
    return await launch(Engine("memory://", workflows=[talk, again], drain_timeout=0))


async def test_messages_can_be_had_alone_by_topic(talking: Any) -> None:
    run = await talking.engine.start(talk, "you", run_id="r")
    await run.result(timeout=30)
    async with streaming(talking, "r", "?topic=progress") as stream:
        *messages, end = await stream.rest()
    assert [(event.name, event.data["topic"], event.data["data"]) for event in messages] == [
        ("message.published", "progress", {"percent": percent, "of": "you"}) for percent in (0, 100)
    ]
    assert end.name == "end"
    async with streaming(talking, "r", f"?topic=progress&topic=news&after={messages[0].id}") as stream:
        assert [event.data["data"] for event in (await stream.rest())[:-1]] == [messages[1].data["data"], "done\nnow"]
    # Its last message is not the run's last record, and yet there is nothing more to come for.
    assert (await talking.get(f"{RUNS}/r/stream?topic=progress", headers={"Last-Event-ID": end.id})).status == 204


async def test_a_run_that_goes_on_as_another_ends_its_stream_and_names_it(talking: Any) -> None:
    run = await talking.engine.start(again, 1, run_id="r")
    assert await run.result(timeout=30) == 0
    async with streaming(talking, "r") as stream:
        *_, last, end = await stream.rest()
    assert last.name == "run.continued"
    assert end.data == {"status": "SUCCEEDED", "continued_to": last.data["continued_to"]}
    async with streaming(talking, last.data["continued_to"], "?topic=progress") as stream:
        assert [event.data.get("data") for event in await stream.rest()] == [0, None]


class Forgetful:
    """A codec that loses its key."""

    lost = False

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        if self.lost:
            raise ValueError("the key is lost")
        return data[::-1]


@pytest.mark.parametrize("query", ["", "?topic=progress"])
async def test_what_cannot_be_read_is_told_as_that(launch: Any, query: str) -> None:
    codec = Forgetful()
    api = await launch(Engine("memory://", workflows=[talk], codec=codec, drain_timeout=0))
    await (await api.engine.start(talk, "you", run_id="r")).result(timeout=30)
    codec.lost = True
    async with streaming(api, "r", query) as stream:
        *records, end = await stream.rest()
    assert {event.name for event in records} == {"sealed"}
    assert "the key is lost" in records[0].data["why"]
    assert end.data == {"status": "SUCCEEDED"}


# -- clients that stay, that go, that do not read


async def test_who_is_told_nothing_is_told_so(launch: Any) -> None:
    api = await launch(limits=LIMITS._replace(silent_s=0.01))
    await asleep(api)
    async with streaming(api, "r", "?after=3") as stream:
        lines = aiter(stream.lines())
        assert [await anext(lines) for _ in range(6)] == ["retry: 1000", "", ":", "", ":", ""]


async def test_many_clients_are_all_told(api: Any) -> None:
    run = await asleep(api)

    async def follow() -> list[str]:
        async with streaming(api, "r") as stream:
            return [event.name for event in await stream.rest()]

    following = [asyncio.create_task(follow()) for _ in range(150)]
    while len(followers(api)) < 150:
        await checkpoint()
    await run.cancel()
    told = await asyncio.gather(*following)
    assert told == [[*WHOLE[:3], "cancel.requested", "timer.canceled", "run.canceled", "end"]] * 150
    assert followers(api) == []
    assert api.engine.core.executor.observers == []


def followers(api: Any) -> list[Any]:
    """Whoever waits for more of a run."""
    return [news for waiting in api.engine.core.followers._waiting.values() for news in waiting]


async def test_a_client_that_goes_away_leaves_nothing(api: Any) -> None:
    await asleep(api)
    _, writer = await api.open()
    writer.write(f"GET {RUNS}/r/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    while not followers(api):
        await checkpoint()
    before = len(asyncio.all_tasks())
    writer.transport.abort()
    while followers(api) or api.server.connections:
        await checkpoint()
    while len(asyncio.all_tasks()) >= before:
        await checkpoint()


async def test_a_client_that_does_not_read_holds_up_nobody_and_is_dropped(launch: Any) -> None:
    api = await launch(limits=LIMITS._replace(stalled_s=0.1))
    await (await api.engine.start("greet", "n" * 900_000, run_id="r")).result(timeout=30)
    loop = asyncio.get_running_loop()
    with socket.socket() as deaf:
        deaf.setblocking(False)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(deaf, (api.server.host, api.server.port))
        request = f"GET {RUNS}/r/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        await loop.sock_sendall(deaf, request * 16)  # more than the kernel keeps for it
        async with streaming(api, "r") as stream:
            assert (await stream.rest())[-1].name == "end"
        while api.server.connections > 1:
            await checkpoint()


# -- servers that stop


async def test_a_stopping_server_ends_its_streams_at_once(api: Any) -> None:
    await asleep(api)
    async with streaming(api, "r") as stream:
        rest = asyncio.create_task(stream.rest())
        while not followers(api):
            await checkpoint()
        await asyncio.wait_for(api.server.close(), timeout=LIMITS.stop_s / 2)
        assert [event.name for event in await rest] == WHOLE[:3]  # and no end: the run goes on


async def test_an_engine_that_stops_ends_them_too(api: Any) -> None:
    await asleep(api)
    async with streaming(api, "r") as stream:
        rest = asyncio.create_task(stream.rest())
        while not followers(api):
            await checkpoint()
        await api.engine.core.close()
        assert [event.name for event in await rest] == WHOLE[:3]
    # Not 503: browsers would not come back after one, and the next engine is on its way.
    assert (await api.get(f"{RUNS}/r/stream")).text == "retry: 1000\n\n"
