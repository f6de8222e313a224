"""Which of the times that are due are fired, and which are left out after downtime: a pure decision."""

from bisect import bisect_left
from typing import Literal, NamedTuple, TypeAlias

from durably.engine.schedules.cron import Timetable
from durably.store.runtime import SECOND_US

__all__ = ["GRACE_US", "MOST_AT_ONCE", "CatchUp", "Due", "decide"]

CatchUp: TypeAlias = Literal["once", "skip", "all"]
"""What becomes of missed times: one run for the last of them, none, or one each in order (CONTRACT section 7)."""

GRACE_US = 60 * SECOND_US
"""Less late than this a time was not missed: the engine was busy, or was started again meanwhile."""

MOST_AT_ONCE = 256
"""How many times are fired in one commit at most; the rest in the next ones. As many as rows in a batch."""


class Due(NamedTuple):
    """What a schedule fires now, in order, and when it is due next."""

    times: tuple[int, ...]
    next_us: int | None
    """At or before now while there are more to catch up; None when it is never due again."""


def decide(timetable: Timetable, position_us: int, now_us: int, catch_up: CatchUp) -> Due:
    """What is fired at `now_us` by a schedule whose first time that was not fired yet is `position_us`.

    The last time that is due is fired under each policy if it is less than `GRACE_US` late, so that an engine that runs
    through leaves out none; `skip` leaves out what is later than that, and `once` all but that last one.
    """
    if position_us > now_us:
        return Due((), position_us)
    if catch_up == "all":
        times = _first_times(timetable, position_us, now_us)
        return Due(times, timetable.next_after(times[-1]))
    last_us = _last_time(timetable, position_us, now_us)
    missed = now_us - last_us > GRACE_US
    return Due(() if missed and catch_up == "skip" else (last_us,), timetable.next_after(now_us))


def _first_times(timetable: Timetable, position_us: int, now_us: int) -> tuple[int, ...]:
    times = [position_us]
    while len(times) < MOST_AT_ONCE:
        next_us = timetable.next_after(times[-1])
        if next_us is None or next_us > now_us:
            break
        times.append(next_us)
    return tuple(times)


def _last_time(timetable: Timetable, position_us: int, now_us: int) -> int:
    """The last time up to now, by bisection: however many were missed, some fifty looks find it.

    After it nothing is due until now, before it something is. The position itself is due even if the timetable, by
    newer rules for its zone, does not know it any more.
    """

    def is_late_enough(at_us: int) -> bool:
        next_us = timetable.next_after(at_us)
        return next_us is None or next_us > now_us

    if is_late_enough(position_us):
        return position_us
    return position_us + bisect_left(range(position_us, now_us), True, key=is_late_enough)
