"""What other processes do, on this Python or another one: `record` programs, or `replay` histories.

As a script it reads a JSON array from its input and writes one to its output: histories for programs, and for
histories null, or why they do not fit.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SEEDS = ("0", "4711")
"""Hash seeds of other processes; the test's own is another one, or was drawn."""


def record(programs: Sequence[str]) -> list[dict[str, str]]:
    """Carry out programs and give the histories of each by run id."""
    from tests.properties.laboratory import carry_out  # noqa: PLC0415 - not needed by who starts the process
    from tests.properties.programs import Program  # noqa: PLC0415

    async def histories(text: str) -> dict[str, str]:
        return (await carry_out(Program.from_json(text), max_parked=0)).exported()

    return [asyncio.run(histories(text)) for text in programs]


def replay(histories: Sequence[str]) -> list[str | None]:
    """Replay histories with the code at hand, and say what does not fit."""
    from durably import History, NondeterminismError  # noqa: PLC0415
    from durably.replay import Replayer  # noqa: PLC0415
    from tests.properties.programs import WORKFLOWS  # noqa: PLC0415

    def verdict(text: str) -> str | None:
        try:
            Replayer(WORKFLOWS).replay(History.from_json(text))
        except NondeterminismError as error:
            return str(error)
        return None

    return [verdict(text) for text in histories]


WORK = {"record": record, "replay": replay}


def do_elsewhere(python: str, what: str, texts: Sequence[str], *, seed: str = SEEDS[0]) -> Any:
    """Let a process of that Python and of another hash seed do it."""
    env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [python, "-W", "error", str(Path(__file__)), what]
    done = subprocess.run(
        command, input=json.dumps(texts), env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def other_pythons() -> Iterator[tuple[str, tuple[int, int]]]:
    """Pythons of other versions that have what Durably needs: in the folders that `make` and `.ci/run` make, and those
    that `DURABLY_PYTHONS` names."""
    named = os.environ.get("DURABLY_PYTHONS", "").split(os.pathsep)
    found = [*map(Path, filter(None, named)), *(ROOT / ".venvs").glob("*/bin/python"), ROOT / ".venv/bin/python"]
    known = {sys.version_info[:2]}
    probe = "import sys, anyio, msgspec; print(*sys.version_info[:2])"
    for python in found:
        if not python.exists():
            continue
        answer = subprocess.run([str(python), "-c", probe], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            major, minor = map(int, answer.stdout.split())
            if (major, minor) not in known:
                known.add((major, minor))
                yield str(python), (major, minor)


if __name__ == "__main__":
    print(json.dumps(WORK[sys.argv[1]](json.load(sys.stdin))))
