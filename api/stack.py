"""`/api/v1/workflow-runs/{id}/stack`: the lines at which an open run's asyncio tasks wait, and for what."""

from aiohttp import web

from durably import Engine
from durably.api.jsonapi import Resource, document
from durably.api.runs import PATH
from durably.engine.execution.stacks import stack_of

__all__ = ["Stacks"]


class Stacks:
    """Stacks of runs, each a resource of type `workflow_run_stack`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PATH + "/{id}/stack", self.read)]

    async def read(self, request: web.Request) -> web.Response:
        """Where the run's code stands; 409, `nondeterminism`, when the code does not fit its history."""
        run_id = request.match_info["id"]
        await self._engine.get_run(run_id)  # which says so if there is none
        row = await self._engine.core.store.run(run_id)
        assert row is not None
        tasks = await stack_of(self._engine.core, row.run, run_id)
        return document(request, Resource("workflow_run_stack", run_id, {"tasks": tasks}))
