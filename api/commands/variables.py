"""A frame's local variables in words: short, and without what looks like a secret."""

import re
import reprlib
from types import FrameType
from typing import Any

__all__ = ["local_variables"]

SECRET = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|api_?key|credential|private_?key|authorization|cookie", re.IGNORECASE
)
"""Names whose values nobody should find in a terminal's history or in the log of a CI run."""

REDACTED = "<redacted>"
LONGEST = 160


class _Brief(reprlib.Repr):
    """`repr` that shortens what is long, and survives objects whose own `repr` fails."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = LONGEST
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 8

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        return super().repr_dict({key: _Redacted() if _is_secret(key) else value for key, value in x.items()}, level)


class _Redacted:
    def __repr__(self) -> str:
        return REDACTED


_brief = _Brief()


def local_variables(frame: FrameType) -> list[tuple[str, str]]:
    """Name and value of each, in the order in which they were assigned."""
    return [
        (name, REDACTED if _is_secret(name) else _brief.repr(value))
        for name, value in frame.f_locals.items()
        if not name.startswith("__")
    ]


def _is_secret(name: object) -> bool:
    return isinstance(name, str) and SECRET.search(name) is not None
