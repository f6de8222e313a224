"""A guard for development and tests: a workflow that opens a socket, thread or process is stopped before it does.

asyncio's ways to do so are refused by the loop itself, always. This is for the ways around it, `socket.socket()` or
`subprocess.run()` called as they are. It is an audit hook, which Python cannot remove again and which costs up to
0.6 µs for each audited call, so production does without it. Clocks and randomness raise no audit event.
"""

import asyncio
import sys
from types import FrameType
from typing import Any

from durably.engine.errors import Forbidden
from durably.engine.loop.run_loop import RunLoop

__all__ = ["install"]

FORBIDDEN = (
    "_thread.start_",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "shutil.",
    "socket.",
    "sqlite3.connect",
    "subprocess.Popen",
    "time.sleep",
    "urllib.Request",
)
"""Beginnings of the names of audit events. Python 3.11 has none for threads."""

_installed = False


def install() -> None:
    """Guard every workflow of this process from here on."""
    global _installed  # noqa: PLW0603 - audit hooks are per process and for ever
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)


def _hook(event: str, _arguments: tuple[Any, ...]) -> None:
    if event == "open":
        if type(asyncio._get_running_loop()) is RunLoop and not _importing():
            raise Forbidden("open()")
    elif event.startswith(FORBIDDEN) and type(asyncio._get_running_loop()) is RunLoop and not _importing():
        raise Forbidden(f"{event}()")


def _importing() -> bool:
    """Whether the call comes from an import statement, which reads files and is no effect of the workflow."""
    frame: FrameType | None = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]  # documented
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
