"""`/api/v1/workflow-runs`: what runs there are, what became of them, and how to stop one or run it again."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote

import anyio.to_thread
import msgspec
from aiohttp import web
from msgspec import UNSET, Raw
from msgspec.structs import replace

from durably import Engine, ErrorInfo, Run, RunInfo
from durably.api.access import find_run, visible
from durably.api.availability import refuse_work
from durably.api.bodies import read_document
from durably.api.errors import Problem
from durably.api.jsonapi import Resource, collection, document
from durably.api.limits import MAX_EVENT
from durably.api.operations import Kind, Many, Media, One, Operation, Parameter
from durably.api.queries import ListQuery, by_cursor, filter_by, filter_by_time, next_cursor, sort_by
from durably.api.responses import JSON, respond
from durably.api.waits import WAIT, Waits, wait_s
from durably.store import RunOrder, RunQuery

__all__ = ["PATH", "RUN", "Runs", "run_document"]

PATH = "/api/v1/workflow-runs"

STATUSES = ("PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED")
PHASES = ("blocked", "queued", "executing", "retrying", "waiting", "sleeping")
TRIGGERS = ("EVENT", "SCHEDULE", "MANUAL", "RERUN", "FORK", "CHILD")
ORDERS: Mapping[str, RunOrder] = {"created_at": "created", "started_at": "started", "finished_at": "finished"}

MAX_PAGE = 100
"""The most runs on a page: each may carry an input and an output of megabytes."""

RUN = Kind("workflow_run", RunInfo)
HISTORY = Media(JSON, dict[str, Any])
LIST = (
    filter_by("status", STATUSES),
    filter_by("phase", PHASES),
    filter_by("workflow"),
    filter_by("trigger", TRIGGERS),
    filter_by("environment"),
    filter_by("event"),
    Parameter("filter[origin]", str, "Only reruns, forks, children and continuations of this run"),
    filter_by_time("created_at"),
    filter_by_time("started_at"),
    filter_by_time("finished_at"),
    filter_by_time("scheduled_for"),
    sort_by(ORDERS, "-created_at", most=1),
    *by_cursor(MAX_PAGE),
)

LONG_HISTORY = 500
"""Records from which on a history is put together in a thread: 5 ms of work."""


class Rerun(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a rerun: the arguments of `Run.rerun`."""

    input: dict[str, Any] | None = None
    version: Literal["current", "original"] | int = "current"
    from_step: str | None = None
    run_id: str | None = None


class Fork(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a fork: the arguments of `Run.fork`."""

    at: int | str | None = None
    patch: dict[str, Any] | None = None
    errors: dict[str, ErrorInfo] | None = None
    """What an exception in `patch` is over HTTP."""
    args: dict[str, dict[str, Any]] | None = None


class Signal(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a signal: the arguments of `Run.signal`."""

    name: str
    data: Raw = msgspec.field(default_factory=lambda: Raw(b"null"))


_rerun = msgspec.json.Decoder(Rerun)
_fork = msgspec.json.Decoder(Fork)
_signal = msgspec.json.Decoder(Signal)


class Runs:
    """Runs of workflows, as resources of type `workflow_run`."""

    def __init__(self, engine: Engine, waits: Waits) -> None:
        self._engine = engine
        self._waits = waits

    def operations(self) -> list[Operation]:
        one, run = PATH + "/{id}", One(RUN)
        cancel, signal, rerun, fork = (f"{one}/actions/{name}" for name in ("cancel", "signal", "rerun", "fork"))
        return [
            Operation("GET", PATH, self.list, "Runs, newest first", "read", query=LIST, answers={200: Many(RUN)}),
            Operation("GET", one, self.read, "One run", "read", query=(WAIT,), answers={200: run}),
            Operation("GET", f"{one}/history", self.history, "All records of a run", "read", answers={200: HISTORY}),
            Operation("POST", cancel, self.cancel, "Cancel a run", "write", answers={200: run}),
            Operation("POST", signal, self.signal, "Send a run a signal", "write", Signal, answers={202: run}),
            Operation("POST", rerun, self.rerun, "Run it again", "write", Rerun, answers={201: run}),
            Operation("POST", fork, self.fork, "Go on from a place in a run", "write", Fork, answers={201: run}),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Runs that fit all filters, in one order."""
        query = ListQuery(request)
        order, size = query.sort_one(ORDERS, default="-created_at"), query.page_size(MAX_PAGE)
        wanted = replace(
            _fitting(query),
            environment=visible(request, query.filter("environment")),
            order=ORDERS[order.name],
            descending=order.descending,
            before=query.page_after(order),
            limit=size + 1,  # one more tells whether there is another page
        )
        found = await self._engine.page(wanted)
        following = next_cursor(order, wanted, [row for row, _ in found])
        return collection(request, [_resource(info) for _, info in found[:size]], size=size, after=following)

    async def read(self, request: web.Request) -> web.Response:
        """One run at a glance; `?wait=30` answers when it has ended, or after so long.

        A run that goes on as another one is waited for until that one has ended, as when it is started.
        """
        run, wait = await self._find(request), wait_s(request)
        if wait:
            await self._waits.hold(request, run.result(timeout=wait))
        return run_document(await run.info())

    async def history(self, request: web.Request) -> web.Response:
        """All records of a run: the bare document of CONTRACT section 6."""
        run = await self._find(request)
        history = await run.history()
        if len(history) < LONG_HISTORY:
            text = history.to_json()
        else:
            text = await anyio.to_thread.run_sync(history.to_json)
        return respond(text.encode(), JSON)

    async def cancel(self, request: web.Request) -> web.Response:
        """Ask for the run to be canceled; 409 if it had ended."""
        run = await self._find(request)
        if not await run.cancel():
            raise Problem(409, "conflict", f"run {run.id!r} has ended {await run.status()}; it cannot be canceled")
        return run_document(await run.info())

    async def signal(self, request: web.Request) -> web.Response:
        """Send the run a signal; 409 if it has ended. Accepted is stored: the run sees it when it asks for it."""
        refuse_work(self._engine)
        run = await self._find(request)
        given = await read_document(request, _signal)
        if len(given.data) > MAX_EVENT:
            detail = f"the signal's data takes {len(given.data):,} bytes, more than {MAX_EVENT:,}; "
            raise Problem(413, "too_large", detail + "store it elsewhere and send where it is", pointer="/data")
        try:
            await run.signal(given.name, msgspec.json.decode(given.data))
        except ValueError as error:
            raise Problem(400, "invalid_input", str(error), pointer="/name") from None
        return run_document(await run.info(), HTTPStatus.ACCEPTED)

    async def rerun(self, request: web.Request) -> web.Response:
        """A new run with the same input, or with another, from the beginning or from a step on."""
        refuse_work(self._engine)
        run = await self._find(request)
        given = await read_document(request, _rerun)
        again = await run.rerun(
            input=given.input, version=given.version, from_step=given.from_step, run_id=given.run_id
        )
        return run_document(await again.info(), HTTPStatus.CREATED)

    async def fork(self, request: web.Request) -> web.Response:
        """A new run that takes over what this one did up to a place, and goes on from there.

        409, `nondeterminism`, when what would be taken over does not fit the code at hand.
        """
        refuse_work(self._engine)
        run = await self._find(request)
        given = await read_document(request, _fork)
        patch = {**(given.patch or {}), **(given.errors or {})}
        forked = await run.fork(at=given.at, patch=patch, args=given.args)
        return run_document(await forked.info(), HTTPStatus.CREATED)

    async def _find(self, request: web.Request) -> Run[Any]:
        return await find_run(request, self._engine, request.match_info["id"])


def _fitting(query: ListQuery) -> RunQuery:
    """The filters of a list that say which runs are meant."""
    created, started = query.interval("created_at"), query.interval("started_at")
    finished, scheduled = query.interval("finished_at"), query.interval("scheduled_for")
    origin = query.single("filter[origin]")
    return RunQuery(
        status=query.filter("status", STATUSES),
        phase=query.filter("phase", PHASES),
        workflow=query.filter("workflow"),
        trigger=query.filter("trigger", TRIGGERS),
        event=query.filter("event"),
        origin=UNSET if origin is None else origin,
        created_from_us=created.from_us,
        created_until_us=created.until_us,
        started_from_us=started.from_us,
        started_until_us=started.until_us,
        finished_from_us=finished.from_us,
        finished_until_us=finished.until_us,
        scheduled_from_us=scheduled.from_us,
        scheduled_until_us=scheduled.until_us,
    )


def run_document(info: RunInfo, status: int = 200) -> web.Response:
    """One run; a created one with its address."""
    headers = None
    if status == HTTPStatus.CREATED:
        headers = {"Location": f"{PATH}/{quote(info.id, safe='')}"}
    return document(_resource(info), status, headers)


def _resource(info: RunInfo) -> Resource:
    attributes = msgspec.structs.asdict(info)
    return RUN.resource(attributes.pop("id"), attributes)
