"""What a wait asks of an event, as values at paths: `match`, and the topics by which a store finds such waits.

A wait has one topic, a digest of the event's name, its paths and the values there. An arriving event has a topic for
each set of paths that some wait uses. Wait and event match when they share one; so waits are found by an index, at a
cost that does not grow with their number.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeAlias, cast, final

import msgspec

from durably.engine.values.codec import decode_json, encode

__all__ = ["MAX_PATH", "MAX_PATHS", "Match", "Paths", "topics"]

MAX_PATH = 512
"""The most characters of a path."""
MAX_PATHS = 16
"""The most paths of one match."""

Paths: TypeAlias = tuple[str, ...]
"""Dotted paths, sorted."""

_FIELDS = ("name", "data", "id", "ts", "user", "v")
_MISSING = object()


@final
@dataclass(frozen=True, slots=True)
class Match:
    """Paths into an event, sorted, and the value that each must lead to, as canonical JSON.

    A path is the event's field and what follows it, with dots between: `data.order_id`; a number is a place in an
    array: `data.items.0.id`. Keys with dots in them cannot be named; `where` can do that. Values are compared as JSON:
    1 is 1.0 but not `true`, objects whatever the order of their keys. A path that leads nowhere is equal to nothing,
    not to None either.
    """

    paths: Paths = ()
    values: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, match: Mapping[str, Any] | str | None, trigger: Mapping[str, Any] | None) -> "Match":
        """From `match=`: values by path, or one path whose value is that of the run's own event, or nothing.

        `trigger` is that event as decoded from JSON.

        Raises:
            ValueError: a path leads to no field of an event, there are too many, or one path is given and the run has
                no event, or not that field in it.
            TypeError: a path is no text.
            Unencodable: a value has no form in JSON.
        """
        if match is None:
            return cls()
        if isinstance(match, str):
            _check_path(match)
            return cls((match,), (_canonical(_own(match, trigger)),))
        if len(match) > MAX_PATHS:
            raise ValueError(f"match has {len(match)} paths, more than {MAX_PATHS}; say it with where=")
        for path in match:
            _check_path(path)
        paths = tuple(sorted(match))
        return cls(paths, tuple(_canonical(decode_json(encode(match[path]))) for path in paths))

    @property
    def required(self) -> dict[str, Any]:
        """What it asks for, by path, as a run's log keeps it: `Match.of` this is this."""
        return {path: decode_json(value) for path, value in zip(self.paths, self.values, strict=True)}

    def holds(self, event: Mapping[str, Any]) -> bool:
        """Whether an event, as decoded from JSON, has what it asks for."""
        return _values(self.paths, event) == self.values

    def topic(self, name: str) -> str:
        """Under what a wait for such an event of that name is found: 32 hexadecimal digits, always the same."""
        return _digest(name, self.paths, self.values)


def topics(name: str, event: Mapping[str, Any], path_sets: Iterable[Paths]) -> list[str]:
    """The topics of an event, as decoded from JSON: one for each set of paths that it has in full.

    Sets of paths are those of waits, `Match.paths`.
    """
    found = ((paths, _values(paths, event)) for paths in path_sets)
    return [_digest(name, paths, values) for paths, values in found if values is not None]


# -- paths


def _check_path(path: object) -> None:
    if not isinstance(path, str):
        raise TypeError(f"{path!r} in match is no path; a path is text, like 'data.order_id'")
    if len(path) > MAX_PATH:
        raise ValueError(f"a path in match has {len(path)} characters; it must have no more than {MAX_PATH}")
    parts = path.split(".")
    if not all(parts):
        raise ValueError(f"the path {path!r} in match has nothing before, between or after its dots")
    if parts[0] not in _FIELDS:
        likely = path.removeprefix("event.") if parts[0] == "event" else f"data.{path}"
        raise ValueError(
            f"the path {path!r} in match begins with {parts[0]!r}, but an event has {', '.join(_FIELDS)}; "
            f"perhaps {likely!r}?"
        )


def _own(path: str, trigger: Mapping[str, Any] | None) -> Any:
    """The value that a run's own event has there."""
    if trigger is None:
        raise ValueError(
            f"match={path!r} means equal to that of the event that started the run, but no event did; "
            f"give the value: match={{{path!r}: …}}"
        )
    value = _lookup(trigger, path)
    if value is _MISSING:
        raise ValueError(
            f"match={path!r} means equal to that of the event that started the run, but {trigger.get('name')!r} "
            f"has nothing there; give the value: match={{{path!r}: …}}"
        )
    return value


@lru_cache(maxsize=4096)
def _steps(path: str) -> tuple[tuple[str, int], ...]:
    """Each part of a path as a key, and as an index if it can be one, else -1."""
    return tuple((part, int(part) if part.isdecimal() and part.isascii() else -1) for part in path.split("."))


def _lookup(event: Mapping[str, Any], path: str) -> Any:
    value: Any = event
    for key, index in _steps(path):
        if isinstance(value, Mapping):
            value = cast("Mapping[str, Any]", value).get(key, _MISSING)
        elif isinstance(value, list):
            array = cast("Sequence[Any]", value)
            value = array[index] if 0 <= index < len(array) else _MISSING
        else:
            return _MISSING
    return value


def _values(paths: Paths, event: Mapping[str, Any]) -> tuple[bytes, ...] | None:
    """What is at these paths, as canonical JSON; None if one of them leads nowhere."""
    values: list[bytes] = []
    for path in paths:
        value = _lookup(event, path)
        if value is _MISSING:
            return None
        values.append(_canonical(value))
    return tuple(values)


# -- values

_encode_ordered = msgspec.json.Encoder(order="deterministic").encode


def _canonical(value: Any) -> bytes:
    """The same bytes for equal values, and for those only."""
    return _encode_ordered(_exact(value))


def _exact(value: Any) -> Any:
    """With an integer for each float that is one."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        array = cast("Sequence[Any]", value)
        return [_exact(part) for part in array]
    if isinstance(value, dict):
        return {key: _exact(part) for key, part in cast("dict[str, Any]", value).items()}
    return value


def _digest(name: str, paths: Paths, values: tuple[bytes, ...]) -> str:
    """JSON has no line breaks outside of texts, and `\\n` in them: no two triples are joined to the same bytes."""
    return blake2b(b"\n".join((_encode_ordered((name, paths)), *values)), digest_size=16).hexdigest()
