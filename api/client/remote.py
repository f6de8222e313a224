"""A Durably server as its HTTP API: a method for each thing that can be asked about runs.

`Client` has the engine's methods on it; the command line uses it as it is.
"""

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from sys import maxsize
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode, urljoin

import msgspec
from msgspec import Raw, Struct

from durably.api.client.errors import Away, NoAnswer, Refused
from durably.api.client.events import ServerSent
from durably.api.client.transport import END, WAIT_S, Transport
from durably.engine.body.parked import ParkedTask
from durably.engine.errors import InvalidInput, RunNotFound
from durably.engine.execution.follow import Message
from durably.engine.listing import TIMES, VALUES
from durably.engine.log.history import History
from durably.engine.log.info import RunInfo
from durably.engine.log.records import Sealed, from_us
from durably.engine.retries.retry import RetryPolicy
from durably.store import RunQuery
from durably.store.runtime import Clock, Randomness, SystemClock, SystemRandomness

__all__ = ["DEFAULT_URL", "Remote"]

DEFAULT_URL = "http://127.0.0.1:8484"
RUNS = "/api/v1/workflow-runs"
PAGE = 100
COLUMNS = {"created": "created_at", "started": "started_at", "finished": "finished_at", "scheduled": "scheduled_for"}
"""What the HTTP API calls them."""
PATIENT = RetryPolicy(maxsize, delay=0.2, max_delay=5)
"""Of whoever waits for a run: a server that has gone is waited for too."""
AGAIN_S = 0.1
"""Between two requests that wait: one that is stopping answers at once."""


class _Resource(Struct):
    id: str
    attributes: Raw


class _Document(Struct):
    data: _Resource


class _Links(Struct):
    next: str | None = None


class _Collection(Struct):
    data: list[_Resource]
    links: _Links = msgspec.field(default_factory=_Links)


class _Stack(Struct):
    tasks: list[ParkedTask]


class _Ids(Struct):
    ids: list[str]


class _Published(Struct):
    topic: str
    at: datetime
    seq: int
    data: Any = None


class Remote:
    """One server. An async context manager.

    Every method raises what the engine raises, and `NoServer`, `NoAnswer` or `Refused`; all are `DurablyError`s.

    `retry` is for requests that change nothing when they are made twice. Of the others it is asked only when nobody
    answered, or the server was too busy to look: when nothing can have been done.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        retry: RetryPolicy = RetryPolicy.NEVER,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        self.randomness = randomness or SystemRandomness()
        self._transport = Transport(url, api_key, clock or SystemClock(), self.randomness)
        self._retry = retry
        self._retry_once = replace(retry, retry_on_timeout=False, retry_statuses=("429",))

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, traceback)

    @property
    def url(self) -> str:
        """Where it is."""
        return self._transport.url

    # -- reading

    async def runs(self, wanted: RunQuery) -> list[RunInfo]:
        """Runs that fit, in the query's order, page by page up to its `limit`."""
        query = [*_filters(wanted), ("page[size]", str(min(wanted.limit, PAGE)))]
        path: str | None = f"{RUNS}?{urlencode(query)}"
        found: list[RunInfo] = []
        while path is not None and len(found) < wanted.limit:
            page = self._transport.decode(await self._get(path), _Collection)
            found += map(self._info, page.data)
            path = None if page.links.next is None else urljoin(path, page.links.next)
        return found[: wanted.limit]

    async def run(self, run_id: str, *, wait: bool = False, retry: RetryPolicy | None = None) -> RunInfo:
        """One run at a glance. With `wait` the answer comes at its end, or after `WAIT_S`."""
        path = f"{_path_of(run_id)}?wait={WAIT_S}" if wait else _path_of(run_id)
        with _about(run_id):
            return self._run(await self._transport.ask("GET", path, retry=retry or self._retry, long=wait))

    async def end(self, run_id: str) -> RunInfo:
        """What came of the run, or of the one that it goes on as, however long that takes and the server is away."""
        while True:
            info = await self.run(run_id, wait=True, retry=PATIENT)
            if info.continued_to is not None:
                run_id = info.continued_to
            elif info.finished_at is not None:
                return info
            else:
                await self._transport.sleep(AGAIN_S)

    async def history(self, run_id: str) -> History:
        """All records of a run."""
        with _about(run_id):
            return History.from_json(await self._get(f"{_path_of(run_id)}/history"))

    async def stack(self, run_id: str) -> list[ParkedTask]:
        """Where the run's code stands. `NondeterminismError` when it does not fit its history."""
        with _about(run_id):
            answer = self._transport.decode(await self._get(f"{_path_of(run_id)}/stack"), _Document)
        return self._transport.decode(answer.data.attributes, _Stack).tasks

    async def messages(self, run_id: str, topic: str | None, after: int) -> AsyncGenerator[Message]:
        """What the run publishes behind seq `after`, until it ends: connected anew as often as it takes."""
        path = f"{_path_of(run_id)}/stream"
        if topic is not None:
            path += f"?{urlencode({'topic': topic})}"
        last, attempt = str(after), 0
        while True:
            why: Away = NoAnswer(f"the stream of {run_id} ended before the run did")
            try:
                async with aclosing(self._transport.events(path, last)) as events:
                    async for event in events:
                        last, attempt = event.id, 0
                        if event.name == END:
                            return
                        if event.name == "sealed":
                            raise Sealed(f"record {event.id} of run {run_id!r} is sealed, and the server has no key")
                        if event.name == "message.published":
                            yield self._message(event)
            except Away as away:
                why = away
            await self._transport.pause(PATIENT, attempt, why)
            attempt += 1

    # -- changing

    async def start(self, workflow: str, given: Mapping[str, Any] | Raw, run_id: str, **options: Any) -> RunInfo:
        """Start a run, or find the one with this id. `options` is what else the route takes, None is nothing."""
        body = {"input": given, "run_id": run_id, **_given(options)}
        path = f"/api/v1/workflows/{quote(workflow, safe='')}/actions/run"
        return self._run(await self._transport.ask("POST", path, body, retry=self._retry))

    async def send(self, events: Sequence[Any]) -> list[str]:
        """Send events as JSON has them, with ids: all of them or none. Their ids."""
        content = await self._transport.ask("POST", "/api/v1/events", events, retry=self._retry)
        return self._transport.decode(content, _Ids).ids

    async def cancel(self, run_id: str) -> RunInfo:
        """Ask for a run to be canceled. `RunConflict` when it had ended."""
        return await self._act(run_id, "cancel", {})

    async def signal(self, run_id: str, name: str, data: object) -> RunInfo:
        """Send a run a signal. `RunConflict` when it has ended."""
        return await self._act(run_id, "signal", {"name": name, "data": data})

    async def rerun(self, run_id: str, /, **options: Any) -> RunInfo:
        """A new run with the same input, or with another. `options` as of `Run.rerun`, None is nothing."""
        body = _given(options)
        repeatable = "run_id" in body and "from_step" not in body
        return await self._act(run_id, "rerun", body, self._retry if repeatable else self._retry_once)

    async def fork(self, run_id: str, **options: Any) -> RunInfo:
        """A new run that takes over a part of what this one did. `options` as of `Run.fork`, None is nothing."""
        return await self._act(run_id, "fork", _given(options))

    async def _act(
        self, run_id: str, action: str, body: Mapping[str, Any], retry: RetryPolicy | None = None
    ) -> RunInfo:
        path = f"{_path_of(run_id)}/actions/{action}"
        with _about(run_id):
            return self._run(await self._transport.ask("POST", path, body, retry=retry or self._retry_once))

    # -- what comes back

    async def _get(self, path: str) -> bytes:
        return await self._transport.ask("GET", path, retry=self._retry)

    def _run(self, content: bytes) -> RunInfo:
        return self._info(self._transport.decode(content, _Document).data)

    def _info(self, resource: _Resource) -> RunInfo:
        fields = self._transport.decode(resource.attributes, dict[str, Any])
        return self._transport.convert({"id": resource.id, **fields}, RunInfo)

    def _message(self, event: ServerSent) -> Message:
        record = self._transport.decode(event.data.encode(), _Published)
        return Message(record.topic, record.data, record.at, record.seq)


def _filters(wanted: RunQuery) -> Iterator[tuple[str, str]]:
    """A query as parameters of the list."""
    for name in VALUES:
        values: Sequence[str] = getattr(wanted, name)
        if any("," in value for value in values):
            raise InvalidInput(f"{name} has a comma in it: over HTTP, where commas are between values, none fits that")
        if values:
            yield f"filter[{name}]", ",".join(values)
    for name in TIMES:
        start, end = getattr(wanted, f"{name}_from_us"), getattr(wanted, f"{name}_until_us")
        if start is not None or end is not None:
            yield f"filter[{COLUMNS[name]}]", f"[{_bound(start)},{_bound(end)})"
    if isinstance(wanted.origin, str):
        yield "filter[origin]", wanted.origin


def _bound(at_us: int | None) -> str:
    return "*" if at_us is None else from_us(at_us).isoformat()


@contextmanager
def _about(run_id: str) -> Generator[None]:
    """Requests about one run: not found is that one."""
    try:
        yield
    except Refused as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
        raise RunNotFound(run_id) from None


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _path_of(run_id: str) -> str:
    return f"{RUNS}/{quote(run_id, safe='')}"
