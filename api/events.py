"""`POST /e/{key}` and `POST /api/v1/events`: events in, their ids out once they are durable."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio.lowlevel
import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from durably import Engine, Event
from durably.api.access import home_of
from durably.api.availability import refuse_work
from durably.api.bodies import decode, read_body, split
from durably.api.cloudevents import binary, mode_of, structured
from durably.api.errors import Problem
from durably.api.limits import MAX_EVENT, MAX_EVENT_ID, MAX_EVENTS, MAX_EVENTS_BODY, Limits
from durably.api.operations import Media, Operation
from durably.api.responses import JSON, respond
from durably.engine.log.ids import derived_id

__all__ = ["Events", "is_event_route", "refusal"]

EARLIEST_MS, LATEST_MS = 315_532_800_000, 4_102_444_800_000
"""The years 1980 and 2100 in milliseconds since 1970: what lies outside was meant as something else."""
SEED = "x-inngest-event-id-seed"
"""A header that is the same at each try of a request: from it the ids of events without one are made."""
SLICE = 64 * 1024
"""Bytes of JSON that are decoded before others get their turn: 2 ms at the worst."""


class Incoming(msgspec.Struct, forbid_unknown_fields=True):
    """An event as it is sent."""

    name: str
    data: dict[str, Any] | None = None
    id: str | None = None
    ts: datetime | int | float | None = None
    """RFC 3339, or milliseconds since 1970."""
    user: Any = None
    v: str | None = None


class Received(msgspec.Struct):
    """What these two routes answer, a refusal too."""

    ids: Sequence[str]
    status: int
    error: str | UnsetType = UNSET


_incoming = msgspec.json.Decoder(Incoming)
_encode = msgspec.json.Encoder().encode


class Events:
    """The way in for events. The acknowledgement waits for the disk and for nothing else (DESIGN rule 1)."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits

    def operations(self) -> list[Operation]:
        body = Media(JSON, Incoming | list[Incoming])
        answers = {200: Media(JSON, Received)}
        return [
            Operation("POST", "/e/{key}", self.receive, "Send events", "write", body, answers=answers),
            Operation("POST", "/api/v1/events", self.receive, "Send events", "write", body, answers=answers),
        ]

    async def receive(self, request: web.Request) -> web.Response:
        """Take in one event or an array, all of it or nothing."""
        refuse_work(self._engine)
        events = await self._read(request)
        seed = request.headers.get(SEED)
        if seed:
            events = [_identified(event, seed, index) for index, event in enumerate(events)]
        ids = await self._engine.intake.send(events, home_of(request, self._engine))
        return respond(_encode(Received(ids, 200)), JSON)

    async def _read(self, request: web.Request) -> list[Event[Any]]:
        headers = request.headers
        mode = mode_of(headers)
        if headers.get("Content-Type", "")[:10].lower() == "multipart/" and mode == "plain":
            detail = f"the Content-Type is {headers['Content-Type'][:200]!r}; send {JSON}"
            raise Problem(415, "unsupported_media_type", detail, close=True)
        body = await read_body(request, MAX_EVENTS_BODY, self._limits.body_s)
        match mode:
            case "plain":  # whatever it is called: curl says that it sends a form
                return await _many(body, _plain) if body.lstrip()[:1] == b"[" else [_one(body, _plain)]
            case "structured":
                return [_one(body, structured)]
            case "batch":
                return await _many(body, structured)
            case "binary":
                return [_one(body, lambda data: binary(headers, data))]


def is_event_route(path: str) -> bool:
    """Whether refusals are told in the shape of `refusal`."""
    return path.startswith("/e/") or path == "/api/v1/events"


def refusal(problem: Problem) -> web.Response:
    """Why events were not taken, in the shape that these two routes answer in (CONTRACT section 5)."""
    content = Received((), problem.status, problem.detail)
    response = respond(_encode(content), JSON, problem.status, problem.headers)
    if problem.close:
        response.force_close()
    return response


def _one(raw: bytes, parse: Callable[[bytes], Event[Any]]) -> Event[Any]:
    if len(raw) > MAX_EVENT:
        detail = f"the event takes {len(raw):,} bytes, more than {MAX_EVENT:,}; "
        raise Problem(413, "too_large", detail + "store the data elsewhere and send where it is")
    return parse(raw)


async def _many(body: bytes, parse: Callable[[bytes], Event[Any]]) -> list[Event[Any]]:
    items = split(body)
    if len(items) > MAX_EVENTS:
        detail = f"{len(items):,} events at once are more than {MAX_EVENTS:,}; send them in parts"
        raise Problem(413, "too_large", detail)
    events: list[Event[Any]] = []
    rest = SLICE
    for index, raw in enumerate(items):
        try:
            events.append(_one(raw, parse))
        except Problem as problem:
            detail = f"event {index}: {problem.detail}"
            raise Problem(problem.status, problem.code, detail) from None
        rest -= len(raw)
        if rest < 0:
            await anyio.lowlevel.checkpoint()
            rest = SLICE
    return events


def _plain(raw: bytes) -> Event[Any]:
    given = decode(_incoming, raw)
    if given.id is not None and not (0 < len(given.id) <= MAX_EVENT_ID and given.id.isprintable()):
        detail = f"id is {given.id[:80]!r}; it must be 1 to {MAX_EVENT_ID} printable characters, or left out"
        raise Problem(400, "invalid_input", detail)
    try:
        return Event(given.name, given.data, id=given.id, ts=_time(given.ts), user=given.user, v=given.v)
    except ValueError as error:
        raise Problem(400, "invalid_input", str(error)) from None


def _identified(event: Event[Any], seed: str, index: int) -> Event[Any]:
    return event if event.id else replace(event, id=derived_id(seed, str(index)))


def _time(ts: datetime | float | None) -> datetime | None:
    if ts is None or isinstance(ts, datetime):
        return ts
    if not EARLIEST_MS <= ts < LATEST_MS:
        raise ValueError(f"ts is {ts}; it must be milliseconds since 1970, between the years 1980 and 2100")
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ts)
