"""JSON:API's rules about Content-Type and Accept."""

from typing import Any

import pytest

from durably.api.media_types import media_types

pytestmark = pytest.mark.anyio

WORKFLOWS = "/api/v1/workflows"
GREET = f"{WORKFLOWS}/greet/actions/run"
JSON_API = "application/vnd.api+json"


HEADERS: list[tuple[str, list[tuple[str, dict[str, str]]]]] = [
    ("", []),
    (" , ,", []),
    ("application/json", [("application/json", {})]),
    ("Application/JSON; Charset=utf-8", [("application/json", {"charset": "utf-8"})]),
    ("a/b;q=0.5,c/d", [("a/b", {"q": "0.5"}), ("c/d", {})]),
    ('a/b; profile="x, y; z=1"; q=1, c/d', [("a/b", {"profile": '"x, y; z=1"', "q": "1"}), ("c/d", {})]),
    (r'a/b; profile="\"; ext=x"', [("a/b", {"profile": r'"\"; ext=x"'})]),
    ("a/b;; ext", [("a/b", {"ext": ""})]),
    ("a/b nonsense, c/d", [("a/b", {}), ("c/d", {})]),
]


@pytest.mark.parametrize(("header", "found"), HEADERS)
def test_a_header_is_taken_apart(header: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert [tuple(each) for each in media_types(header)] == found


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        (JSON_API, 201),
        ("Application/Vnd.API+JSON", 201),
        (f'{JSON_API}; profile="https://example.com/a https://example.com/b"', 201),
        (f'{JSON_API}; profile="https://example.com/a;ext=b"', 201),
        ("application/json; charset=utf-8", 201),
        (f"{JSON_API}; charset=utf-8", 415),
        (f'{JSON_API}; ext="https://example.com/unsupported"', 415),
        (f'{JSON_API}; profile="x"; ext="https://example.com/unsupported"', 415),
        (f"{JSON_API}; q=1", 415),
        (f"{JSON_API};version", 415),
        ("text/plain", 415),
        ("application/xml", 415),
    ],
)
async def test_a_content_type(api: Any, media_type: str, status: int) -> None:
    answer = await api.post(GREET, data=b'{"input":{"name":"you"}}', headers={"Content-Type": media_type})
    assert answer.status == status
    assert status == 201 or answer.error["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 200),
        ("text/html", 200),
        ("application/json", 200),
        (JSON_API, 200),
        (f"{JSON_API}; profile=x", 200),
        (f'{JSON_API}; profile="x,y;ext=z"', 200),
        (f"{JSON_API}; q=0.5", 200),
        (f"{JSON_API}; profile=x; q=0.5", 200),
        (f"{JSON_API}; ext=x, {JSON_API}", 200),
        (f"{JSON_API}; ext=x", 406),
        (f"{JSON_API}; ext=x, */*", 406),
        (f"{JSON_API}; ext=x, {JSON_API}; charset=utf-8", 406),
        (f"text/html, {JSON_API};charset=utf-8", 406),
    ],
)
async def test_an_answer_nobody_takes_is_not_acceptable(api: Any, accept: str, status: int) -> None:
    answer = await api.get(WORKFLOWS, headers={"Accept": accept})
    assert (answer.status, answer.headers["Vary"]) == (status, "Accept")
    assert status == 200 or answer.error["code"] == "not_acceptable"


@pytest.mark.parametrize("path", ["/health/live", "/openapi.json", "/api/v1/workflow-runs/r/history"])
async def test_what_is_no_json_api_is_not_negotiated(api: Any, path: str) -> None:
    await api.engine.start("nap", run_id="r")
    answer = await api.get(path, headers={"Accept": f"{JSON_API}; ext=x"})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
