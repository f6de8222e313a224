"""Bodies that come slowly, packed, in chunks, or as something else."""

import gzip
from io import BytesIO
from typing import Any

import pytest

from durably.api.limits import LIMITS

pytestmark = pytest.mark.anyio

GREET = "/api/v1/workflows/greet/actions/run"
SHORT = 0.05


def post(path: bytes, body: bytes, *headers: bytes) -> bytes:
    """A request as it goes over the wire."""
    return b"\r\n".join([b"POST %s HTTP/1.1" % path, b"Host: localhost", *headers, b"", body])


async def test_half_a_body_is_answered_with_408(launch: Any) -> None:
    api = await launch(limits=LIMITS._replace(body_s=SHORT, linger_s=SHORT))
    answer = await api.raw(post(b"/e/k", b'{"name":', b"Content-Length: 100"))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in answer
    assert b'{"ids":[],"status":408,"error":"the body was not there' in answer


async def test_half_a_body_of_a_document_is_answered_with_408(launch: Any) -> None:
    api = await launch(limits=LIMITS._replace(body_s=SHORT, linger_s=SHORT))
    head = (b"Content-Type: application/json", b"Content-Length: 100")
    answer = await api.raw(post(b"/api/v1/workflows/nap/actions/run", b"{", *head))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"too_slow"' in answer
    assert await api.engine.list_runs() == []


@pytest.mark.parametrize("size", [b"10000000000", b"16777217"])
async def test_a_body_that_is_announced_too_large_is_refused_unread(launch: Any, size: bytes) -> None:
    api = await launch(limits=LIMITS._replace(linger_s=SHORT))
    answer = await api.raw(post(b"/e/k", b"[", b"Content-Length: " + size))
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_in_chunks_is_counted(launch: Any) -> None:
    api = await launch(limits=LIMITS._replace(linger_s=SHORT))
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    head = (b"Content-Type: application/json", b"Transfer-Encoding: chunked")
    answer = await api.raw(post(b"/api/v1/workflows/nap/actions/run", chunk * 2, *head))
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_small_body_in_pieces_is_taken(api: Any) -> None:
    reader, writer = await api.open()
    for piece in (post(b"/e/k", b"", b"Content-Length: 12"), b'{"name"', b':"a"', b"}"):
        writer.write(piece)
        await api.get("/health/live")  # meanwhile the server has read it
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def test_a_broken_chunk_is_a_bad_request(api: Any) -> None:
    answer = await api.raw(post(b"/e/k", b"zz\r\nabc\r\n", b"Transfer-Encoding: chunked"))
    assert answer.startswith(b"HTTP/1.0 400 ")


async def test_a_chunk_that_breaks_later_ends_with_the_deadline(launch: Any) -> None:
    """aiohttp does not tell the handler, which goes on waiting for its body."""
    api = await launch(limits=LIMITS._replace(body_s=SHORT, linger_s=SHORT))
    reader, writer = await api.open()
    writer.write(post(b"/e/k", b'8\r\n{"name":\r\n', b"Transfer-Encoding: chunked"))
    await api.get("/health/live")  # meanwhile the server has begun to read it
    writer.write(b"zz\r\nabc\r\n")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    writer.close()


@pytest.mark.parametrize(
    ("packed", "status"),
    [
        (gzip.compress(b'{"name":"a"}', mtime=0), 200),
        (gzip.compress(b"[" + b" " * 64 * 1024 * 1024 + b"]", mtime=0), 413),  # 64 KB that become 64 MiB
        (b"not packed", 400),
    ],
)
async def test_a_packed_body_is_unpacked_within_the_limits(api: Any, packed: bytes, status: int) -> None:
    head = (b"Content-Encoding: gzip", b"Content-Length: %d" % len(packed), b"Connection: close")
    answer = await api.raw(post(b"/e/k", packed, *head))
    assert answer.split()[1] == b"%d" % status


async def test_an_input_over_a_mebibyte_is_refused(api: Any) -> None:
    body = BytesIO(b'{"input":{"name":"%s"}}' % (b"n" * 1024 * 1024))
    answer = await api.post(GREET, data=body, headers={"Content-Type": "application/json"})
    assert answer.status == 413
    assert answer.error["code"] == "too_large"


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        'application/vnd.api+json; ext="https://example.com/ext"',
        "application/vnd.api+json; charset=utf-8",
    ],
)
async def test_what_is_not_json_is_not_read(api: Any, media_type: str) -> None:
    answer = await api.post(GREET, data=b'{"input":{"name":"you"}}', headers={"Content-Type": media_type})
    assert answer.status == 415
    assert answer.error["code"] == "unsupported_media_type"


async def test_a_profile_is_no_obstacle(api: Any) -> None:
    headers = {"Content-Type": 'application/vnd.api+json; profile="https://example.com/p"'}
    answer = await api.post(GREET, data=b'{"input":{"name":"you"}}', headers=headers)
    assert answer.status == 201
