"""Cron expressions, and the instants at which they are due in time zones."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durably.engine.schedules.cron import CronExpression, CronTimetable, OneTime, find_zone

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US


def us(text: str) -> int:
    """A time in ISO 8601, with an offset."""
    return int(datetime.fromisoformat(text).timestamp()) * SECOND_US


def times(expression: str, zone: str, after: str, many: int) -> list[str]:
    """The next times, in local time."""
    timetable = CronTimetable(CronExpression.parse(expression), find_zone(zone))
    found: list[str] = []
    after_us: int | None = us(after)
    for _ in range(many):
        after_us = timetable.next_after(after_us or 0)
        assert after_us is not None
        found.append(f"{datetime.fromtimestamp(after_us / SECOND_US, ZoneInfo(zone)):%m-%d %H:%M%z}")
    return found


# -- expressions


EXPRESSIONS = [
    ("*/20 * * * *", ["01-01 00:20", "01-01 00:40", "01-01 01:00"]),
    ("5 0-1 * * *", ["01-01 00:05", "01-01 01:05", "01-02 00:05"]),
    ("0 0 1 JAN,Feb *", ["02-01 00:00", "01-01 00:00", "02-01 00:00"]),
    ("0 9 * * mon-fri", ["01-01 09:00", "01-02 09:00", "01-05 09:00"]),
    ("0 0 * * 0", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
    ("0 0 * * 7", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
    ("0 0 13 * 5", ["01-02 00:00", "01-09 00:00", "01-13 00:00"]),  # either day is enough
    ("0 0 L * *", ["01-31 00:00", "02-28 00:00", "03-31 00:00"]),
    ("0 0 LW * *", ["01-30 00:00", "02-27 00:00", "03-31 00:00"]),
    ("0 0 * * FRI#2", ["01-09 00:00", "02-13 00:00", "03-13 00:00"]),
    ("0 0 * * 5L", ["01-30 00:00", "02-27 00:00", "03-27 00:00"]),
    ("  0   0 29  2 * ", ["02-29 00:00", "02-29 00:00", "02-29 00:00"]),
    ("@hourly", ["01-01 01:00", "01-01 02:00", "01-01 03:00"]),
    ("@Daily", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
    ("@midnight", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
    ("@weekly", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
    ("@monthly", ["02-01 00:00", "03-01 00:00", "04-01 00:00"]),
    ("@yearly", ["01-01 00:00", "01-01 00:00", "01-01 00:00"]),
    ("@annually", ["01-01 00:00", "01-01 00:00", "01-01 00:00"]),
]


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS)
def test_expressions(expression: str, expected: list[str]) -> None:
    """From the first of January 2026, a Thursday."""
    assert times(expression, "UTC", "2026-01-01T00:00Z", 3) == [f"{each}+0000" for each in expected]


REFUSED = [
    ("", "has 0 fields; it must have 5: minute, hour, day-of-month, month, day-of-week$"),
    ("* * * *", "has 4 fields"),
    ("* * * * * *", "has 6 fields; .*; there is no field for seconds"),
    ("60 * * * *", "'60' is no minute$"),
    ("0 24 * * *", "'24' is no hour$"),
    ("0 0 0 * *", "'0' is no day-of-month"),
    ("0 0 * 13 *", "'13' is no month"),
    ("0 0 * May,Foo *", "'May,Foo' is no month"),
    ("0 0 * * 8", "'8' is no day-of-week"),
    ("*/0 * * * *", "'[*]/0' is no minute"),
    ("30-10 * * * *", "'30-10' is no minute"),
    ("-1 * * * *", "'-1' is no minute"),
    ("* * * * MON#6", "'MON#6' is no day-of-week"),
    ("0 0 30 2 *", "'30' is no day-of-month, or none that its months have"),
    ("0 0 31 4,6,9,11 *", "'31' is no day-of-month, or none that its months have"),
    ("@reboot", "is unknown; of that form there are @hourly, @daily"),
    ("TZ=Europe/Paris 0 2 * * *", "begins with a time zone; write Cron"),
    ("CRON_TZ=UTC 0 2 * * *", "begins with a time zone; write Cron"),
    ("9" * 300 + " * * * *", "at most 255 characters"),
    ("² * * * *", "all ASCII"),
]


@pytest.mark.parametrize(("expression", "message"), REFUSED)
def test_what_is_no_expression(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CronExpression.parse(expression)


@given(st.text(max_size=40) | st.text("0123456789*/,-#LWMONFEB@ ", max_size=40))
def test_any_text_is_an_expression_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        expression = CronExpression.parse(text)
        assert next(expression.after(datetime(2026, 1, 1))) > datetime(2026, 1, 1)  # noqa: DTZ001 - it has no zone


def test_an_expression_that_is_no_text() -> None:
    with pytest.raises(TypeError, match="a cron expression is 5; it must be text"):
        CronExpression.parse(5)  # type: ignore[arg-type]  # wrong on purpose


def test_spaces_make_no_other_expression() -> None:
    assert str(CronExpression.parse(" 0  2 * * *\t")) == "0 2 * * *"


@pytest.mark.parametrize("name", ["America", "Mars/Base", "../UTC", "/etc/passwd", "", "+02:00", "localtime", "a\0b"])
def test_what_is_no_zone(name: str) -> None:
    with pytest.raises(ValueError, match="is unknown; use an IANA name, like 'Europe/Berlin'"):
        find_zone(name)


def test_a_zone_that_is_no_text() -> None:
    with pytest.raises(TypeError, match="a time zone is None"):
        find_zone(None)  # type: ignore[arg-type]  # wrong on purpose


# -- local time: a missing one is due at the gap's end, a doubled one once, at the first (DESIGN section 5)


BERLIN_SPRING = "2026-03-28T23:30Z"  # half past midnight; at 02:00 it becomes 03:00
BERLIN_AUTUMN = "2026-10-24T22:30Z"  # at 03:00 it becomes 02:00
NEW_YORK_SPRING = "2026-03-08T05:30Z"
NEW_YORK_AUTUMN = "2026-11-01T04:30Z"  # at 02:00 it becomes 01:00
LORD_HOWE_SPRING = "2026-10-03T14:00Z"  # at 02:00 it becomes 02:30
LORD_HOWE_AUTUMN = "2026-04-04T13:30Z"  # at 02:00 it becomes 01:30
CHANGES = [
    ("Europe/Berlin", BERLIN_SPRING, "30 2 * * *", ["03-29 03:00+0200", "03-30 02:30+0200"]),
    ("Europe/Berlin", BERLIN_SPRING, "*/15 1-3 * * 0", ["01:00", "01:15", "01:30", "01:45"]),
    ("Europe/Berlin", "2026-03-29T00:45Z", "*/15 * * * *", ["03-29 03:00+0200", "03-29 03:15+0200"]),
    ("Europe/Berlin", "2026-03-29T00:59:59Z", "0 3 * * *", ["03-29 03:00+0200", "03-30 03:00+0200"]),
    ("Europe/Berlin", BERLIN_AUTUMN, "30 2 * * *", ["10-25 02:30+0200", "10-26 02:30+0100"]),
    ("Europe/Berlin", "2026-10-25T00:45Z", "*/15 * * * *", ["10-25 03:00+0100", "10-25 03:15+0100"]),
    ("Europe/Berlin", "2026-10-25T01:20Z", "*/15 * * * *", ["10-25 03:00+0100", "10-25 03:15+0100"]),
    ("America/New_York", NEW_YORK_SPRING, "30 2 * * *", ["03-08 03:00-0400", "03-09 02:30-0400"]),
    ("America/New_York", NEW_YORK_AUTUMN, "30 1 * * *", ["11-01 01:30-0400", "11-02 01:30-0500"]),
    ("America/New_York", NEW_YORK_AUTUMN, "0 * * * *", ["11-01 01:00-0400", "11-01 02:00-0500"]),
    ("Australia/Lord_Howe", LORD_HOWE_SPRING, "15 2 * * *", ["10-04 02:30+1100", "10-05 02:15+1100"]),
    ("Australia/Lord_Howe", LORD_HOWE_SPRING, "0,15 2 * * *", ["10-04 02:30+1100", "10-05 02:00+1100"]),
    ("Australia/Lord_Howe", LORD_HOWE_SPRING, "30 2 * * *", ["10-04 02:30+1100", "10-05 02:30+1100"]),
    ("Australia/Lord_Howe", LORD_HOWE_AUTUMN, "45 1 * * *", ["04-05 01:45+1100", "04-06 01:45+1030"]),
    ("Australia/Lord_Howe", LORD_HOWE_AUTUMN, "15 1 * * *", ["04-05 01:15+1100", "04-06 01:15+1030"]),
    ("Pacific/Apia", "2011-12-29T12:00Z", "0 12 * * *", ["12-29 12:00-1000", "12-31 00:00+1400"]),  # without a 30th
    ("Africa/Monrovia", "1972-01-06T23:00Z", "0 0 * * *", ["01-07 00:44+0000", "01-08 00:00+0000"]),  # 00:44:30
]


@pytest.mark.parametrize(("zone", "after", "expression", "expected"), CHANGES)
def test_when_clocks_are_changed(zone: str, after: str, expression: str, expected: list[str]) -> None:
    found = times(expression, zone, after, len(expected))
    if len(expected[0]) == len("01:00"):
        found = [each[6:11] for each in found]
    assert found == expected


def days_of_change() -> list[tuple[str, datetime]]:
    """Zones, and the midnights in UTC before their clocks are changed; and an ordinary day of each."""
    found: list[tuple[str, datetime]] = []
    for name in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Africa/Casablanca"):
        days = [datetime(1995, 1, 1, tzinfo=UTC) + timedelta(days=each) for each in range(42 * 365)]
        offsets = [day.astimezone(ZoneInfo(name)).utcoffset() for day in days]
        found.append((name, days[40]))
        found += [(name, day) for day, (before, after) in zip(days, pairwise(offsets), strict=False) if before != after]
    return found


MINUTES = st.sampled_from(["*", "*/7", "*/15", "0", "30", "59", "10-20", "5,35"])
HOURS = st.sampled_from(["*", "0", "1", "2", "2-3", "*/2", "23"])
DAYS = st.sampled_from(["*", "*/2"])


@settings(deadline=None)  # an example is thirteen hours long, minute by minute
@given(MINUTES, HOURS, DAYS, st.sampled_from(days_of_change()), st.integers(-60, 1200))
def test_instants_only_grow_and_none_is_left_out(
    minute: str, hour: str, day: str, change: tuple[str, datetime], later: int
) -> None:
    """Told by the rule itself, minute by minute: the first instant at which clocks show the time, or are past it."""
    zone, start = change
    expression = CronExpression.parse(f"{minute} {hour} {day} * *")
    timetable = CronTimetable(expression, find_zone(zone))
    start += timedelta(minutes=later)
    clocks = [(start + timedelta(minutes=each)).astimezone(ZoneInfo(zone)) for each in range(13 * 60)]
    expected: list[int] = []
    latest = clocks[0].replace(tzinfo=None)
    for clock in clocks[1:]:
        shown = clock.replace(tzinfo=None)
        if shown > latest:
            if next(expression.after(latest)) <= shown:
                expected.append(int(clock.timestamp()) * SECOND_US)
            latest = shown
    if clocks[0].fold:
        return  # what was due in the hour before is not known here
    found: list[int] = []
    after_us = int(start.timestamp()) * SECOND_US
    end_us = int(clocks[-1].timestamp()) * SECOND_US
    while (next_us := timetable.next_after(after_us)) is not None and next_us <= end_us:
        found.append(next_us)
        after_us = next_us
    assert found == expected
    assert all(earlier < later for earlier, later in pairwise(found))


def test_the_microsecond_before_counts_and_the_time_itself_does_not() -> None:
    timetable = CronTimetable(CronExpression.parse("0 2 * * *"), find_zone("UTC"))
    due_us = us("2026-01-01T02:00Z")
    assert timetable.next_after(due_us - 1) == due_us
    assert timetable.next_after(due_us) == timetable.next_after(due_us + 1) == due_us + DAY_US


def test_a_time_that_comes_once_in_forty_years_is_found() -> None:
    timetable = CronTimetable(CronExpression.parse("0 0 * 2 MON#5"), find_zone("UTC"))
    assert timetable.next_after(us("2072-02-29T00:00Z")) == us("2112-02-29T00:00Z")


def test_at_the_end_of_time_there_is_none() -> None:
    timetable = CronTimetable(CronExpression.parse("0 0 1 1 *"), find_zone("UTC"))
    assert timetable.next_after(us("9999-12-31T23:00Z")) is None


def test_a_single_time() -> None:
    assert OneTime(7).next_after(6) == 7
    assert OneTime(7).next_after(7) is None
