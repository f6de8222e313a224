"""Stored policies in an engine: changed through the store, asked at each failure."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from durably import RunFailed, StepError, current, step, workflow
from durably.engine.execution.documents import DocumentConflict
from durably.engine.policies.model import PolicyFields
from durably.engine.policies.policies import PolicyInUse, PolicyNotFound
from durably.store import DocumentRow, MemoryStore
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


def fields(**changed: Any) -> PolicyFields:
    least = {"name": "p", "max_retries": 3, "backoff": "fixed", "delay_seconds": 60, "retry_on_timeout": True}
    return msgspec.convert({**least, **changed}, PolicyFields)


attempts: list[int] = []


@pytest.fixture(autouse=True)
def no_attempts() -> None:
    attempts.clear()


@step(retry="patient")
async def slow() -> None:
    attempts.append(current().attempt)
    raise TimeoutError("too slow")


@workflow
async def calls() -> str:
    try:
        await slow()
    except StepError as error:
        return error.message
    return "done"


async def phase_of(engine: TestEngine, run_id: str) -> str | None:
    return (await (await engine.get_run(run_id)).info()).phase


async def test_a_step_is_retried_as_its_stored_policy_says() -> None:
    async with TestEngine(workflows=[calls]) as engine:
        await engine.core.policies.create("patient", fields(max_retries=2))
        run = await engine.start(calls)
        assert await run.result() == "too slow"
        assert attempts == [0, 1, 2]
        ends = [each for each in await run.history() if each.type == "attempt.failed"]
        due = [each.retry_at for each in ends[:-1]]
        assert [msgspec.convert(at, type=Any) is not None for at in due] == [True, True]


async def test_a_policy_is_read_at_each_failure() -> None:
    async with TestEngine(workflows=[calls], auto=False) as engine:
        await engine.core.policies.create("patient", fields(max_retries=10))
        run = await engine.start(calls)
        await engine.settle()
        assert attempts == [0]
        await engine.core.policies.replace("patient", fields(max_retries=1))
        await engine.clock.advance(timedelta(seconds=60))
        assert attempts == [0, 1]
        assert (await run.info()).status == "SUCCEEDED"


async def test_a_deleted_policy_stays_in_force_for_steps_that_name_it() -> None:
    async with TestEngine(workflows=[calls]) as engine:
        policies = engine.core.policies
        await policies.create("patient", fields(max_retries=1))
        await policies.delete("patient")
        with pytest.raises(PolicyNotFound):
            policies.get("patient")
        assert await (await engine.start(calls)).result() == "too slow"
        assert attempts == [0, 1]
        await policies.create("patient", fields(max_retries=2))
        await (await engine.start(calls)).result()
        assert attempts == [0, 1, 0, 1, 2]


async def test_an_unknown_policy_blocks_the_run_until_there_is_one() -> None:
    async with TestEngine(workflows=[calls]) as engine:
        run = await engine.start(calls)
        await engine.settle()
        info = await run.info()
        assert (info.phase, attempts) == ("blocked", [])
        assert info.error is not None
        assert "stored policy 'patient'" in info.error.message
        await engine.restart()
        await engine.settle()
        assert await phase_of(engine, run.id) == "blocked"
        await engine.core.policies.create("patient", fields(max_retries=0))
        assert await run.result() == "too slow"
        assert attempts == [0]


async def test_an_unknown_policy_in_the_middle_keeps_what_was_done() -> None:
    done: list[str] = []

    @step
    async def first() -> None:
        done.append("first")

    @workflow
    async def later() -> str:
        await first()
        await slow()
        return "never"

    async with TestEngine(workflows=[later]) as engine:
        run = await engine.start(later)
        await engine.settle()
        assert (await phase_of(engine, run.id), done) == ("blocked", ["first"])
        await engine.restart()
        await engine.core.policies.create("patient", fields(max_retries=0))
        with pytest.raises(RunFailed, match="too slow"):
            await run.result()
        assert (done, attempts) == (["first"], [0])


async def test_a_body_with_an_unknown_policy_does_not_begin() -> None:
    begun: list[int] = []

    @workflow(retry="patient")
    async def body() -> None:
        begun.append(current().attempt)
        raise TimeoutError("not now")

    async with TestEngine(workflows=[body]) as engine:
        run = await engine.start(body)
        await engine.settle()
        assert await phase_of(engine, run.id) == "blocked"
        begun.clear()  # what a blocked run does has no effect, and is thrown away
        await engine.core.policies.create("patient", fields(max_retries=1))
        with pytest.raises(RunFailed, match="not now"):
            await run.result()
        assert begun == [0, 1]


async def test_steps_inherit_the_stored_policy_of_their_workflow() -> None:
    @step
    async def plain() -> None:
        attempts.append(current().attempt)
        raise TimeoutError("too slow")

    @workflow(retry="patient")
    async def body() -> None:
        await plain()

    async with TestEngine(workflows=[body]) as engine:
        await engine.core.policies.create("patient", fields(max_retries=1))
        with pytest.raises(RunFailed):
            await (await engine.start(body)).result()
        assert attempts == [0, 1]


async def test_other_errors_than_those_opted_into_are_not_retried() -> None:
    @step(retry="patient")
    async def wrong() -> None:
        attempts.append(current().attempt)
        raise ValueError("wrong")

    @workflow
    async def body() -> None:
        await wrong()

    async with TestEngine(workflows=[body]) as engine:
        await engine.core.policies.create("patient", fields())
        with pytest.raises(RunFailed, match="wrong"):
            await (await engine.start(body)).result()
        assert attempts == [0]


# -- changing them


async def test_ids_are_unique_among_those_that_are_not_deleted() -> None:
    async with TestEngine() as engine:
        policies = engine.core.policies
        created = await policies.create("a", fields())
        assert (created.row.version, created.row.deleted_us) == (1, None)
        with pytest.raises(DocumentConflict, match="exists already"):
            await policies.create("a", fields())
        assert (await policies.replace("a", fields(name="other"))).row.version == 2
        await policies.delete("a")
        assert (await policies.create("a", fields())).row.version == 1
        assert [each.row.id for each in policies.all()] == ["a"]


async def test_they_are_there_after_a_restart() -> None:
    async with TestEngine() as engine:
        await engine.core.policies.create("a", fields(name="first"))
        await engine.core.policies.replace("a", fields(name="second"))
        await engine.core.policies.create("b", fields())
        await engine.core.policies.delete("b")
        await engine.restart()
        [only] = engine.core.policies.all()
        assert (only.fields.name, only.row.version) == ("second", 2)
        assert engine.core.policies.lookup("b") is not None


async def test_one_that_jobs_refer_to_cannot_be_deleted() -> None:
    async with TestEngine() as engine:
        policies = engine.core.policies
        await policies.create("a", fields())
        policies.referencing = {"a": ["nightly"]}.__getitem__
        with pytest.raises(PolicyInUse, match="nightly") as refused:
            await policies.delete("a")
        assert refused.value.jobs == ["nightly"]
        assert policies.get("a").row.deleted_us is None


async def test_a_change_goes_on_though_who_asked_for_it_has_gone() -> None:
    """What is stored is known, whoever hears of it."""
    async with TestEngine() as engine:
        creating = asyncio.ensure_future(engine.core.policies.create("a", fields()))
        await asyncio.sleep(0)
        creating.cancel()
        await engine.quiesce()
        assert creating.cancelled()
        assert [each.row.id for each in engine.core.policies.all()] == ["a"]
        assert (await engine.core.policies.replace("a", fields(name="other"))).row.version == 2


class SlowReading(MemoryStore):
    """What it reads of documents is old by the time it is handed over."""

    async def documents(self, kind: str) -> list[DocumentRow]:
        found: Sequence[DocumentRow] = await super().documents(kind)
        for _ in range(20):
            await asyncio.sleep(0)
        return list(found)


async def test_one_that_is_made_while_they_are_read_again_is_not_forgotten() -> None:
    """As after an outage."""
    engine = TestEngine()
    engine.use_store(SlowReading())
    async with engine:
        reading = asyncio.ensure_future(engine.core.policies.load())
        await asyncio.sleep(0)
        await engine.core.policies.create("a", fields())
        await reading
        assert engine.core.policies.lookup("a") is not None
