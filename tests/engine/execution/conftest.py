"""What tests of running workflows share: every test that asks for these runs once evicted at each wait, once kept."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from durably import Step, Workflow
from durably.engine.testing import VirtualClock
from durably.testing import TestEngine

Running = Callable[..., AbstractAsyncContextManager[TestEngine]]
"""An engine with these workflows; at its end every finished run is replayed, and nothing may lie in an inbox."""


@pytest.fixture(params=[0, 1000], ids=["evicted", "kept"])
def max_parked(request: pytest.FixtureRequest) -> int:
    """How many waiting runs stay in memory."""
    parked: int = request.param
    return parked


Jump = Callable[[TestEngine, float], None]
"""Makes it so many seconds later at once, whatever the engine is at: `clock.advance` would let it come to rest."""


@pytest.fixture
def jump() -> Jump:
    def jump(engine: TestEngine, seconds: float) -> None:
        clock = engine.core.clock
        assert isinstance(clock, VirtualClock)
        clock.jump(clock.now_us() + int(seconds * 1_000_000))

    return jump


@pytest.fixture
def running(max_parked: int) -> Running:
    @asynccontextmanager
    async def run(*workflows: Workflow[..., Any] | Step[..., Any], **options: Any) -> AsyncGenerator[TestEngine]:
        async with TestEngine(workflows=workflows, max_parked=max_parked, **options) as engine:
            yield engine
            await engine.quiesce()
            await engine.replay_finished()
            open_runs = {run for run, *_ in await engine.core.store.open_runs(0, 10_000)}
            assert set(await engine.core.store.inbox_runs()) <= open_runs

    return run
