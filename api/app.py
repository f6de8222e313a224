"""The HTTP API as an aiohttp application: who answers what, and how refusals get out."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from durably import DurablyError, Engine
from durably.api import front, unbuilt
from durably.api.access import authentication
from durably.api.availability import unavailable, why_unavailable
from durably.api.bulk import BulkOperations
from durably.api.destinations import Destinations
from durably.api.environments import Environments
from durably.api.errors import Problem, Problems, error_document, problem_of, routing_problem
from durably.api.events import Events, is_event_route, refusal
from durably.api.health import Health
from durably.api.job_runs import JobRuns
from durably.api.jobs import JobsApi
from durably.api.keys import ApiKeys
from durably.api.limits import LIMITS, LIMITS_KEY, Limits
from durably.api.openapi import OpenApi
from durably.api.operations import Operation, add_operations
from durably.api.retry_policies import RetryPolicies
from durably.api.run_stats import RunStats
from durably.api.runs import Runs
from durably.api.stack import Stacks
from durably.api.streams import Streams
from durably.api.usage import Usage
from durably.api.waits import Waits
from durably.api.workflows import Workflows
from durably.store import StoreFailure

__all__ = ["make_app", "refusals"]


def make_app(engine: Engine, limits: Limits = LIMITS) -> web.Application:
    """The API of CONTRACT section 5 for an engine. Made before the engine runs, it answers 503 then.

    `serve` runs it, and adds the deadlines that aiohttp does not have.
    """
    app = web.Application(middlewares=[refusals(engine), authentication(engine)])
    app[LIMITS_KEY] = limits
    waits = Waits()
    app.on_shutdown.append(waits.stop)
    operations = _operations(engine, limits, waits)
    add_operations(app, [*operations, *OpenApi(operations).operations()])
    return app


def _operations(engine: Engine, limits: Limits, waits: Waits) -> list[Operation]:
    return [
        *Events(engine, limits).operations(),
        *RetryPolicies(engine).operations(),
        *JobsApi(engine).operations(),
        *JobRuns(engine).operations(),
        *RunStats(engine).operations(),
        *Usage(engine).operations(),
        *BulkOperations(engine).operations(),
        *Destinations(engine).operations(),
        *Runs(engine, waits).operations(),
        *Streams(engine, limits, waits).operations(),
        *Stacks(engine).operations(),
        *Workflows(engine, waits).operations(),
        *Environments(engine).operations(),
        *ApiKeys(engine).operations(),
        *Health(engine).operations(),
        *unbuilt.operations(),
        *front.operations(),
    ]


def refusals(engine: Engine) -> Middleware:
    """The layer around all others: what a refusal looks like."""

    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as problem:
            return _tell(request, problem)
        except Problems as several:
            return _tell(request, *several.problems)
        except (DurablyError, StoreFailure) as error:
            why = why_unavailable(engine) if type(error) is DurablyError else None
            return _tell(request, problem_of(error) if why is None else unavailable(why))
        except web.HTTPException as error:
            return _tell(request, routing_problem(error))

    return refuse


def _tell(request: web.Request, *problems: Problem) -> web.Response:
    return refusal(problems[0]) if is_event_route(request.path) else error_document(*problems)
