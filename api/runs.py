"""`/api/v1/workflow-runs`: what runs there are, what became of them, and how to stop one or run it again."""

from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote

import anyio.to_thread
import msgspec
from aiohttp import web

from durably import Engine, Run, RunInfo
from durably.api.availability import refuse_work
from durably.api.bodies import read_document
from durably.api.errors import Problem
from durably.api.jsonapi import Resource, collection, document
from durably.api.limits import MAX_EVENT, Limits
from durably.api.queries import ListQuery, cursor
from durably.api.responses import JSON, respond
from durably.store import RunQuery

__all__ = ["PATH", "Runs", "run_document"]

PATH = "/api/v1/workflow-runs"

STATUSES = ("PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED")
PHASES = ("blocked", "queued", "executing", "retrying", "waiting", "sleeping")
TRIGGERS = ("EVENT", "SCHEDULE", "MANUAL", "RERUN", "FORK", "CHILD")

LONG_HISTORY = 500
"""Records from which on a history is put together in a thread: 5 ms of work."""


class Rerun(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a rerun: the arguments of `Run.rerun`."""

    input: dict[str, Any] | None = None
    version: Literal["current", "original"] | int = "current"
    from_step: str | None = None


class Fork(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a fork: the arguments of `Run.fork`."""

    at: int | str | None = None
    patch: dict[str, Any] | None = None
    args: dict[str, dict[str, Any]] | None = None


class Signal(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a signal: the arguments of `Run.signal`."""

    name: str
    data: msgspec.Raw = msgspec.Raw(b"null")


_rerun = msgspec.json.Decoder(Rerun)
_fork = msgspec.json.Decoder(Fork)
_signal = msgspec.json.Decoder(Signal)


class Runs:
    """Runs of workflows, as resources of type `workflow_run`."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits

    def routes(self) -> list[web.RouteDef]:
        one = PATH + "/{id}"
        return [
            web.get(PATH, self.list),
            web.get(one, self.read),
            web.get(f"{one}/history", self.history),
            web.post(f"{one}/actions/cancel", self.cancel),
            web.post(f"{one}/actions/signal", self.signal),
            web.post(f"{one}/actions/rerun", self.rerun),
            web.post(f"{one}/actions/fork", self.fork),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Runs that fit all filters, newest first."""
        query = ListQuery(request)
        created = query.interval("created_at")
        size, after = query.page_size(), query.page_after()
        query.sort("-created_at")
        wanted = RunQuery(
            status=query.filter("status", STATUSES),
            phase=query.filter("phase", PHASES),
            workflow=query.filter("workflow"),
            trigger=query.filter("trigger", TRIGGERS),
            environment=query.filter("environment"),
            event=query.filter("event"),
            created_from_us=created.from_us,
            created_until_us=created.until_us,
            before=after,
            limit=size + 1,  # one more tells whether there is another page
        )
        query.done()
        found = await self._engine.page(wanted)
        following = cursor(found[size - 1][0]) if len(found) > size else None
        return collection(request, [_resource(info) for _, info in found[:size]], size=size, after=following)

    async def read(self, request: web.Request) -> web.Response:
        """One run at a glance."""
        run = await self._find(request)
        return run_document(request, await run.info())

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
        return run_document(request, await run.info())

    async def signal(self, request: web.Request) -> web.Response:
        """Send the run a signal; 409 if it has ended. Accepted is stored: the run sees it when it asks for it."""
        refuse_work(self._engine)
        run = await self._find(request)
        given = await read_document(request, _signal, self._limits.body_s)
        if len(given.data) > MAX_EVENT:
            detail = f"the signal's data takes {len(given.data):,} bytes, more than {MAX_EVENT:,}; "
            raise Problem(413, "too_large", detail + "store it elsewhere and send where it is", pointer="/data")
        try:
            await run.signal(given.name, msgspec.json.decode(given.data))
        except ValueError as error:
            raise Problem(400, "invalid_input", str(error), pointer="/name") from None
        return run_document(request, await run.info(), HTTPStatus.ACCEPTED)

    async def rerun(self, request: web.Request) -> web.Response:
        """A new run with the same input, or with another, from the beginning or from a step on."""
        refuse_work(self._engine)
        run = await self._find(request)
        given = await read_document(request, _rerun, self._limits.body_s)
        again = await run.rerun(input=given.input, version=given.version, from_step=given.from_step)
        return run_document(request, await again.info(), HTTPStatus.CREATED)

    async def fork(self, request: web.Request) -> web.Response:
        """A new run that takes over what this one did up to a place, and goes on from there.

        409, `nondeterminism`, when what would be taken over does not fit the code at hand.
        """
        refuse_work(self._engine)
        run = await self._find(request)
        given = await read_document(request, _fork, self._limits.body_s)
        forked = await run.fork(at=given.at, patch=given.patch, args=given.args)
        return run_document(request, await forked.info(), HTTPStatus.CREATED)

    async def _find(self, request: web.Request) -> Run[Any]:
        return await self._engine.get_run(request.match_info["id"])


def run_document(request: web.Request, info: RunInfo, status: int = 200) -> web.Response:
    """One run; a created one with its address."""
    headers = None
    if status == HTTPStatus.CREATED:
        headers = {"Location": f"{PATH}/{quote(info.id, safe='')}"}
    return document(request, _resource(info), status, headers)


def _resource(info: RunInfo) -> Resource:
    attributes = msgspec.structs.asdict(info)
    return Resource("workflow_run", attributes.pop("id"), attributes)
