"""Which month counts. What is counted is tested with runs, in test_workflow."""

from datetime import UTC, datetime

import pytest

from durably.engine.jobs.quota import period_of
from durably.engine.log.records import to_us

DAY_S = 86_400


@pytest.mark.parametrize(
    ("now", "name", "first", "following"),
    [
        ("2026-01-01T00:00:00", "2026-01", "2026-01-01", "2026-02-01"),
        ("2026-02-28T23:59:59.999999", "2026-02", "2026-02-01", "2026-03-01"),
        ("2028-02-29T12:00:00", "2028-02", "2028-02-01", "2028-03-01"),
        ("2026-12-31T23:59:59", "2026-12", "2026-12-01", "2027-01-01"),
    ],
)
def test_a_month_is_that_of_utc(now: str, name: str, first: str, following: str) -> None:
    period = period_of(to_us(datetime.fromisoformat(now).replace(tzinfo=UTC)))
    assert period.name == name
    assert period.from_day == datetime.fromisoformat(first).replace(tzinfo=UTC).timestamp() / DAY_S
    assert period.until_day == datetime.fromisoformat(following).replace(tzinfo=UTC).timestamp() / DAY_S
