"""A line that names what holds up the loop."""

import time

import pytest
import structlog.testing

from durably import Engine, step, workflow
from durably.engine.execution import watchdog

pytestmark = pytest.mark.anyio


@step
async def blocks(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


@workflow
async def never_yields(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


@workflow
async def blocking_step(seconds: float) -> None:
    await blocks(seconds)


@pytest.mark.parametrize(
    ("definition", "named"), [(never_yields, "workflow 'never_yields'"), (blocking_step, "a step")]
)
async def test_who_holds_up_the_loop_is_named(definition: object, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "PERIOD_S", 0.02)
    with structlog.testing.capture_logs() as lines:
        async with Engine("memory://", workflows=[never_yields, blocking_step]) as engine:
            run = await engine.start(definition.name, 0.3)  # type: ignore[attr-defined]
            await run.result(timeout=30)
    [line] = [each for each in lines if each["event"] == "loop.held_up" and "test_watchdog.py" in each["at"]][:1]
    assert line["by"].startswith(named)
    assert line["seconds"] >= 0
