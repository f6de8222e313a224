"""`/api/v1/jobs`: HTTP requests on a schedule or on demand (the third seed's product)."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from durably import Engine
from durably.api.access import principal_of
from durably.api.availability import refuse_work
from durably.api.bodies import chosen_id, read_document, read_resource
from durably.api.errors import Problem, Problems
from durably.api.job_runs import RUN, start_run
from durably.api.jsonapi import Resource, document, no_content, numbered
from durably.api.operations import Kind, Many, New, One, Operation, Parameter
from durably.api.queries import BY_NUMBER, ListQuery, filter_by, filter_by_part, in_order, sort_by
from durably.engine.access.keys import covers
from durably.engine.http.secrets import HIDDEN
from durably.engine.jobs.beginnings import JobConflict
from durably.engine.jobs.flaws import Invalid
from durably.engine.jobs.jobs import JobNotFound, Jobs
from durably.engine.jobs.model import CatchUp, Configuration, Job, JobFields
from durably.engine.jobs.model import Kind as JobKind
from durably.engine.log.records import from_us

__all__ = ["JobsApi"]

PATH = "/api/v1/jobs"
MAX_DOCUMENT = 8 * 1024 * 1024
"""The most bytes of a job's document. Each byte of a request's body, of which there may be 1 MiB, can take six."""
KINDS = ("recurring", "manual", "one_off")
SORTS = ("name", "created_at", "updated_at")
SCHEDULED = "filter[scheduled]"
LIST = (
    filter_by("kind", KINDS),
    Parameter(SCHEDULED, bool, "Only those that will fire, one-off ones too, or only the others"),
    filter_by_part("name"),
    sort_by(SORTS, "name"),
    *BY_NUMBER,
)

Text = Annotated[str, Meta(min_length=1, max_length=200)]


class _Attributes(Struct, kw_only=True):
    name: Text
    configuration: Configuration
    description: Annotated[str, Meta(max_length=2000)] | None = None
    type: Literal["http"] = "http"
    schedule: Text | None = None
    timezone: Text | None = None
    environments: dict[str, dict[str, Any]] = {}
    """What is different in each, flat: a header is `headers.<Name>`; `next_run_at` is told, and never taken."""
    concurrency_policy: Literal["ALLOW"] = "ALLOW"
    retry_policy: Text | None = None
    catch_up: CatchUp = "once"


class JobAttributes(_Attributes, kw_only=True):
    """A job as it is shown."""

    kind: JobKind
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    version: int


class WrittenJob(_Attributes, kw_only=True):
    """A job as it is written. What only the server changes may be there too, and is ignored."""

    kind: Any | UnsetType = UNSET
    created_at: Any | UnsetType = UNSET
    updated_at: Any | UnsetType = UNSET
    deleted_at: Any | UnsetType = UNSET
    version: Any | UnsetType = UNSET


class RunNow(Struct):
    """The body that runs a job: where, unless there is only one place."""

    environment: str | None = None


JOB = Kind("job", JobAttributes)
WRITTEN = Kind("job", WrittenJob)

_run_now = msgspec.json.Decoder(RunNow | None)


class JobsApi:
    """Jobs, as resources of type `job` under the ids that clients give them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def _jobs(self) -> Jobs:
        return self._engine.core.jobs

    def operations(self) -> list[Operation]:
        one, written, shown = PATH + "/{id}", One(WRITTEN), One(JOB)
        run, run_now = f"{one}/actions/run", "Run a job now"
        return [
            Operation("GET", PATH, self.list, "Jobs", "read", query=LIST, answers={200: Many(JOB)}),
            Operation("POST", PATH, self.create, "Create a job", "write", New(WRITTEN), answers={201: shown}),
            Operation("GET", one, self.read, "A job", "read", answers={200: shown}),
            Operation("PUT", one, self.replace, "Replace a job", "write", written, answers={200: shown}),
            Operation("DELETE", one, self.delete, "Delete a job; its runs stay", "write", answers={204: None}),
            Operation("POST", run, self.run, run_now, "write", RunNow | None, answers={200: One(RUN)}),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Jobs by name. One-off ones are there when they are asked for, by kind or as scheduled."""
        query = ListQuery(request)
        kinds = query.filter("kind", KINDS)
        scheduled = query.flag(SCHEDULED) if SCHEDULED in request.query else None
        part = query.part("name")
        orders = query.sort(SORTS, "name")
        if not kinds and scheduled is not True:
            kinds = ("recurring", "manual")
        found = [
            job
            for job in self._jobs.all()
            if (not kinds or job.kind in kinds)
            and (scheduled is None or bool(self._jobs.next_runs_us(job)) is scheduled)
            and part in job.fields.name.casefold()
        ]
        return numbered(request, in_order(found, orders, _value), query.page(), partial(self._resource, request))

    async def create(self, request: web.Request) -> web.Response:
        """A new job under the id that the client has chosen."""
        refuse_work(self._engine)
        given_id, written = await self._written(request)
        job_id = chosen_id(given_id, "job")
        with _refusing():
            job = await self._jobs.create(job_id, written, principal_of(request).environment)
        headers = {"Location": f"{PATH}/{quote(job_id, safe='')}"}
        return document(self._resource(request, job), HTTPStatus.CREATED, headers)

    async def read(self, request: web.Request) -> web.Response:
        """One job."""
        with _refusing():
            return document(self._resource(request, self._jobs.get(request.match_info["id"])))

    async def replace(self, request: web.Request) -> web.Response:
        """Another content for a job: what is left out goes back to its default."""
        refuse_work(self._engine)
        with _refusing():
            job_id = self._jobs.get(request.match_info["id"]).id
            _, written = await self._written(request, job_id)
            job = await self._jobs.replace(job_id, written, principal_of(request).environment)
        return document(self._resource(request, job))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a job, and cancel what of it has not begun. Its runs stay, and its id can be taken again."""
        refuse_work(self._engine)
        with _refusing():
            await self._jobs.delete(request.match_info["id"])
        return no_content()

    async def run(self, request: web.Request) -> web.Response:
        """Run a job at once, where it is enabled; 409 where it is not."""
        refuse_work(self._engine)
        job_id, own = request.match_info["id"], principal_of(request).environment
        given = await read_document(request, _run_now) or RunNow()
        if own is not None and given.environment not in (None, own):
            raise Problem(403, "forbidden", f"this key is for environment {own!r} only", pointer="/environment")
        with _refusing():
            created = self._jobs.by_hand(job_id, given.environment or own, principal_of(request).home)
        return document(await start_run(self._engine, created))

    async def _written(self, request: web.Request, job_id: str | None = None) -> tuple[str | None, dict[str, Any]]:
        """The id and the attributes. They are looked at by `check_job`, which tells all mistakes at once."""
        given: tuple[str | None, dict[str, Any]] = await read_resource(
            request, dict[str, Any], type=JOB.type, id=job_id, most=MAX_DOCUMENT
        )
        return given

    def _resource(self, request: web.Request, job: Job) -> Resource:
        """As whoever asks may see it.

        A key that belongs to an environment sees that one only. Headers hold secrets: their values are for keys that
        may write them.
        """
        asker = principal_of(request)
        own = asker.environment
        fields = job.fields if covers(asker.scope, "write") else _masked(job.fields)
        enabled, due_us = self._jobs.enabled_in(job), self._jobs.next_runs_us(job)
        writable: dict[str, Any] = {name: getattr(fields, name) for name in _Attributes.__struct_fields__}
        writable["environments"] = {
            name: {**overlay.flat(), "enabled": name in enabled, "next_run_at": _time(due_us.get(name))}
            for name, overlay in fields.environments.items()
            if own in (None, name)
        }
        attributes = JobAttributes(
            **writable,
            kind=job.kind,
            created_at=from_us(job.row.created_us),
            updated_at=from_us(job.row.updated_us),
            version=job.row.version,
        )
        return JOB.resource(job.id, attributes)


def _masked(fields: JobFields) -> JobFields:
    """The job without the values of its headers."""
    return replace(
        fields,
        configuration=replace(fields.configuration, headers=dict.fromkeys(fields.configuration.headers, HIDDEN)),
        environments={
            name: replace(overlay, headers=dict.fromkeys(overlay.headers, HIDDEN))
            for name, overlay in fields.environments.items()
        },
    )


@contextmanager
def _refusing() -> Generator[None]:
    """What jobs refuse, as HTTP says it."""
    try:
        yield
    except Invalid as error:
        at = "/data/attributes"
        raise Problems(
            [Problem(400, "invalid_input", flaw.message, pointer=at + flaw.pointer) for flaw in error.flaws]
        ) from None
    except JobNotFound as error:
        raise Problem(404, "not_found", str(error)) from None
    except JobConflict as error:
        raise Problem(409, "conflict", str(error)) from None


def _time(at_us: int | None) -> datetime | None:
    return None if at_us is None else from_us(at_us)


def _value(job: Job, name: str) -> str | int:
    match name:
        case "created_at":
            return job.row.created_us
        case "updated_at":
            return job.row.updated_us
        case _:
            return job.fields.name
