"""Where a user's code is, in a traceback's words: for errors, and for looking at a run that waits."""

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["called_by", "own_frames", "stack", "whereabouts"]

_LIBRARIES = frozenset({"anyio", "asyncio", "contextlib", "durably"})
_ASYNC_LIBRARIES = frozenset({"anyio", "asyncio"})
_GO_BETWEENS = frozenset({"wait_for"})
"""They await what they are given in a frame of their own, so it is not they who call."""


def whereabouts(awaited: Any) -> str:
    """`function (file:line)` of the innermost frame of a coroutine that is not ours or asyncio's."""
    return _place(own[-1]) if (own := own_frames(awaited)) else _nowhere(awaited)


def stack(awaited: Any) -> str:
    """The same for each such frame, the outermost first: `main (a.py:7) → inner (a.py:3)`."""
    return " → ".join(map(_place, own_frames(awaited))) or _nowhere(awaited)


def called_by(frame: FrameType | None, otherwise: str) -> str:
    """Which function of asyncio or anyio the user called to get here, as users write it: `anyio.open_file`."""
    name = None
    while frame is not None and _package(frame) in _ASYNC_LIBRARIES:
        if frame.f_code.co_name not in _GO_BETWEENS:
            name = _public_name(frame) or name
        frame = frame.f_back
    return name or otherwise


def own_frames(awaited: Any) -> list[FrameType]:
    """The frames of a coroutine and of what it awaits, the outermost first, but for those of ours and of asyncio's.

    None of a step or a child that is handed to `gather`: no line of the user's awaits it in its asyncio task.
    """
    return [frame for frame in _frames(awaited) if _package(frame) not in _LIBRARIES]


def _nowhere(awaited: Any) -> str:
    return "in no line of yours" if any(_frames(awaited)) else "at its end"


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"


def _public_name(frame: FrameType) -> str | None:
    """With the package, if that offers it, else with its module. None for what is private there."""
    name = frame.f_code.co_qualname.partition(".<locals>")[0]
    name = name.removesuffix(".__aenter__").removesuffix(".__init__")
    package, module = _package(frame), str(frame.f_globals["__name__"])
    offered = hasattr(sys.modules[package], name.partition(".")[0])
    full_name = f"{package if offered else module}.{name}"
    return None if "._" in full_name else full_name


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _frames(awaited: Any) -> Iterator[FrameType]:
    """From the outermost coroutine to what it awaits, and so on. Async generators hide what they await."""
    while awaited is not None:
        for prefix, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame: FrameType | None = getattr(awaited, f"{prefix}_frame", None)
            if frame is not None:
                yield frame
                awaited = getattr(awaited, inner)
                break
        else:
            return
