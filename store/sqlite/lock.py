"""The lock that keeps a second engine off a store."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from durably.store.errors import NotAStore, StoreLocked

__all__ = ["FileLock"]


class FileLock:
    """An exclusive `flock` on a file of its own, with the holder's process id in it for people to read.

    The kernel drops the lock when the process ends, however it ends. The file stays: were it deleted, two
    engines could each lock a file of their own (the session would then fence the older one).
    """

    __slots__ = ("_descriptor", "_location", "_path")

    def __init__(self, path: Path, location: str) -> None:
        self._path = path
        self._location = location
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises `StoreLocked`, or `NotAStore` when there is no place to put it."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._no_place(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StoreLocked(
                f"{self._location} is in use by another engine (process {holder}). Stop that one first, or "
                "give this one a store of its own."
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise self._no_place(error) from error
        self._descriptor = descriptor
        with suppress(OSError):  # a full disk: opening the store will say so, and the number is only for people
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)

    def _no_place(self, error: OSError) -> NotAStore:
        return NotAStore(
            f"{self._location} cannot be opened: {self._path}: {error.strerror}. The folder has to exist, to "
            "be writable, and to be on a file system with locks."
        )

    def release(self) -> None:
        """Give the lock back. Legal twice, and before `acquire`."""
        if self._descriptor is not None:
            with suppress(OSError):  # who reads the number later must not take it for somebody else's process
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None
