from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably.engine.retries import retry_after

NOW = datetime(2026, 11, 22, 8, 49, 37, tzinfo=UTC)  # a Sunday
NOW_US = int(NOW.timestamp()) * 1_000_000
DAY = 86_400.0


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        # seconds, clipped to 1 s … 24 h
        ("120", 120.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("0", 1.0),
        ("86400", DAY),
        ("86401", DAY),
        ("9" * 5000, DAY),
        # HTTP dates: RFC 1123, RFC 850, asctime; 90 s from now
        ("Sun, 22 Nov 2026 08:51:07 GMT", 90.0),
        ("Sunday, 22-Nov-26 08:51:07 GMT", 90.0),
        ("Sun Nov 22 08:51:07 2026", 90.0),
        ("Sun, 22 Nov 2026 09:51:07 +0100", 90.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 1.0),  # gone
        ("Sun, 22 Nov 2099 08:49:37 GMT", DAY),
        # ISO 8601
        ("2026-11-22T08:51:07Z", 90.0),
        ("2026-11-22T08:51:07.332Z", 90.332),
        ("2026-11-22T09:51:07+01:00", 90.0),
        ("2026-11-22T08:51:07", 90.0),  # no offset: UTC
        ("2026-11-23", 54_623.0),  # midnight: 15 h 10 min 23 s
        ("1970-01-01", 1.0),
        # cannot be read
        ("", None),
        ("-5", None),
        ("+5", None),
        ("1e9", None),
        ("nan", None),
        ("inf", None),
        ("٣", None),  # an Arabic 3
        ("soon", None),
        ("120 seconds", None),
        ("Sun, 99 Nov 2026 08:51:07 GMT", None),
        ("2026-13-01", None),
    ],
)
def test_text(value: str, wait: float | None) -> None:
    assert retry_after.parse(value, NOW_US) == wait


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (30, 30.0),
        (2.5, 2.5),
        (0, 1.0),
        (-3, 1.0),  # "until" minus "now", a little late
        (10**400, DAY),
        (float("inf"), DAY),
        (float("nan"), None),
        (timedelta(minutes=2), 120.0),
        (timedelta(days=-1), 1.0),
        (timedelta(days=9), DAY),
        (NOW + timedelta(seconds=90), 90.0),
        ((NOW + timedelta(seconds=90)).astimezone(timezone(timedelta(hours=-8))), 90.0),
        ((NOW + timedelta(seconds=90)).replace(tzinfo=None), 90.0),  # naive: UTC
        (datetime.min, 1.0),  # noqa: DTZ901 - a naive one
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))), DAY),
        (None, None),
        (b"120", None),
        ([120], None),
    ],
)
def test_values_of_other_types(value: object, wait: float | None) -> None:
    assert retry_after.parse(value, NOW_US) == wait


def test_the_wait_is_counted_from_now_to_the_microsecond() -> None:
    assert retry_after.parse(NOW + timedelta(seconds=90), NOW_US + 250_000) == 89.75


@given(st.text())
def test_any_text_gives_a_wait_in_bounds_or_none(text: str) -> None:
    wait = retry_after.parse(text, NOW_US)
    assert wait is None or 1 <= wait <= DAY


@given(
    st.lists(st.sampled_from(["Sun,", "Nov", "22", "2026", "08:51:07", "GMT", "+9999", "-0000", "99", ":", "-"])).map(
        " ".join
    ),
)
def test_any_mangled_date_gives_a_wait_in_bounds_or_none(text: str) -> None:
    wait = retry_after.parse(text, NOW_US)
    assert wait is None or 1 <= wait <= DAY


@given(st.integers(1, 86_400))
def test_a_date_and_its_distance_mean_the_same(seconds: int) -> None:
    moment = NOW + timedelta(seconds=seconds)
    for value in (moment.isoformat(), format_datetime(moment, usegmt=True), str(seconds)):
        assert retry_after.parse(value, NOW_US) == seconds
