"""The plugin, in a pytest of its own."""

import subprocess
import sys
from pathlib import Path

TEST = """
import asyncio
import pytest
from durably import step, workflow
from durably.testing import TestEngine

turns = []

@step
async def one() -> None: ...

@step
async def other() -> None: ...

@workflow
async def changes_its_mind() -> None:
    turns.append(1)
    await (one if len(turns) == 1 else other)()

def test_it():
    async def run():
        async with TestEngine(workflows=[changes_its_mind], max_parked=100) as engine:
            await (await engine.start(changes_its_mind)).result()
    asyncio.run(run())
"""


def run(folder: Path, *options: str) -> str:
    (folder / "test_user.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100).stdout


def test_a_workflow_that_is_not_deterministic_fails_its_test(tmp_path: Path) -> None:
    assert "NondeterminismError" in run(tmp_path)


def test_without_the_plugin_nobody_notices(tmp_path: Path) -> None:
    assert "1 passed" in run(tmp_path, "-p", "no:durably")
