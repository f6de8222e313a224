"""Golden logs: what each scenario leaves in the log, byte by byte, and that such logs replay for ever.

The files in `tests/golden` are exported histories without what differs from one machine or version to the
next: code fingerprint, versions, tracebacks and line numbers. A change of one is a change of the log that
users have on disk: old logs have to replay, so keep the old file under another name. `GOLDEN=write pytest
…/test_golden.py` writes them.
"""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from durably import Event, History, RetryPolicy, Run, StepError, Workflow, current, sleep, step, workflow
from durably.replay import Replayer
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parents[2] / "golden"
RETRY = RetryPolicy(2, backoff="fixed", delay=10, jitter=0)


@step(retry=RETRY)
async def work(branch: str, place: int) -> str:
    return f"{branch}{place}"


@step(retry=RETRY)
async def flaky(cents: int) -> str:
    if current().attempt < 2:
        raise ConnectionError(f"attempt {current().attempt} failed")
    return f"charged {cents}"


@step(retry=RETRY)
async def refuse(cents: int) -> None:
    raise LookupError(f"no account for {cents}")


@workflow
async def sequence(name: str) -> list[str]:
    first = await work(name, 0)
    await sleep(60)
    return [first, await flaky(100), await work(name, 1)]


async def one_branch(name: str) -> list[str]:
    return [await work(name, 0), await work(name, 1)]


@workflow
async def gathered() -> list[list[str]]:
    return await asyncio.gather(*(one_branch(name) for name in "abc"))


@workflow(retry=RETRY)
async def body_retry() -> str:
    first = await work("a", 0)
    try:
        await refuse(7)
    except StepError as error:
        first += f", then {error.type}"
    left_behind = asyncio.ensure_future(sleep(10_000))
    await sleep(5)
    if current().attempt < 2:
        raise ValueError(f"body attempt {current().attempt}")
    left_behind.cancel()
    return f"{first}, then {await work('b', 1)}"


@workflow
async def caught_failure(cents: int) -> str:
    reservation = await work("lamp", 0)
    try:
        await refuse(cents)
    except StepError as error:
        return f"{error.message}: {await work('release ' + reservation, 1)}"
    return "paid"


@workflow
async def canceled() -> None:
    reservation = await work("lamp", 0)
    try:
        async with asyncio.timeout(3600):
            await asyncio.gather(work("slow", 0), sleep(1000))
    finally:
        await work(f"release {reservation}", 1)


@step(on="button/clicked", retry=RETRY)
async def record_click(event: Event[dict[str, str]]) -> str:
    return event.data["button"]


Scenario = Callable[[TestEngine], Awaitable[Run[Any]]]


async def run_sequence(engine: TestEngine) -> Run[Any]:
    return await engine.start(sequence, "a")


async def run_gathered(engine: TestEngine) -> Run[Any]:
    """A crash at 4 s: the first steps of a and b have ended, their second ones run, and so does the first
    of c."""
    times = {"a0": 1, "a1": 20, "b0": 4, "b1": 5, "c0": 6, "c1": 1}

    def takes(branch: str, place: int) -> float:
        return times[f"{branch}{place}"]

    engine.mock(work, side_effect=work.fn, takes=takes)
    run = await engine.start(gathered)
    await engine.clock.advance(4)
    await engine.restart()
    return run


async def run_body_retry(engine: TestEngine) -> Run[Any]:
    return await engine.start(body_retry)


async def run_caught_failure(engine: TestEngine) -> Run[Any]:
    return await engine.start(caught_failure, 100)


async def run_canceled(engine: TestEngine) -> Run[Any]:
    """The slow step is interrupted, and the release waits until that has unwound."""

    def takes(branch: str, _place: int) -> float:
        return 500 if branch == "slow" else 0

    engine.mock(work, side_effect=work.fn, takes=takes)
    run = await engine.start(canceled)
    await engine.clock.advance(100)
    await run.cancel()
    return run


async def run_triggered(engine: TestEngine) -> Run[Any]:
    await engine.send(Event("button/clicked", {"button": "buy"}, id="click-1"))
    [info] = await engine.list_runs()
    return await engine.get_run(info.id)


SCENARIOS: dict[str, tuple[Workflow[..., Any] | Any, Scenario]] = {
    "sequence": (sequence, run_sequence),
    "gathered": (gathered, run_gathered),
    "body_retry": (body_retry, run_body_retry),
    "caught_failure": (caught_failure, run_caught_failure),
    "canceled": (canceled, run_canceled),
    "triggered": (record_click, run_triggered),
}

DIFFERS = {
    r'"(code|python|anyio|engine)": "[^"]*"': r'"\1": "…"',
    r'"traceback": "(?:[^"\\]|\\.)*"': '"traceback": "…"',
    r'"line": "([\w.]+):\d+"': r'"line": "\1"',
}


def without_what_differs(text: str) -> str:
    for pattern, replacement in DIFFERS.items():
        text = re.sub(pattern, replacement, text)
    return f"{text}\n"


@pytest.mark.parametrize("max_parked", [0, 100])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_log_is_the_golden_one(name: str, max_parked: int) -> None:
    """Whether the run was rebuilt by replay at every wait or stayed in memory all the time."""
    definition, scenario = SCENARIOS[name]
    async with TestEngine(workflows=[definition], max_parked=max_parked, drain_timeout=0) as engine:
        run = await scenario(engine)
        await engine.settle()
        text = without_what_differs((await run.history()).to_json())
    path = FOLDER / f"{name}.json"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_golden_logs_replay(path: Path) -> None:
    history = History.from_json(path.read_text(encoding="utf-8"))
    Replayer([definition for definition, _ in SCENARIOS.values()]).replay(history)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_reading_and_writing_a_golden_log_changes_nothing(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert f"{History.from_json(text).to_json()}\n" == text


def test_every_scenario_has_a_golden_log() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} >= SCENARIOS.keys()
