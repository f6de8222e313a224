"""The timer wheel, by tables and against a sorted list."""

import gc
import sys
import weakref
from collections.abc import Callable
from types import FrameType

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType] (hypothesis leaves it untyped)
)

from durably.engine.timing.wheel import FEW_CANCELED, HORIZON_US, LEVELS, SMALL_SLOT, Timer, Wheel

NOW_US = 1_767_225_599_999_937  # 63 µs before 2026: a few steps cross a boundary of every low level
SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
YEAR_US = 365 * 24 * HOUR_US

DELAYS_US = [
    pytest.param(1, id="1-us"),
    pytest.param(255, id="last-slot-of-level-0"),
    pytest.param(256, id="level-1"),
    pytest.param(5_000, id="5-ms"),
    pytest.param(256**2, id="level-2"),
    pytest.param(SECOND_US, id="1-s"),
    pytest.param(256**3 + 1, id="level-3"),
    pytest.param(HOUR_US, id="1-h"),
    pytest.param(24 * HOUR_US, id="1-day"),
    pytest.param(YEAR_US, id="1-year"),
    pytest.param(9_000 * YEAR_US, id="9000-years"),
]


class Thing:
    """Something whose end can be observed."""


def drain(wheel: Wheel[str]) -> tuple[list[str], int]:
    """Advance to `next_due_us` until nothing is left: what came out, and how many times that took."""
    items: list[str] = []
    wakes = 0
    while (now_us := wheel.next_due_us()) is not None:
        items += wheel.advance(now_us)
        wakes += 1
    return items, wakes


def timers_in_memory() -> int:
    gc.collect()
    return sum(isinstance(thing, Timer) for thing in gc.get_objects())


def calls_during(action: Callable[[], object]) -> int:
    """How many Python functions `action` calls: a measure of work that does not depend on the machine."""
    calls = 0

    def count(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("delay_us", DELAYS_US)
def test_given_out_at_its_due_time_and_not_a_microsecond_earlier(delay_us: int) -> None:
    wheel = Wheel[str](NOW_US)
    wheel.add(NOW_US + delay_us, "a")
    assert wheel.advance(NOW_US + delay_us - 1) == []
    assert wheel.advance(NOW_US + delay_us) == ["a"]
    assert wheel.advance(NOW_US + delay_us) == []


@pytest.mark.parametrize("delay_us", DELAYS_US)
def test_a_lone_timer_wakes_the_caller_once(delay_us: int) -> None:
    wheel = Wheel[str](NOW_US)
    wheel.add(NOW_US + delay_us, "a")
    assert wheel.next_due_us() == NOW_US + delay_us


@pytest.mark.parametrize("late_us", [0, 1, HOUR_US, NOW_US, NOW_US + 1])
def test_what_is_past_is_due_at_once(late_us: int) -> None:
    wheel = Wheel[str](NOW_US)
    wheel.add(NOW_US - late_us, "late")
    assert wheel.next_due_us() == NOW_US
    assert wheel.advance(NOW_US) == ["late"]
    assert wheel.next_due_us() is None


def test_order_is_due_time_then_order_of_adding() -> None:
    wheel = Wheel[str](NOW_US)
    for delay_us, item in [(500, "d"), (-3, "b"), (500, "e"), (2, "c"), (500, "f"), (-4, "a")]:
        wheel.add(NOW_US + delay_us, item)
    assert wheel.advance(NOW_US + 500) == ["a", "b", "c", "d", "e", "f"]


def test_order_of_adding_holds_between_timers_added_far_and_near() -> None:
    wheel = Wheel[str](NOW_US)
    due_us = NOW_US + HOUR_US
    wheel.add(due_us, "an hour ahead")
    wheel.advance(due_us - 10 * SECOND_US)
    wheel.add(due_us, "ten seconds ahead")
    wheel.advance(due_us - 100)
    wheel.add(due_us, "0.1 ms ahead")
    assert wheel.advance(due_us) == ["an hour ahead", "ten seconds ahead", "0.1 ms ahead"]


def test_many_timers_of_one_due_time_need_at_most_one_wake_per_level() -> None:
    wheel = Wheel[str](NOW_US)
    expected = [str(number) for number in range(SMALL_SLOT + 1)]
    for item in expected:
        wheel.add(NOW_US + YEAR_US, item)
    items, wakes = drain(wheel)
    assert items == expected
    assert wakes <= LEVELS


def test_huge_jumps_do_not_pass_through_the_time_between() -> None:
    """A year has 31,536,000,000,000 µs: a wheel that stepped through them would not come back."""
    wheel = Wheel[str](NOW_US)
    wheel.add(NOW_US + YEAR_US, "one year")
    wheel.add(NOW_US + 10 * SECOND_US, "ten seconds")
    wheel.add(NOW_US + 3_000 * YEAR_US, "the far future")
    assert wheel.advance(NOW_US + 2 * YEAR_US) == ["ten seconds", "one year"]
    assert wheel.advance(NOW_US + 4_000 * YEAR_US) == ["the far future"]


def test_time_that_goes_back_changes_nothing() -> None:
    wheel = Wheel[str](NOW_US)
    wheel.add(NOW_US - 1, "past")
    wheel.add(NOW_US + 1, "next")
    assert wheel.advance(NOW_US - HOUR_US) == []
    assert wheel.next_due_us() == NOW_US
    assert wheel.advance(NOW_US) == ["past"]
    assert wheel.advance(NOW_US + 1) == ["next"]


def test_the_horizon() -> None:
    wheel = Wheel[str](NOW_US)
    wheel.add(HORIZON_US - 1, "last")
    with pytest.raises(ValueError, match=rf"due_us is {HORIZON_US}, .* check that it is in microseconds"):
        wheel.add(HORIZON_US, "beyond")
    assert len(wheel) == 1
    assert wheel.advance(HORIZON_US - 2) == []
    assert wheel.advance(HORIZON_US * 2) == ["last"]


def test_time_before_the_epoch_is_refused() -> None:
    with pytest.raises(ValueError, match="now_us is -1"):
        Wheel[str](-1)


def test_canceled_timers_are_not_given_out_and_not_counted() -> None:
    wheel = Wheel[str](NOW_US)
    timers = [wheel.add(NOW_US + delay_us, str(delay_us)) for delay_us in (-1, 1, 5_000, HOUR_US)]
    for timer in timers[::2]:
        timer.cancel()
        timer.cancel()
    assert len(wheel) == 2
    assert wheel.advance(NOW_US + HOUR_US) == ["1", str(HOUR_US)]
    assert len(wheel) == 0


def test_with_all_timers_canceled_there_is_nothing_to_wait_for() -> None:
    wheel = Wheel[str](NOW_US)
    for delay_us in (-1, 1, HOUR_US):
        wheel.add(NOW_US + delay_us, "a").cancel()
    assert wheel.next_due_us() is None


def test_canceling_what_was_given_out_does_nothing() -> None:
    wheel = Wheel[str](NOW_US)
    timer = wheel.add(NOW_US + 1, "a")
    wheel.add(NOW_US + 2, "b")
    wheel.advance(NOW_US + 1)
    timer.cancel()
    assert len(wheel) == 1


@pytest.mark.parametrize("end", ["canceled", "given out"])
def test_an_ended_timer_holds_on_to_nothing(end: str) -> None:
    wheel = Wheel[Thing](NOW_US)
    timer = wheel.add(NOW_US + HOUR_US, Thing())
    assert timer.item is not None
    thing = weakref.ref(timer.item)
    if end == "canceled":
        timer.cancel()
    else:
        wheel.advance(NOW_US + HOUR_US)
    gc.collect()
    assert thing() is None


def test_canceled_timers_do_not_pile_up() -> None:
    """Every attempt sets a timeout and cancels it: without sweeping they would lie there for an hour."""
    wheel = Wheel[str](NOW_US)
    before = timers_in_memory()
    for number in range(20 * FEW_CANCELED):
        wheel.add(NOW_US + HOUR_US + number, "timeout").cancel()
    assert timers_in_memory() - before <= FEW_CANCELED + 1


def test_sweeping_keeps_the_live_timers_and_their_order() -> None:
    wheel = Wheel[str](NOW_US)
    past, soon, later = NOW_US - 1, NOW_US + 5_000, NOW_US + YEAR_US
    before = timers_in_memory()
    for number in range(FEW_CANCELED):
        for due_us in (past, soon, later):
            timer = wheel.add(due_us, f"{due_us} {number}")
            if number not in (100, 200):
                timer.cancel()
    assert timers_in_memory() - before <= FEW_CANCELED + 2 * len(wheel) + 1
    items, _ = drain(wheel)
    assert items == [f"{due_us} {number}" for due_us in (past, soon, later) for number in (100, 200)]


def near_power_of_two(exponent: int, offset: int) -> int:
    return (1 << exponent) + offset


@pytest.mark.parametrize("count", [1_000, 10_000])
def test_the_work_per_timer_does_not_grow_with_their_number(count: int) -> None:
    """4 to 6 calls per timer were seen: one or two moves, and a share of a wake-up."""
    wheel = Wheel[str](NOW_US)
    for number in range(count):
        wheel.add(NOW_US + number * HOUR_US // count, "a")
    assert calls_during(lambda: drain(wheel)) < 10 * count
    assert len(wheel) == 0


@pytest.mark.parametrize("step_us", [0, 1])
def test_the_work_per_cancel_does_not_grow_with_the_live_timers(step_us: int) -> None:
    """7 to 13 calls per cancel were seen: add, cancel, advance, and a share of one sweep in 1,256 cancels."""
    live, cancels = 1_000, 5_000
    wheel = Wheel[str](NOW_US)
    for number in range(live):
        wheel.add(NOW_US + (1 + number) * HOUR_US, "a")

    def cancel_one_after_another() -> None:
        for number in range(cancels):
            wheel.add(NOW_US + number * step_us + 1, "timeout").cancel()
            wheel.advance(NOW_US + number * step_us)

    assert calls_during(cancel_one_after_another) < 20 * cancels


delays_us = st.one_of(
    st.integers(-1_000, 1_000),
    st.builds(near_power_of_two, st.integers(8, 52), st.integers(-2, 2)),
    st.integers(0, 60 * SECOND_US),
    st.integers(0, 2 * YEAR_US),
)
bursts = st.one_of(st.just(1), st.just(2), st.integers(1, 2 * FEW_CANCELED))


class WheelAgainstSortedList(RuleBasedStateMachine):
    """`Wheel` beside a list of (due_us, order of adding), whose every answer is obvious."""

    def __init__(self) -> None:
        super().__init__()
        self.now_us = NOW_US
        self.wheel = Wheel[int](self.now_us)
        self.model: list[tuple[int, int]] = []
        self.timers: dict[int, Timer[int]] = {}

    def add(self, due_us: int, count: int) -> None:
        for _ in range(count):
            number = len(self.timers)
            self.timers[number] = self.wheel.add(due_us, number)
            self.model.append((due_us, number))

    def advance(self, now_us: int) -> None:
        self.now_us = now_us
        due = sorted(entry for entry in self.model if entry[0] <= now_us)
        self.model = sorted(entry for entry in self.model if entry[0] > now_us)
        assert self.wheel.advance(now_us) == [number for _, number in due]

    @rule(delay_us=delays_us, count=bursts)
    def add_new(self, delay_us: int, count: int) -> None:
        self.add(self.now_us + delay_us, count)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), offset_us=st.integers(-1, 1), count=bursts)
    def add_near_another(self, data: st.DataObject, offset_us: int, count: int) -> None:
        due_us, _ = data.draw(st.sampled_from(self.model))
        self.add(due_us + offset_us, count)

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def cancel_one(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.timers)))
        self.timers[number].cancel()
        self.model = [entry for entry in self.model if entry[1] != number]

    @rule(nth=st.integers(1, 9))
    def cancel_all_but_every_nth(self, nth: int) -> None:
        for _, number in self.model:
            if number % nth:
                self.timers[number].cancel()
        self.model = [entry for entry in self.model if entry[1] % nth == 0]

    @rule(delay_us=delays_us.map(abs))
    def advance_by(self, delay_us: int) -> None:
        self.advance(self.now_us + delay_us)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), offset_us=st.integers(-1, 1))
    def advance_near_a_due_time(self, data: st.DataObject, offset_us: int) -> None:
        due_us, _ = data.draw(st.sampled_from(self.model))
        self.advance(max(self.now_us, due_us + offset_us))

    @rule()
    def advance_until_something_is_given_out(self) -> None:
        wakes_left = LEVELS + len(self.timers)  # each wake takes down a level, or removes canceled timers
        pending = len(self.model)
        while pending and len(self.model) == pending:
            now_us = self.wheel.next_due_us()
            assert now_us is not None
            self.advance(now_us)
            wakes_left -= 1
            assert wakes_left >= 0, "next_due_us spins"

    @invariant()
    def counts_the_live(self) -> None:
        assert len(self.wheel) == len(self.model)

    @invariant()
    def next_due_is_ahead_and_never_too_late(self) -> None:
        next_due_us = self.wheel.next_due_us()
        if not self.model:
            assert next_due_us is None
            return
        assert next_due_us is not None
        earliest_us = min(self.model)[0]
        if any(due_us <= self.now_us for due_us, _ in self.model):
            assert next_due_us == self.now_us
        else:
            assert self.now_us <= next_due_us <= earliest_us


def test_against_a_sorted_list() -> None:
    run_state_machine_as_test(
        WheelAgainstSortedList, settings=settings(max_examples=300, stateful_step_count=30, deadline=None)
    )
