"""`/openapi.json`: that it is one, that it is complete, and what it promises."""

from typing import Any

import pytest
from openapi_spec_validator import validate

from durably import Engine
from durably.api.app import make_app
from durably.api.operations import ANY, OPERATIONS, is_json_api

pytestmark = pytest.mark.anyio

NO_JSON_API = {
    ("GET", "/"): "text/html; charset=utf-8",
    ("GET", "/health/live"): "application/json",
    ("GET", "/health/ready"): "application/json",
    ("GET", "/openapi.json"): "application/json",
    ("GET", "/api/v1/workflow-runs/{id}/history"): "application/json",
    ("GET", "/api/v1/workflow-runs/{id}/stream"): "text/event-stream",
    ("POST", "/e/{key}"): "application/json",
    ("POST", "/api/v1/events"): "application/json",
}
"""The routes that answer in something else than JSON:API; each has tests of its own."""


@pytest.fixture
async def told(api: Any) -> Any:
    """The document as it is served."""
    answer = await api.get("/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    return answer.json


def operations(told: Any) -> dict[tuple[str, str], Any]:
    return {(method.upper(), path): each for path, item in told["paths"].items() for method, each in item.items()}


async def test_it_is_a_valid_document(told: Any) -> None:
    assert told["openapi"].startswith("3.1")
    validate(told)


async def test_every_route_is_in_it_or_not_built(told: Any) -> None:
    app = make_app(Engine("memory://"))
    built = {(each.method, each.path) for each in app[OPERATIONS].values() if each.method != ANY}
    assert operations(told).keys() == built
    names = [each["operationId"] for each in operations(told).values()]
    assert len(names) == len(set(names))


async def test_everything_is_json_api_but_what_is_listed(told: Any) -> None:
    others: dict[tuple[str, str], str] = {}
    for name, each in operations(told).items():
        good = [
            answer["content"] for status, answer in each["responses"].items() if "content" in answer and status < "3"
        ]
        [media_type] = {media_type for content in good for media_type in content} or {"application/vnd.api+json"}
        if media_type != "application/vnd.api+json":
            others[name] = media_type
    assert others == NO_JSON_API


async def test_a_key_is_needed_everywhere_but_for_health(told: Any) -> None:
    free = {path for (_, path), each in operations(told).items() if each["security"] == []}
    assert free == {"/health/live", "/health/ready"}
    assert told["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


async def test_the_types_that_check_requests_are_told(told: Any) -> None:
    """A parameter, a body and a resource, as an example of all."""
    schemas = told["components"]["schemas"]
    listing = operations(told)["GET", "/api/v1/workflow-runs"]
    parameters = {each["name"]: each for each in listing["parameters"]}
    assert parameters["page[size]"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 100}
    assert set(parameters["filter[status]"]["schema"]["items"]["enum"]) >= {"PENDING", "FAILED"}
    assert parameters["filter[status]"]["explode"] is False

    signal = operations(told)["POST", "/api/v1/workflow-runs/{id}/actions/signal"]
    assert signal["requestBody"]["required"]
    assert set(signal["requestBody"]["content"]) == {"application/json", "application/vnd.api+json"}
    assert schemas["Signal"]["required"] == ["name"]
    rerun = operations(told)["POST", "/api/v1/workflow-runs/{id}/actions/rerun"]
    assert not rerun["requestBody"]["required"]

    content = operations(told)["GET", "/api/v1/workflow-runs/{id}"]["responses"]["200"]["content"]
    data = content["application/vnd.api+json"]["schema"]["properties"]["data"]
    assert (data["properties"]["type"], data["required"]) == ({"const": "workflow_run"}, ["type", "id", "attributes"])
    assert "status" in schemas["RunInfo"]["required"]
    assert "id" not in schemas["RunInfo"]["properties"]


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("GET", "/health/live", {200, 400, 403, 503}),
        ("GET", "/api/v1/workflow-runs", {200, 400, 401, 403, 406, 503}),
        ("GET", "/api/v1/workflow-runs/{id}/history", {200, 400, 401, 403, 404, 503}),
        ("POST", "/api/v1/workflow-runs/{id}/actions/cancel", {200, 400, 401, 403, 404, 406, 409, 503}),
        (
            "POST",
            "/api/v1/workflows/{name}/actions/run",
            {201, 400, 401, 403, 404, 406, 408, 409, 413, 415, 503},
        ),
        ("POST", "/api/v1/events", {200, 400, 401, 403, 408, 409, 413, 415, 503}),
    ],
)
async def test_what_may_be_answered(told: Any, method: str, path: str, statuses: set[int]) -> None:
    responses = operations(told)[method, path]["responses"]
    assert {int(status) for status in responses} == statuses


async def test_503_says_when_to_try_again(told: Any) -> None:
    assert "Retry-After" in told["components"]["responses"]["Refused503"]["headers"]
    assert "Retry-After" in operations(told)["POST", "/e/{key}"]["responses"]["503"]["headers"]


def test_only_good_answers_say_whether_it_is_json_api() -> None:
    operations = make_app(Engine("memory://"))[OPERATIONS].values()
    assert {each.path for each in operations if is_json_api(each)} >= {"/api/v1/workflows", "/api/v1/workflow-runs"}
