"""`/api/v1/bulk-operations`: cancel many runs, or run them again: counted beforehand, at a rate, with progress."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from aiohttp import web
from msgspec import Meta, Struct
from msgspec.structs import replace

from durably import Engine, Run, RunNotFound
from durably.api.access import find_run, home_of, visible
from durably.api.availability import refuse_work
from durably.api.bodies import read_resource
from durably.api.errors import Problem
from durably.api.jsonapi import Resource, collection, document
from durably.api.operations import Kind, Many, One, Operation
from durably.api.queries import ListQuery, by_cursor, next_cursor, sort_by
from durably.engine.bulk.request import Action, BulkRequest, Selection
from durably.engine.bulk.workflow import PROGRESS, WORKFLOW, Begun, Progress
from durably.engine.log.info import Status
from durably.engine.log.records import Published, RunCreated, decode_record, from_us
from durably.store import RunQuery, RunRow

__all__ = ["BulkOperations"]

PATH = "/api/v1/bulk-operations"
SHOWN = 20
"""Runs that a preview names."""
MAX_PAGE = 100
ORDERS = ("created_at",)
OPEN = ("PENDING", "RUNNING")
"""Runs that can be canceled."""


class BulkFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for. Only runs that are there when it is asked are meant."""

    action: Action
    filter: Selection = Selection()
    """Without a `status`: open runs to cancel, failed ones to run again."""
    rate: Annotated[float, Meta(ge=0.01, le=1000)] = 10.0
    """Runs a second."""
    version: Literal["current", "original"] = "current"
    """Of the workflow, for reruns."""


class BulkAttributes(Struct, frozen=True, kw_only=True):
    """A bulk operation: what was asked for, and how far it is."""

    action: Action
    filter: Selection
    rate: float
    version: Literal["current", "original"]
    status: Status
    total: int
    """Runs that fitted when it was asked for."""
    done: int
    skipped: int
    """Runs that had ended before their turn."""
    failed: int
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None


class PreviewAttributes(Struct, frozen=True, kw_only=True):
    """What a bulk operation would be done to."""

    action: Action
    total: int
    runs: list[str]
    """The newest of them."""


BULK = Kind("bulk_operation", BulkAttributes)
ASKED = Kind("bulk_operation", BulkFields)
PREVIEW = Kind("bulk_preview", PreviewAttributes)


class BulkOperations:
    """Bulk operations, as resources of type `bulk_operation`: each is a run of a built-in workflow, under its id."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def operations(self) -> list[Operation]:
        one, asked, shown = PATH + "/{id}", One(ASKED), One(BULK)
        listing = (sort_by(ORDERS, "-created_at", most=1), *by_cursor(MAX_PAGE))
        preview, cancel = f"{PATH}/actions/preview", f"{one}/actions/cancel"
        return [
            Operation("GET", PATH, self.list, "Bulk operations", "read", query=listing, answers={200: Many(BULK)}),
            Operation("POST", PATH, self.start, "Begin a bulk operation", "write", asked, answers={201: shown}),
            Operation("POST", preview, self.preview, "What it would do", "read", asked, answers={200: One(PREVIEW)}),
            Operation("GET", one, self.read, "How far one is", "read", answers={200: shown}),
            Operation("POST", cancel, self.cancel, "Stop one where it is", "write", answers={200: shown}),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Bulk operations, newest first unless asked otherwise. One that has gone on as a new run is there once."""
        query = ListQuery(request)
        order, size = query.sort_one(ORDERS, "-created_at"), query.page_size(MAX_PAGE)
        wanted = RunQuery(
            workflow=(WORKFLOW,),
            environment=visible(request),
            origin=None,
            descending=order.descending,
            before=query.page_after(order),
            limit=size + 1,
        )
        rows = await self._engine.core.store.runs(wanted)
        following = next_cursor(order, wanted, rows)
        return collection(request, [await self._resource(row) for row in rows[:size]], size=size, after=following)

    async def preview(self, request: web.Request) -> web.Response:
        """Count what fits, and name the newest; nothing is done."""
        asked = await self._asked(request)
        rows = await self._engine.core.store.runs(replace(asked.query(), limit=SHOWN))
        attributes = PreviewAttributes(
            action=asked.action,
            total=await self._engine.count_meant(asked),
            runs=[row.id for row in rows if row.workflow != WORKFLOW],
        )
        return document(PREVIEW.resource("preview", attributes))

    async def start(self, request: web.Request) -> web.Response:
        """Begin it; it goes on by itself, over crashes and restarts too."""
        refuse_work(self._engine)
        run = await self._engine.start_bulk(await self._asked(request), home_of(request, self._engine))
        headers = {"Location": f"{PATH}/{quote(run.id, safe='')}"}
        return document(await self._resource(await self._row(run)), HTTPStatus.CREATED, headers)

    async def read(self, request: web.Request) -> web.Response:
        """What was asked for, and how far it is."""
        return document(await self._resource(await self._row(await self._find(request))))

    async def cancel(self, request: web.Request) -> web.Response:
        """Stop it: what was done stays done. 409 if it had ended."""
        run = await self._find(request)
        if not await run.cancel():
            raise Problem(409, "conflict", f"bulk operation {run.id!r} has ended; there is nothing left to stop")
        return document(await self._resource(await self._row(run)))

    async def _asked(self, request: web.Request) -> BulkRequest:
        _, fields = await read_resource(request, BulkFields, type=BULK.type)
        for name in ("created_from", "created_until"):
            at: datetime | None = getattr(fields.filter, name)
            if at is not None and at.tzinfo is None:
                pointer = f"/data/attributes/filter/{name}"
                raise Problem(400, "invalid_input", f"{name} has no time zone: write it with a Z", pointer=pointer)
        ended = [status for status in fields.filter.status if status not in OPEN]
        if fields.action == "cancel" and ended:
            detail = f"runs that are {ended[0]} have ended and cannot be canceled: say {' or '.join(OPEN)}, or nothing"
            raise Problem(400, "invalid_input", detail, pointer="/data/attributes/filter/status")
        seen = replace(fields.filter, environment=visible(request, fields.filter.environment))
        return BulkRequest(action=fields.action, selection=seen, rate=fields.rate, version=fields.version)

    async def _find(self, request: web.Request) -> Run[Any]:
        run = await find_run(request, self._engine, request.match_info["id"])
        if (await self._row(run)).workflow != WORKFLOW:
            raise RunNotFound(run.id)
        return run

    async def _row(self, run: Run[Any]) -> RunRow:
        row = await self._engine.core.store.run(run.id)
        assert row is not None, "a run that was found is stored"
        return row

    async def _resource(self, first: RunRow) -> Resource:
        """An operation as it is, from its first run and the one that it goes on as now."""
        store, last = self._engine.core.store, first
        while last.continued_to is not None:
            following = await store.run(last.continued_to)
            if following is None:
                break
            last = following
        begun = await self._begun(first)
        progress = await self._progress(last) or (await self._begun(last)).progress
        attributes = BulkAttributes(
            action=begun.request.action,
            filter=begun.request.selection,
            rate=begun.request.rate,
            version=begun.request.version,
            status=msgspec.convert(last.status, Status),
            total=begun.total,
            done=progress.done,
            skipped=progress.skipped,
            failed=progress.failed,
            last_error=progress.last_error,
            created_at=from_us(first.created_us),
            finished_at=None if last.finished_us is None else from_us(last.finished_us),
        )
        return BULK.resource(first.id, attributes)

    async def _begun(self, row: RunRow) -> Begun:
        first = decode_record((await self._engine.core.store.first_records([row.run]))[row.run].body)
        assert isinstance(first, RunCreated)
        return msgspec.json.decode(first.input, type=_Input).begun

    async def _progress(self, row: RunRow) -> Progress | None:
        """What the run has last told of itself."""
        records = (await self._engine.core.store.records([row.run])).get(row.run, [])
        for each in reversed(records):
            record = decode_record(each.body)
            if isinstance(record, Published) and record.topic == PROGRESS:
                return msgspec.json.decode(record.data, type=Progress)
        return None


class _Input(Struct):
    begun: Begun
