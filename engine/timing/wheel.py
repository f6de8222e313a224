"""Which of very many pending timers are due, at a constant cost per timer (DESIGN rule 11).

Pure integers: no clock, no I/O, no event loop. The caller says what time it is and waits until `next_due_us`.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Generic, TypeVar

__all__ = ["HORIZON_US", "Timer", "Wheel"]

T = TypeVar("T")

DIGIT_BITS = 8
LEVELS = 8

HORIZON_US = 1 << DIGIT_BITS * LEVELS
"""Where the wheel ends: 2**64 µs after the Unix epoch, 584,542 years."""

SMALL_SLOT = 16
"""A slot of up to this many timers is searched for the earliest; a larger one is entered at its start."""

FEW_CANCELED = 256
"""Canceled timers that may lie in the wheel however few are live: sweeping for fewer is not worth it."""

_SLOTS = 1 << DIGIT_BITS


class Timer(Generic[T]):
    """A timer in a `Wheel`, made by `Wheel.add`."""

    __slots__ = ("_wheel", "due_us", "item")

    def __init__(self, wheel: "Wheel[T]", due_us: int, item: T) -> None:
        self._wheel = wheel
        self.due_us = due_us
        self.item: T | None = item
        """What is given out when the timer is due; None once it has been given out or canceled."""

    def cancel(self) -> None:
        """Let go of the item now, so that what it refers to is freed. Harmless when there is none."""
        if self.item is not None:
            self.item = None
            self._wheel.note_canceled()


_due_us: Callable[[Timer[Any]], int] = attrgetter("due_us")


class Wheel(Generic[T]):
    """A hierarchical timing wheel with a resolution of one microsecond.

    Time is read as eight digits in base 256, and each digit has a level of 256 slots. A timer waits at the
    level of the highest digit in which its due time differs from the present, in the slot named by its own
    digit there. When time enters that slot, the timer moves down to a lower level or is given out.

        level   one slot lasts   all 256 last
        0       1 µs             256 µs
        1       256 µs           65.5 ms
        2       65.5 ms          16.8 s
        3       16.8 s           71.6 min
        4       71.6 min         12.7 days
        5       12.7 days        8.9 years
        6       8.9 years        2,283 years
        7       2,283 years      584,542 years (`HORIZON_US`: `add` refuses what lies beyond)

    Resolution: that of engine time, so nothing is early, nothing is rounded, and a virtual clock sees exact
    due times. Ticks of 1 ms were measured too: 3 % less work, and no fewer wake-ups, because how often a live
    event loop wakes is up to its selector (1 ms for epoll).

    Prior art: G. Varghese, T. Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987), scheme 7. Choosing
    the level by differing digit instead of by distance keeps the timers of one due time in one slot, in the
    order they were added in, and keeps every slot in use ahead of the present.

    Why lists: appending to a list is the cheapest way to keep an object. Finding it there again is not, so a
    canceled timer stays, empty, until its slot is entered or empty timers outnumber the live ones. They are
    then swept out in one go: 1.5 ms for 10,000 of them, 0.1 s for half a million.

    Why integers as bitmaps: the lowest bit set is the next slot in use, however many empty ones lie before
    it, so crossing a year costs what crossing a second does.

    Cost per timer, with a million of them: `benchmarks/bench_timers.py`.
    """

    __slots__ = ("_cancels", "_live", "_now_us", "_occupied", "_overdue", "_slots")

    def __init__(self, now_us: int) -> None:
        if now_us < 0:
            raise ValueError(f"now_us is {now_us}: a wheel counts microseconds since the epoch, from 0 on")
        self._now_us = now_us
        self._live = 0
        self._cancels = 0  # since the last sweep
        self._overdue: list[Timer[T]] = []  # due already when they were added
        self._slots: list[dict[int, list[Timer[T]]]] = [{} for _ in range(LEVELS)]
        self._occupied = [0] * LEVELS  # the keys of _slots, as bits

    def __len__(self) -> int:
        """How many timers are neither given out nor canceled."""
        return self._live

    def add(self, due_us: int, item: T) -> Timer[T]:
        """Have `item` given out by the first `advance` that reaches `due_us`; the next one if that is past.

        `item` must not be None, which marks an empty timer. Raises ValueError from `HORIZON_US` on.
        """
        if due_us >= HORIZON_US:
            raise ValueError(
                f"due_us is {due_us}, beyond the end of the timer wheel at {HORIZON_US} (in 584,542 years): "
                "check that it is in microseconds, and clip what is meant as 'never'"
            )
        timer = Timer(self, due_us, item)
        self._live += 1
        self._place(timer)
        return timer

    def advance(self, now_us: int) -> list[T]:
        """Move the present to `now_us` and give out all items due by then, by due time, then as added.

        A time before the present changes nothing and gives nothing.
        """
        if now_us < self._now_us:
            return []
        due: list[Timer[T]] = []
        for timer in self._enter(now_us):
            if timer.item is None:
                continue
            if timer.due_us <= now_us:
                due.append(timer)
            else:
                self._place(timer)
        self._live -= len(due)
        due.sort(key=_due_us)  # stable; timers of one due time come from one slot, in order of adding
        items = [timer.item for timer in due if timer.item is not None]
        for timer in due:
            timer.item = None
        return items

    def next_due_us(self) -> int | None:
        """When to `advance` next: never later than the earliest due time. None if no timer is live.

        It is the present if a timer was added too late, else ahead of it. Advancing to it may give nothing,
        when a slot of many timers is to be entered or the earliest was canceled, but always makes progress.
        """
        if not self._live:
            return None
        if self._overdue:
            return self._now_us
        level = 0
        while not (occupied := self._occupied[level]):
            level += 1
        key = _lowest_bit(occupied)
        slot = self._slots[level][key]
        if len(slot) <= SMALL_SLOT:
            return min(map(_due_us, slot))
        shift = level * DIGIT_BITS
        return (self._now_us >> shift & -_SLOTS | key) << shift

    def note_canceled(self) -> None:
        """A live timer has become empty; `Timer.cancel` says so."""
        self._live -= 1
        self._cancels += 1
        if self._cancels > self._live + FEW_CANCELED:
            self._sweep()

    def _place(self, timer: Timer[T]) -> None:
        """Put a timer into the slot where it belongs, seen from the present."""
        due_us = timer.due_us
        if due_us <= self._now_us:
            self._overdue.append(timer)
            return
        level = ((due_us ^ self._now_us).bit_length() - 1) // DIGIT_BITS
        key = due_us >> level * DIGIT_BITS & _SLOTS - 1
        slot = self._slots[level].get(key)
        if slot is None:
            self._slots[level][key] = [timer]
            self._occupied[level] |= 1 << key
        else:
            slot.append(timer)

    def _enter(self, now_us: int) -> list[Timer[T]]:
        """Make `now_us` the present, and take out the timers of all slots that it has passed or is now in."""
        top = ((self._now_us ^ now_us).bit_length() - 1) // DIGIT_BITS
        self._now_us = now_us
        timers, self._overdue = self._overdue, []
        for level in range(min(top + 1, LEVELS)):
            entered = self._occupied[level]
            if level == top:  # below the highest digit that changed, every slot is in the past
                digit = now_us >> level * DIGIT_BITS & _SLOTS - 1
                entered &= (2 << digit) - 1
            self._occupied[level] ^= entered
            while entered:
                key = _lowest_bit(entered)
                entered ^= 1 << key
                timers += self._slots[level].pop(key)
        return timers

    def _sweep(self) -> None:
        """Drop all empty timers: a look at two timers at most for each cancel since the last sweep."""
        self._cancels = 0
        self._overdue = _live(self._overdue)
        for level, slots in enumerate(self._slots):
            kept = {key: timers for key, slot in slots.items() if (timers := _live(slot))}
            self._slots[level] = kept
            self._occupied[level] = sum(1 << key for key in kept)


def _live(timers: list[Timer[T]]) -> list[Timer[T]]:
    return [timer for timer in timers if timer.item is not None]


def _lowest_bit(mask: int) -> int:
    """The position of the lowest bit set in a mask that is not 0."""
    return (mask & -mask).bit_length() - 1
