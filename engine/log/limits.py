"""Limits on what one run and one request may hold (DESIGN sections 3 and 5)."""

from durably.engine.errors import ErrorInfo, NonRetriableError, qualified_names
from durably.engine.log.records import RunFailed

__all__ = [
    "MAX_BYTES",
    "MAX_EVENTS",
    "MAX_RECORDS",
    "HistoryTooLong",
    "history_too_long",
    "nearly_full",
    "too_long",
]

MAX_RECORDS = 50_000
"""Records in one run's history."""
MAX_BYTES = 50 * 1024 * 1024
"""Bytes of JSON in one run's history."""
MAX_EVENTS = 5_000
"""Events in one request."""


class HistoryTooLong(NonRetriableError):  # noqa: N818 - the design's name
    """A run's history has reached its limit. Split the work into several runs."""


def too_long(records: int, size: int) -> bool:
    """Whether a history of so many records and bytes may not grow any more."""
    return records > MAX_RECORDS or size > MAX_BYTES


def nearly_full(records: int, size: int) -> bool:
    """Whether a history has 80 % of what it may have: time to warn (DESIGN section 3)."""
    return records * 5 >= MAX_RECORDS * 4 or size * 5 >= MAX_BYTES * 4


def history_too_long(records: int, size: int) -> RunFailed:
    """The end of a run whose history has grown too long."""
    types = qualified_names(HistoryTooLong)
    message = (
        f"the history has {records:,} records and {size:,} bytes; {MAX_RECORDS:,} records and {MAX_BYTES:,} bytes are "
        "kept. Split the work into several runs"
    )
    return RunFailed(error=ErrorInfo(type=types[0], types=types, message=message))
