"""Which software ran a body: recorded at its start, shown when code and history no longer fit."""

import platform
from importlib.metadata import version

__all__ = ["ANYIO", "ENGINE", "PYTHON"]

PYTHON = platform.python_version()
ANYIO = version("anyio")
ENGINE = version("durably")
