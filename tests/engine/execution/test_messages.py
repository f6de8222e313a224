"""What steps publish is in the log, in order and before their outcome, whatever becomes of the instance meanwhile."""

import asyncio
from collections.abc import Sequence

import pytest

from durably import RetryPolicy, Run, RunFailed, current, publish, step, workflow
from durably.store import Append, MemoryStore, Operation, StoreUnavailable
from durably.store.protocol import Done
from durably.testing import TestEngine
from tests.engine.execution.conftest import Running

pytestmark = pytest.mark.anyio


async def a_while() -> None:
    """Long enough for a run to be evicted, and no timer."""
    for _ in range(200):
        await asyncio.sleep(0)


@step(retry=RetryPolicy(1, delay=1, jitter=0))
async def speaks() -> str:
    await publish("first")
    await a_while()
    await publish("second")
    await publish("last words")
    if current().attempt == 0:
        raise ValueError("not yet")
    return "done"


@step(retry=RetryPolicy.NEVER)
async def complains() -> None:
    await a_while()
    await publish("last words")
    raise ValueError("never")


@workflow
async def speech() -> str:
    return await speaks()


@workflow
async def complaint() -> None:
    await complains()


async def told(run: Run[object]) -> list[str]:
    """The types of the run's records, and of messages what they say."""
    return [
        str(record.data) if record.type == "message.published" else record.type for record in await run.history()
    ]


SPOKEN = ["first", "second", "last words"]


async def test_last_words_come_before_the_outcome(running: Running) -> None:
    async with running(speech) as engine:
        run = await engine.start(speech)
        assert await run.result() == "done"
        assert await told(run) == [
            *("run.created", "run.started", "attempt.started", *SPOKEN, "attempt.failed"),
            *("attempt.started", *SPOKEN, "step.succeeded", "run.succeeded"),
        ]


async def test_last_words_of_a_step_that_fails_for_good(running: Running) -> None:
    async with running(complaint) as engine:
        run = await engine.start(complaint)
        with pytest.raises(RunFailed):
            await run.result()
        assert await told(run) == [
            *("run.created", "run.started", "attempt.started", "last words", "attempt.failed", "step.failed"),
            "run.failed",
        ]
