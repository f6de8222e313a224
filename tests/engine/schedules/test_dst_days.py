"""Ten years of schedules in three zones, beside an independent library (issue 4)."""

import pytest

from tests.engine.schedules.dst_days import EXPRESSIONS, PAGE, ZONES, days_of_change, differences, fill, ours


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_they_differ_on_days_of_change_only(expression: str, zone: str) -> None:
    changes = days_of_change(zone)
    assert len(changes) == 20
    assert ours(expression, zone)
    for difference, days in differences(expression, zone).items():
        assert set(days) <= set(changes), difference


def test_each_difference_is_listed_in_the_docs_with_the_rule() -> None:
    page = PAGE.read_text()
    assert page == fill(page), "docs/schedules.md is old: python -m tests.engine.schedules.dst_days writes it"
    assert f"{len(EXPRESSIONS)} schedules".replace("12", "twelve") in page.replace("\n", " ")
