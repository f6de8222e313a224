"""Which of the times that are due are fired: one or several, now or after downtime."""

from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durably.engine.schedules.catch_up import MOST_AT_ONCE, CatchUp, Due, decide
from durably.engine.schedules.cron import CronExpression, CronTimetable, OneTime, find_zone

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US


def us(text: str) -> int:
    """A time of 2026 in UTC."""
    return int(datetime.fromisoformat(f"2026-{text}Z").timestamp()) * SECOND_US


def every(expression: str) -> CronTimetable:
    return CronTimetable(CronExpression.parse(expression), find_zone("UTC"))


HOURLY = every("0 * * * *")
MINUTELY = every("* * * * *")
POLICIES: list[CatchUp] = ["once", "skip", "all"]


@pytest.mark.parametrize("policy", POLICIES)
class TestUnderEveryPolicy:
    def test_nothing_is_due_yet(self, policy: CatchUp) -> None:
        assert decide(HOURLY, us("01-05T10:00"), us("01-05T10:00") - 1, policy) == Due((), us("01-05T10:00"))

    @pytest.mark.parametrize("late_us", [0, 1, 5_000, 59 * SECOND_US])
    def test_what_is_a_little_late_was_not_missed(self, policy: CatchUp, late_us: int) -> None:
        due_us = us("01-05T10:00")
        assert decide(HOURLY, due_us, due_us + late_us, policy) == Due((due_us,), us("01-05T11:00"))

    def test_a_clock_that_was_set_back_fires_nothing_again(self, policy: CatchUp) -> None:
        assert decide(HOURLY, us("01-05T10:00"), us("01-03T07:30"), policy) == Due((), us("01-05T10:00"))

    def test_a_single_time_is_never_due_again(self, policy: CatchUp) -> None:
        assert decide(OneTime(5), 5, 6, policy) == Due((5,), None)


MISSED: list[tuple[CatchUp, list[str]]] = [
    ("once", ["13:00"]),
    ("skip", []),
    ("all", ["10:00", "11:00", "12:00", "13:00"]),
]


@pytest.mark.parametrize(("policy", "fired"), MISSED)
def test_after_downtime(policy: CatchUp, fired: list[str]) -> None:
    """Contract: `once` gives one run for the last of them, `all` one each in order, `skip` none."""
    due = decide(HOURLY, us("01-05T10:00"), us("01-05T13:20"), policy)
    assert due == Due(tuple(us(f"01-05T{each}") for each in fired), us("01-05T14:00"))


@pytest.mark.parametrize(("policy", "fired"), [("once", ["13:00"]), ("skip", ["13:00"]), ("all", ["12:00", "13:00"])])
def test_after_downtime_when_the_last_is_due_just_now(policy: CatchUp, fired: list[str]) -> None:
    due = decide(HOURLY, us("01-05T12:00"), us("01-05T13:00:30"), policy)
    assert due == Due(tuple(us(f"01-05T{each}") for each in fired), us("01-05T14:00"))


def test_all_comes_in_parts_that_follow_each_other() -> None:
    position_us: int | None = us("01-05T00:00")
    now_us = us("01-05T13:20")
    parts: list[tuple[int, ...]] = []
    while position_us is not None and position_us <= now_us:
        times, position_us = decide(MINUTELY, position_us, now_us, "all")
        parts.append(times)
    assert [len(part) for part in parts] == [MOST_AT_ONCE] * 3 + [13 * 60 + 21 - 3 * MOST_AT_ONCE]
    fired = [each for part in parts for each in part]
    assert fired == list(range(us("01-05T00:00"), now_us + 1, MINUTE_US))
    assert position_us == now_us + MINUTE_US


class Counting:
    """A timetable that counts how often it is asked."""

    def __init__(self, timetable: CronTimetable) -> None:
        self.timetable = timetable
        self.asked = 0

    def next_after(self, after_us: int) -> int | None:
        self.asked += 1
        return self.timetable.next_after(after_us)


@pytest.mark.parametrize("policy", ["once", "skip"])
def test_the_last_of_millions_is_found_in_a_few_looks(policy: CatchUp) -> None:
    """As when the clock of a machine without a battery is set from 1970 to now."""
    counting = Counting(MINUTELY)
    times, next_us = decide(counting, 0, us("01-05T13:20:59"), policy)
    assert times == (us("01-05T13:20"),)
    assert next_us == us("01-05T13:21")
    assert counting.asked < 60


def test_a_position_that_newer_rules_of_a_zone_do_not_know_is_due_all_the_same() -> None:
    position_us = us("01-05T10:30")
    assert decide(HOURLY, position_us, position_us + 5, "once") == Due((position_us,), us("01-05T11:00"))


EXPRESSIONS = st.sampled_from(["* * * * *", "*/5 * * * *", "0 * * * *", "* 2 * * *", "30 4 * * 1", "0 0 1 * *"])


@settings(deadline=None)  # an example has up to 2,000 times
@given(EXPRESSIONS, st.integers(0, 400 * 24 * 60), st.sampled_from(POLICIES))
def test_what_is_decided_is_what_going_through_all_times_gives(expression: str, minutes: int, policy: CatchUp) -> None:
    timetable = every(expression)
    position_us = timetable.next_after(us("01-05T10:10"))
    assert position_us is not None
    now_us = position_us + minutes * MINUTE_US // 10
    due_times: list[int] = []
    next_us: int | None = position_us
    while next_us is not None and next_us <= now_us and len(due_times) < 2_000:
        due_times.append(next_us)
        next_us = timetable.next_after(next_us)
    if len(due_times) == 2_000:
        return
    times, after_us = decide(timetable, position_us, now_us, policy)
    if policy == "all":
        assert list(times) == due_times[:MOST_AT_ONCE]
        assert after_us == [*due_times, next_us][len(times)]
    else:
        is_missed = now_us - due_times[-1] > MINUTE_US
        assert list(times) == ([] if policy == "skip" and is_missed else due_times[-1:])
        assert after_us == next_us
