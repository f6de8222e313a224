"""pdb in a frame of a run that is parked: to look around in code that stands still."""

import pdb  # noqa: T100 - that is what it is for
import sys
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

__all__ = ["open_debugger"]


class _Debugger(pdb.Pdb):
    """pdb on the frames of suspended coroutines: what awaits one is not its caller, so that pdb would not find it."""

    def __init__(self, frames: Sequence[FrameType]) -> None:
        super().__init__(nosigint=True)
        self.prompt = "(durably) "
        self._frames = frames

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        if t is not None:
            return super().get_stack(f, t)
        return [(frame, frame.f_lineno) for frame in self._frames], len(self._frames) - 1

    def _stands_still(self, arg: str) -> bool | None:  # noqa: ARG002 - as pdb calls it
        self.message("The code stands still: it goes on when its run gets an outcome. Look around with up, down, p, pp")
        return None

    do_step = do_s = do_next = do_n = do_until = do_unt = do_return = do_r = do_jump = do_j = _stands_still


def open_debugger(frames: Sequence[FrameType], error: BaseException | None = None) -> None:
    """pdb in the innermost of the frames, `up` leading to what awaits it; or, with an error, where it was raised."""
    debugger = _Debugger(frames)
    trace: Any = None if error is None else error.__traceback__
    debugger.reset()
    try:
        debugger.interaction(None, trace)
    finally:
        sys.settrace(None)
