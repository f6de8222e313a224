"""What steps publish is in the log, in order and before their outcome, whatever becomes of the instance meanwhile."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import Raw

from durably import RetryPolicy, Run, RunFailed, Workflow, current, publish, step, workflow
from durably.engine.execution.inbox import OutcomeItem, decode_item, encode_item
from durably.engine.execution.outcomes import Outcome
from durably.engine.log.records import Published, StepSucceeded
from durably.store import Append, LogRow, MemoryStore, Operation, UnknownOutcome
from durably.store.protocol import Done
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


async def a_while() -> None:
    """Long enough for a run to be evicted, and no timer."""
    for _ in range(50):
        await asyncio.sleep(0)


class SlowStore(MemoryStore):
    """Reads a log as a file is read: meanwhile steps go on. `loses` is the type of record whose commit fails once."""

    def __init__(self, loses: bytes | None = None) -> None:
        super().__init__()
        self.loses = loses

    async def records(self, runs: Sequence[int]) -> dict[int, list[LogRow]]:
        await a_while()
        return await super().records(runs)

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        rows = [row for operation in batch if isinstance(operation, Append) for row in operation.records]
        if self.loses is not None and any(self.loses in row.body for row in rows):
            self.loses = None
            asyncio.get_running_loop().call_soon(done, UnknownOutcome("fsync failed"))
        else:
            super().submit(batch, done)


@asynccontextmanager
async def slowly(of: Workflow[..., Any], max_parked: int, loses: bytes | None = None) -> AsyncGenerator[Run[Any]]:
    """A run of a workflow, which is replayed at the end."""
    engine = TestEngine(workflows=[of], max_parked=max_parked)
    engine.use_store(SlowStore(loses))
    async with engine:
        yield await engine.start(of)
        await engine.quiesce()
        await engine.replay_finished()


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


async def told(run: Run[Any]) -> list[str]:
    """The types of the run's records, and of messages what they say."""
    history = await run.history()
    return [record.data if record.type == "message.published" else record.type for record in history]


BEGUN = ["run.created", "run.started", "attempt.started"]
SPOKEN = ["first", "second", "last words"]


async def test_last_words_come_before_the_outcome(max_parked: int) -> None:
    async with slowly(speech, max_parked) as run:
        assert await run.result() == "done"
        ended = ["step.succeeded", "run.succeeded"]
        assert await told(run) == [*BEGUN, *SPOKEN, "attempt.failed", "attempt.started", *SPOKEN, *ended]


async def test_last_words_of_a_step_that_fails_for_good(max_parked: int) -> None:
    async with slowly(complaint, max_parked) as run:
        with pytest.raises(RunFailed):
            await run.result()
        assert await told(run) == [*BEGUN, "last words", "attempt.failed", "step.failed", "run.failed"]


async def test_last_words_outlive_an_outage_with_their_outcome() -> None:
    async with slowly(complaint, 0, loses=b"step.failed") as run:
        with pytest.raises(RunFailed):
            await run.result()
        assert await told(run) == [*BEGUN, "last words", "attempt.failed", "step.failed", "run.failed"]


def test_last_words_wait_with_their_outcome_while_the_run_is_blocked() -> None:
    key = "0/speaks#0"
    words = Published(message=f"{key}/message#0", topic="progress", data=Raw(b'"x"'))
    done = StepSucceeded(step=key, name="speaks", attempt=0, output=Raw(b"1"))
    item = decode_item(encode_item(OutcomeItem(key, 0, 0, (done,), (words,))))
    assert isinstance(item, OutcomeItem)
    assert item.outcome(7) == Outcome(key, 0, 0, (done,), (words,), (7,))
