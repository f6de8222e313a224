"""Where the server listens, and how it ends."""

import asyncio
import socket
from ipaddress import IPv4Address
from typing import Any

import pytest

from durably import DurablyError, Engine
from durably.api.server import serve

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("host", [str(IPv4Address(0)), "::", "", "192.0.2.1", "2001:db8::1"])
async def test_an_address_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(DurablyError, match=r"others can reach it, and API keys.*are not built yet"):
        await serve(Engine("memory://"), host, 0)


async def test_an_address_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(DurablyError, match=r"cannot listen on '300\.1\.1\.\.1'"):
        await serve(Engine("memory://"), "300.1.1..1", 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
async def test_loopback_is_served(host: str) -> None:
    async with await serve(Engine("memory://"), host, 0) as server:
        assert server.url == f"http://{host}:{server.port}"
        _, writer = await asyncio.open_connection(host, server.port)
        writer.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_ipv6_loopback_is_served() -> None:
    async with await serve(Engine("memory://"), "::1", 0) as server:
        assert server.url == f"http://[::1]:{server.port}"


async def test_a_taken_port_is_refused(api: Any) -> None:
    with pytest.raises(DurablyError, match=rf"cannot listen on 127.0.0.1 port {api.server.port}: .*in use"):
        await serve(api.engine, "127.0.0.1", api.server.port)


async def test_a_closed_server_takes_no_connections_and_closes_idle_ones(api: Any) -> None:
    reader, writer = await api.open()
    assert (await api.get("/health/live")).status == 200
    await api.server.close()
    await api.server.close()
    assert await reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await api.open()
    writer.close()
