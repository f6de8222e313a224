"""The other Pythons of this machine in which Durably is installed."""

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "environment", "others"]

ROOT = Path(__file__).parents[2]
PROBE = "import aiohttp, aiosqlite, anyio, msgspec, structlog, sys; print('%d.%d' % sys.version_info[:2])"


def environment(**variables: str) -> dict[str, str]:
    """This process's, with this checkout's code, wherever the virtual environment has been made."""
    return os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"} | variables


def others() -> dict[str, str]:
    """By version, those of `make install` and `.ci/run`, and those that `DURABLY_PYTHONS` names, separated by `:`."""
    named = filter(None, os.environ.get("DURABLY_PYTHONS", "").split(os.pathsep))
    found: dict[str, str] = {}
    for python in [*named, ROOT / ".venv/bin/python", *sorted(ROOT.glob(".venvs/*/bin/python"))]:
        if Path(python).exists():
            done = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                found.setdefault(done.stdout.strip(), str(python))
    found.pop(f"{sys.version_info.major}.{sys.version_info.minor}", None)
    return found
