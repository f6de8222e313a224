"""Slow, broken and hostile clients, on bare sockets."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

import pytest
from anyio.lowlevel import checkpoint
from structlog.testing import capture_logs

from durably.api.connection import PROGRESS
from durably.api.limits import LIMITS

pytestmark = pytest.mark.anyio

LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SHORT = 0.05


def post(path: bytes, body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST %s HTTP/1.1" % path, b"Host: localhost", *headers, b"", body]
    return b"\r\n".join(lines)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What still comes until the connection is closed, in whatever way."""
    got = b""
    with suppress(ConnectionResetError):
        while chunk := await reader.read(65536):
            got += chunk
    return got


# -- headers


@pytest.mark.parametrize("start", [b"", b"G", b"GET / HTTP/1.1\r\nHost:", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
async def test_headers_that_do_not_come_end_the_connection(launch: Any, start: bytes) -> None:
    api = await launch(limits=LIMITS._replace(head_s=SHORT))
    reader, writer = await api.open()
    writer.write(start)
    assert await rest(reader) == b""
    writer.close()


async def test_dripped_headers_get_no_more_time(launch: Any) -> None:
    api = await launch(limits=LIMITS._replace(head_s=SHORT))
    reader, writer = await api.open()
    writer.write(b"GET / HTTP/1.1\r\n")
    closed = asyncio.create_task(rest(reader))
    while not closed.done():
        writer.write(b"x")
        await asyncio.wait([closed], timeout=SHORT / 10)
    assert closed.result() == b""
    writer.close()


async def test_the_second_request_has_the_deadline_too(launch: Any) -> None:
    api = await launch(limits=LIMITS._replace(head_s=SHORT))
    reader, writer = await api.open()
    writer.write(LIVE)
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(b'{"status":"ok"}'))
    writer.write(b"GET / HT")
    assert await rest(reader) == b""
    writer.close()


async def test_four_hundred_slow_clients_are_gone_and_others_are_served(launch: Any) -> None:
    api = await launch(limits=LIMITS._replace(head_s=SHORT * 4))
    opened = [await api.open() for _ in range(400)]
    for _, writer in opened:
        writer.write(b"GET / HTTP/1.1\r\nHost:")
    assert (await api.get("/health/live")).status == 200
    assert await asyncio.gather(*(rest(reader) for reader, _ in opened)) == [b""] * 400
    for _, writer in opened:
        writer.close()
    assert api.server.connections <= 1  # the client's


async def test_a_handler_may_take_longer_than_the_headers_may(launch: Any) -> None:
    api = await launch(limits=LIMITS._replace(head_s=SHORT))
    answer = await api.post(f"/api/v1/workflows/nap/actions/run?wait={4 * SHORT}")
    assert answer.status == 201


async def test_an_idle_connection_is_closed(launch: Any) -> None:
    api = await launch(limits=LIMITS._replace(idle_s=SHORT))
    assert (await api.raw(LIVE)).endswith(b'{"status":"ok"}')


async def test_a_client_that_goes_away_leaves_no_trace(api: Any) -> None:
    with capture_logs() as logs:
        for size in (b"100", b"1000000"):
            _, writer = await api.open()
            writer.write(post(b"/e/k", b'{"name":', b"Content-Length: " + size))
            await api.get("/health/live")
            writer.transport.abort()
        while api.server.connections > 1:
            await checkpoint()
        await api.get("/health/live")
    assert logs == []
    assert await api.engine.list_runs() == []


# -- pipelining


async def test_pipelined_requests_are_answered_in_order(api: Any) -> None:
    event = b'{"name":"app/user.created","id":"e%02d"}'
    requests = [post(b"/e/k", event % n, b"Content-Length: %d" % len(event % n)) for n in range(50)]
    answer = await api.raw(b"".join(requests) + LAST)
    ids = [part.partition(b'"')[0] for part in answer.split(b'{"ids":["')[1:]]
    assert ids == [b"e%02d" % n for n in range(50)]
    assert answer.endswith(b'{"status":"ok"}')
    assert len(await api.engine.list_runs(limit=100)) == 50


async def test_a_request_hidden_in_a_body_stays_a_body(api: Any) -> None:
    hidden = post(b"/e/k", b'{"name":"app/user.created"}', b"Content-Length: 27")
    answer = await api.raw(post(b"/e/k", hidden, b"Content-Length: %d" % len(hidden)) + LAST)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 2
    assert await api.engine.list_runs() == []


# -- what is not HTTP


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 1_000 + b"\r\n",
        post(b"/e/k", b"{}", b"Content-Length: 2", b"Content-Length: 3"),
        post(b"/e/k", b"{}", b"Content-Length: 2", b"Transfer-Encoding: chunked"),
        post(b"/e/k", b"{}", b"Content-Length: -2"),
        post(b"/e/k", b"{}", b"Content-Length: two"),
    ],
)
async def test_what_is_not_http_is_a_bad_request_in_the_one_shape(api: Any, data: bytes) -> None:
    with capture_logs() as logs:
        answer = await api.raw(data)
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert b'{"errors":[{"status":"400","code":"malformed_request"' in answer
    assert logs == []


# -- answers that nobody reads


async def test_a_client_that_does_not_read_is_dropped(launch: Any) -> None:
    api = await launch(limits=LIMITS._replace(stalled_s=SHORT))
    run = await api.engine.start("greet", "n" * 900_000)
    path = f"/api/v1/workflow-runs/{run.id}/history".encode()
    loop = asyncio.get_running_loop()
    with socket.socket() as deaf:
        deaf.setblocking(False)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(deaf, (api.server.host, api.server.port))
        await loop.sock_sendall(deaf, (b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path) * 16)
        while not api.server.connections:
            await checkpoint()
        while api.server.connections:
            await checkpoint()


async def test_a_client_that_reads_slowly_is_not(api: Any) -> None:
    """The timer's checks are made by hand, each after the client has read 64 KiB more."""
    run = await api.engine.start("greet", "n" * 16_000_000)
    reader, writer = await api.open()
    writer.write(f"GET /api/v1/workflow-runs/{run.id}/history HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    [connection] = api.server._runner.server.connections
    for _ in range(5):
        unread = connection._unread
        while connection._buffered() > unread - PROGRESS:
            await reader.read(PROGRESS)
        connection._check_progress()
        assert not connection.transport.is_closing()
    writer.transport.abort()


# -- too many


async def test_over_the_limit_a_connection_is_told_so(launch: Any) -> None:
    api = await launch(limits=LIMITS._replace(connections=2))
    _, first = await api.open()
    _, second = await api.open()
    while api.server.connections < 2:
        await checkpoint()
    refused = await api.raw(b"")
    assert refused.startswith(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n")
    head, _, body = refused.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head

    first.close()
    while api.server.connections > 1:
        await checkpoint()
    assert b"200 OK" in await api.raw(LAST)
    second.close()
