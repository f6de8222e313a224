"""Where two JSON values differ: paths and values, for errors and for people who compare runs."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeGuard

import msgspec

__all__ = ["ABSENT", "Difference", "differences"]

ABSENT: Final = msgspec.UNSET
"""Stands for a value that only the other side has."""


class Difference(NamedTuple):
    """One place in which two values differ: `items[0].price`, or the empty path for the whole."""

    path: str
    before: Any
    after: Any

    def text(self, most: int = 120) -> str:
        """`items[0].price: 100, now 250`, each value cut to `most` characters."""
        path = f"{self.path}: " if self.path else ""
        return f"{path}{_shown(self.before, most)}, now {_shown(self.after, most)}"


def differences(before: Any, after: Any, path: str = "") -> Iterator[Difference]:
    """The innermost places in which two decoded JSON values differ, in the order of the first."""
    if _is_object(before) and _is_object(after):
        for name in [*before, *(name for name in after if name not in before)]:
            inner = name if not path else f"{path}.{name}"
            yield from differences(before.get(name, ABSENT), after.get(name, ABSENT), inner)
    elif _is_array(before) and _is_array(after) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif type(before) is not type(after) or before != after:
        yield Difference(path, before, after)


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_array(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list)


def _shown(value: Any, most: int) -> str:
    if value is ABSENT:
        return "absent"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
