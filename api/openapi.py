"""`/openapi.json`: the API as an OpenAPI 3.1 document.

It is made from the table of operations and from the very types that check requests and make up answers, so it cannot
promise anything else. Routes without a method of their own (`ANY`) are left out.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from inspect import getdoc
from typing import Any, get_origin

import msgspec
from aiohttp import web

from durably.api.errors import ErrorDocument
from durably.api.events import Received, is_event_route
from durably.api.operations import ANY, Kind, Many, Media, New, One, Operation, Parameter, is_json_api
from durably.api.responses import JSON, JSON_API, respond
from durably.engine.log.versions import ENGINE

__all__ = ["OpenApi", "describe"]

Json = dict[str, Any]
PATH = "/openapi.json"
BEARER = "bearer"
REFUSED = Media(JSON_API, ErrorDocument)
EVENTS_REFUSED = Media(JSON, Received)
RETRY_AFTER = {"Retry-After": {"description": "Seconds after which to try again", "schema": {"type": "string"}}}
INFO = {
    "title": "Durably",
    "version": ENGINE,
    "summary": "Durable async workflows for Python",
    "description": "JSON:API 1.1; bodies may be sent as application/json too. Events are acknowledged in JSON of their "
    "own, and histories, streams and health are no JSON:API documents either.",
}
REASONS: Mapping[int, str] = {
    400: "The request cannot be: its path, a parameter or its body is wrong; `source` says where",
    401: "There is no API key, or none that is known",
    403: "The key is not good for this, or the request came from a page of another site",
    404: "There is nothing of that name",
    406: "The Accept header takes JSON:API only with parameters that it does not have here",
    408: "The body took too long to come",
    409: "What is asked for does not fit what there is",
    413: "The body, or a value in it, is too large",
    415: "The Content-Type is neither JSON nor JSON:API, or has parameters",
    503: "Nothing can be taken in just now",
}
"""What refusals mean, by status."""


class OpenApi:
    """The document about `operations`, and about itself."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = [*operations, *self.operations()]

    def operations(self) -> list[Operation]:
        return [
            Operation("GET", PATH, self.read, "This document", "read", answers={200: Media(JSON, dict[str, Any])}),
        ]

    async def read(self, _: web.Request) -> web.Response:
        """The API as an OpenAPI 3.1 document."""
        return respond(self._encoded, JSON)

    @cached_property
    def _encoded(self) -> bytes:
        return msgspec.json.encode(describe(self._operations))


def describe(operations: Iterable[Operation]) -> Json:
    """The OpenAPI document of these operations."""
    told = [operation for operation in operations if operation.method != ANY]
    schemas = _Schemas(told)
    paths: Json = {}
    for operation in told:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    refusals = {f"Refused{status}": _refusal(status, REFUSED, schemas) for status in REASONS}
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": refusals,
            "securitySchemes": {BEARER: {"type": "http", "scheme": "bearer", "description": "An API key"}},
        },
    }


class _Schemas:
    """JSON schemas of all types that operations name; those of structs are components of the document."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        types = dict.fromkeys([ErrorDocument, Received])
        kinds: dict[Kind, None] = {}
        for operation in operations:
            types |= dict.fromkeys(parameter.type for parameter in operation.query)
            for what in (operation.body, *operation.answers.values()):
                types[_type_of(what)] = None
                if isinstance(what, One | New | Many):
                    kinds[what.kind] = None
        found, self.components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
        self._by_type: Mapping[Any, Json] = dict(zip(types, found, strict=True))
        for kind in kinds:
            self._drop_id(kind)

    def of(self, what: Any) -> Json:
        """The schema of a type."""
        return self._by_type[what]

    def resource(self, kind: Kind, *members: str) -> Json:
        """The schema of a resource object that has these members at least."""
        return {
            "type": "object",
            "required": ["type", *members],
            "properties": {
                "type": {"const": kind.type},
                "id": {"type": "string"},
                "attributes": self.of(kind.attributes),
            },
        }

    def requires(self, what: Any) -> bool:
        """Whether an object of this type has members that cannot be left out."""
        return bool(self._resolved(what).get("required"))

    def _drop_id(self, kind: Kind) -> None:
        """A struct may hold its resource's id, which is none of the attributes."""
        schema = self._resolved(kind.attributes)
        if schema["properties"].pop("id", None) is not None and "id" in schema["required"]:
            schema["required"].remove("id")

    def _resolved(self, what: Any) -> Json:
        schema = self.of(what)
        reference: str | None = schema.get("$ref")
        return schema if reference is None else self.components[reference.rpartition("/")[2]]


def _type_of(what: Any) -> Any:
    match what:
        case One() | New() | Many():
            return what.kind.attributes
        case Media():
            return what.content
        case _:
            return what


def _operation(operation: Operation, schemas: _Schemas) -> Json:
    names = re.findall(r"{(\w+)}", operation.path)
    in_path = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    needs = "No key is needed." if operation.scope == "open" else f"Needs a key with the scope `{operation.scope}`."
    described: Json = {
        "operationId": "_".join([operation.method.lower(), *re.findall(r"\w+", operation.path.replace("-", "_"))]),
        "summary": operation.summary,
        "description": f"{getdoc(operation.handler)}\n\n{needs}",
        "security": [] if operation.scope == "open" else [{BEARER: []}],
        "parameters": in_path + [_parameter(parameter, schemas) for parameter in operation.query],
        "responses": _responses(operation, schemas),
    }
    if operation.body is not None:
        described["requestBody"] = _body(operation.body, schemas)
    return described


def _parameter(parameter: Parameter, schemas: _Schemas) -> Json:
    described: Json = {
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "schema": schemas.of(parameter.type),
    }
    if get_origin(parameter.type) is tuple:
        described |= {"style": "form", "explode": False}
    return described


def _body(body: Any, schemas: _Schemas) -> Json:
    match body:
        case Media(media_type, content):
            return {"required": True, "content": {media_type: {"schema": schemas.of(content)}}}
        case One(kind) | New(kind):
            members = ["id"] if isinstance(body, New) else []
            if schemas.requires(kind.attributes):
                members.append("attributes")
            schema, required = _enveloped(schemas.resource(kind, *members)), True
        case _:
            schema, required = schemas.of(body), schemas.requires(body)
    return {"required": required, "content": {media_type: {"schema": schema} for media_type in (JSON_API, JSON)}}


def _enveloped(data: Json, **others: Json) -> Json:
    return {"type": "object", "required": ["data", *others], "properties": {"data": data, **others}}


def _responses(operation: Operation, schemas: _Schemas) -> Json:
    responses: Json = {}
    for status, what in operation.answers.items():
        responses[str(status)] = {"description": HTTPStatus(status).phrase, **_content(what, schemas)}
    for status in sorted(_refusals(operation)):
        if is_event_route(operation.path):
            responses[str(status)] = _refusal(status, EVENTS_REFUSED, schemas)
        else:
            responses[str(status)] = {"$ref": f"#/components/responses/Refused{status}"}
    return responses


def _content(what: Any, schemas: _Schemas) -> Json:
    match what:
        case None:
            return {}
        case One(kind):
            media_type, schema = JSON_API, _enveloped(schemas.resource(kind, "id", "attributes"))
        case Many(kind):
            several = {"type": "array", "items": schemas.resource(kind, "id", "attributes")}
            links = {"type": "object", "properties": {"next": {"type": ["string", "null"]}}}
            media_type, schema = JSON_API, _enveloped(several, links=links, meta={"type": "object"})
        case Media(media_type, content):
            schema = schemas.of(content)
        case _:
            raise TypeError(f"an answer is One, Many, Media or None, not {what!r}")
    return {"content": {media_type: {"schema": schema}}}


def _refusals(operation: Operation) -> Iterator[int]:
    """The statuses with which it may be refused."""
    yield 400
    if operation.scope != "open":
        yield 401
    yield 403
    if "{" in operation.path:
        yield 404
    if is_json_api(operation):
        yield 406
    if operation.method != "GET":
        yield 409
    if operation.body is not None:
        yield from (408, 413, 415)
    yield 503


def _refusal(status: int, what: Media, schemas: _Schemas) -> Json:
    described = {"description": REASONS[status], **_content(what, schemas)}
    return described | {"headers": RETRY_AFTER} if status == HTTPStatus.SERVICE_UNAVAILABLE else described
