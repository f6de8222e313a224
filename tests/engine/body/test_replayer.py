"""An exported run, replayed in another process: other hashes, other addresses, the same commands."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from durably import NondeterminismError, RetryPolicy, Run, StepError, Workflow, current, step, workflow
from durably import random as run_random
from durably import uuid4 as run_uuid4
from durably.replay import Replayer
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

SECOND_TRY = RetryPolicy(2, backoff="fixed", delay=1, jitter=0)
SRC = Path(__file__).parents[3] / "src"
REPLAY = """
import runpy, sys
from pathlib import Path
from durably import History
from durably.replay import Replayer
replayer = Replayer(runpy.run_path(sys.argv[1])["WORKFLOWS"])
for path in Path(sys.argv[2]).glob("*.json"):
    replayer.replay(History.from_json(path.read_text()))
    print(path.stem)
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


WORKFLOWS: list[Workflow[[], Any]] = [many_kinds_of_order, is_retried, fails]


@pytest.mark.parametrize("seed", ["1", "22"])
async def test_exported_runs_fit_in_another_process(seed: str, tmp_path: Path) -> None:
    async with TestEngine(workflows=WORKFLOWS) as engine:
        for started in WORKFLOWS:
            run: Run[Any] = await engine.start(started)
            await engine.settle()
            (tmp_path / f"{started.name}.json").write_text((await run.history()).to_json())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        REPLAY,
        __file__,
        str(tmp_path),
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(SRC)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    said, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert sorted(said.decode().split()) == sorted(each.name for each in WORKFLOWS)


# -- which incarnations have to fit


@step(retries=0)
async def add(number: int) -> int:
    return number + 1


@workflow("sums", retry=SECOND_TRY)
async def wrong() -> int:
    await add(await add(1))
    raise ZeroDivisionError


@workflow("sums", retry=SECOND_TRY)
async def right() -> int:
    await asyncio.sleep(1)
    return await add(4)


async def test_what_old_code_did_before_its_body_failed_has_not_to_fit_the_new() -> None:
    async with TestEngine(workflows=[wrong]) as engine:
        run: Run[Any] = await engine.start(wrong)
        await engine.clock.advance(0)
        failed = await run.history()
        assert failed.types()[-1] == "body.failed"
        engine.workflows = (right,)
        await engine.restart()
        assert await run.result() == 2, "what came of the step is carried over"
        history = await run.history()
    Replayer([right]).replay(failed)
    Replayer([right]).replay(history)
    Replayer([wrong]).replay(failed)
    with pytest.raises(NondeterminismError):
        Replayer([wrong]).replay(history)


FIRST = [1]
"""What nobody should have a workflow look at."""


@workflow(retry=SECOND_TRY)
async def looks_outside() -> int:
    if current().attempt == 0:
        await add(FIRST[0])
        raise ConnectionError
    return await add(7)


async def test_every_incarnation_has_to_fit_the_code_that_the_run_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    async with TestEngine(workflows=[looks_outside]) as engine:
        run: Run[Any] = await engine.start(looks_outside)
        assert await run.result() == 2, "the step's outcome is carried over, whatever it is asked for"
        history = await run.history()
    Replayer([looks_outside]).replay(history)
    monkeypatch.setattr(sys.modules[__name__], "FIRST", [2])
    with pytest.raises(NondeterminismError) as caught:
        Replayer([looks_outside]).replay(history)
    assert caught.value.kind == "changed arguments"


@workflow(retry=SECOND_TRY)
async def twice() -> int:
    number = await add(await add(1))
    if current().attempt == 0:
        raise ConnectionError
    await asyncio.sleep(60)
    return number


async def test_a_fork_has_not_to_fit_what_was_past_when_it_was_made() -> None:
    """There its steps have other outcomes than they had, and were called with what came of those."""
    async with TestEngine(workflows=[twice]) as engine:
        run: Run[Any] = await engine.start(twice)
        await engine.clock.advance(10)
        fork = await run.fork(at=len(await run.history()), patch={"0/add#0": 40, "0/add#1": 50})
        assert await fork.result() == 50
        history = await fork.history()
        assert history.types().count("body.started") == 1
    Replayer([twice]).replay(history)
