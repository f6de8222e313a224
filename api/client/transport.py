"""Requests to one server: what is asked, and asked again where that is safe."""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from itertools import count
from types import TracebackType
from typing import Literal, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog
from yarl import URL

from durably.api.client.errors import Away, NoAnswer, NoServer, Unavailable, foreign, refusal
from durably.api.client.events import EventReader, ServerSent
from durably.engine.errors import DurablyError
from durably.engine.retries.retry import Failure, GiveUp, RetryPolicy
from durably.engine.retries.retry_after import parse
from durably.store.runtime import SECOND_US, Clock, Randomness

__all__ = ["END", "WAIT_S", "Transport"]

T = TypeVar("T")

CONNECT_S, ANSWER_S = 5.0, 30.0
WAIT_S = 30
"""How long the server is asked to hold a request that waits for something."""
SHORT, LONG = 100, 500
"""Connections at once for requests that are answered at once, and for those that wait. Of their own, so that waiting
for runs cannot hold up the event that they wait for."""
TELL_AT = 5
"""The attempt at which somebody is told that this takes long."""

END = "end"
"""The event behind which there are no more."""
LONGEST_S = 30
"""The longest wait that a server may ask for. Whoever waits for an answer waits for us."""

log = structlog.get_logger("durably.client")


class Transport:
    """A server's address and the connections to it. An async context manager.

    A `RetryPolicy` says how often a request is made again. To it, `NoServer` is a failed connection, `NoAnswer` a
    timeout, and `Unavailable` a status; every other answer is final.
    """

    def __init__(self, url: str, api_key: str | None, clock: Clock, randomness: Randomness) -> None:
        self.url = _checked(url)
        self.randomness = randomness
        self._clock = clock
        self._headers = {"Accept": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._sessions: dict[int, aiohttp.ClientSession] = {}
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=WAIT_S + ANSWER_S)
        for limit in (SHORT, LONG):
            connector = aiohttp.TCPConnector(limit=limit)
            session = aiohttp.ClientSession(headers=self._headers, timeout=timeout, connector=connector)
            self._sessions[limit] = await self._exits.enter_async_context(session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._sessions = {}
        await self._exits.aclose()

    async def ask(
        self,
        method: Literal["GET", "POST", "DELETE"],
        path: str,
        body: object = None,
        *,
        retry: RetryPolicy,
        long: bool = False,
    ) -> bytes:
        """The content of the answer. `long`: it may take the server `WAIT_S` to give one.

        Raises `NoServer`, `NoAnswer`, or what the refusal stands for, when `retry` gives up.
        """
        data = None if body is None else msgspec.json.encode(body)
        for attempt in count():
            try:
                return await self._ask_once(method, path, data, LONG if long else SHORT)
            except Away as error:
                await self.pause(retry, attempt, error)
        raise AssertionError("counting has no end")

    async def events(self, path: str, after: str) -> AsyncGenerator[ServerSent]:
        """A stream of events behind the one with the id `after`, as long as the connection lasts.

        Raises as `ask` does, without asking again.
        """
        headers = {"Accept": "text/event-stream", "Last-Event-ID": after}
        async with self._open("GET", path, None, headers, LONG) as response:
            if response.status == HTTPStatus.NO_CONTENT:  # what makes a browser stay away: there is no more
                yield ServerSent(END, after, "")
            reader = EventReader()
            async for chunk in response.content.iter_any():
                for event in reader.feed(chunk):
                    yield event

    async def pause(self, retry: RetryPolicy, attempt: int, error: Away) -> None:
        """Wait before the next attempt; raise `error` if `retry` has none left."""
        decision = retry.decide(attempt, self._failure(error))
        if isinstance(decision, GiveUp):
            raise error
        if attempt == TELL_AT:
            log.warning("server.away", url=self.url, reason=str(error))
        await self.sleep(decision.delay + self.randomness.uniform(decision.jitter))

    def _failure(self, error: Away) -> Failure:
        if isinstance(error, Unavailable):
            asked_s = parse(error.retry_after, self._clock.wall_us())
            return Failure("status", error.status, retry_after=None if asked_s is None else min(asked_s, LONGEST_S))
        return Failure("connection" if isinstance(error, NoServer) else "timeout")

    async def sleep(self, seconds: float) -> None:
        """Wait so long on the clock that was handed in."""
        over = asyncio.Event()
        timer = self._clock.call_at(self._clock.now_us() + int(seconds * SECOND_US), over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()

    async def _ask_once(self, method: str, path: str, data: bytes | None, limit: int) -> bytes:
        headers = {} if data is None else {"Content-Type": "application/json"}
        async with self._open(method, path, data, headers, limit) as response:
            return await response.read()

    @asynccontextmanager
    async def _open(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str], limit: int
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """A good answer. Redirects are not followed: a POST would come out as a GET, and the key elsewhere."""
        session = self._sessions.get(limit)
        if session is None:
            raise DurablyError("the client is not open: use it inside `async with client:`")
        address = URL(self.url + path, encoded=True)
        try:
            async with session.request(method, address, data=data, headers=headers, allow_redirects=False) as response:
                if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                    retry_after = response.headers.get("Retry-After")
                    raise refusal(self.url, response.status, await response.read(), retry_after)
                yield response
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NoServer(
                f"nothing answers at {self.url} ({_reason(error)}). Start a server with `durably serve TARGET`, or "
                "give the address of one: to a command with --url or DURABLY_URL."
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(
                f"no answer came from {self.url} ({type(error).__name__}): whether it was done is not known. Look "
                "with `durably runs`."
            ) from error

    # -- what comes back

    def decode(self, content: bytes | msgspec.Raw, kind: type[T]) -> T:
        """What the server said, if it can be read as `kind`."""
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.DecodeError as error:
            raise foreign(self.url, str(error)) from error

    def convert(self, value: object, kind: type[T]) -> T:
        """The same for what is decoded already."""
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise foreign(self.url, str(error)) from error


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise DurablyError(f"{url!r} is no server's address; give one like http://127.0.0.1:8484")
    if parts.username is not None or parts.password is not None:
        raise DurablyError(f"the address of {parts.hostname} has a name or a password in it; give the key as api_key")
    return url.rstrip("/")


def _reason(error: aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) -> str:
    if not isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection within {CONNECT_S:g} s"
    code = error.os_error.errno
    return os.strerror(code).lower() if code is not None and code > 0 else str(error.os_error)
