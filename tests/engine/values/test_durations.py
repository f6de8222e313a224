import math
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably.engine.values.durations import Duration, to_seconds, to_us


@pytest.mark.parametrize(
    ("duration", "seconds", "microseconds"),
    [
        (0, 0.0, 0),  # due at once
        (0.0, 0.0, 0),
        (1, 1.0, 1_000_000),
        (1.1, 1.1, 1_100_000),  # the nearest binary number is 1.100000000000000088…
        (0.1 + 0.2, 0.30000000000000004, 300_001),  # up
        (1e-7, 1e-7, 1),  # up
        (5e-324, 5e-324, 1),  # the smallest float there is, up
        (timedelta(microseconds=1), 1e-6, 1),
        (timedelta(days=14), 1_209_600.0, 1_209_600_000_000),
        (timedelta(days=365_000, microseconds=7), 365_000 * 86_400 + 7e-6, 365_000 * 86_400_000_000 + 7),
        (timedelta(days=365_250), 31_557_600_000.0, 31_557_600_000_000_000),  # a thousand years is the most
    ],
)
def test_seconds_and_microseconds(duration: Duration, seconds: float, microseconds: int) -> None:
    assert to_seconds(duration) == seconds
    assert to_us(duration) == microseconds


@pytest.mark.parametrize(
    "duration",
    [
        -1,
        -1e-9,
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        31_557_600_001,
        timedelta(microseconds=-1),
        timedelta.max,
    ],
)
def test_what_is_no_duration_is_a_value_error_that_names_it(duration: Duration) -> None:
    for convert in (to_seconds, to_us):
        with pytest.raises(ValueError, match=r"^timeout is .*; it must be from 0 to 365,250 days"):
            convert(duration, "timeout")


@pytest.mark.parametrize("duration", ["1", None, Decimal(1), [1]])
def test_another_type_is_a_type_error_that_says_what_to_give(duration: Any) -> None:
    for convert in (to_seconds, to_us):
        with pytest.raises(TypeError, match=r"^delay is .*give a number of seconds or a timedelta"):
            convert(duration, "delay")


@given(st.floats(0, 31_557_600_000))
def test_never_early_and_never_a_microsecond_late(seconds: float) -> None:
    late = to_us(seconds) - Fraction(repr(seconds)) * 1_000_000
    assert 0 <= late < 1
