"""Which statuses of an answer are a success: exact codes and classes, `"201"` and `"2xx"`."""

from collections.abc import Collection
from typing import TypeAlias

from durably.engine.retries.retry import STATUS_PATTERN

__all__ = ["Statuses", "check_statuses", "is_among"]

Statuses: TypeAlias = str | int | Collection[str | int]
"""A code, a class, or several of them: `"2xx"`, `201`, `("2xx", 404)`."""


def is_among(status: int, patterns: Collection[str]) -> bool:
    """Whether a status is one of the codes, or in one of the classes."""
    return str(status) in patterns or f"{status // 100}xx" in patterns


def check_statuses(given: Statuses, name: str = "success_status") -> tuple[str, ...]:
    """The statuses in the form they are kept in: text in lower case."""
    allowed = "a code from 100 to 599, a class from '1xx' to '5xx', or several of them"
    items = [given] if isinstance(given, str | int) else list(given)
    patterns = tuple(str(item).lower() for item in items)
    if not patterns or not all(map(STATUS_PATTERN.fullmatch, patterns)):
        raise ValueError(f"{name} is {given!r}; it must be {allowed}")
    return patterns
