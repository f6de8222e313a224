"""`/api/v1/workflow-runs/{id}/stack`: the lines at which an open run's asyncio tasks wait, and for what."""

from collections.abc import Sequence

import msgspec
from aiohttp import web

from durably import Engine
from durably.api.access import find_run
from durably.api.jsonapi import document
from durably.api.operations import Kind, One, Operation
from durably.api.runs import PATH
from durably.engine.body.parked import ParkedTask
from durably.engine.execution.stacks import stack_of

__all__ = ["Stacks"]


class Stack(msgspec.Struct):
    """Where a run's code stands."""

    tasks: Sequence[ParkedTask]


STACK = Kind("workflow_run_stack", Stack)


class Stacks:
    """Stacks of runs, each a resource of type `workflow_run_stack`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def operations(self) -> list[Operation]:
        return [
            Operation(
                "GET",
                PATH + "/{id}/stack",
                self.read,
                "The lines at which a run's asyncio tasks wait",
                "read",
                answers={200: One(STACK)},
            )
        ]

    async def read(self, request: web.Request) -> web.Response:
        """Where the run's code stands; 409, `nondeterminism`, when the code does not fit its history."""
        run_id = request.match_info["id"]
        await find_run(request, self._engine, run_id)  # which says so if there is none
        row = await self._engine.core.store.run(run_id)
        assert row is not None
        tasks = await stack_of(self._engine.core, row.run, run_id)
        return document(STACK.resource(run_id, Stack(tasks)))
