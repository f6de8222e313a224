"""Which media types are answered."""

from typing import Any

import pytest

pytestmark = pytest.mark.anyio

WORKFLOWS = "/api/v1/workflows"


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 200),
        ("application/json", 200),
        ("application/vnd.api+json", 200),
        ("application/vnd.api+json; profile=x", 200),
        ("application/vnd.api+json; q=0.5", 200),
        ("application/vnd.api+json; ext=x, application/vnd.api+json", 200),
        ("application/vnd.api+json; ext=x", 406),
        ("text/html, application/vnd.api+json;charset=utf-8", 406),
    ],
)
async def test_an_answer_nobody_takes_is_not_acceptable(api: Any, accept: str, status: int) -> None:
    assert (await api.get(WORKFLOWS, headers={"Accept": accept})).status == status
