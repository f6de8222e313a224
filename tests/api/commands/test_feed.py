"""What a server prints about its runs."""

import asyncio
import io
import json
from typing import Any

import pytest
from msgspec import Raw
from rich.console import Console

from durably import NonRetriableError, RetryPolicy, current, step, workflow
from durably.api.commands.feed import LINES, Feed
from durably.engine.execution.live import LiveRun
from durably.engine.log.records import CancelRequested, Record, RunCanceled, RunContinued, RunStarted
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


@step(retry=RetryPolicy(1, backoff="fixed", delay=10, jitter=0))
async def shaky() -> str:
    if current().attempt == 0:
        raise ConnectionError("no\nline")
    return "\x1b[2J"


@workflow
async def shake() -> str:
    return await shaky()


@workflow
async def fail() -> None:
    await never()


@step
async def never() -> None:
    raise NonRetriableError("never")


@workflow
async def nap() -> None:
    await asyncio.sleep(3600)


WORKFLOWS = (shake, fail, nap)


class Output:
    """A feed on an engine, and what it wrote."""

    def __init__(self, engine: TestEngine, **options: bool) -> None:
        self.text = io.StringIO()
        console = Console(file=self.text, width=200, markup=False, highlight=False, emoji=False)
        self.feed = Feed(console, engine.core.clock, **options)
        engine.core.executor.observers.append(self.feed.observe)

    @property
    def lines(self) -> list[str]:
        self.feed.flush()
        return [line.rstrip() for line in self.text.getvalue().splitlines()]


async def test_lines_for_people() -> None:
    async with TestEngine(workflows=WORKFLOWS) as engine:
        output = Output(engine)
        run = await engine.start(shake, run_id="r1")
        await run.result()
    assert [line.split("  ", 1)[1] for line in output.lines] == [
        "▶ shake  r1  started",
        "↻ shake  r1  retrying  step shaky: ConnectionError: no ⏎ line · retry 1 of 1 in 10 s",
        '✔ shake  r1  succeeded  after 10 s: "\\u001b[2J"',
    ]


async def test_lines_for_programs() -> None:
    async with TestEngine(workflows=WORKFLOWS) as engine:
        output = Output(engine, as_json=True)
        failing = await engine.start(fail, run_id="r1")
        await engine.settle()
        sleeping = await engine.start(nap, run_id="r2")
        await engine.clock.advance(1)
        await sleeping.cancel()
        await engine.settle()
        assert (await failing.status(), await sleeping.status()) == ("FAILED", "CANCELED")
    told = [json.loads(line) for line in output.lines]
    assert [(each["kind"], each["run"], each["workflow"]) for each in told] == [
        ("started", "r1", "fail"),
        ("failed step", "r1", "fail"),
        ("failed", "r1", "fail"),
        ("started", "r2", "nap"),
        ("canceling", "r2", "nap"),
        ("canceled", "r2", "nap"),
    ]
    assert told[1]["text"] == "step never, after 1 attempt: durably.NonRetriableError: never"


async def test_a_crowd_is_counted() -> None:
    started = RunStarted(code="", python="", anyio="", engine="", seed=0)
    async with TestEngine() as engine:
        output = Output(engine)
        for number in range(LINES):
            output.feed.observe(LiveRun(number), [started])
        for number in range(1_100):
            output.feed.observe(LiveRun(number), [RunCanceled()])
        output.feed.observe(LiveRun(0), [started])
        lines = output.lines
    assert len(lines) == LINES + 1
    assert lines[LINES].strip() == "… and 1,100 canceled, 1 started"


@pytest.mark.parametrize(
    ("record", "kind", "text"),
    [
        (CancelRequested(reason="timeout"), "canceling", "its time is over"),
        (RunCanceled(stopped=True), "canceled", "it was stopped: it went on after a second request"),
        (RunContinued(continued_to="r2", version=1, input=Raw(b"{}")), "continued", "as run r2"),
    ],
)
async def test_how_a_run_may_end(record: Record, kind: str, text: str) -> None:
    async with TestEngine() as engine:
        output = Output(engine, as_json=True)
        output.feed.observe(LiveRun(1), [record])
        [told] = map(json.loads, output.lines)
    assert (told["kind"], told["text"]) == (kind, text)


async def test_quiet_tells_nothing_of_runs() -> None:
    async with TestEngine(workflows=WORKFLOWS) as engine:
        output = Output(engine, quiet=True)
        await (await engine.start(shake)).result()
    assert output.lines == []


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_blocked_run_stands_out(as_json: bool) -> None:
    reason = "run r1 does not fit\n  expected (history): step 'a'\n  got (code):         step 'b'\x1b[2J"
    event: dict[str, Any] = {"event": "run.blocked", "run_id": "r1", "reason": reason}
    async with TestEngine(workflows=WORKFLOWS) as engine:
        output = Output(engine, as_json=as_json, quiet=True)
        assert output.feed.take_over("run.blocked", event)
        assert not output.feed.take_over("store.reopened", {"event": "store.reopened"})
    if as_json:
        [told] = map(json.loads, output.lines)
        assert (told["kind"], told["run"], told["text"]) == ("blocked", "r1", reason)
    else:
        assert "BLOCKED  run r1" in output.lines[0]
        assert "expected (history): step 'a'" in output.lines[2]
        assert "got (code):         step 'b'\ufffd[2J" in output.lines[3]
