"""What is wrong with something that a client has written, and where: JSON pointers, all mistakes at once."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import msgspec
from msgspec import Struct, structs

from durably.engine.errors import InvalidInput

__all__ = ["Flaw", "Flaws", "Invalid", "converted", "escape", "fields_of", "is_object"]


class Flaw(NamedTuple):
    """One mistake: a JSON pointer to it, and what it is."""

    pointer: str
    message: str


Flaws: TypeAlias = list[Flaw]


class Invalid(InvalidInput):
    """What was written cannot be taken. `flaws` has all that is wrong with it."""

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        super().__init__("; ".join(flaw.message for flaw in flaws))
        self.flaws = tuple(flaws)


def escape(name: str) -> str:
    """A name as it stands in a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether something that was decoded from JSON is an object."""
    return isinstance(value, dict)


def fields_of(
    kind: type[Struct], given: Mapping[str, Any], at: str, flaws: Flaws, *, elsewhere: Collection[str] = ()
) -> dict[str, Any]:
    """The fields of `kind` that are given and are what their types say. Those in `elsewhere` are not looked at."""
    known = {field.encode_name: field for field in structs.fields(kind)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in known and name not in elsewhere:
            values.update(converted(name, value, known[name].type, f"{at}/{name}", flaws))
        elif name not in known:
            there = f"there is no {name[:100]!r} here; there are {', '.join(known)}"
            flaws.append(Flaw(f"{at}/{escape(name)}", there))
    missing = [name for name, field in known.items() if field.required and name not in given]
    flaws += [Flaw(f"{at}/{name}", f"{name} is required") for name in missing]
    return values


def converted(name: str, value: Any, kind: Any, pointer: str, flaws: Flaws) -> dict[str, Any]:
    """`name` with its value, if that is what `kind` says; else nothing, and a flaw."""
    try:
        return {name: msgspec.convert(value, kind)}
    except msgspec.ValidationError as error:
        flaws.append(Flaw(pointer, f"{name}: {_PATH.sub('', str(error))}"))
        return {}


_PATH = re.compile(r" - at `\$.*`$")
"""What msgspec adds of the place within a value."""
