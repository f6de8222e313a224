"""One request and its answer over aiohttp. Only this module imports aiohttp, which takes its time."""

import re
import socket
import ssl
import zlib
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDictProxy

from durably.engine.http.addresses import AddressGuard
from durably.engine.http.decoding import ACCEPTED, read
from durably.engine.http.errors import AddressRefused, ConnectionFailed, InvalidRequest, Unreachable
from durably.engine.http.messages import Request, Response
from durably.engine.http.secrets import hide_query, shown
from durably.engine.http.urls import parse_url
from durably.engine.log.versions import ENGINE

__all__ = ["Transport"]

DEFAULTS = {"User-Agent": f"durably/{ENGINE}", "Accept": "*/*", "Accept-Encoding": ACCEPTED}
CONTEXTS = 32
"""How many sets of trusted certificates are kept parsed."""


class _Seen:
    """What the guard said of the addresses that one request was about to connect to."""

    __slots__ = ("passed", "refused")

    def __init__(self) -> None:
        self.passed = False
        self.refused: dict[str, None] = {}


_seen: ContextVar[_Seen] = ContextVar("durably.http.seen")
"""Of the running request: sockets are made in asyncio tasks that aiohttp starts for it."""


class Transport:
    """A session of its own: without cookies, and without proxies or passwords from the environment.

    Connections are kept and used again. Each was made past the guard, and the guard stays the same.
    """

    def __init__(self, guard: AddressGuard, resolver: AbstractResolver | None = None) -> None:
        self._guard = guard
        connector = aiohttp.TCPConnector(
            socket_factory=self._make_socket,
            resolver=resolver,
            limit=0,  # the engine bounds how many steps run; a request must not spend its time in a queue
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # the client's own limit covers redirects too
            headers=DEFAULTS,
            skip_auto_headers=["Content-Type"],
        )
        self._context = lru_cache(maxsize=CONTEXTS)(_context)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def _make_socket(self, info: tuple[int, int, int, str, Any]) -> socket.socket:
        """The socket for an address: after DNS, and for addresses in URLs too, so nothing leads around the guard."""
        family, kind, protocol, _, where = info
        seen = _seen.get()
        refusal = self._guard.refusal(where[0])
        if refusal is not None:
            seen.refused[refusal] = None
            raise OSError(refusal)
        seen.passed = True
        return socket.socket(family, kind, protocol)

    async def exchange(self, request: Request) -> Response:
        """Send the request and read the answer; a redirect is an answer too.

        Raises `ConnectionFailed`, `AddressRefused` or `InvalidRequest`. It may take any time.
        """
        seen = _Seen()
        _seen.set(seen)
        try:
            return await self._exchange(request)
        except (aiohttp.ClientError, OSError, UnicodeError, EOFError, zlib.error) as error:
            if seen.refused and not seen.passed:
                raise _refused(request, seen) from None
            raise _failure(request, error) from None  # aiohttp's own errors quote the whole URL

    async def _exchange(self, request: Request) -> Response:
        url = parse_url(request.url)
        async with self._session.request(
            request.method,
            url,
            headers=request.headers,
            data=request.body or None,
            allow_redirects=False,
            ssl=self._tls(request),
        ) as answer:
            content = await read(
                answer.content.iter_any(), answer.headers.get("Content-Encoding", ""), request.max_body
            )
            return Response.of(
                answer.status,
                headers=_joined(answer.headers),
                body=bytes(content.body),
                body_bytes=content.length,
                url=hide_query(str(url)),
            )

    def _tls(self, request: Request) -> bool | ssl.SSLContext:
        """How aiohttp is told of it; connections are shared only between requests of which it is the same."""
        if not request.tls_verify:
            return False
        return True if request.ca_cert is None else self._context(request.ca_cert)


def _context(ca_cert: str) -> ssl.SSLContext:
    """Trusts that one beside those that the system trusts, as the vendor of the third seed has it."""
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cadata=ca_cert)
    except (ssl.SSLError, ValueError, TypeError) as error:  # the last two: it is empty, or not ASCII
        raise InvalidRequest(f"ca_cert is no certificate in PEM: {error}") from None
    return context


def _joined(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """Several headers of one name are one list (RFC 9110 section 5.3). Bytes that are no UTF-8 are Latin-1, as ever."""
    return {name: ", ".join(map(_as_text, headers.getall(name))) for name in headers}


def _as_text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:  # aiohttp has put lone surrogates for what is no UTF-8
        return value.encode(errors="surrogateescape").decode("latin-1")
    return value


# -- failures


def _refused(request: Request, seen: _Seen) -> AddressRefused:
    return AddressRefused(
        f"{request.method} {shown(request.url)} was not sent: {', '.join(seen.refused)}. If that is meant, allow it: "
        'Engine(http_allow=["…"]) or --http-allow, with a network in CIDR notation'
    )


def _failure(request: Request, error: Exception) -> ConnectionFailed | InvalidRequest:
    what = f"{request.method} {shown(request.url)}"
    if isinstance(error, aiohttp.InvalidURL | UnicodeError):
        return InvalidRequest(f"{what} cannot be sent: that URL names no host")
    reason, words = _reason(error)
    return ConnectionFailed(f"{what}: {words}", reason)


def _reason(error: Exception) -> tuple[Unreachable, str]:  # noqa: PLR0911 - one for each way to fail
    """The kind of failure, and it in words."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "dns", f"its host was not found ({_words(error.os_error)})"
        case aiohttp.ClientConnectorCertificateError():
            return "tls", f"its certificate is not trusted ({error.certificate_error})"
        case aiohttp.ClientSSLError():
            return "tls", f"TLS failed ({_words(error.os_error)})"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "refused", "the connection was refused"
        case aiohttp.ClientResponseError():
            return "transport", f"the answer is no HTTP ({_QUOTING.split(error.message)[0]})"
        case zlib.error() | EOFError():
            return "transport", "the answer's gzip is broken"
        case aiohttp.ServerDisconnectedError():
            return "transport", "the connection was closed without an answer"
        case aiohttp.ClientPayloadError():
            return "transport", "the answer breaks off"
        case ssl.SSLError():
            return "tls", f"TLS failed ({_words(error)})"
        case OSError():
            return "transport", f"the connection failed ({_words(error)})"
        case _:
            return "transport", f"the connection failed ({type(error).__name__})"


_QUOTING = re.compile("[:\n]")
"""What stands before a piece of the answer in aiohttp's messages; it may be a secret."""


def _words(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
