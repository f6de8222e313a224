"""The check of all responses sees what is wrong with them."""

import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from durably.api.operations import Kind, Media, One, Operation, add_operations
from durably.api.responses import JSON, JSON_API
from durably.api.stack import Stack
from tests.conformance.responses import Checked

pytestmark = pytest.mark.anyio

KIND = Kind("thing", Stack)
THING: dict[str, Any] = {"type": "thing", "id": "1", "attributes": {"tasks": []}}
ERROR = {"status": "404", "code": "not_found", "title": "Not Found", "detail": "it is not there"}
NO_HEADERS: dict[str, str] = {}
NOTHING: dict[str, Any] = {}
GOOD = {"Content-Type": JSON_API, "Vary": "Accept"}


async def flaws(status: int, headers: dict[str, str], body: Any, answers: dict[int, Any]) -> list[str]:
    """What is found wrong with this answer to GET /things/{id}."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers, body=None if body is None else json.dumps(body).encode())

    app, checked = web.Application(), Checked()
    checked.watch(app)
    add_operations(app, [Operation("GET", "/things/{id}", answer, "A thing", "read", answers=answers)])
    async with TestClient(TestServer(app)) as client:
        await client.get("/things/1")
    return checked.flaws


@pytest.mark.parametrize(
    ("status", "headers", "body", "answers"),
    [
        (200, GOOD, {"data": THING}, {200: One(KIND)}),
        (404, GOOD, {"errors": [ERROR]}, {200: One(KIND)}),
        (503, {**GOOD, "Retry-After": "1"}, {"errors": [{**ERROR, "status": "503"}]}, {200: One(KIND)}),
        (201, {**GOOD, "Location": "/x"}, {"data": THING}, {201: One(KIND)}),
        (200, {"Content-Type": JSON}, {"tasks": []}, {200: Media(JSON, Stack)}),
        (204, NO_HEADERS, None, {204: None}),
    ],
)
async def test_a_good_one(status: int, headers: dict[str, str], body: Any, answers: dict[int, Any]) -> None:
    assert await flaws(status, headers, body, answers) == []


@pytest.mark.parametrize(
    ("status", "headers", "body", "answers", "says"),
    [
        (200, GOOD, {"data": {**THING, "id": 1}}, {200: One(KIND)}, "anyOf"),
        (200, GOOD, {"data": {**THING, "type": "other"}}, {200: One(KIND)}, '"thing" was expected at /data/type'),
        (200, GOOD, {"data": {**THING, "attributes": {}}}, {200: One(KIND)}, '"tasks" is a required property'),
        (200, {"Content-Type": JSON_API}, {"data": THING}, {200: One(KIND)}, "varies with Accept"),
        (200, {"Content-Type": JSON}, {"data": THING}, {200: One(KIND)}, "it has the media type application/json"),
        (200, GOOD, {"errors": [ERROR]}, {200: One(KIND)}, "only a refusal has errors"),
        (202, GOOD, {"data": THING}, {200: One(KIND)}, "the status is not documented; 200, 400"),
        (418, GOOD, {"errors": [{**ERROR, "status": "418"}]}, {200: One(KIND)}, "the status is not documented"),
        (404, GOOD, {"errors": [{**ERROR, "status": "400"}]}, {200: One(KIND)}, "an error has another status"),
        (404, GOOD, {"errors": [{"status": "404"}]}, {200: One(KIND)}, '"code" is a required property'),
        (503, GOOD, {"errors": [{**ERROR, "status": "503"}]}, {200: One(KIND)}, "when to try again"),
        (201, GOOD, {"data": THING}, {201: One(KIND)}, "not said where it is"),
        (200, {"Content-Type": JSON}, {"tasks": 1}, {200: Media(JSON, Stack)}, "at /tasks"),
        (200, {"Content-Type": JSON}, NOTHING, {200: None}, "a body that is not documented"),
    ],
)
async def test_a_bad_one(status: int, headers: dict[str, str], body: Any, answers: dict[int, Any], says: str) -> None:
    assert any(says in flaw for flaw in await flaws(status, headers, body, answers))
