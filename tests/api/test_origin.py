"""Which Host and Origin a server without keys answers to."""

from ipaddress import IPv4Address
from typing import Any

import pytest

from durably.api.origin import is_loopback

pytestmark = pytest.mark.anyio


def request(host: str, origin: str | None = None) -> bytes:
    lines = ["GET /api/v1/workflows HTTP/1.1", f"Host: {host}", "Connection: close"]
    if origin is not None:
        lines.append(f"Origin: {origin}")
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost:1",
        "127.0.0.1",
        "127.0.0.1:9",
        "[::1]",
        "[::1]:9",
        "app.localhost:8484",
    ],
)
async def test_this_machine_is_answered(api: Any, host: str) -> None:
    assert b" 200 OK" in await api.raw(request(host))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8484",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        str(IPv4Address(0)),
        "",
        "[",
        "a b",
        "localhost:x",
        "user@evil.example",
        "evil.example#localhost",
        "xlocalhost",
    ],
)
async def test_a_foreign_host_is_refused(api: Any, host: str) -> None:
    answer = await api.raw(request(host))
    assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 "))
    assert b'{"errors":[' in answer


async def test_no_host_is_refused(api: Any) -> None:
    assert b"403 Forbidden" in await api.raw(b"GET / HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("origin", ["http://localhost:8484", "https://localhost:8484"])
async def test_a_page_of_this_server_may_ask(api: Any, origin: str) -> None:
    assert b" 200 OK" in await api.raw(request("localhost:8484", origin))


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://localhost:3000", "http://127.0.0.1:8484", "null", "", "file://"]
)
async def test_a_page_of_another_site_may_not(api: Any, origin: str) -> None:
    answer = await api.raw(request("localhost:8484", origin))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b'"code":"foreign_origin"' in answer
    assert b"Access-Control" not in answer


async def test_events_of_another_site_are_refused_in_their_shape(api: Any) -> None:
    answer = await api.post("/e/k", data=b'{"name":"a"}', headers={"Origin": "http://evil.example"})
    assert (answer.status, answer.json["status"], answer.json["ids"]) == (403, 403, [])


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.255.0.1", True),
        ("::1", True),
        (str(IPv4Address(0)), False),
        ("::", False),
        ("localhost.com", False),
        ("", False),
    ],
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
