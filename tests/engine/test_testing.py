"""`TestEngine`: when its clock moves, and what its mocks answer (CONTRACT sections 3 and 7)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durably import (
    Event,
    NondeterminismError,
    RetryPolicy,
    RunFailed,
    StepError,
    current,
    sleep,
    step,
    workflow,
)
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)
NO_RETRY = RetryPolicy.NEVER


@step(retry=RetryPolicy(2, backoff="fixed", delay=60, jitter=0))
async def work(name: str) -> str:
    return f"really {name}"


@workflow
async def one_step(name: str) -> str:
    return await work(name)


@workflow
async def week() -> str:
    await sleep(timedelta(days=7))
    return await work("a week later")


@workflow(on="parcel/shipped")
async def on_parcel(_event: Event) -> None:
    await sleep(60)


@pytest.fixture
async def engine() -> AsyncIterator[TestEngine]:
    async with TestEngine(workflows=[one_step, week, on_parcel]) as engine:
        yield engine


def passed(engine: TestEngine) -> float:
    """Seconds that have passed on the engine's clock."""
    return (engine.clock.now() - START).total_seconds()


# -- when the clock moves


async def test_the_clock_begins_at_a_fixed_time_and_stands_still(engine: TestEngine) -> None:
    await engine.start(week)
    for _ in range(100):
        await asyncio.sleep(0)
    assert passed(engine) == 0


async def test_awaiting_a_result_lets_a_week_pass_at_once(engine: TestEngine) -> None:
    run = await engine.start(week)
    assert await run.result() == "really a week later"
    assert passed(engine) == 7 * 86_400


async def test_settle_lets_everything_happen(engine: TestEngine) -> None:
    await engine.start(week)
    await engine.send(Event("parcel/shipped"))
    await engine.settle()
    assert {info.status for info in await engine.list_runs()} == {"SUCCEEDED"}
    assert passed(engine) == 7 * 86_400


async def test_advance_lets_just_that_much_pass(engine: TestEngine) -> None:
    run = await engine.start(week)
    await engine.clock.advance(timedelta(days=6))
    assert (await run.info()).phase == "sleeping"
    await engine.clock.advance(86_399.5)
    assert (await run.info()).phase == "sleeping"
    await engine.clock.advance(0.5)
    assert await run.status() == "SUCCEEDED"
    assert passed(engine) == 7 * 86_400


async def test_advance_goes_through_what_is_due_in_order() -> None:
    times: list[tuple[str, float]] = []

    @workflow
    async def wakes(name: str, seconds: float) -> None:
        for _ in range(2):
            await asyncio.sleep(seconds)
            await work(name)

    async with TestEngine(workflows=[wakes]) as engine:

        def note_time(name: str) -> str:
            times.append((name, passed(engine)))
            return name

        engine.mock(work, side_effect=note_time)
        for name, seconds in (("a", 10), ("b", 4), ("c", 7)):
            await engine.start(wakes, name, seconds)
        await engine.clock.advance(100)
        assert times == [("b", 4), ("c", 7), ("b", 8), ("a", 10), ("c", 14), ("a", 20)]
        assert passed(engine) == 100


async def test_the_clock_does_not_jump_while_a_step_body_runs() -> None:
    """Time inside step bodies is real."""
    seen: list[float] = []

    @step
    async def real() -> None:
        seen.append(passed(engine))
        await asyncio.sleep(0.02)
        seen.append(passed(engine))

    @workflow
    async def beside_a_sleep() -> None:
        await asyncio.gather(real(), asyncio.sleep(3600))

    async with TestEngine(workflows=[beside_a_sleep]) as engine:
        await (await engine.start(beside_a_sleep)).result()
        assert seen == [0, 0]
        assert passed(engine) == 3600


async def test_a_result_that_is_there_needs_no_time(engine: TestEngine) -> None:
    """Another run sleeps for a week; that is no reason to let a week pass."""
    await engine.start(week)
    assert await (await engine.start(one_step, "a")).result() == "really a"
    assert passed(engine) == 0


async def test_with_auto_off_only_advance_moves_the_clock() -> None:
    async with TestEngine(workflows=[week], auto=False) as engine:
        run = await engine.start(week)
        await engine.settle()
        with pytest.raises(TimeoutError):
            await run.result(timeout=0.01)
        assert passed(engine) == 0
        await engine.clock.advance(timedelta(days=7))
        assert await run.result() == "really a week later"


async def test_advance_does_not_wait_for_running_bodies() -> None:
    @step
    async def hangs() -> None:
        await asyncio.Event().wait()

    @workflow
    async def waits() -> None:
        await hangs()

    async with TestEngine(workflows=[waits], drain_timeout=0) as engine:
        run = await engine.start(waits)
        await engine.clock.advance(3600)
        assert (await run.info()).phase == "executing"
        assert passed(engine) == 3600


async def test_a_result_may_be_awaited_from_several_places(engine: TestEngine) -> None:
    run = await engine.start(week)
    assert await asyncio.gather(*(run.result() for _ in range(3))) == ["really a week later"] * 3


# -- mocks


async def test_a_mock_answers_in_the_place_of_the_body(engine: TestEngine) -> None:
    mock = engine.mock(work, returns="mocked")
    assert await (await engine.start(one_step, "a")).result() == "mocked"
    [call] = mock.calls
    assert (call.args, call.kwargs) == (("a",), {})


async def test_a_mock_raises_every_time_or_in_turn(engine: TestEngine) -> None:
    mock = engine.mock(work, raises=ConnectionError("down"))
    with pytest.raises(RunFailed, match="ConnectionError: down"):
        await (await engine.start(one_step, "a")).result()
    assert len(mock.calls) == 3
    mock = engine.mock(work, raises=[ConnectionError(), None], returns="at last")
    assert await (await engine.start(one_step, "a")).result() == "at last"
    assert len(mock.calls) == 2


async def test_a_mock_can_be_a_function_and_know_the_attempt(engine: TestEngine) -> None:
    def answer(name: str) -> str:
        if current().attempt < 2:
            raise ConnectionError
        return f"{name} in attempt {current().attempt}"

    engine.mock(work, side_effect=answer)
    assert await (await engine.start(one_step, "a")).result() == "a in attempt 2"


async def test_a_mock_can_be_a_coroutine_function(engine: TestEngine) -> None:
    async def answer(name: str) -> str:
        await asyncio.sleep(0)
        return name.upper()

    engine.mock(work, side_effect=answer)
    assert await (await engine.start(one_step, "a")).result() == "A"


@pytest.mark.parametrize("auto", [True, False])
async def test_a_mock_lasts_as_long_as_it_is_said_to_on_the_clock(*, auto: bool) -> None:
    async with TestEngine(workflows=[one_step], auto=auto) as engine:
        engine.mock(work, returns="a", takes=timedelta(minutes=2))
        run = await engine.start(one_step, "a")
        await engine.clock.advance(119)
        assert (await run.info()).phase == "executing"
        await engine.clock.advance(1)
        assert await run.result() == "a"
        ended = [each.at for each in await run.history() if each.type == "step.succeeded"]
        assert ended == [START + timedelta(minutes=2)]


async def test_a_mocks_duration_can_depend_on_its_arguments() -> None:
    @workflow
    async def race() -> str:
        tasks = [asyncio.create_task(work(name)) for name in ("slow", "fast")]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()

    def takes(name: str) -> float:
        return {"slow": 100, "fast": 1}[name]

    async with TestEngine(workflows=[race]) as engine:
        engine.mock(work, side_effect=work.fn, takes=takes)
        assert await (await engine.start(race)).result() == "really fast"
        assert passed(engine) == 1


async def test_each_mocked_step_ends_at_its_own_time_under_one_advance() -> None:
    @workflow
    async def three() -> list[str]:
        return list(await asyncio.gather(*(work(name) for name in "abc")))

    def takes(name: str) -> float:
        return {"a": 3, "b": 1, "c": 2}[name]

    async with TestEngine(workflows=[three]) as engine:
        engine.mock(work, side_effect=work.fn, takes=takes)
        run = await engine.start(three)
        await engine.clock.advance(10)
        ends = [(each.step, each.at - START) for each in await run.history() if each.type == "step.succeeded"]
    assert ends == [
        ("0/1/work#0", timedelta(seconds=1)),
        ("0/2/work#0", timedelta(seconds=2)),
        ("0/0/work#0", timedelta(seconds=3)),
    ]


async def test_a_mock_that_outlasts_the_steps_timeout_times_out() -> None:
    @step(timeout=5, retry=NO_RETRY)
    async def impatient() -> str:
        return "in time"

    @workflow
    async def asks() -> str:
        try:
            return await impatient()
        except StepError as error:
            return error.type

    async with TestEngine(workflows=[asks]) as engine:
        engine.mock(impatient, returns="too late", takes=6)
        assert await (await engine.start(asks)).result() == "TimeoutError"
        assert passed(engine) == 5


async def test_a_mocked_step_that_is_canceled_stops_waiting() -> None:
    @workflow
    async def gives_up() -> str:
        try:
            async with asyncio.timeout(5):
                return await work("a")
        except TimeoutError:
            return "gave up"

    async with TestEngine(workflows=[gives_up]) as engine:
        engine.mock(work, returns="a", takes=1000)
        assert await (await engine.start(gives_up)).result() == "gave up"
        assert passed(engine) == 5


# -- restart


async def test_handles_stay_good_after_a_restart(engine: TestEngine) -> None:
    run = await engine.start(week)
    await engine.clock.advance(3600)
    await engine.restart()
    assert passed(engine) == 3600
    assert await run.result() == "really a week later"
    assert passed(engine) == 7 * 86_400


async def test_mocks_and_resources_stay_over_a_restart() -> None:
    @step
    async def uses_it() -> int:
        return current().resource(int)

    @workflow
    async def both() -> tuple[str, int]:
        await sleep(60)
        return await work("a"), await uses_it()

    async with TestEngine(workflows=[both], resources={int: 42}) as engine:
        engine.mock(work, returns="mocked")
        run = await engine.start(both)
        await engine.clock.advance(1)
        await engine.restart()
        assert await run.result() == ("mocked", 42)


async def test_it_can_restart_many_times(engine: TestEngine) -> None:
    run = await engine.start(week)
    for _ in range(5):
        await engine.restart()
    assert await run.result() == "really a week later"
    assert (await run.history()).types().count("timer.set") == 1


# -- the same again


async def test_two_engines_give_the_same_history() -> None:
    """Ids, seeds and jitter are those of a fixed seed."""
    histories: list[str] = []
    for _ in range(2):
        async with TestEngine(workflows=[one_step]) as engine:
            engine.mock(work, raises=[ConnectionError(), None], returns="a")
            run = await engine.start(one_step, "a")
            await run.result()
            histories.append((await run.history()).to_json())
    assert histories[0] == histories[1]


async def test_finished_runs_can_be_replayed_at_the_end() -> None:
    names = iter(["first", "second", "third"])

    @workflow
    async def fickle() -> None:
        await work(next(names))

    async with TestEngine(workflows=[fickle], max_parked=10) as engine:
        await (await engine.start(fickle)).result()
        with pytest.raises(NondeterminismError, match="does the same with other arguments"):
            await engine.replay_finished()


async def test_every_wait_evicts_by_default() -> None:
    """So that each test of a workflow tests its replay, too."""
    bodies: list[str] = []

    @workflow
    async def counts() -> None:
        bodies.append("executed")
        await sleep(1)
        await sleep(1)

    for max_parked, executions in ((0, 3), (10, 1)):
        bodies.clear()
        async with TestEngine(workflows=[counts], max_parked=max_parked) as engine:
            run: Any = await engine.start(counts)
            await run.result()
        assert len(bodies) == executions
