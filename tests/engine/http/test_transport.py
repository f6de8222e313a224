"""What goes over the wire: real servers on loopback, real certificates. The guard has a file of its own."""

import gzip
import socket
import ssl
from contextlib import closing
from typing import Any

import pytest
import trustme
from aiohttp import web

from durably.engine.http.client import HttpClient
from durably.engine.http.decoding import MAX_READ
from durably.engine.http.errors import ConnectionFailed, InvalidRequest
from durably.engine.http.messages import Request
from durably.engine.retries.failures import describe
from tests.engine.http.conftest import LOOPBACK, Names, Raw, Serve

pytestmark = pytest.mark.anyio


def get(url: str, **options: Any) -> Request:
    return Request(method="GET", url=url, **options)


# -- what is sent, and what comes back


async def test_a_request_and_its_answer(client: HttpClient, serve: Serve) -> None:
    seen: list[tuple[str, str, dict[str, str], bytes]] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        seen.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        return web.Response(status=201, body=b"done", headers=[("X-Two", "a"), ("X-Two", "b")])

    url = await serve(answer)
    asked = Request(method="POST", url=f"{url}/a%2fb?x=%7e", headers={"X-Name": "Zoë"}, body=b"\x00\xff")
    response = await client.send(asked)
    assert (response.status, response.body, response.headers["x-two"]) == (201, b"done", "a, b")
    assert (response.url, response.redirects) == (f"{url}/a%2fb?x=%7e", ())
    [(method, path, headers, body)] = seen
    assert (method, path, body) == ("POST", "/a%2fb?x=%7e", b"\x00\xff")
    assert headers["X-Name"] == "Zoë"
    assert headers["User-Agent"].startswith("durably/")
    assert headers["Accept-Encoding"] == "gzip"
    assert "Content-Type" not in headers, "none is made up"
    assert "Cookie" not in headers


async def test_cookies_are_forgotten_and_the_environment_is_not_asked(
    client: HttpClient, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, str]] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        seen.append(dict(request.headers))
        return web.Response(headers={"Set-Cookie": "a=b; Path=/"})

    url = (await serve(answer)).replace("127.0.0.1", "localhost")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    for _ in range(2):
        assert (await client.send(get(url))).headers["set-cookie"] == "a=b; Path=/"
    assert [each.get("Cookie") for each in seen] == [None, None]


async def test_a_connection_is_used_again(client: HttpClient, serve: Serve) -> None:
    ports: set[int] = set()

    async def answer(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response()

    url = await serve(answer)
    for _ in range(3):
        await client.send(get(url))
    assert len(ports) == 1


async def test_a_body_is_cut_and_counted(client: HttpClient, raw: Raw) -> None:
    body = gzip.compress(b"x" * 100_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    response = await client.send(get(await raw(head + body), max_body=65_536))
    assert (response.body, response.body_bytes, response.truncated) == (b"x" * 65_536, 100_000, True)


async def test_a_bomb_in_chunks_is_left(client: HttpClient, raw: Raw) -> None:
    bomb = gzip.compress(bytes(2 * MAX_READ)) * 50
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(bomb)
    response = await client.send(get(await raw(head + bomb + b"\r\n0\r\n\r\n"), max_body=10))
    assert (len(response.body), response.truncated) == (10, True)
    assert response.body_bytes < 2 * MAX_READ


async def test_headers_that_are_no_utf8(client: HttpClient, raw: Raw) -> None:
    response = await client.send(get(await raw(b"HTTP/1.1 200 OK\r\nX-Name: caf\xe9\r\nContent-Length: 0\r\n\r\n")))
    assert response.headers["X-Name"] == "café"


# -- the four kinds of connection error, and what they are made of


async def reason(client: HttpClient, asked: Request) -> tuple[str, str]:
    with pytest.raises(ConnectionFailed) as caught:
        await client.send(asked)
    assert describe(caught.value).cause is None, "which would quote the whole URL"
    return caught.value.reason, str(caught.value).partition(": ")[2]


async def test_a_name_without_an_address() -> None:
    async with HttpClient(resolver=Names()) as client:
        asked = get("http://nowhere.example/x?token=s3cret")
        assert await reason(client, asked) == ("dns", "its host was not found (Name or service not known)")


async def test_a_name_that_the_system_does_not_know(client: HttpClient) -> None:
    assert (await reason(client, get("http://no-such-host.invalid/")))[0] == "dns"


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.1", "::1"]])
async def test_a_port_where_nobody_listens(addresses: list[str]) -> None:
    with closing(socket.socket()) as bound:  # so that nobody else takes the port
        bound.bind(("127.0.0.1", 0))
        url = f"http://closed.example:{bound.getsockname()[1]}/"
        async with HttpClient(LOOPBACK, Names(closed=[addresses])) as client:
            assert await reason(client, get(url)) == ("refused", "the connection was refused")


@pytest.mark.parametrize(
    ("answer", "options", "words"),
    [
        (b"", {}, "the connection was closed without an answer"),
        (b"", {"reset": True}, "the connection failed (Connection reset by peer)"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", {}, "the answer breaks off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", {}, "the answer breaks off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", {}, "the answer is no HTTP ("),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", {}, "the answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", {}, "the answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: xxx\0\r\n\r\n", {}, "the answer is no HTTP (Invalid"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nab", {}, "the answer's gzip is broken"),
    ],
)
async def test_a_connection_that_breaks(
    client: HttpClient, raw: Raw, answer: bytes, options: dict[str, bool], words: str
) -> None:
    kind, said = await reason(client, get(await raw(answer, **options)))
    assert kind == "transport"
    assert said.startswith(words)
    assert "xxx" not in said, "what an answer has in its headers may be a secret"


# -- TLS


class Authority:
    """Who signs the certificate of a server at 127.0.0.1."""

    def __init__(self) -> None:
        self.ca = trustme.CA()
        self.pem = self.ca.cert_pem.bytes().decode()

    def server(self, name: str = "127.0.0.1") -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = self.ca.issue_cert(name)
        with certificate.private_key_and_cert_chain_pem.tempfile() as file:
            context.load_cert_chain(file)
        return context


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


async def hello(_: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


async def test_a_certificate_that_is_given_is_trusted(client: HttpClient, serve: Serve, authority: Authority) -> None:
    url = await serve(hello, authority.server())
    assert (await client.send(get(url, ca_cert=authority.pem))).text == "hello"


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.2"])
async def test_one_that_is_not_is_refused(client: HttpClient, serve: Serve, authority: Authority, name: str) -> None:
    url = await serve(hello, authority.server(name))
    ca_cert = None if name == "127.0.0.1" else authority.pem
    kind, said = await reason(client, get(url, ca_cert=ca_cert))
    assert kind == "tls"
    assert said.startswith("its certificate is not trusted (")


async def test_one_that_need_not_be_is_not_looked_at(client: HttpClient, serve: Serve, authority: Authority) -> None:
    url = await serve(hello, authority.server())
    assert (await client.send(get(url, tls_verify=False))).text == "hello"
    assert (await reason(client, get(url)))[0] == "tls", "that connection is for those who do not look only"
    assert (await reason(client, get(url, ca_cert=Authority().pem)))[0] == "tls"


async def test_a_server_without_tls(client: HttpClient, raw: Raw) -> None:
    url = await raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    assert (await reason(client, get(url.replace("http", "https"), timeout=5)))[0] in ("tls", "transport")


@pytest.mark.parametrize("pem", ["", "none", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "ü"])
async def test_a_certificate_that_is_none(client: HttpClient, pem: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^ca_cert is no certificate in PEM"):
        await client.send(get("https://127.0.0.1:9/", ca_cert=pem))
