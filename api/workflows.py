"""`/api/v1/workflows`: what can be run, and running it."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Literal

import msgspec
from aiohttp import web
from msgspec import Raw

from durably import DurablyError, Engine, InvalidInput
from durably.api.availability import refuse_work
from durably.api.bodies import read_document
from durably.api.errors import Problem
from durably.api.jsonapi import Resource, collection, document
from durably.api.limits import Limits
from durably.api.runs import run_document
from durably.api.waits import Waits
from durably.engine.declare.registry import Registered
from durably.engine.log.records import NOTHING, RunCreated

__all__ = ["Workflows"]

PATH = "/api/v1/workflows"


class Start(msgspec.Struct, forbid_unknown_fields=True):
    """The body that runs a workflow: its arguments by parameter name, and what `Workflow.options` takes."""

    input: Raw = Raw(b"{}")
    run_id: str | None = None
    mode: Literal["test"] | None = None


_start = msgspec.json.Decoder(Start)


class Workflows:
    """Registered workflows, as resources of type `workflow` under their names."""

    def __init__(self, engine: Engine, limits: Limits, waits: Waits) -> None:
        self._engine = engine
        self._limits = limits
        self._waits = waits

    def routes(self) -> list[web.RouteDef]:
        one = PATH + "/{name}"
        return [
            web.get(PATH, self.list),
            web.get(one, self.read),
            web.post(f"{one}/actions/run", self.run),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """All workflows by name."""
        by_name: dict[str, list[Registered]] = {}
        for registered in self._engine.core.registry.all():
            by_name.setdefault(registered.name, []).append(registered)
        return collection(request, [_resource(versions) for versions in by_name.values()])

    async def read(self, request: web.Request) -> web.Response:
        """One workflow."""
        name = self._find(request).name
        versions = [each for each in self._engine.core.registry.all() if each.name == name]
        return document(request, _resource(versions))

    async def run(self, request: web.Request) -> web.Response:
        """Start a run of the newest version; `?wait=30` answers when it has ended, or after so long.

        A run that goes on as another one (`continue_as_new`) is waited for until that one has ended: the answer is
        about the run that was started, and names the next one as `continued_to`.
        """
        refuse_work(self._engine)
        registered = self._find(request)
        wait_s = min(_seconds(request.query.get("wait")), self._limits.wait_s)
        given = await read_document(request, _start, self._limits.body_s)
        created = RunCreated(
            workflow=registered.name,
            version=registered.version,
            input=_bind(registered, given.input),
            trigger="MANUAL",
            event=NOTHING,
            environment=self._engine.settings.environment,
            test=given.mode == "test",
            timeout=registered.timeout,
        )
        run = await self._engine.start_created(registered, created, given.run_id)
        if wait_s:
            await self._waits.hold(request, run.result(timeout=wait_s))
        return run_document(request, await run.info(), HTTPStatus.CREATED)

    def _find(self, request: web.Request) -> Registered:
        _ = self._engine.core  # an engine that does not run is no reason to say that there is no such workflow
        try:
            return self._engine.registered(request.match_info["name"])
        except DurablyError as error:
            raise Problem(404, "not_found", str(error)) from None


def _resource(versions: Sequence[Registered]) -> Resource:
    newest = versions[-1]
    attributes = {
        "name": newest.name,
        "version": newest.version,
        "versions": [each.version for each in versions],
        "triggers": [{"event": trigger.name, "where": trigger.where} for trigger in newest.triggers],
    }
    return Resource("workflow", newest.name, attributes)


def _bind(registered: Registered, given: Raw) -> Raw:
    """The input as `Engine.start` would record it, so that both know each other's run ids."""
    signature = registered.signature
    try:
        args, kwargs = signature.decode(given)
        return Raw(signature.bind_input(args, kwargs).raw)
    except InvalidInput as error:
        raise Problem(400, "invalid_input", str(error), pointer="/input") from None


def _seconds(text: str | None) -> float:
    """How long the client wants to wait."""
    if text is None:
        return 0.0
    try:
        seconds = float(text)
        if not seconds >= 0:
            raise ValueError(text)
    except ValueError:
        detail = f"wait is {text[:100]!r}; it is a number of seconds"
        raise Problem(400, "invalid_parameter", detail, parameter="wait") from None
    return seconds
