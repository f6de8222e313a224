"""The guard of development and tests. It stays for a process's life, so each case has a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[3] / "src"

PROGRAM = """
import asyncio, sys
from durably import RunFailed, step, workflow
from durably.engine.loop import guard
from durably.testing import TestEngine

guard.install()
guard.install()

def act():
    {code}

@step
async def in_a_step() -> str:
    act()
    return "done"

@workflow
async def in_the_body() -> str:
    act()
    return "done"

@workflow
async def by_a_step() -> str:
    return await in_a_step()

async def main():
    async with TestEngine(workflows=[in_the_body, by_a_step]) as engine:
        for workflow_ in (in_the_body, by_a_step):
            try:
                print(await (await engine.start(workflow_)).result())
            except RunFailed as failed:
                print(failed.error.type)

asyncio.run(main())
"""


def outcomes(code: str) -> list[str]:
    program = PROGRAM.format(code=code)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket().close()",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
        "import os; open(os.devnull).close()",
        "import sqlite3; sqlite3.connect(':memory:').close()",
        pytest.param(
            "import threading; t = threading.Thread(target=print, args=('',)); t.start(); t.join()",
            marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="3.11 raises no audit event for threads"),
        ),
    ],
)
def test_what_a_workflow_must_not_do_is_stopped_before_it_happens(code: str) -> None:
    """In the body it fails the run, in a step it is allowed. The import beside it reads files, and is no effect."""
    assert outcomes(code) == ["durably.Forbidden", "done"]
