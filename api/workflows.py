"""`/api/v1/workflows`: what can be run, and running it."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from aiohttp import web
from msgspec import Raw

from durably import Cron, DurablyError, Engine, InvalidInput
from durably.api.access import chosen_home
from durably.api.availability import refuse_work
from durably.api.bodies import read_document
from durably.api.errors import Problem
from durably.api.jsonapi import Resource, document, numbered
from durably.api.operations import Kind, Many, One, Operation
from durably.api.queries import BY_NUMBER, ListQuery
from durably.api.runs import RUN, run_document
from durably.api.waits import WAIT, Waits, wait_s
from durably.engine.declare.registry import Registered
from durably.engine.log.records import from_us
from durably.engine.schedules.workflows import owner_of
from durably.engine.values.durations import MAX_DAYS

__all__ = ["Workflows"]

PATH = "/api/v1/workflows"


Arguments: TypeAlias = Annotated[Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=MAX_DAYS * 86_400)]


class Start(msgspec.Struct, forbid_unknown_fields=True):
    """The body that runs a workflow: its arguments by parameter name, and what `Workflow.options` takes."""

    input: Arguments = msgspec.field(default_factory=lambda: Raw(b"{}"))
    run_id: str | None = None
    mode: Literal["test"] | None = None
    version: int | None = None
    """None: the newest."""
    timeout: Seconds | None = None
    delay: Seconds | None = None
    environment: str | None = None


class TriggerInfo(msgspec.Struct):
    """What starts a workflow."""

    event: str
    where: str | None


class ScheduleInfo(msgspec.Struct):
    """What starts a workflow by the clock."""

    cron: str
    timezone: str
    next_run_at: datetime | None


class WorkflowInfo(msgspec.Struct):
    """A workflow that can be run; `version` is the newest of its `versions`."""

    name: str
    version: int
    versions: Sequence[int]
    triggers: Sequence[TriggerInfo]
    schedules: Sequence[ScheduleInfo]


WORKFLOW = Kind("workflow", WorkflowInfo)

_start = msgspec.json.Decoder(Start)


class Workflows:
    """Registered workflows, as resources of type `workflow` under their names."""

    def __init__(self, engine: Engine, waits: Waits) -> None:
        self._engine = engine
        self._waits = waits

    def operations(self) -> list[Operation]:
        one = PATH + "/{name}"
        run, summary = f"{one}/actions/run", "Run the newest version of a workflow"
        return [
            Operation(
                "GET", PATH, self.list, "Workflows by name", "read", query=BY_NUMBER, answers={200: Many(WORKFLOW)}
            ),
            Operation("GET", one, self.read, "One workflow", "read", answers={200: One(WORKFLOW)}),
            Operation("POST", run, self.run, summary, "write", Start, (WAIT,), {201: One(RUN)}),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """All workflows by name."""
        by_name: dict[str, list[Registered]] = {}
        for registered in self._engine.core.registry.all():
            by_name.setdefault(registered.name, []).append(registered)
        return numbered(request, list(by_name.values()), ListQuery(request).page(), self._resource)

    async def read(self, request: web.Request) -> web.Response:
        """One workflow."""
        name = self._find(request).name
        versions = [each for each in self._engine.core.registry.all() if each.name == name]
        return document(self._resource(versions))

    async def run(self, request: web.Request) -> web.Response:
        """Start a run, of the newest version unless one is asked for; `?wait=30` answers at its end, or after so long.

        A run that goes on as another one (`continue_as_new`) is waited for until that one has ended: the answer is
        about the run that was started, and names the next one as `continued_to`.
        """
        refuse_work(self._engine)
        _ = self._find(request)
        wait = wait_s(request)
        given = await read_document(request, _start)
        registered = self._find(request, given.version)
        args, kwargs = _arguments(registered, given.input)
        created = self._engine.beginning(
            registered,
            args,
            kwargs,
            test=given.mode == "test",
            timeout=given.timeout,
            delay=given.delay,
            environment=await chosen_home(request, self._engine, given.environment),
        )
        run = await self._engine.start_created(registered, created, given.run_id)
        if wait:
            await self._waits.hold(request, run.result(timeout=wait))
        return run_document(await run.info(), HTTPStatus.CREATED)

    def _resource(self, versions: Sequence[Registered]) -> Resource:
        newest = versions[-1]
        attributes = WorkflowInfo(
            name=newest.name,
            version=newest.version,
            versions=[each.version for each in versions],
            triggers=[TriggerInfo(trigger.name, trigger.where) for trigger in newest.triggers],
            schedules=[
                ScheduleInfo(cron.expr, cron.timezone, self._next_run_at(newest.name, cron))
                for cron in newest.definition.crons
            ],
        )
        return WORKFLOW.resource(newest.name, attributes)

    def _next_run_at(self, workflow: str, cron: Cron) -> datetime | None:
        due_us = self._engine.core.schedules.next_due_us(owner_of(workflow), cron.key)
        return None if due_us is None else from_us(due_us)

    def _find(self, request: web.Request, version: int | None = None) -> Registered:
        _ = self._engine.core  # an engine that does not run is no reason to say that there is no such workflow
        try:
            return self._engine.registered(request.match_info["name"], version)
        except DurablyError as error:
            raise Problem(404, "not_found", str(error)) from None


def _arguments(registered: Registered, given: Raw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The input as a call has it."""
    try:
        return registered.signature.decode(given)
    except InvalidInput as error:
        raise Problem(400, "invalid_input", str(error), pointer="/input") from None
