"""Filters of `list_runs`."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from durably.engine.listing import RunFilters, to_query
from durably.store import RunQuery

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
NOON_US = 1_769_860_800_000_000


@pytest.mark.parametrize(
    ("filters", "query"),
    [
        ({}, RunQuery()),
        ({"status": "FAILED"}, RunQuery(status=("FAILED",))),
        ({"status": ["FAILED", "CANCELED"]}, RunQuery(status=("FAILED", "CANCELED"))),
        ({"workflow": ("a",), "event": "b", "limit": 3}, RunQuery(workflow=("a",), event=("b",), limit=3)),
        ({"origin": "r"}, RunQuery(origin="r")),
        ({"created_from": NOON}, RunQuery(created_from_us=NOON_US)),
        ({"scheduled_until": NOON, "started_until": None}, RunQuery(scheduled_until_us=NOON_US)),
    ],
)
def test_what_they_ask_of_the_store(filters: RunFilters, query: RunQuery) -> None:
    assert to_query(filters) == query


def test_a_filter_that_there_is_not() -> None:
    filters: Any = {"stauts": "FAILED"}
    with pytest.raises(TypeError, match="runs cannot be listed by 'stauts'; the filters are status, phase"):
        to_query(cast("RunFilters", filters))
