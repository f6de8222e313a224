"""The HTTP API as an aiohttp application: who answers what, and how refusals get out."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from durably import DurablyError, Engine
from durably.api import front, unbuilt
from durably.api.availability import unavailable, why_unavailable
from durably.api.errors import Problem, error_document, problem_of, routing_problem
from durably.api.events import Events, is_event_route, refusal
from durably.api.health import Health
from durably.api.limits import LIMITS, Limits
from durably.api.origin import check_origin
from durably.api.runs import Runs
from durably.api.stack import Stacks
from durably.api.streams import Streams
from durably.api.waits import Waits
from durably.api.workflows import Workflows
from durably.store import StoreFailure

__all__ = ["make_app"]


def make_app(engine: Engine, limits: Limits = LIMITS) -> web.Application:
    """The API of CONTRACT section 5 for an engine. Made before the engine runs, it answers 503 then.

    `serve` runs it, and adds the deadlines that aiohttp does not have.
    """
    app = web.Application(middlewares=[_refusals(engine)])
    waits = Waits()
    app.on_shutdown.append(waits.stop)
    app.add_routes(
        [
            *Events(engine, limits).routes(),
            *Runs(engine, limits).routes(),
            *Streams(engine, limits, waits).routes(),
            *Stacks(engine).routes(),
            *Workflows(engine, limits, waits).routes(),
            *Health(engine).routes(),
            *unbuilt.routes(),
            *front.routes(),
        ]
    )
    return app


def _refusals(engine: Engine) -> Middleware:
    """The one layer around all handlers: who may ask, and what a refusal looks like."""

    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            check_origin(request)
            return await handler(request)
        except Problem as problem:
            return _tell(request, problem)
        except (DurablyError, StoreFailure) as error:
            why = why_unavailable(engine) if type(error) is DurablyError else None
            return _tell(request, problem_of(error) if why is None else unavailable(why))
        except web.HTTPException as error:
            return _tell(request, routing_problem(error))

    return refuse


def _tell(request: web.Request, problem: Problem) -> web.Response:
    response = refusal(problem) if is_event_route(request.path) else error_document(problem)
    if problem.close:
        response.force_close()
    return response
