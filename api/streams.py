"""`/api/v1/workflow-runs/{id}/stream`: a run's records as they become durable, as server-sent events.

Each event is a record: its `id` is the record's seq, its name the record's type, its data the record as in the history
document. A client that comes back says with `Last-Event-ID` (or `?after=`) where it was, as browsers do by themselves.
`?topic=` leaves only what the run publishes under that topic. When the run has ended, an event `end` says so with the
run's `status`, and `continued_to` when it goes on as a new run, which has a stream of its own.
"""

import asyncio
import re
from collections.abc import Collection, Iterable
from http import HTTPStatus
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from durably import DurablyError, Engine
from durably.api.access import find_run
from durably.api.errors import Problem
from durably.api.limits import Limits
from durably.api.operations import EVENT_STREAM, Media, Operation, Parameter
from durably.api.responses import JSON, common_headers
from durably.api.runs import PATH
from durably.api.waits import Waits
from durably.engine.execution.follow import message_of
from durably.engine.log.history import record_document
from durably.store import LogRow, RunRow, StoreFailure
from durably.store.sealed import is_sealed

__all__ = ["Streams"]

AGAIN = b"retry: 1000\n\n"
"""Milliseconds after which a browser whose connection broke comes back."""
SILENCE = b":\n\n"
"""A comment: it keeps proxies from giving up, and finds out whether the client is there."""
QUIET_ENDS = (ConnectionError, DurablyError, StoreFailure)
"""What ends a stream so that the client comes back, if it is still there: to this engine, or to the next one."""


class StreamEvent(msgspec.Struct):
    """A server-sent event: a record of the run, or `end` with its `status`. The first thing sent is only a `retry`."""

    event: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    """The record's seq: what `Last-Event-ID` gives back."""
    data: Annotated[str, msgspec.Meta(extra_json_schema={"contentMediaType": JSON})] | UnsetType = UNSET
    """The record as in the history document."""
    retry: int | UnsetType = UNSET


MAX_SEQ = 999_999_999
AFTER = Parameter("after", Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)], "The seq of the last record that is known")
TOPIC = Parameter("topic", list[str], "Only what the run publishes under one of these topics")

_encode = msgspec.json.Encoder().encode


class Streams:
    """Runs as streams of server-sent events, until they end."""

    def __init__(self, engine: Engine, limits: Limits, waits: Waits) -> None:
        self._engine = engine
        self._limits = limits
        self._waits = waits

    def operations(self) -> list[Operation]:
        return [
            Operation(
                "GET",
                PATH + "/{id}/stream",
                self.stream,
                "A run's records as they become durable",
                "read",
                query=(AFTER, TOPIC),
                answers={200: Media(EVENT_STREAM, StreamEvent), 204: None},
            )
        ]

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The records behind `Last-Event-ID`, and all that follow.

        204 for a browser that comes back after the end: it is what makes it stay away.
        """
        after, topics = _after(request), _topics(request)
        run_id = (await find_run(request, self._engine, request.match_info["id"])).id
        row = await self._engine.core.store.run(run_id)
        assert row is not None
        if row.phase is None and after >= row.seq and "Last-Event-ID" in request.headers:
            return web.Response(status=HTTPStatus.NO_CONTENT, headers=common_headers())
        response = web.StreamResponse(headers=common_headers())
        response.content_type = EVENT_STREAM
        response.headers["X-Accel-Buffering"] = "no"  # nginx would collect them
        await response.prepare(request)
        error = await self._waits.hold(request, self._send(response, row.run, after, topics))
        if error is not None and not isinstance(error, QUIET_ENDS):
            raise error
        return response

    async def _send(self, response: web.StreamResponse, number: int, after: int, topics: Collection[str]) -> None:
        """Write what there is, and what comes, until the run has ended."""
        await response.write(AGAIN)
        core = self._engine.core
        while True:
            try:
                async with asyncio.timeout(self._limits.silent_s):
                    records = await core.followers.next_records(number, after)
            except TimeoutError:
                await response.write(SILENCE)
                continue
            if not records:
                break
            after = records[-1].seq
            await response.write(b"".join(_events(records, topics)))
        row = await core.store.run_numbered(number)
        assert row is not None
        await response.write(_end(row))


def _after(request: web.Request) -> int:
    """The seq behind which to go on: a browser that comes back repeats the address, and knows better by then."""
    header, parameter = request.headers.get("Last-Event-ID"), request.query.get("after")
    text = header or parameter or "0"
    if not re.fullmatch("[0-9]{1,9}", text):
        what = "after" if text is parameter else "Last-Event-ID"
        detail = f"{what} is {text[:100]!r}; it is the seq of a record, the id of an event seen before"
        raise Problem(400, "invalid_parameter", detail, parameter="after" if text is parameter else None)
    return int(text)


def _topics(request: web.Request) -> Collection[str]:
    """Topics to be told of; none are all records."""
    return frozenset(request.query.getall("topic", ()))


def _events(records: Iterable[LogRow], topics: Collection[str]) -> Iterable[bytes]:
    for row in records:
        if is_sealed(row.body):  # told as it lies there, so that somebody sees why there is nothing else
            yield _event("sealed", row.seq, _encode(record_document(row)))
        elif not topics or _is_of(row, topics):
            document = record_document(row)
            yield _event(msgspec.json.decode(document["type"], type=str), row.seq, _encode(document))


def _is_of(row: LogRow, topics: Collection[str]) -> bool:
    message = message_of(row)
    return message is not None and message.topic in topics


def _end(row: RunRow) -> bytes:
    """The last event, in case a client looks at published ones only. Its id is the last record's."""
    data = {"status": row.status}
    if row.continued_to is not None:
        data["continued_to"] = row.continued_to
    return _event("end", row.seq, _encode(data))


def _event(name: str, seq: int, data: bytes) -> bytes:
    # One line of data: msgspec, which encodes all that is in a log, writes no line breaks.
    return b"event: %b\nid: %d\ndata: %b\n\n" % (name.encode(), seq, data)
