"""What is asked again, when, and what never is: against a server that answers as a test says."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from durably import Client, DurablyError, Event, NoAnswer, NoServer, RetryPolicy, RunNotFound, StoreError
from durably.store.runtime import SECOND_US, SystemClock, Timer

pytestmark = pytest.mark.anyio

RUN = (
    '{"data":{"id":"r","type":"workflow_run","attributes":{"workflow":"w","version":1,"trigger":"MANUAL",'
    '"environment":"production","event":null,"event_id":null,"origin":null,"test":false,"status":"%s","phase":null,'
    '"input":{},"output":"done","error":null,"tasks":0,"next_retry_at":null,"waiting_for":[],"history_length":3,'
    '"created_at":"2026-01-31T00:00:00Z","started_at":null,"finished_at":%s}}}'
)
ENDED = RUN % ("SUCCEEDED", '"2026-01-31T00:00:01Z"')
OPEN = RUN % ("RUNNING", "null")
FULL = '{"errors":[{"code":"unavailable","detail":"the queue is full"}]}'
NONE = '{"errors":[{"code":"not_found","detail":"there is no run"}]}'


def answer(status: int, body: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} x", "Connection: close", f"Content-Length: {len(body.encode())}", *headers]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()


LOST = b""
"""A connection that is closed without an answer."""
GOOD, WAITING, BUSY = answer(200, ENDED), answer(200, OPEN), answer(503, FULL, "Retry-After: 7")
PROXY, MISSING = answer(502, "<html>nginx"), answer(404, NONE)


class EagerClock(SystemClock):
    """A clock on which waits are over at once; `waits` is how long each was to last, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def call_at(self, due_us: int, callback: Callable[[], None]) -> Timer:
        self.waits.append(round((due_us - self.now_us()) / SECOND_US, 2))
        return asyncio.get_running_loop().call_later(0, callback)


class NoJitter:
    """Ids one after another, and no jitter."""

    def __init__(self) -> None:
        self.tokens = 0

    def token(self) -> str:
        self.tokens += 1
        return f"id{self.tokens}"

    def uniform(self, most: float) -> float:
        del most
        return 0.0


class Asked:
    """A client of a server that gives these answers one after another, and what it was asked."""

    def __init__(self, client: Client, clock: EagerClock, requests: list[bytes]) -> None:
        self.client = client
        self.requests = requests
        self.clock = clock

    @property
    def bodies(self) -> set[bytes]:
        return {request.partition(b"\r\n\r\n")[2] for request in self.requests}


Ask = Callable[..., Any]


@pytest.fixture
def asked() -> Ask:
    @asynccontextmanager
    async def serve(*answers: bytes, **options: Any) -> AsyncGenerator[Asked]:
        requests: list[bytes] = []
        left = list(answers)

        async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            length = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            requests.append(head + await reader.readexactly(sum(length)))
            writer.write(left.pop(0))
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(reply, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        clock = EagerClock()
        async with server, Client(url, clock=clock, randomness=NoJitter(), **options) as client:
            yield Asked(client, clock, requests)

    return serve


async def start(client: Client) -> Any:
    return await client.start("w", x=1)


async def send(client: Client) -> Any:
    return await client.send(Event("x"))


async def read(client: Client) -> Any:
    return await client.get_run("r")


async def cancel(client: Client) -> Any:
    return await (await client.get_run("r")).cancel()


async def signal(client: Client) -> Any:
    return await (await client.get_run("r")).signal("s")


async def fork(client: Client) -> Any:
    return await (await client.get_run("r")).fork()


async def rerun(client: Client) -> Any:
    return await (await client.get_run("r")).rerun()


async def rerun_from_step(client: Client) -> Any:
    return await (await client.get_run("r")).rerun(from_step="s")


@pytest.mark.parametrize("act", [start, read])
@pytest.mark.parametrize("failures", [[LOST], [BUSY], [PROXY], [LOST, BUSY, PROXY, LOST]])
async def test_what_is_harmless_is_asked_again(
    asked: Ask, act: Callable[[Client], Awaitable[Any]], failures: Sequence[bytes]
) -> None:
    async with asked(*failures, GOOD) as server:
        assert (await act(server.client)).id == "r"
        assert len(server.requests) == len(failures) + 1
        assert len(server.bodies) == 1, "the same each time, with the same id"


async def test_events_are_sent_again_under_their_ids(asked: Ask) -> None:
    async with asked(LOST, BUSY, answer(200, '{"ids":["id1"],"status":200}')) as server:
        assert await send(server.client) == ["id1"]
        assert server.bodies == {b'[{"name":"x","data":{},"id":"id1"}]'}


async def test_a_rerun_has_its_id_from_here(asked: Ask) -> None:
    async with asked(GOOD, LOST, BUSY, GOOD) as server:
        assert (await rerun(server.client)).id == "r"
        assert server.bodies == {b"", b'{"version":"current","run_id":"id1"}'}


@pytest.mark.parametrize("act", [cancel, signal, fork, rerun_from_step])
@pytest.mark.parametrize(("failure", "error"), [(LOST, NoAnswer), (BUSY, StoreError), (PROXY, NoAnswer)])
async def test_what_may_have_been_done_is_not_asked_for_again(
    asked: Ask, act: Callable[[Client], Awaitable[Any]], failure: bytes, error: type[DurablyError]
) -> None:
    async with asked(GOOD, failure, GOOD) as server:
        with pytest.raises(error):
            await act(server.client)
        assert len(server.requests) == 2


async def test_waits_grow_and_have_an_end(asked: Ask) -> None:
    async with asked(*[LOST] * 9) as server:
        with pytest.raises(NoAnswer, match="whether it was done is not known"):
            await start(server.client)
        assert server.clock.waits == [0.2, 0.4, 0.8, 1.6]


async def test_a_busy_server_says_when(asked: Ask) -> None:
    async with asked(BUSY, GOOD) as server:
        await start(server.client)
        assert server.clock.waits == [7]


async def test_nobody_is_put_off_for_an_hour(asked: Ask) -> None:
    async with asked(answer(503, FULL, "Retry-After: 3600"), GOOD) as server:
        await start(server.client)
        assert server.clock.waits == [30]


async def test_a_policy_of_ones_own(asked: Ask) -> None:
    async with asked(BUSY, GOOD, retry=RetryPolicy.NEVER) as server:
        with pytest.raises(StoreError, match="the queue is full"):
            await start(server.client)
        assert server.clock.waits == []


async def test_a_refusal_is_final(asked: Ask) -> None:
    async with asked(MISSING, GOOD) as server:
        with pytest.raises(RunNotFound):
            await read(server.client)
        assert len(server.requests) == 1


async def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    clock = EagerClock()
    async with Client(f"http://127.0.0.1:{port}", clock=clock, randomness=NoJitter()) as client:
        with pytest.raises(NoServer, match=r"nothing answers at .* \(connection refused\)"):
            await cancel(client)
        assert len(clock.waits) == 4, "nothing was asked of anybody: that too is safe to try again"


async def test_a_result_is_waited_for_whatever_is_between(asked: Ask) -> None:
    failures = [LOST, BUSY, PROXY, WAITING] * 5
    async with asked(GOOD, *failures, GOOD) as server:
        run = await server.client.get_run("r")
        assert await run.result() == "done"
        assert max(server.clock.waits) == 7
        assert server.clock.waits.count(0.1) == 5, "an answer that comes at once is no reason to ask at once"
        assert server.requests[-1].startswith(b"GET /api/v1/workflow-runs/r?wait=30 ")


PUBLISHED = 'event: message.published\nid: %d\ndata: {"seq":%d,"at":"2026-01-31T00:00:00Z","topic":"t","data":%d}\n\n'


async def test_a_stream_is_connected_anew_behind_what_was_seen(asked: Ask) -> None:
    streams = [answer(200, PUBLISHED % (3, 3, 30)), LOST, BUSY, answer(200, PUBLISHED % (5, 5, 50)), answer(204, "")]
    async with asked(GOOD, *streams) as server:
        run = await server.client.get_run("r")
        assert [message.data async for message in run.stream(topic="t", after=1)] == [30, 50]
        seen = [line[15:] for text in server.requests for line in text.split(b"\r\n") if line.startswith(b"Last-Event")]
        assert seen == [b"1", b"3", b"3", b"3", b"5"]
        assert server.requests[1].startswith(b"GET /api/v1/workflow-runs/r/stream?topic=t ")


async def test_a_stream_that_cannot_be_read_says_so(asked: Ask) -> None:
    async with asked(GOOD, answer(200, "event: sealed\nid: 3\ndata: {}\n\n")) as server:
        run = await server.client.get_run("r")
        with pytest.raises(DurablyError, match="record 3 of run 'r' is sealed"):
            await anext(run.stream())


async def test_redirects_are_not_followed(asked: Ask) -> None:
    async with asked(answer(302, "", "Location: http://127.0.0.1:1/"), GOOD, api_key="secret") as server:
        with pytest.raises(DurablyError, match="it answered 302"):
            await read(server.client)
        assert len(server.requests) == 1
        assert b"Authorization: Bearer secret\r\n" in server.requests[0]


@pytest.mark.parametrize("url", ["http://ada:secret@127.0.0.1", "http://secret@127.0.0.1"])
def test_a_secret_in_the_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(DurablyError, match="give the key as api_key") as refused:
        Client(url)
    assert "secret" not in str(refused.value)


async def test_a_client_is_used_while_it_is_open() -> None:
    client = Client("http://127.0.0.1:1")
    with pytest.raises(DurablyError, match="use it inside `async with client:`"):
        await read(client)
    async with client:
        pass
    with pytest.raises(DurablyError, match="use it inside `async with client:`"):
        await read(client)
