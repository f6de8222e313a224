"""Where the server listens, and how it ends."""

import asyncio
import socket
from ipaddress import IPv4Address
from typing import Any

import aiohttp
import pytest

from durably import DurablyError, Engine
from durably.api.server import serve
from durably.engine.access.keys import new_key
from durably.store.runtime import SystemRandomness

pytestmark = pytest.mark.anyio


EXPOSED = [str(IPv4Address(0)), "::", "", "192.0.2.1", "2001:db8::1"]


@pytest.mark.parametrize("host", EXPOSED)
async def test_an_address_that_others_can_reach_is_refused_without_a_key(host: str) -> None:
    async with Engine("memory://") as engine:
        says = r"others can reach it, and there is no API key.*`durably keys create NAME --store memory://`"
        with pytest.raises(DurablyError, match=says):
            await serve(engine, host, 0)


async def test_nothing_is_exposed_while_keys_cannot_be_read() -> None:
    with pytest.raises(DurablyError, match="the engine is not running"):
        await serve(Engine("memory://"), EXPOSED[0], 0)


async def test_with_a_key_an_address_that_others_can_reach_is_served() -> None:
    async with Engine("memory://") as engine:
        made = new_key("ci", "read", "production", now_us=0, expires_us=None, randomness=SystemRandomness())
        await engine.core.documents.save(made.row)
        async with await serve(engine, EXPOSED[0], 0) as server, aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{server.port}/api/v1/workflows"
            headers = {"Host": "durably.example"}
            async with session.get(url, headers=headers) as refused:
                assert refused.status == 401
            async with session.get(url, headers=headers | {"Authorization": f"Bearer {made.text}"}) as answered:
                assert answered.status == 200


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
