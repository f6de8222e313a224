"""Where suspended code is, in a traceback's words: for errors, and for looking at a run that waits."""

from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["whereabouts"]

_LIBRARIES = frozenset({"anyio", "asyncio", "contextlib", "durably"})


def whereabouts(awaited: Any) -> str:
    """`function (file:line)` of the innermost frame of a coroutine that is not ours or asyncio's."""
    frames = list(_frames(awaited))
    if not frames:
        return "at its end"
    own = [frame for frame in frames if _package(frame) not in _LIBRARIES]
    frame = (own or frames)[-1]
    return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"


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
