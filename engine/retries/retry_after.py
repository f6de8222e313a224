"""When a failed call may be made again, in every form in which that is said.

Services answer with a `Retry-After` header, steps raise `RetryAfterError`. Reading one is a pure function of
the value and the time: the caller brings the clock.
"""

import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeAlias

__all__ = ["RetryAfter", "parse"]

RetryAfter: TypeAlias = float | timedelta | datetime | str
"""Seconds, a `timedelta`, the moment itself (a naive one is UTC), or the text of a `Retry-After` header."""

SHORTEST_S = 1
LONGEST_S = 86_400
"""Clipped to 1 s … 24 h (DESIGN section 5): a date just gone still means "not at once", and no answer of a
foreign service may put a run to sleep for a year."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?")


def parse(value: object, now_us: int) -> float | None:
    """The seconds to wait from `now_us` on, from 1 to 86,400; None if `value` cannot be read.

    Text is a number of seconds, an HTTP date (RFC 9110 section 5.6.7: the RFC 1123, RFC 850 and asctime
    forms), or an ISO 8601 date with or without a time; a time without an offset is UTC. A moment in the past
    is 1 s, and so is 0 or a negative number; the text "-5" is no valid header and cannot be read.

    `value` should be a `RetryAfter`; anything else cannot be read. `headers.get("Retry-After")` is None often
    enough, and must not turn one error into another.
    """
    if isinstance(value, str):
        return _parse_text(value.strip(), now_us)
    if isinstance(value, datetime):
        return _until(value, now_us)
    if isinstance(value, timedelta):
        return _clip(value.total_seconds())
    if not isinstance(value, (int, float)):
        return None
    seconds = _clip(value)
    return None if math.isnan(seconds) else seconds


def _parse_text(text: str, now_us: int) -> float | None:
    if DECIMAL.fullmatch(text):
        return _clip(float(text))  # not int(), which refuses thousands of digits; infinity is clipped
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return _until(read(text), now_us)
        except ValueError:
            continue
    return None


def _until(moment: datetime, now_us: int) -> float:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return _clip(((aware - EPOCH) // timedelta(microseconds=1) - now_us) / 1_000_000)


def _clip(seconds: float) -> float:
    return float(min(max(seconds, SHORTEST_S), LONGEST_S))
