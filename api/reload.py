"""When code changes, and how a process becomes a new one with the new code: for `durably dev`."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import watchfiles

from durably.store.runtime import SystemClock

__all__ = ["Watch", "execute_again"]


class Watch:
    """Watches the Python files of a folder, from the moment it is made on: make it before the code is imported."""

    def __init__(self) -> None:
        self._since_ns = SystemClock().wall_us() * 1000

    async def changed(self, folder: Path) -> list[Path]:
        """The files that have changed, once some have."""
        waiting = asyncio.ensure_future(_next_changes(folder))
        await asyncio.sleep(0)  # in its first step it begins to watch; what came before is seen here
        early = [file for file in _loaded_from(folder) if self._is_newer(file)]
        if early:
            waiting.cancel()
            return early
        return await waiting

    def _is_newer(self, file: Path) -> bool:
        try:
            return file.stat().st_mtime_ns > self._since_ns
        except OSError:  # gone in this moment: what comes in its place is a change of its own
            return False


async def _next_changes(folder: Path) -> list[Path]:
    changes: set[tuple[watchfiles.Change, str]]
    # pyright does not know the types of trio, which its stop_event may be of
    async for changes in watchfiles.awatch(folder, watch_filter=watchfiles.PythonFilter()):  # pyright: ignore[reportUnknownMemberType]
        return sorted({Path(path) for _, path in changes})
    return []


def _loaded_from(folder: Path) -> Iterator[Path]:
    """The folder's own files, and those of imported modules below it."""
    yield from folder.glob("*.py")
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if name is not None and Path(name).is_relative_to(folder):
            yield Path(name)


def execute_again() -> NoReturn:
    """Become a new process with the same command line, under the same process id.

    Python's own files and sockets are closed by it, the store's lock with them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - no shell, on purpose
