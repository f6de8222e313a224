"""Runs whose code does not fit their history: blocked, not failed, and they go on when fitting code is there again
(DESIGN rule 13)."""

import asyncio
from typing import Any

import pytest

from durably import Event, RetryPolicy, Run, Workflow, current, step, workflow
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

TWICE = RetryPolicy(2, backoff="fixed", delay=60, jitter=0)
calls: list[str] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


@step(retry=TWICE)
async def reserve(sku: str) -> str:
    calls.append(f"reserve {sku}")
    return f"r-{sku}"


@step(retry=TWICE)
async def charge(cents: int) -> str:
    calls.append(f"charge {cents}")
    return "paid"


@workflow("order", retry=TWICE)
async def original(sku: str) -> str:
    reservation = await reserve(sku)
    await asyncio.sleep(3600)
    return f"{reservation}, {await charge(100)}"


@workflow("order", retry=TWICE)
async def changed(sku: str) -> str:
    await charge(100)
    return await reserve(sku)


@workflow("order", retry=TWICE)
async def changed_otherwise(sku: str) -> str:
    return await reserve(sku.upper())


async def deploy(engine: TestEngine, *definitions: Workflow[..., Any]) -> None:
    """Stop the process and start it with other code."""
    engine.workflows = definitions
    await engine.restart()
    await engine.quiesce()


async def misfit(engine: TestEngine, *definitions: Workflow[..., Any]) -> None:
    """Deploy code, and let the time come at which sleeping runs are loaded: only then it is looked at."""
    await deploy(engine, *definitions)
    await engine.clock.advance(3600)


async def asleep(engine: TestEngine) -> Run[str]:
    """A run of the original code that has slept for a minute."""
    run = await engine.start(original, "lamp")
    await engine.clock.advance(60)
    return run


async def test_a_run_whose_code_has_changed_is_blocked_and_says_why() -> None:
    async with TestEngine(workflows=[original]) as engine:
        run = await asleep(engine)
        await misfit(engine, changed)
        await engine.settle()
        info = await run.info()
        assert (info.status, info.phase) == ("RUNNING", "blocked")
        assert info.error is not None
        assert info.error.type == "durably.NondeterminismError"
        for part in (
            f"run {run.id} of workflow 'order' (version 1) does not fit its history after record 2, run.started",
            """expected (history): step 'reserve' (0/reserve#0) with {"sku":"lamp"}, called at test_loader.py:""",
            """got (code):         step 'charge' (0/charge#0) with {"cents":100}, called at test_loader.py:""",
            f"at 0: changed ({__file__}:",
            "or keep the old workflow beside the new one as version=2.",
        ):
            assert part in info.error.message
        assert [each.id for each in await engine.list_runs(phase="blocked")] == [run.id]
    assert calls == ["reserve lamp"], "no attempt was started"


async def test_it_finishes_when_the_old_code_is_back() -> None:
    async with TestEngine(workflows=[original]) as engine:
        run = await asleep(engine)
        await misfit(engine, changed)
        await deploy(engine, original)
        assert (await run.info()).error is None
        assert await run.result() == "r-lamp, paid"
        history = await run.history()
    assert history.types() == [
        "run.created",
        "run.started",
        "attempt.started",
        "step.succeeded",
        "timer.set",
        "run.blocked",
        "run.unblocked",
        "timer.fired",
        "attempt.started",
        "step.succeeded",
        "run.succeeded",
    ]
    blocked, unblocked = history.records[5:7]
    assert blocked.code != unblocked.code == history.records[1].code


async def test_a_timer_that_was_due_while_the_run_was_blocked_fires_afterwards() -> None:
    async with TestEngine(workflows=[original]) as engine:
        run = await asleep(engine)
        await deploy(engine, changed)
        assert (await run.info()).phase == "sleeping"
        await engine.clock.advance(10_000)
        assert (await run.info()).phase == "blocked"
        await deploy(engine, original)
        before = engine.clock.now()
        assert await run.result() == "r-lamp, paid"
        assert engine.clock.now() == before


async def test_it_is_blocked_once_for_each_code() -> None:
    async with TestEngine(workflows=[original]) as engine:
        run = await asleep(engine)
        await misfit(engine, changed)
        for code in (changed, changed_otherwise, changed_otherwise, changed):
            await deploy(engine, code)
        records = [each for each in await run.history() if each.type == "run.blocked"]
        assert len(records) == 3
        assert len({each.code for each in records}) == 2
        assert await run.status() == "RUNNING"


async def test_a_run_whose_workflow_is_not_registered_is_blocked_with_that_reason() -> None:
    async with TestEngine(workflows=[original]) as engine:
        run = await asleep(engine)
        await misfit(engine)
        info = await run.info()
        assert info.phase == "blocked"
        assert info.error is not None
        assert "belongs to workflow 'order' version 1, which is not registered here" in info.error.message
        await deploy(engine)
        assert (await run.history()).types().count("run.blocked") == 1
        await deploy(engine, original)
        assert await run.result() == "r-lamp, paid"


async def test_the_old_version_beside_the_new_one_keeps_old_runs_going() -> None:
    newer = workflow("order", version=2, retry=TWICE)(changed.fn)
    async with TestEngine(workflows=[original]) as engine:
        old = await asleep(engine)
        await deploy(engine, original, newer)
        new = await engine.start("order", "desk")
        assert await old.result() == "r-lamp, paid"
        assert await new.result() == "r-desk"
        assert [(await run.info()).version for run in (old, new)] == [1, 2]


async def test_a_change_beyond_what_has_happened_fits() -> None:
    @workflow("order", retry=TWICE)
    async def longer(sku: str) -> str:
        reservation = await reserve(sku)
        await asyncio.sleep(3600)
        await charge(50)
        return f"{reservation}, {await charge(50)}"

    async with TestEngine(workflows=[original]) as engine:
        run = await asleep(engine)
        await deploy(engine, longer)
        assert await run.result() == "r-lamp, paid"
    assert calls == ["reserve lamp", "charge 50", "charge 50"]


# -- what happens to a blocked run meanwhile


async def test_a_blocked_run_uses_no_retry_and_starts_no_attempt() -> None:
    @step("charge", retry=TWICE)
    async def failing(_cents: int) -> str:
        calls.append(f"attempt {current().attempt}")
        if current().attempt == 0:
            raise ConnectionError
        return "paid"

    @workflow("order")
    async def pays(sku: str) -> str:
        return await failing(len(sku))

    async with TestEngine(workflows=[pays]) as engine:
        run = await engine.start(pays, "lamp")
        await engine.clock.advance(1)
        await deploy(engine, changed)
        await engine.clock.advance(600)
        assert calls == ["attempt 0"]
        await deploy(engine, pays)
        assert await run.result() == "paid"
    assert calls == ["attempt 0", "attempt 1"]


class Outside:
    """A service whose answers take as long as the test wants."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()


@step(retry=TWICE)
async def ask(_question: str) -> int:
    calls.append(f"attempt {current().attempt}")
    return await asyncio.shield(current().resource(Outside).answer)


flag = {"fits": True}


@workflow(retry=TWICE)
async def fickle() -> int:
    """Not deterministic: so it can come to misfit while a body of its steps runs."""
    return await ask("fits" if flag["fits"] else "does not")


async def blocked_with_a_running_body(engine: TestEngine) -> Run[int]:
    flag["fits"] = True
    run = await engine.start(fickle)
    await engine.quiesce()
    flag["fits"] = False
    return run


@pytest.mark.parametrize("fails", [False, True])
async def test_outcomes_that_arrive_meanwhile_wait_in_the_inbox(*, fails: bool) -> None:
    outside = Outside()
    async with TestEngine(workflows=[fickle], resources={Outside: outside}) as engine:
        run = await blocked_with_a_running_body(engine)
        if fails:
            outside.answer.set_exception(ConnectionError("no"))
        else:
            outside.answer.set_result(42)
        await engine.settle()
        assert (await run.info()).phase == "blocked"
        assert (await run.history()).types()[-1] == "run.blocked"
        assert len(await engine.core.store.inbox_runs()) == 1
        flag["fits"] = True
        await engine.restart()
        if fails:
            outside.answer = asyncio.get_running_loop().create_future()
            outside.answer.set_result(42)
        assert await run.result() == 42
        assert await engine.core.store.inbox_runs() == []
        types = (await run.history()).types()
    assert "attempt.lost" not in types
    assert calls == (["attempt 0", "attempt 1"] if fails else ["attempt 0"])


async def test_a_body_that_ends_while_its_run_is_blocked_is_not_executed_again() -> None:
    """Blocked first, then the outcome."""
    outside = Outside()
    async with TestEngine(workflows=[fickle], resources={Outside: outside}) as engine:
        run = await blocked_with_a_running_body(engine)
        assert await run.cancel()  # loads it: it misfits
        await engine.quiesce()
        assert (await run.info()).phase == "blocked"
        outside.answer.set_result(42)
        await engine.settle()
        flag["fits"] = True
        await engine.restart()
        await engine.settle()
        # What was done before the cancel is not thrown away by it: the run has succeeded.
        assert (await run.info()).status == "SUCCEEDED"
    assert calls == ["attempt 0"]


async def test_a_cancel_of_a_blocked_run_waits_too() -> None:
    async with TestEngine(workflows=[original]) as engine:
        run = await asleep(engine)
        await deploy(engine, changed)
        assert await run.cancel()
        await engine.settle()
        assert (await run.info()).phase == "blocked"
        await deploy(engine, original)
        await engine.settle()
        assert await run.status() == "CANCELED"


# -- values that no longer decode (rule 14)


@step("reserve")
async def reserve_many(sku: str) -> list[str]:
    return [sku]


@workflow("order", retry=TWICE)
async def expects_a_list(sku: str) -> str:
    reservations = await reserve_many(sku)
    await asyncio.sleep(3600)
    return ", ".join(reservations)


async def test_a_recorded_result_that_no_longer_decodes_blocks_the_run() -> None:
    async with TestEngine(workflows=[original]) as engine:
        run = await asleep(engine)
        await misfit(engine, expects_a_list)
        info = await run.info()
        assert info.phase == "blocked"
        assert info.error is not None
        assert "the recorded result of step 0/reserve#0: Expected `array`, got `str`" in info.error.message
        await deploy(engine, original)
        assert await run.result() == "r-lamp, paid"


async def test_a_carried_over_result_that_no_longer_decodes_blocks_the_run() -> None:
    """It is fed when the body is executed again, in no replay."""

    @workflow("order", retry=TWICE)
    async def fails_once(sku: str) -> str:
        reservation = await reserve(sku)
        if current().attempt == 0 and calls[-1] != "deployed":
            raise ConnectionError
        return reservation

    async with TestEngine(workflows=[fails_once]) as engine:
        run = await engine.start(fails_once, "lamp")
        await engine.clock.advance(1)
        assert (await run.info()).phase == "retrying"
        await deploy(engine, expects_a_list)
        await engine.clock.advance(600)
        assert (await run.info()).phase == "blocked"
        await deploy(engine, fails_once)
        calls.append("deployed")
        assert await run.result() == "r-lamp"


# -- input that does not fit


@workflow(on="order/placed")
async def typed(event: Event[dict[str, int]]) -> int:
    return event.data["cents"]


async def test_an_event_whose_data_miss_the_annotation_fails_its_run_at_once() -> None:
    async with TestEngine(workflows=[typed]) as engine:
        before = engine.clock.now()
        await engine.send(Event("order/placed", {"cents": "many"}))
        await engine.settle()
        [info] = await engine.list_runs()
        assert (info.status, engine.clock.now()) == ("FAILED", before)
        assert info.error is not None
        assert info.error.type == "durably.InvalidInput"
        assert "Expected `int`, got `str` - at `$.data[...]`" in info.error.message
        run = await engine.get_run(info.id, typed)
        assert (await run.history()).types() == ["run.created", "run.started", "run.failed"]
        await engine.replay_finished()


async def test_a_run_that_ends_while_it_is_loaded_tells_who_waits() -> None:
    async with TestEngine(workflows=[original]) as engine:
        run = await asleep(engine)
        waiting = asyncio.ensure_future(run.result())
        await engine.clock.advance(3600)
        assert await waiting == "r-lamp, paid"


@pytest.mark.parametrize("max_parked", [0, 1, 100])
async def test_many_runs_are_rebuilt_when_their_time_has_come(max_parked: int) -> None:
    async with TestEngine(workflows=[original], max_parked=max_parked) as engine:
        began = engine.clock.now()
        runs = [await engine.start(original, str(number)) for number in range(20)]
        await engine.clock.advance(60)
        assert len(engine.core.runs) == min(max_parked, 20)
        await engine.restart()
        assert [await run.result() for run in runs] == [f"r-{number}, paid" for number in range(20)]
        assert (engine.clock.now() - began).total_seconds() == 3600
    assert sorted(calls) == sorted([f"reserve {number}" for number in range(20)] + ["charge 100"] * 20)
