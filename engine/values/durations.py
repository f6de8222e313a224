"""Durations as users give them: a number of seconds or a `timedelta`, everywhere (CONTRACT section 1)."""

import math
from datetime import timedelta
from fractions import Fraction
from typing import TypeAlias

__all__ = ["MAX_DAYS", "Duration", "to_seconds", "to_us"]

Duration: TypeAlias = float | timedelta
"""A number of seconds, or a `timedelta`."""

MICROSECOND = timedelta(microseconds=1)
MAX_DAYS = 365_250
"""A thousand years: what is due after that has no date, and later still no room in a 64-bit integer."""


def to_seconds(duration: Duration, name: str = "duration") -> float:
    """The duration in seconds. `name` is what an error calls it.

    0 is a duration like any other: due at once (CONTRACT section 7).

    Raises:
        ValueError: it is negative, not a number, or over a thousand years.
        TypeError: it is neither a number nor a `timedelta`.
    """
    seconds = _seconds(duration, name)
    if not 0 <= seconds <= MAX_DAYS * 86_400:  # False for NaN too
        raise ValueError(f"{name} is {duration!r}; it must be from 0 to {MAX_DAYS:,} days (a thousand years)")
    return float(seconds)


def to_us(duration: Duration, name: str = "duration") -> int:
    """The duration in whole microseconds, rounded up, so that nothing is due early (DESIGN rule 11).

    A float counts as the decimal it is written as: 1.1 gives 1,100,000 and not 1,100,001, although the
    nearest binary number to 1.1 lies a little above it. Errors are those of `to_seconds`.
    """
    seconds = to_seconds(duration, name)
    if isinstance(duration, timedelta):
        return duration // MICROSECOND
    return math.ceil(Fraction(str(seconds)) * 1_000_000)


def _seconds(duration: object, name: str) -> float:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, (int, float)):
        return duration
    kind = type(duration).__name__
    raise TypeError(f"{name} is {duration!r}, a {kind}; give a number of seconds or a timedelta")
