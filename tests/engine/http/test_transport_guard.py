"""URLs that mean to reach what is not public: nothing must even be connected to."""

import asyncio
import socket
from contextlib import AsyncExitStack, closing, suppress

import pytest
from aiohttp import web

from durably.engine.http.client import HttpClient
from durably.engine.http.errors import AddressRefused, ConnectionFailed, InvalidRequest
from durably.engine.http.messages import Request
from tests.engine.http.conftest import Names, Raw, Serve

pytestmark = pytest.mark.anyio


def get(url: str) -> Request:
    return Request(method="GET", url=url, timeout=5)


class Listener:
    """Counts who connects to a port of the loopback addresses, IPv6 too where there is one."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connected = 0

    def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nSECRET")
        writer.close()


@pytest.fixture
async def listener(stack: AsyncExitStack) -> Listener:
    ipv4 = socket.create_server(("0.0.0.0", 0))  # noqa: S104 - 0.0.0.0 is one of the attacks
    listener = Listener(ipv4.getsockname()[1])
    await stack.enter_async_context(await asyncio.start_server(listener, sock=ipv4))
    with suppress(OSError):  # without IPv6
        ipv6 = socket.create_server(("::1", listener.port), family=socket.AF_INET6)
        await stack.enter_async_context(await asyncio.start_server(listener, sock=ipv6))
    return listener


LOCAL = (
    *("127.0.0.1", "127.0.0.2", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1"),
    *("017700000001", "0", "0.0.0.0", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "①②⑦.⓪.⓪.①"),  # noqa: S104 - to connect to
    *("127。0。0。1", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]"),
    *("[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "[::ffff:0:127.0.0.1]", "[::1%25lo]", "127.0.0.1%00.example.com"),
    *("private.example", "mixed.example", "mapped.example", "nat64.example", "rebinding.example"),
)
REMOTE = (
    *("10.0.0.1", "100.64.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1", "192.0.0.192", "100.100.100.200"),
    *("168.63.129.16", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "[fd00:ec2::254]", "[fe80::1]"),
    *("[fec0::1]", "[ff02::1]", "[64:ff9b::a9fe:a9fe]", "[2001:0:0:0:0:0:f5ff:fffe]", "0xA9FEA9FE", "2852039166"),
)
ODD = (
    *("http://user@127.0.0.1:{}/", "http://example.com@127.0.0.1:{}/", "http://127.0.0.1:{}\\@example.com/"),
    *("http://example.com\\@127.0.0.1:{}/", "http://127.0.0.1:{}#@example.com/", "http://127.0.0.1:{}?@example.com/"),
    *(
        "http:127.0.0.1:{}/",
        "//127.0.0.1:{}/",
        "http:///127.0.0.1:{}/",
        "http://127.0.0.1\t:{}/",
        "http://[::1]:{}%2f/",
    ),
    *("file://127.0.0.1:{}/etc/passwd", "gopher://127.0.0.1:{}/_", "dict://127.0.0.1:{}/", "unix://127.0.0.1:{}/"),
    *("tcp://127.0.0.1:{}/", "ws://127.0.0.1:{}/", "HTTP://127.0.0.1:{}/", "https://127.0.0.1:{}/"),
)
FRONT = "127.9.9.9"
"""The one address that the client may reach where redirects lead to the others."""
ATTACKS = [*(f"http://{host}:{{}}/" for host in (*LOCAL, *REMOTE)), *ODD]
NAMES = {
    "private": [["10.1.2.3"]],
    "mixed": [["127.0.0.1", "::1", "10.0.0.1"]],
    "mapped": [["::ffff:127.0.0.1"]],
    "nat64": [["64:ff9b::7f00:1"]],
    "rebinding": [["127.0.0.2"], ["127.0.0.1"]],
}


class AttackersDns(Names):
    """The attacker's names, and the system's for all others."""

    def __init__(self) -> None:
        super().__init__(**NAMES)

    async def addresses(self, host: str) -> list[str]:
        ours = await super().addresses(host)
        if ours:
            return ours
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return [str(info[4][0]) for info in found]


def test_there_are_enough_of_them() -> None:
    assert len(set(ATTACKS)) >= 60


async def attempt(client: HttpClient, url: str) -> str | int:
    """How an attack ends: with what is raised, or with the status of an answer."""
    try:
        response = await client.send(get(url))
    except ConnectionFailed as error:
        return error.reason
    except (AddressRefused, InvalidRequest) as error:
        return type(error).__name__
    return response.status


@pytest.mark.parametrize("attack", ATTACKS)
async def test_attacks_reach_nothing(listener: Listener, attack: str) -> None:
    async with HttpClient(resolver=AttackersDns()) as client:
        for _ in range(2):  # rebinding: the second time the name has another address
            ended = await attempt(client, attack.format(listener.port))
            assert ended in ("AddressRefused", "InvalidRequest", "dns"), "no connection was even tried"
    assert listener.connected == 0


@pytest.mark.parametrize("attack", ATTACKS)
async def test_redirects_to_them_reach_nothing(listener: Listener, raw: Raw, attack: str) -> None:
    target = attack.format(listener.port).encode()
    front = await raw(b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % target, host=FRONT)
    async with HttpClient([FRONT], AttackersDns()) as client:
        ended = await attempt(client, front)
    assert ended in ("AddressRefused", "InvalidRequest", "dns", 302), "302: it led back, again and again"
    assert listener.connected == 0


async def test_the_listener_hears_those_who_are_allowed(listener: Listener) -> None:
    """Else the two tests before would prove nothing."""
    hosts = ["127.0.0.1", "127.0.0.2", "localhost", "①②⑦.⓪.⓪.①", "mixed.example"]
    async with HttpClient(["0.0.0.0/0", "::/0"], AttackersDns()) as client:
        for count, host in enumerate(hosts, start=1):
            assert (await client.send(get(f"http://{host}:{listener.port}/"))).body == b"SECRET"
            assert listener.connected >= count


async def test_public_addresses_of_a_name_are_still_tried(listener: Listener) -> None:
    names = Names(both=[["10.0.0.1", "127.0.0.1"]], closed=[["10.0.0.1", "127.0.0.3"]])
    async with HttpClient(["127.0.0.0/8"], names) as client:
        assert (await client.send(get(f"http://both.example:{listener.port}/"))).body == b"SECRET"
        with closing(socket.socket()) as bound:
            bound.bind(("127.0.0.3", 0))
            with pytest.raises(ConnectionFailed):  # which may be over in a minute, so it is not refused for good
                await client.send(get(f"http://closed.example:{bound.getsockname()[1]}/"))


async def test_a_kept_connection_leads_nowhere_else(serve: Serve) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        return web.Response(text=str(request.transport.get_extra_info("peername")[1]))

    port = (await serve(answer)).rpartition(":")[2]
    names = Names(turning=[["127.0.0.1"], ["10.0.0.1"]])
    async with HttpClient(["127.0.0.1"], names) as client:
        first, second = [(await client.send(get(f"http://turning.example:{port}/"))).text for _ in range(2)]
    assert first == second, "the same connection, to the address that was let pass"
