"""The plugin, in a pytest of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

CHANGES_ITS_MIND = """
import asyncio
from durably import step, workflow
from durably.testing import TestEngine

turns = []

@step
async def one() -> None: ...

@step
async def other() -> None: ...

@workflow
async def changes_its_mind() -> None:
    turns.append(1)  # durably: allow[global]
    await (one if len(turns) == 1 else other)()

def test_it():
    async def run():
        async with TestEngine(workflows=[changes_its_mind], max_parked=100) as engine:
            await (await engine.start(changes_its_mind)).result()
    asyncio.run(run())
"""

READS_THE_CLOCK = """
import asyncio, random, time
from durably import workflow
from durably.testing import TestEngine

@workflow
async def reads_the_clock() -> None:
    print(time.time())
    random.random()

def test_it():
    async def run():
        async with TestEngine(workflows=[reads_the_clock]) as engine:
            await (await engine.start(reads_the_clock)).result()
    asyncio.run(run())
"""


def run(folder: Path, test: str, *options: str) -> str:
    (folder / "test_user.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100).stdout


def test_a_workflow_that_is_not_deterministic_fails_its_test(tmp_path: Path) -> None:
    assert "NondeterminismError" in run(tmp_path, CHANGES_ITS_MIND)


def test_an_engine_does_not_start_with_what_the_lint_finds(tmp_path: Path) -> None:
    output = run(tmp_path, READS_THE_CLOCK)
    assert "1 failed" in output
    assert "LintError" in output
    assert "test_user.py:8: clock: time.time() reads the clock" in output
    assert "test_user.py:9: random: random.random() gives another value" in output
    assert "Use durably.random()" in output


@pytest.mark.parametrize("off", ["off", "false"])
def test_the_lint_can_be_left_to_the_command_line(tmp_path: Path, off: str) -> None:
    (tmp_path / "pytest.ini").write_text(f"[pytest]\ndurably_lint = {off}\n")
    assert "1 passed" in run(tmp_path, READS_THE_CLOCK)


@pytest.mark.parametrize("test", [CHANGES_ITS_MIND, READS_THE_CLOCK])
def test_without_the_plugin_nobody_notices(tmp_path: Path, test: str) -> None:
    assert "1 passed" in run(tmp_path, test, "-p", "no:durably")
