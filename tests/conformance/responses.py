"""Every response of every server that a test starts is held against JSON:API and against `/openapi.json`."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from aiohttp import web

from durably import Engine
from durably.api import server
from durably.api.openapi import describe
from durably.api.operations import ANY, OPERATIONS, Operation, operation_of
from durably.api.responses import JSON, JSON_API
from tests.conformance.jsonapi import flaws_of

__all__ = ["Checked"]

UNEXPECTED = (500, 501)
"""Documented nowhere: a mistake of ours, which some tests make, and what is not built yet."""
_contracts: dict[bytes, "Contract"] = {}


class Checked:
    """Collects what is wrong with the responses of servers."""

    def __init__(self) -> None:
        self.flaws: list[str] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Watch every server that starts from now on."""
        make_app = server.make_app

        def made(engine: Engine, *args: Any, **kwargs: Any) -> web.Application:
            app = make_app(engine, *args, **kwargs)
            self.watch(app)
            return app

        monkeypatch.setattr(server, "make_app", made)

    def watch(self, app: web.Application) -> None:
        """Look at each response before it goes out."""
        contract: list[Contract] = []

        async def look(request: web.Request, response: web.StreamResponse) -> None:
            if not contract:
                contract.append(_contract(app))
            where = f"{request.method} {request.path_qs}: {response.status}"
            self.flaws += [f"{where}: {flaw}" for flaw in _flaws(request, response, contract[0])]

        app.on_response_prepare.append(look)


def _flaws(request: web.Request, response: web.StreamResponse, contract: "Contract") -> Iterator[str]:
    body = _body(response)
    if response.headers.get("Content-Type") == JSON_API:
        yield from _media_type_flaws(response, body)
    operation = operation_of(request)
    if operation is not None and operation.method != ANY and response.status not in UNEXPECTED:
        yield from contract.flaws(operation, response, body)


def _body(response: web.StreamResponse) -> Any:
    """What a whole response holds, decoded if it is JSON."""
    body = response.body if isinstance(response, web.Response) else None
    assert body is None or isinstance(body, bytes)
    if body is None or response.content_type not in (JSON, JSON_API):
        return body
    return json.loads(body)


def _media_type_flaws(response: web.StreamResponse, document: Any) -> Iterator[str]:
    """What JSON:API says of documents, statuses and headers."""
    yield from flaws_of(document)
    if "Accept" not in response.headers.get("Vary", ""):
        yield "it varies with Accept, and does not say so"
    if (response.status >= 400) != ("errors" in document):
        yield "only a refusal has errors"
    if any(error["status"] != str(response.status) for error in document.get("errors", ())):
        yield "an error has another status"
    if response.status == 201 and "Location" not in response.headers:
        yield "something was made, and it is not said where it is"
    if response.status == 503 and "Retry-After" not in response.headers:
        yield "it does not say when to try again"


class Contract:
    """An OpenAPI document, and validators for the answers in it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}

    def flaws(self, operation: Operation, response: web.StreamResponse, body: Any) -> Iterator[str]:
        """How a response differs from what the document says about it."""
        responses = self._document["paths"][operation.path][operation.method.lower()]["responses"]
        described = responses.get(str(response.status))
        if described is None:
            yield f"the status is not documented; {', '.join(responses)} are"
            return
        if "$ref" in described:
            described = self._document["components"]["responses"][described["$ref"].rpartition("/")[2]]
        content = described.get("content", {})
        media_type = response.headers.get("Content-Type")
        if not content:
            if body not in (None, b""):
                yield "it has a body that is not documented"
        elif media_type not in content:
            yield f"it has the media type {media_type}; documented are {', '.join(content)}"
        elif isinstance(body, dict | list):
            errors = self._validator(content[media_type]["schema"]).iter_errors(body)
            yield from (f"{error.message} at /{'/'.join(map(str, error.instance_path))}" for error in errors)

    def _validator(self, schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
        key = json.dumps(schema)
        if key not in self._validators:
            whole = {**schema, "components": self._document["components"]}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole)
        return self._validators[key]


def _contract(app: web.Application) -> Contract:
    document = msgspec.json.encode(describe(app[OPERATIONS].values()))
    if document not in _contracts:
        _contracts[document] = Contract(msgspec.json.decode(document))
    return _contracts[document]
