"""Limits on what one run and one request may hold (DESIGN sections 3 and 5)."""

from durably.engine.errors import ErrorInfo, NonRetriableError, qualified_names
from durably.engine.records import RunFailed

__all__ = ["MAX_EVENTS", "MAX_RECORDS", "HistoryTooLong", "history_too_long"]

MAX_RECORDS = 50_000
"""Records in one run's history."""
MAX_EVENTS = 5_000
"""Events in one request."""


class HistoryTooLong(NonRetriableError):
    """A run's history has reached its limit. Split the work into several runs."""


def history_too_long(length: int) -> RunFailed:
    """The end of a run whose history has grown too long."""
    types = qualified_names(HistoryTooLong)
    message = f"the history has {length:,} records and {MAX_RECORDS:,} are kept: split the work into several runs"
    return RunFailed(error=ErrorInfo(type=types[0], types=types, message=message))
