"""Limits of a history: a warning at 80 %, an end at 100 % (DESIGN section 3)."""

import pytest
from structlog.testing import capture_logs

from durably import step, workflow
from durably.engine.log import limits
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("records", "size", "warned", "ended"),
    [
        (39_999, 0, False, False),
        (40_000, 0, True, False),
        (50_000, 0, True, False),
        (50_001, 0, True, True),
        (1, 40 * 1024 * 1024 - 1, False, False),
        (1, 40 * 1024 * 1024, True, False),
        (1, 50 * 1024 * 1024 + 1, True, True),
    ],
)
def test_what_a_history_may_hold(records: int, size: int, warned: bool, ended: bool) -> None:
    assert limits.nearly_full(records, size) is warned
    assert limits.too_long(records, size) is ended


@step
async def work(number: int) -> int:
    return number


@workflow
async def counts() -> None:
    for number in range(8):
        await work(number)


async def test_a_run_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_RECORDS", 20)  # it will have 19
    with capture_logs() as lines:
        async with TestEngine(workflows=[counts], max_parked=10) as engine:
            await (await engine.start(counts)).result()
    warnings = [line for line in lines if line["event"] == "history.nearly_full"]
    assert [line["records"] for line in warnings] == [17]  # the first group that ends at 16 or more
