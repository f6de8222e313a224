"""Parameters of lists: paging, filters, sorting."""

from typing import Any

import pytest

pytestmark = pytest.mark.anyio

RUNS = "/api/v1/workflow-runs"


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("filter[status]=DONE", "filter[status]"),
        ("filter[status]=running", "filter[status]"),
        ("filter[phase]=asleep", "filter[phase]"),
        ("filter[trigger]=CRON", "filter[trigger]"),
        ("filter[created_at]=yesterday", "filter[created_at]"),
        ("filter[created_at]=2026-01-01T00:00:00Z", "filter[created_at]"),
        ("filter[created_at]=[2026-01-01T00:00:00,*)", "filter[created_at]"),
        ("filter[created_at]=[2026-01-01,2026-02-01)", "filter[created_at]"),
        ("filter[created_at]=[*,*,*)", "filter[created_at]"),
        ("filter[name]=x", "filter[name]"),
        ("page[size]=0", "page[size]"),
        ("page[size]=101", "page[size]"),
        ("page[size]=-1", "page[size]"),
        ("page[size]=ten", "page[size]"),
        ("page[size]=0000000019999", "page[size]"),
        ("page[size]=²", "page[size]"),
        ("page[size]=" + "9" * 5000, "page[size]"),
        ("page[size]=1&page[size]=2", "page[size]"),
        ("page[after]=", "page[after]"),
        ("page[after]=' OR 1=1", "page[after]"),
        ("page[after]=ffffffffffffffffffff", "page[after]"),
        ("page[number]=2", "page[number]"),
        ("sort=created_at,started_at", "sort"),
        ("sort=-", "sort"),
        ("sort=--created_at", "sort"),
        ("sort=scheduled_for", "sort"),
        ("sort=status", "sort"),
        ("include=steps", "include"),
        ("status=FAILED", "status"),
    ],
)
async def test_a_parameter_that_cannot_be_is_refused(api: Any, query: str, parameter: str) -> None:
    answer = await api.get(f"{RUNS}?{query}")
    assert answer.status == 400
    assert answer.error["source"] == {"parameter": parameter}
