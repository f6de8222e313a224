"""Attempts and activations: what starts when, what is interrupted, and whose outcome is taken."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from durably import (
    NonRetriableError,
    RetryPolicy,
    Run,
    RunCanceled,
    RunFailed,
    Step,
    StepError,
    current,
    run_step,
    step,
    workflow,
)
from durably.engine.execution.endings import cancel
from durably.store import MemoryStore, Operation
from durably.store.protocol import Done
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

ONCE_MORE = RetryPolicy(1, backoff="fixed", delay=60, jitter=0)
events: list[str] = []


@pytest.fixture(autouse=True)
def no_events() -> None:
    events.clear()


@pytest.fixture
async def engine() -> AsyncIterator[TestEngine]:
    async with TestEngine(workflows=[compensates, swallows, races], drain_timeout=0) as engine:
        yield engine


@step
async def work(name: str) -> str:
    """Real time: it hangs until it is interrupted, and then takes a moment to unwind."""
    events.append(f"{name} begins")
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)
        events.append(f"{name} unwound")
    return name


@step
async def undo(name: str) -> str:
    events.append(f"undo {name}")
    return name


@workflow
async def compensates() -> None:
    try:
        await work("a")
    finally:
        await undo("a")


@workflow
async def swallows() -> str:
    try:
        return await work("a")
    except asyncio.CancelledError:
        return f"stopped, {await undo('a')}"


@workflow
async def races() -> str:
    """The loser of a race is interrupted, and the next step waits for it."""
    slow = asyncio.ensure_future(work("slow"))
    await asyncio.sleep(5)
    slow.cancel()
    return await undo("slow")


# -- cancel


async def test_a_following_step_starts_when_the_interrupted_attempt_has_unwound(engine: TestEngine) -> None:
    """DESIGN section 3: never are two steps of a cancel and its compensation at work on the same thing."""
    run = await engine.start(compensates)
    await engine.quiesce()
    assert await run.cancel()
    with pytest.raises(RunCanceled):
        await run.result()
    assert events == ["a begins", "a unwound", "undo a"]
    assert (await run.history()).types() == [
        "run.created",
        "run.started",
        "attempt.started",
        "cancel.requested",
        "step.canceled",
        "step.scheduled",
        "attempt.started",
        "step.succeeded",
        "run.canceled",
    ]


async def test_the_loser_of_a_race_unwinds_before_the_next_step_starts(engine: TestEngine) -> None:
    run = await engine.start(races)
    await engine.clock.advance(5)
    assert await run.result() == "slow"
    assert events == ["slow begins", "slow unwound", "undo slow"]


async def test_an_attempt_that_does_not_unwind_is_waited_for_ten_seconds() -> None:
    @step
    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                events.append("ignored")

    @workflow
    async def waits_for_it() -> None:
        try:
            await stubborn()
        finally:
            await undo("a")

    released = asyncio.Event()
    async with TestEngine(workflows=[waits_for_it], drain_timeout=0) as engine:
        run = await engine.start(waits_for_it)
        await engine.quiesce()
        began = engine.clock.now()
        await run.cancel()
        await engine.clock.advance(9.9)
        assert events == ["ignored"]
        await engine.clock.advance(0.1)
        assert events == ["ignored", "undo a"]
        assert await run.status() == "CANCELED"
        starts = [each.at for each in await run.history() if each.type == "attempt.started"]
        assert starts[1] - began == timedelta(seconds=10)
        released.set()


async def test_what_an_interrupted_attempt_gives_is_dropped() -> None:
    """An outcome after `step.canceled`: the workflow no longer wants it."""

    @step
    async def finishes_anyway() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "too late"
        return ""

    @workflow
    async def gives_up() -> str:
        try:
            async with asyncio.timeout(5):
                return await finishes_anyway()
        except TimeoutError:
            return await undo("a")

    async with TestEngine(workflows=[gives_up]) as engine:
        run = await engine.start(gives_up)
        await engine.clock.advance(5)
        assert await run.result() == "a"
        types = (await run.history()).types()
    assert types.count("step.succeeded") == 1
    assert types[4:8] == ["timer.fired", "step.canceled", "step.scheduled", "attempt.started"]


async def test_a_canceled_retry_does_not_come() -> None:
    @step(retry=ONCE_MORE)
    async def flaky() -> None:
        events.append(f"attempt {current().attempt}")
        raise ConnectionError

    @workflow
    async def gives_up() -> str:
        try:
            async with asyncio.timeout(30):
                await flaky()
        except TimeoutError:
            await asyncio.sleep(600)
        return "done"

    async with TestEngine(workflows=[gives_up]) as engine:
        assert await (await engine.start(gives_up)).result() == "done"
    assert events == ["attempt 0"]


async def test_a_cancel_that_is_swallowed_lets_the_run_succeed(engine: TestEngine) -> None:
    run = await engine.start(swallows)
    await engine.quiesce()
    assert await run.cancel()
    assert await run.result() == "stopped, a"
    assert not await run.cancel(), "it has ended"


async def test_a_second_cancel_interrupts_again() -> None:
    @workflow
    async def takes_its_time() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(1000)

    async with TestEngine(workflows=[takes_its_time]) as engine:
        run = await engine.start(takes_its_time)
        began = engine.clock.now()
        await engine.clock.advance(1)
        assert await run.cancel()
        await engine.clock.advance(1)
        assert await run.cancel()
        with pytest.raises(RunCanceled):
            await run.result()
        assert engine.clock.now() - began == timedelta(seconds=2)
        assert (await run.history()).types().count("cancel.requested") == 2
        await engine.replay_finished()


async def test_a_cancel_after_a_crash_reaches_the_run(engine: TestEngine) -> None:
    """It was acknowledged, so it is in the inbox whatever happens."""
    run = await engine.start(compensates)
    await engine.quiesce()
    assert await run.cancel()
    await engine.restart()
    with pytest.raises(RunCanceled):
        await run.result()


class HoldingStore(MemoryStore):
    """Keeps the commits back that it is given while `held` is a list."""

    held: list[tuple[Sequence[Operation], Done]] | None = None

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        if self.held is None:
            super().submit(batch, done)
        else:
            self.held.append((batch, done))

    def let_go(self) -> None:
        held, self.held = self.held or [], None
        for batch, done in held:
            super().submit(batch, done)


async def test_a_cancel_at_the_moment_the_body_fails_is_no_error_of_the_body() -> None:
    """The body has failed in memory, its commit is under way: nothing is left to be interrupted."""

    @workflow
    async def fails() -> None:
        await undo("a")
        raise ConnectionError

    store = HoldingStore()
    engine = TestEngine(workflows=[fails])
    engine.use_store(store)
    async with engine:
        engine.mock(undo, returns="a", takes=10)
        run = await engine.start(fails)
        store.held = []
        await engine.clock.advance(9)
        jumping = asyncio.ensure_future(engine.clock.advance(1))
        async with asyncio.timeout(5):
            while not store.held:  # noqa: ASYNC110 - the store has no event for it
                await asyncio.sleep(0)
        live = engine.core.runs.by_id(run.id)
        assert live is not None
        assert live.instance is not None
        assert live.instance.ended
        cancel(live, (), engine.core.executor)
        store.let_go()
        await jumping
        with pytest.raises(RunCanceled):
            await run.result()


# -- outcomes that are refused


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        (object(), "the object at $ cannot be encoded as JSON"),
        ({"a": [1, {2, object()}]}, "cannot be encoded as JSON"),
        ("x" * (4 * 1024 * 1024), "over the limit of 4,194,304; store it elsewhere and return where it is"),
    ],
    ids=["an object", "an object inside", "too much"],
)
async def test_a_result_that_cannot_be_kept_fails_the_step_and_is_not_made_again(result: Any, complaint: str) -> None:
    """DESIGN rule 14. The side effect is done once; the error names the step."""

    @step
    async def produce() -> Any:
        events.append("effect")
        return result

    @workflow
    async def asks() -> str:
        try:
            await produce()
        except StepError as error:
            return str(error) if error.matches(NonRetriableError) else "another error"
        return "kept"

    async with TestEngine(workflows=[asks]) as engine:
        run = await engine.start(asks)
        message = await run.result()
        assert "step 'produce' failed after 1 attempt" in message
        assert complaint in message
        assert (await run.info()).tasks == 1
    assert events == ["effect"]


async def test_a_result_that_misses_its_annotation_fails_the_step_and_is_not_made_again() -> None:
    @step
    async def produce() -> list[int]:
        events.append("effect")
        return ["no number"]  # type: ignore[list-item]  # pyright: ignore[reportReturnType]  # that is the mistake

    @workflow
    async def asks() -> list[int]:
        return await produce()

    async with TestEngine(workflows=[asks]) as engine:
        run = await engine.start(asks)
        with pytest.raises(RunFailed) as failed:
            await run.result()
    message = failed.value.error.message
    assert "step 'produce' returned something that does not fit its annotation: Expected `int`, got `str`" in message
    assert events == ["effect"]


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=lambda each: type(each).__name__
)
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_whatever_a_step_raises_is_the_steps_error(kind: str, error: BaseException) -> None:
    """None of it ends the engine; all of it is retried like any error."""

    async def raises_async() -> None:
        events.append(f"attempt {current().attempt}")
        raise error

    def raises_sync() -> None:
        events.append(f"attempt {current().attempt}")
        raise error

    raises: Step[[], Any] = step("raises", retry=ONCE_MORE)(raises_async if kind == "async" else raises_sync)

    @workflow
    async def asks() -> str:
        try:
            await raises()
        except StepError as failed:
            return failed.type.rpartition(".")[2]
        return ""

    async with TestEngine(workflows=[asks]) as engine:
        assert await (await engine.start(asks)).result() == type(error).__name__
        assert await (await engine.start(asks)).result() == type(error).__name__
    assert events == ["attempt 0", "attempt 1"] * 2


async def test_an_error_that_cannot_be_shown_is_recorded_all_the_same() -> None:
    class Broken(Exception):  # noqa: N818 - its name is beside the point
        def __str__(self) -> str:
            raise ValueError("not even this")

    @step(retries=0)
    async def raises() -> None:
        raise Broken

    @workflow
    async def asks() -> None:
        await raises()

    async with TestEngine(workflows=[asks]) as engine:
        with pytest.raises(RunFailed, match="no message: its __str__ raised ValueError"):
            await (await engine.start(asks)).result()


# -- what an attempt is given


async def test_a_timeout_is_per_attempt() -> None:
    @step(timeout=5, retry=ONCE_MORE)
    async def slow() -> str:
        return "done"

    @workflow
    async def asks() -> str:
        return await slow()

    async with TestEngine(workflows=[asks]) as engine:
        times = iter([100, 4])
        engine.mock(slow, returns="done", takes=lambda: next(times))
        began = engine.clock.now()
        run = await engine.start(asks)
        assert await run.result() == "done"
        [failed] = [each for each in await run.history() if each.type == "attempt.failed"]
        assert failed.error["type"] == "TimeoutError"
        assert failed.at - began == timedelta(seconds=5)
        assert engine.clock.now() - began == timedelta(seconds=5 + 60 + 4)


async def test_the_idempotency_key_is_the_same_for_all_attempts_of_a_step() -> None:
    keys: list[str] = []

    @step(retry=ONCE_MORE)
    async def charge() -> None:
        keys.append(current().idempotency_key)
        if current().attempt == 0:
            raise ConnectionError

    @workflow
    async def pays_twice() -> None:
        await charge()
        await charge()

    async with TestEngine(workflows=[pays_twice]) as engine:
        run = await engine.start(pays_twice)
        await run.result()
    assert keys == [f"{run.id}:0/charge#0"] * 2 + [f"{run.id}:0/charge#1"] * 2


async def test_what_an_attempt_can_know() -> None:
    seen: list[tuple[Any, ...]] = []

    @step(retry=ONCE_MORE)
    async def looks() -> None:
        here = current()
        last = None if here.last_error is None else here.last_error.type
        seen.append((here.workflow, here.step, here.attempt, here.max_attempts, here.is_final_attempt, last, here.test))
        if here.attempt == 0:
            raise ConnectionError

    @workflow
    async def asks() -> None:
        await looks()

    async with TestEngine(workflows=[asks]) as engine:
        await (await engine.start(asks)).result()
    assert seen == [
        ("asks", "looks", 0, 2, False, None, False),
        ("asks", "looks", 1, 2, True, "ConnectionError", False),
    ]


async def test_arguments_and_results_are_copies() -> None:
    """DESIGN rule 14: what crosses the border is what was stored."""
    items = [1]

    @step
    async def changes(given: list[int]) -> list[int]:
        given.append(2)
        items.append(3)
        return items

    @workflow
    async def asks() -> list[list[int]]:
        mine = [0]
        got = await changes(mine)
        got.append(4)
        return [mine, got]

    async with TestEngine(workflows=[asks]) as engine:
        assert await (await engine.start(asks)).result() == [[0], [1, 3, 4]]
    assert items == [1, 3]


async def test_a_sync_step_runs_in_a_thread() -> None:
    @step
    def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    @workflow
    async def asks() -> bool:
        return await where()

    async with TestEngine(workflows=[asks]) as engine:
        assert await (await engine.start(asks)).result() is False


# -- test mode


async def test_in_test_mode_sleeps_do_not_wait() -> None:
    @workflow
    async def sleeps() -> bool:
        await asyncio.sleep(86_400)
        return current().test

    async with TestEngine(workflows=[sleeps]) as engine:
        began = engine.clock.now()
        run = await engine.start(sleeps.options(test=True))
        assert await run.result() is True
        assert engine.clock.now() == began
        await engine.replay_finished()


# -- the body's own retries


async def test_a_sleep_after_a_body_retry_is_as_long_as_asked() -> None:
    """The carried-over part is replayed at its old times; what is new counts from now (DESIGN rule 11)."""

    @workflow(retry=RetryPolicy(2, backoff="fixed", delay=100, jitter=0))
    async def sleeps_late() -> None:
        await undo("a")
        if current().attempt == 0:
            raise ConnectionError
        await asyncio.sleep(60)

    async with TestEngine(workflows=[sleeps_late]) as engine:
        began = engine.clock.now()
        run = await engine.start(sleeps_late)
        await run.result()
        assert engine.clock.now() - began == timedelta(seconds=160)


async def test_a_sleep_that_was_under_way_when_the_body_failed_keeps_its_due_time() -> None:
    @workflow(retry=RetryPolicy(2, backoff="fixed", delay=100, jitter=0))
    async def sleeps_beside() -> None:
        async def fails_once() -> None:
            await asyncio.sleep(10)
            if current().attempt == 0:
                raise ConnectionError

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(3600))
            tasks.create_task(fails_once())

    async with TestEngine(workflows=[sleeps_beside]) as engine:
        began = engine.clock.now()
        run = await engine.start(sleeps_beside)
        await run.result()
        assert engine.clock.now() - began == timedelta(seconds=3600)


async def test_a_sleep_begun_after_a_retry_keeps_its_due_time_over_the_next_one() -> None:
    """It was set at 100 s and is due at 160 s; the body fails again at 110 s and is back at 120 s."""
    policy = RetryPolicy(2, backoff=(100, 10), jitter=0)

    @workflow(retry=policy)
    async def fails_twice() -> None:
        async def fails_later() -> None:
            await asyncio.sleep(10)
            if current().attempt == 1:
                raise ConnectionError

        await undo("a")
        if current().attempt == 0:
            raise ConnectionError
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(60))
            tasks.create_task(fails_later())

    async with TestEngine(workflows=[fails_twice]) as engine:
        began = engine.clock.now()
        run = await engine.start(fails_twice)
        await run.result()
        assert engine.clock.now() - began == timedelta(seconds=160)
        await engine.replay_finished()


async def test_steps_without_an_end_start_again_under_the_same_key_and_task() -> None:
    @step
    async def slow(name: str) -> str:
        return name

    @workflow(retry=RetryPolicy(2, backoff="fixed", delay=100, jitter=0))
    async def two_branches() -> str:
        async def fails_once() -> None:
            await asyncio.sleep(10)
            if current().attempt == 0:
                raise ConnectionError

        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(slow("a"))
            tasks.create_task(fails_once())
        return first.result()

    async with TestEngine(workflows=[two_branches]) as engine:
        mock = engine.mock(slow, returns="a", takes=50)
        run = await engine.start(two_branches)
        assert await run.result() == "a"
        starts = [
            (each.step, each.attempt, each.start) for each in await run.history() if each.type == "attempt.started"
        ]
        assert starts == [("0/0/slow#0", 0, 0), ("0/0/slow#0", 0, 1)]
        assert ((await run.info()).tasks, len(mock.calls)) == (1, 2)


async def test_a_run_step_needs_no_declaration() -> None:
    async def double(number: int) -> int:
        return number * 2

    @workflow
    async def asks() -> int:
        return await run_step("double", double, 21)

    async with TestEngine(workflows=[asks]) as engine:
        run: Run[int] = await engine.start(asks)
        assert await run.result() == 42
        [started] = [each for each in await run.history() if each.type == "attempt.started"]
        assert (started.step, started.name, started.input) == ("0/double#0", "double", {"number": 21})
