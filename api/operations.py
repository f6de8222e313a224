"""One table of what the API can do: routes, scopes of keys and the OpenAPI document are all made from it.

A module of the API holds the operations on one kind of resource:

    JOB = Kind("job", JobAttributes)
    PATH = "/api/v1/jobs"

    class Jobs:
        def operations(self) -> list[Operation]:
            one, fields = PATH + "/{id}", One(Kind("job", JobFields))
            return [
                Operation("GET", PATH, self.list, "Jobs by name", "read", query=LIST, answers={200: Many(JOB)}),
                Operation("PUT", one, self.replace, "Replace a job", "write", fields, answers={200: One(JOB)}),
                Operation("DELETE", one, self.delete, "Delete a job", "write", answers={204: None}),
            ]

        async def list(self, request: web.Request) -> web.Response:
            query = ListQuery(request)
            found = in_order(…, query.sort(ORDERS, default="name"), getattr)
            return numbered(request, found, query.page(), resource_of)

        async def replace(self, request: web.Request) -> web.Response:
            _, given = await read_resource(request, JobFields, type="job", id=request.match_info["id"])
            …
            return document(resource_of(job))

        async def delete(self, request: web.Request) -> web.Response:
            …
            return no_content()

`tests/api/test_operations.py` has a whole one. What the table says holds: a query parameter that an operation does not
declare is refused before its handler sees the request.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import wraps
from typing import Any, Literal, NamedTuple, TypeAlias

from aiohttp import web
from msgspec import Struct

from durably.api.errors import Problem
from durably.api.jsonapi import Resource
from durably.api.media_types import check_accept
from durably.api.responses import JSON

__all__ = [
    "ANY",
    "EVENT_STREAM",
    "OPERATIONS",
    "Handler",
    "Kind",
    "Many",
    "Media",
    "New",
    "One",
    "Operation",
    "Parameter",
    "Scope",
    "add_operations",
    "is_json_api",
    "operation_of",
]

Scope: TypeAlias = Literal["open", "read", "write", "admin"]
"""What a key must be good for; `open`: whoever reaches the server may ask, without a key."""
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

API = "/api/"
"""Below it a query parameter that is not declared is refused: a misspelt filter must not look like one that fits."""
ANY = "*"
"""Every method: a route that is not part of the OpenAPI document."""
EVENT_STREAM = "text/event-stream"


Attributes: TypeAlias = type[Struct]


class Kind(NamedTuple):
    """A kind of resource: its JSON:API `type`, and what its attributes are. `id` is never one of them."""

    type: str
    attributes: Attributes

    def resource(self, id: str, attributes: Any) -> Resource:  # noqa: A002 - JSON:API's name
        """One of them."""
        return Resource(self.type, id, attributes)


class One(NamedTuple):
    """A JSON:API document of one resource."""

    kind: Kind


class New(NamedTuple):
    """A JSON:API document that makes a resource, under the id that the client has chosen and that has to be there."""

    kind: Kind


class Many(NamedTuple):
    """A JSON:API document of several."""

    kind: Kind


class Media(NamedTuple):
    """Another media type than JSON:API, and what it holds."""

    media_type: str = JSON
    content: Any = str


class Parameter(NamedTuple):
    """A query parameter. `type` says which values it takes, in OpenAPI; a tuple is values with commas between."""

    name: str
    type: Any
    description: str


class Operation(NamedTuple):
    """One thing that can be asked for."""

    method: str
    path: str
    """As aiohttp and OpenAPI write it: `/api/v1/jobs/{id}`."""
    handler: Handler
    summary: str
    """One line."""
    scope: Scope
    body: Any = None
    """`One`, `New`, `Media`, or the type of a plain JSON body; None: there is none."""
    query: tuple[Parameter, ...] = ()
    answers: Mapping[int, Any] = {}
    """By status what a good answer holds: `One`, `Many`, `Media`, or None for nothing. Refusals are added to all."""


OPERATIONS = web.AppKey("operations", dict[Handler, Operation])
"""Those of an application, by the handlers that its router knows."""


def add_operations(app: web.Application, operations: Iterable[Operation]) -> None:
    """Route requests to them."""
    known = app.setdefault(OPERATIONS, {})
    for operation in operations:
        handler = _checked(operation)
        known[handler] = operation
        if operation.method == "GET":
            app.router.add_get(operation.path, handler, allow_head=not _is_stream(operation))
        else:
            app.router.add_route(operation.method, operation.path, handler)


def operation_of(request: web.Request) -> Operation | None:
    """The operation that a request is for, also in a middleware; None when there is nothing at its address."""
    return request.config_dict[OPERATIONS].get(request.match_info.handler)


def is_json_api(operation: Operation) -> bool:
    """Whether its good answers are JSON:API documents."""
    return any(isinstance(each, One | Many) for each in operation.answers.values())


def _is_stream(operation: Operation) -> bool:
    return any(isinstance(each, Media) and each.media_type == EVENT_STREAM for each in operation.answers.values())


def _checked(operation: Operation) -> Handler:
    """Its handler, for requests with no other query parameters than it has, and clients that take its answers."""
    declared = {parameter.name for parameter in operation.query}
    negotiated = is_json_api(operation)
    strict = operation.path.startswith(API) and operation.method != ANY

    @wraps(operation.handler)
    async def handle(request: web.Request) -> web.StreamResponse:
        unknown = next((name for name in request.query if name not in declared), None) if strict else None
        if unknown is not None:
            detail = f"there is no parameter {unknown[:100]!r} here"
            raise Problem(400, "invalid_parameter", detail, parameter=unknown)
        if negotiated:
            check_accept(request)
        return await operation.handler(request)

    return handle
