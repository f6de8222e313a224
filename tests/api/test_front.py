"""The page at `/`."""

from typing import Any

import pytest

pytestmark = pytest.mark.anyio


async def test_the_front_page_says_where_to_look(api: Any) -> None:
    answer = await api.get("/")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for link in ("/api/v1/workflow-runs", "/api/v1/workflows", "/health/ready"):
        assert f'href="{link}"' in answer.text
        assert (await api.get(link)).status == 200
