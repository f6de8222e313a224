"""`POST /e/{key}` and `POST /api/v1/events`: events in, their ids out once they are durable."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio.lowlevel
import msgspec
from aiohttp import web

from durably import Engine, Event, NotBuilt
from durably.api.availability import refuse_work
from durably.api.bodies import decode, read_body, split
from durably.api.errors import Problem
from durably.api.limits import MAX_EVENT, MAX_EVENTS, MAX_EVENTS_BODY, Limits
from durably.api.responses import JSON, respond

__all__ = ["Events", "is_event_route", "refusal"]

MAX_ID = 255
"""The most characters of an event's id."""
EARLIEST_MS, LATEST_MS = 315_532_800_000, 4_102_444_800_000
"""The years 1980 and 2100 in milliseconds since 1970: what lies outside was meant as something else."""
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


_one = msgspec.json.Decoder(Incoming)
_encode = msgspec.json.Encoder().encode


class Events:
    """The way in for events. The acknowledgement waits for the disk and for nothing else (DESIGN rule 1)."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/e/{key}", self.receive), web.post("/api/v1/events", self.receive)]

    async def receive(self, request: web.Request) -> web.Response:
        """Take in one event or an array, all of it or nothing."""
        refuse_work(self._engine)
        _check_kind(request.headers)
        body = await read_body(request, MAX_EVENTS_BODY, self._limits.body_s)
        events = await _parse_array(body) if body.lstrip()[:1] == b"[" else [_parse(body)]
        ids = await self._engine.send(*events)
        return respond(_encode({"ids": ids, "status": 200}), JSON)


def is_event_route(path: str) -> bool:
    """Whether refusals are told in the shape of `refusal`."""
    return path.startswith("/e/") or path == "/api/v1/events"


def refusal(problem: Problem) -> web.Response:
    """Why events were not taken, in the shape that these two routes answer in (CONTRACT section 5)."""
    content = {"ids": (), "status": problem.status, "error": problem.detail}
    return respond(_encode(content), JSON, problem.status, problem.headers)


def _check_kind(headers: Mapping[str, str]) -> None:
    """Take anything for JSON (curl says it sends a form) but what says that it is something else."""
    media_type = headers.get("Content-Type", "").lower()
    if media_type.startswith("application/cloudevents") or "ce-specversion" in headers:
        raise NotBuilt("receiving CloudEvents")
    if media_type.startswith("multipart/"):
        raise Problem(415, "unsupported_media_type", f"the Content-Type is {media_type!r}; send {JSON}", close=True)


async def _parse_array(body: bytes) -> list[Event[Any]]:
    items = split(body)
    if len(items) > MAX_EVENTS:
        detail = f"{len(items):,} events at once are more than {MAX_EVENTS:,}; send them in parts"
        raise Problem(413, "too_large", detail)
    events: list[Event[Any]] = []
    rest = SLICE
    for index, raw in enumerate(items):
        try:
            events.append(_parse(raw))
        except Problem as problem:
            detail = f"event {index}: {problem.detail}"
            raise Problem(problem.status, problem.code, detail) from None
        rest -= len(raw)
        if rest < 0:
            await anyio.lowlevel.checkpoint()
            rest = SLICE
    return events


def _parse(raw: bytes) -> Event[Any]:
    if len(raw) > MAX_EVENT:
        detail = f"the event takes {len(raw):,} bytes, more than {MAX_EVENT:,}; "
        raise Problem(413, "too_large", detail + "store the data elsewhere and send where it is")
    given = decode(_one, raw)
    if given.id is not None and not (0 < len(given.id) <= MAX_ID and given.id.isprintable()):
        detail = f"id is {given.id[:80]!r}; it must be 1 to {MAX_ID} printable characters, or left out"
        raise Problem(400, "invalid_input", detail)
    try:
        return Event(given.name, given.data, id=given.id, ts=_time(given.ts), user=given.user, v=given.v)
    except ValueError as error:
        raise Problem(400, "invalid_input", str(error)) from None


def _time(ts: datetime | float | None) -> datetime | None:
    if ts is None or isinstance(ts, datetime):
        return ts
    if not EARLIEST_MS <= ts < LATEST_MS:
        raise ValueError(f"ts is {ts}; it must be milliseconds since 1970, between the years 1980 and 2100")
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ts)
