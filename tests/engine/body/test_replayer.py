"""An exported run, replayed in another process: other hashes, other addresses, the same commands."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from durably import RetryPolicy, StepError, Workflow, current, step, workflow
from durably import random as run_random
from durably import uuid4 as run_uuid4
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

SECOND_TRY = RetryPolicy(2, backoff="fixed", delay=1, jitter=0)
SRC = Path(__file__).parents[3] / "src"
REPLAY = """
import runpy, sys
from pathlib import Path
from durably import History
from durably.replay import Replayer
Replayer(runpy.run_path(sys.argv[1])["WORKFLOWS"]).replay(History.from_json(Path(sys.argv[2]).read_text()))
print("fits", hash("a string"))
"""


@step(retry=SECOND_TRY)
async def work(items: set[str]) -> set[str]:
    if current().attempt == 0:
        raise ConnectionError("not yet")
    return items | {"done"}


@step(retries=0)
async def refuse() -> None:
    raise LookupError("never")


@workflow
async def many_kinds_of_order() -> set[str]:
    """What depends on hashes: sets of text in arguments and results, sets of asyncio tasks, waits for the first."""
    names = {f"name {number}" for number in range(8)}
    tasks = {asyncio.create_task(work({*names, str(number)})) for number in range(4)}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(asyncio.sleep(number))
    return names | {str(len(done) > 0)} | await work(names)


@workflow(retry=SECOND_TRY)
async def is_retried() -> dict[str, Any]:
    await work({"a", "b"})
    failed = ""
    try:
        await refuse()
    except StepError as error:
        failed = error.type
    if current().attempt == 0:
        raise ConnectionError
    return {"failed": failed, "id": str(run_uuid4()), "drawn": run_random().random()}


@workflow(retry=SECOND_TRY)
async def fails() -> None:
    await work({"a"})
    raise ExceptionGroup("several", [ValueError("a"), LookupError("b")])


WORKFLOWS = [many_kinds_of_order, is_retried, fails]


def replay_elsewhere(path: Path, seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", REPLAY, __file__, str(path)],
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(SRC)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("started", WORKFLOWS, ids=lambda each: each.name)
async def test_an_exported_run_fits_in_another_process(started: Workflow[[], Any], tmp_path: Path) -> None:
    async with TestEngine(workflows=WORKFLOWS) as engine:
        run = await engine.start(started)
        await engine.settle()
        path = tmp_path / "history.json"
        path.write_text((await run.history()).to_json())
    assert len({replay_elsewhere(path, seed) for seed in ("1", "22")}) == 2, "the seeds did not matter at all"
