"""The HTTP client of steps, jobs and webhooks: it follows redirects itself, and reaches no private address."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from msgspec.structs import replace

from durably.engine.http.addresses import AddressGuard
from durably.engine.http.errors import RequestTimeout
from durably.engine.http.messages import Request, Response
from durably.engine.http.redirects import redirected
from durably.engine.http.secrets import hide_query, shown
from durably.engine.http.statuses import is_among
from durably.engine.http.urls import check_request

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

    from durably.engine.http.transport import Transport

__all__ = ["HttpClient"]


class HttpClient:
    """Sends requests, and connects to public addresses only.

    One belongs to an engine, and steps find it as `current().resource(HttpClient)`. `allow` are networks in CIDR
    notation that may be reached although they are not public, such as `["127.0.0.0/8", "::1/128"]`; a `ValueError` says
    which is none. `resolver` is aiohttp's by default. Subclass it and override `send` to answer in tests.
    """

    def __init__(self, allow: Sequence[str] = (), resolver: "AbstractResolver | None" = None) -> None:
        self._guard = AddressGuard(allow)
        self._resolver = resolver
        self._transport: Transport | None = None

    async def send(self, request: Request) -> Response:
        """Send the request: the answer, whatever its status.

        Raises:
            InvalidRequest: it cannot be sent, or a redirect leads to what cannot.
            AddressRefused: it, or a redirect, leads to an address that is not public.
            RequestTimeout: the answer was not there in time.
            ConnectionFailed: there was no connection, or it broke.
        """
        check_request(request)
        try:
            async with asyncio.timeout(request.timeout):
                return await self._follow(request)
        except TimeoutError:
            raise RequestTimeout(
                f"{request.method} {shown(request.url)} had no answer within {request.timeout:g} s"
            ) from None

    async def _follow(self, request: Request) -> Response:
        """The answer at the end of all redirects, or the one whose redirect is wanted or one too many."""
        passed: list[str] = []
        while True:
            response = replace(await self._open().exchange(request), redirects=tuple(passed))
            wanted = is_among(response.status, request.success_status)
            following = None if wanted or len(passed) == request.max_redirects else redirected(request, response)
            if following is None:
                return response
            passed.append(hide_query(request.url))
            request = following

    def _open(self) -> "Transport":
        if self._transport is None:
            from durably.engine.http.transport import Transport  # noqa: PLC0415 - `import durably` is quick

            self._transport = Transport(self._guard, self._resolver)
        return self._transport

    async def close(self) -> None:
        """Close all connections. The next request opens new ones."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
