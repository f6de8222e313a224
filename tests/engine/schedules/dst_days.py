"""What schedules do on the days on which clocks are changed, and where croniter does otherwise.

`python -m tests.engine.schedules.dst_days` writes both tables into docs/schedules.md. croniter shares no code with what
is used here: on all other days both agree, which `test_dst_days.py` checks over ten years.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from croniter import croniter

from durably.engine.schedules.cron import CronExpression, CronTimetable, find_zone

__all__ = ["EXPRESSIONS", "PAGE", "ZONES", "days_of_change", "differences", "fill", "local", "ours", "render", "theirs"]

PAGE = Path(__file__).parents[3] / "docs/schedules.md"
BEGIN = "<!-- written by `python -m tests.engine.schedules.dst_days` -->\n"
END = "<!-- end of what is written -->\n"

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
EXPRESSIONS = (
    "30 2 * * *",
    "45 1 * * *",
    "0 1-3 * * SUN,MON",
    "*/20 1,2 * * SUN",
    "0 * * 3,4,10,11 SUN",
    "15,45 2 * 3,4,10,11 SUN",
    "0 6-18/6 * * 3",
    "5 23 * * MON-FRI",
    "0 0 * * *",
    "59 23 L * *",
    "0 12 1,15 * 1",
    "0 0 29 2 *",
)
SHOWN = ("45 1 * * *", "15 2 * * *", "*/30 1-3 * * *")
"""What the first table shows, of the year 2026."""
MISSING = "a missing time is due at the gap's end"
DOUBLED = "a doubled time is due once, at the first"
FROM_S, UNTIL_S = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2026, 2036))


# -- instants, in seconds since the epoch, as clocks show them twice


@cache
def ours(expression: str, zone: str) -> list[int]:
    """When a schedule is due in these ten years."""
    timetable = CronTimetable(CronExpression.parse(expression), find_zone(zone))
    found: list[int] = []
    after_us: int | None = FROM_S * 1_000_000
    while (after_us := timetable.next_after(after_us)) is not None and after_us < UNTIL_S * 1_000_000:
        found.append(after_us // 1_000_000)
    return found


@cache
def theirs(expression: str, zone: str) -> list[int]:
    """The same by croniter."""
    times: Iterator[float] = croniter(expression, local(FROM_S, zone), ret_type=float)
    return [int(each) for each in takewhile(lambda each: each < UNTIL_S, times)]


def local(second: int, zone: str) -> datetime:
    """What clocks show."""
    return datetime.fromtimestamp(second, ZoneInfo(zone))


def days_of_change(zone: str) -> list[date]:
    """The days on which the zone's clocks are changed."""
    days = [local(FROM_S, zone).date() + timedelta(days=each) for each in range(3652)]
    return [day for day in days if _offset(day, zone) != _offset(day + timedelta(days=1), zone)]


def _offset(day: date, zone: str) -> timedelta:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).utcoffset() or timedelta()


# -- tables


class Difference(NamedTuple):
    """What only one of both has on a day."""

    zone: str
    clocks: str
    expression: str
    ours: str
    theirs: str

    @property
    def rule(self) -> str:
        """Why it is as it is here."""
        return MISSING if self.ours else DOUBLED


def differences(expression: str, zone: str) -> dict[Difference, list[date]]:
    """In which ways both differ, and on which days."""
    own, other = set(ours(expression, zone)), set(theirs(expression, zone))
    by_day: defaultdict[date, list[int]] = defaultdict(list)
    for second in sorted(own ^ other):
        by_day[local(second, zone).date()].append(second)
    found: defaultdict[Difference, list[date]] = defaultdict(list)
    for day, seconds in by_day.items():
        only_ours = _times((each for each in seconds if each in own), zone)
        only_theirs = _times((each for each in seconds if each in other), zone)
        found[Difference(zone, _clocks(day, zone), expression, only_ours, only_theirs)].append(day)
    return found


def _clocks(day: date, zone: str) -> str:
    """`at 02:00 they show 03:00`, of a day of change."""
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp())
    minutes = range(midnight, midnight + 86_400, 60)
    offset = local(midnight, zone).utcoffset() or timedelta()
    change = next((each for each in minutes if local(each, zone).utcoffset() != offset), None)
    if change is None:
        return "not changed"
    return f"at {datetime.fromtimestamp(change, UTC) + offset:%H:%M} they show {local(change, zone):%H:%M}"


def _times(seconds: Iterable[int], zone: str) -> str:
    return ", ".join(f"{local(each, zone):%H:%M (%z)}" for each in seconds)


def render() -> str:
    """The tables."""
    return "".join([BEGIN, "\n", *_days_of_2026(), "\n", *_all_differences(), "\n", END])


def _days_of_2026() -> Iterator[str]:
    yield "| zone | day | clocks | schedule | due |\n|---|---|---|---|---|\n"
    for zone in ZONES:
        for day in days_of_change(zone)[:2]:
            for expression in SHOWN:
                seconds = [each for each in ours(expression, zone) if local(each, zone).date() == day]
                clocks = _clocks(day, zone)
                yield f"| {zone} | {day} | {clocks} | `{expression}` | {_times(seconds, zone)} |\n"


def _all_differences() -> Iterator[str]:
    yield "| zone | clocks | schedule | only here | only croniter | the rule here | days |\n"
    yield "|---|---|---|---|---|---|---|\n"
    for zone in ZONES:
        for expression in EXPRESSIONS:
            for each, days in differences(expression, zone).items():
                only = f"{each.ours or 'none'} | {each.theirs or 'none'}"
                yield f"| {zone} | {each.clocks} | `{expression}` | {only} | {each.rule} | {len(days)} |\n"


def fill(page: str) -> str:
    """The page with the tables as they are now."""
    before, _, rest = page.partition(BEGIN)
    return before + render() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text()))
