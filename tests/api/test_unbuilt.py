"""Routes of the contract that are not built yet."""

from typing import Any

import pytest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/metrics"),
        ("POST", "/metrics"),
    ],
)
async def test_what_is_not_built_says_so(api: Any, method: str, path: str) -> None:
    answer = await api(method, path)
    assert answer.status == 501
    assert answer.error["code"] == "not_built"
    assert f"{method} {path} is part of Durably's contract and is not built yet" in answer.error["detail"]
