"""One connection, with the deadlines that aiohttp does not have: a slow client must not hold one for ever.

aiohttp 3.14 waits for the end of a request's headers as long as for the next request, an hour unless told
otherwise, and for ever for a client that does not read.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from traceback import format_exception
from typing import Any

import structlog
from aiohttp import web

from durably.api.errors import Problem, error_document
from durably.api.limits import Limits

__all__ = ["Connection", "Gate"]

log = structlog.get_logger("durably.http")

PROGRESS = 64 * 1024
"""Bytes of an answer that a client has to read within `Limits.stalled_s`."""
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 26\r\n\r\ntoo many open connections\n"
)


class Gate:
    """How many connections there are, of those there may be."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.open = 0

    @property
    def full(self) -> bool:
        return self.open >= self.limits.connections


class Connection(web.RequestHandler):
    """aiohttp's connection with deadlines for headers and for reading the answer, and errors in our shape."""

    __slots__ = ("_admitted", "_gate", "_head_timer", "_stall_timer", "_unread", "_when_lost", "_wire")

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop, gate: Gate) -> None:
        options: dict[str, Any] = {
            "keepalive_timeout": gate.limits.idle_s,
            "lingering_time": gate.limits.linger_s,
            "access_log": None,
        }
        super().__init__(server, loop=loop, **options)
        self._gate = gate
        self._admitted = False
        self._wire: asyncio.Transport | None = None
        """The transport, also after aiohttp has closed and forgotten it while there is something left to send."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._unread = 0
        self._when_lost: Callable[[], object] | None = None

    # -- a connection's life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._gate.full:
            transport.write(BUSY)
            transport.close()
            return
        self._gate.open += 1
        self._admitted = True
        self._wire = transport
        transport.set_write_buffer_limits(high=0)  # `pause_writing` for whatever the client leaves unread
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._admitted:
            self._gate.open -= 1
            self._admitted = False
        self._stop_timers()
        self._wire = None
        super().connection_lost(exc)
        if self._when_lost is not None:
            self._when_lost()

    def when_lost(self, callback: Callable[[], object] | None) -> None:
        """Call this when the client goes away; None: nothing. aiohttp tells a handler only when it writes."""
        self._when_lost = callback

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._stall_timer = None

    def _abort(self) -> None:
        """Close without waiting for what the client has not read."""
        if self._wire is not None:
            self._wire.abort()

    # -- the headers of a request

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_in_head():
            if self._head_timer is None:
                self._await_head()
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(self._gate.limits.head_s, self._abort)

    def _is_in_head(self) -> bool:
        """Whether aiohttp still waits for a request, after what has come: its headers are not complete."""
        waiter = self._waiter
        return waiter is not None and not waiter.done()

    # -- the reading of an answer

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self._buffered()
        self._stall_timer = self._loop.call_later(self._gate.limits.stalled_s, self._check_progress)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _check_progress(self) -> None:
        unread = self._buffered()
        if unread > self._unread - PROGRESS:
            self._abort()
            return
        self._unread = unread
        self._stall_timer = self._loop.call_later(self._gate.limits.stalled_s, self._check_progress)

    def _buffered(self) -> int:
        return 0 if self._wire is None else self._wire.get_write_buffer_size()

    # -- errors that no handler answers

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Tell what is not HTTP; log what a handler did not expect, and keep it from the client."""
        if isinstance(exc, ConnectionError):
            raise exc  # the client has gone
        ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if ours:
            # Text, because structlog's own tracebacks may show local variables, and an address may hold a key.
            path = "/e/…" if request.path.startswith("/e/") else request.path
            log.error("http.failed", method=request.method, path=path, exception="".join(format_exception(exc)))
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun already")
        if ours:
            problem = Problem(status, "internal_error", "something went wrong in the server; its log says what")
        else:
            first_line = (message or str(exc)).strip().partition("\n")[0].rstrip(":")
            problem = Problem(status, "malformed_request", f"this is not a request in HTTP/1.1: {first_line[:300]}")
        response = error_document(problem)
        response.force_close()
        return response
