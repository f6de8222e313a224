"""How a body ends (DESIGN rule 15), and what of it can never be retried (rules 5, 14)."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from durably import (
    Event,
    NonRetriableError,
    RetryAfterError,
    RetryPolicy,
    RunCanceled,
    RunFailed,
    StepError,
    step,
    workflow,
)
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

TWICE = RetryPolicy(2, backoff="fixed", delay=10, jitter=0)


@step(retries=0)
async def refuse(name: str = "step") -> None:
    raise LookupError(name)


@step
async def note(text: str) -> str:
    return text


async def bodies_of(body: Callable[[], Awaitable[Any]]) -> tuple[str, int, list[float]]:
    """How a run of this body ends, allowed two retries: error type, attempts of the body, waits between
    them."""

    @workflow(retry=TWICE)
    async def run_body() -> Any:
        return await body()

    async with TestEngine(workflows=[run_body]) as engine:
        run = await engine.start(run_body)
        with pytest.raises(RunFailed) as failed:
            await run.result()
        history = await run.history()
        await engine.replay_finished()
    ends = [each.at for each in history if each.type == "body.failed"]
    starts = [each.at for each in history if each.type == "body.started"]
    waits = [(start - end).total_seconds() for end, start in zip(ends, starts, strict=True)]
    return failed.value.error.type, len(starts) + 1, waits


# -- errors and groups of errors


def group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("several", errors)


async def an_error() -> None:
    raise ValueError("no")


async def a_permanent_error() -> None:
    raise NonRetriableError("never")


async def an_escaping_step_error() -> None:
    await refuse()


async def another_error_for_a_caught_step_error() -> None:
    try:
        await refuse()
    except StepError as error:
        raise ValueError("no") from error


async def a_group_with_a_permanent_error() -> None:
    raise group(ValueError("no"), group(NonRetriableError("never")), RetryAfterError("later", 60))


async def a_group_of_step_errors() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(refuse("a"))
        tasks.create_task(refuse("b"))


async def a_group_of_a_step_error_and_another() -> None:
    results = await asyncio.gather(refuse("a"), return_exceptions=True)
    raise group(*[each for each in results if each is not None], ValueError("no"))


async def a_group_with_retry_after() -> None:
    raise group(ValueError("no"), RetryAfterError("soon", 30), group(RetryAfterError("later", 90)))


async def a_plain_group() -> None:
    raise group(ValueError("no"), LookupError("none"))


async def a_cancel_nobody_asked_for() -> None:
    await note("a")
    raise asyncio.CancelledError


async def a_system_exit() -> None:
    await note("a")
    sys.exit(3)


async def a_keyboard_interrupt() -> None:
    raise KeyboardInterrupt


GROUP = "ExceptionGroup"
ENDS: list[tuple[Callable[[], Awaitable[Any]], str, int, list[float]]] = [
    (an_error, "ValueError", 3, [10, 10]),
    (a_permanent_error, "durably.NonRetriableError", 1, []),
    (an_escaping_step_error, "durably.StepError", 1, []),
    (another_error_for_a_caught_step_error, "ValueError", 3, [10, 10]),
    (a_group_with_a_permanent_error, GROUP, 1, []),
    (a_group_of_step_errors, GROUP, 1, []),
    (a_group_of_a_step_error_and_another, GROUP, 3, [10, 10]),
    (a_group_with_retry_after, GROUP, 3, [90, 90]),
    (a_plain_group, GROUP, 3, [10, 10]),
    (a_cancel_nobody_asked_for, "asyncio.exceptions.CancelledError", 3, [10, 10]),
    (a_system_exit, "SystemExit", 3, [10, 10]),
    (a_keyboard_interrupt, "KeyboardInterrupt", 3, [10, 10]),
]


@pytest.mark.parametrize(("body", "error", "attempts", "waits"), ENDS, ids=lambda each: getattr(each, "__name__", ""))
async def test_an_error_out_of_a_body(
    body: Callable[[], Awaitable[Any]], error: str, attempts: int, waits: list[float]
) -> None:
    """An exception group is judged by its leaves; what nobody asked for is an error of the body."""
    assert await bodies_of(body) == (error, attempts, waits)


# -- what cannot be retried


async def a_socket() -> None:
    await asyncio.open_connection("localhost", 1)


async def a_thread() -> None:
    await asyncio.to_thread(print)


async def an_executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, print)


async def a_process() -> None:
    await asyncio.create_subprocess_exec("true")


async def a_name_lookup() -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 1)


@pytest.mark.parametrize(
    "body", [a_socket, a_thread, an_executor, a_process, a_name_lookup], ids=lambda each: each.__name__
)
async def test_what_cannot_be_deterministic_fails_at_once(body: Callable[[], Awaitable[None]]) -> None:
    """DESIGN rule 5: with an error that says to put it in a step. And no retry: it would do so again."""

    @workflow
    async def reaches_out() -> None:
        await note("first")
        await body()

    async with TestEngine(workflows=[reaches_out]) as engine:
        run = await engine.start(reaches_out)
        with pytest.raises(RunFailed, match=r"a workflow must not call [\w.]+\(\): .* put the call in a step"):
            await run.result()
        assert (await run.history()).types().count("body.failed") == 0


@pytest.mark.parametrize("after_a_step", [False, True])
async def test_a_body_that_spins_through_the_loop_fails_at_once(*, after_a_step: bool) -> None:
    """`while True: await asyncio.sleep(0)`: the error names the asyncio task, its line, and the way out."""

    @workflow
    async def spins() -> None:
        if after_a_step:
            await note("first")
        while True:  # noqa: ASYNC110 - that is the mistake
            await asyncio.sleep(0)

    async with TestEngine(workflows=[spins, other]) as engine:
        run = await engine.start(spins)
        with pytest.raises(RunFailed) as failed:
            await run.result()
        assert failed.value.error.type == "durably.Spin"
        assert "asyncio task 0: " in failed.value.error.message
        assert f"({__file__}:" in failed.value.error.message
        assert "let it wait for an asyncio.Event or a longer sleep" in failed.value.error.message
        assert "body.failed" not in (await run.history()).types()
        assert await (await engine.start(other)).result() == "fine"


@workflow
async def other() -> str:
    return "fine"


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        (object(), "the object at $ cannot be encoded as JSON"),
        ({"a": [1, float("nan")]}, "nan at $.a[1] has no form in JSON"),
        ("x" * (4 * 1024 * 1024), "over the limit of 4,194,304; store it elsewhere and return where it is"),
    ],
    ids=["an object", "not a number", "too much"],
)
async def test_a_result_that_cannot_be_kept_fails_the_run_at_once(result: Any, complaint: str) -> None:
    @workflow
    async def returns() -> Any:
        await note("a")
        return result

    async with TestEngine(workflows=[returns]) as engine:
        run = await engine.start(returns)
        with pytest.raises(RunFailed) as failed:
            await run.result()
        assert complaint in failed.value.error.message
        assert "body.failed" not in (await run.history()).types()


async def test_a_result_comes_back_as_annotated() -> None:
    @workflow
    async def returns() -> tuple[int, frozenset[str]]:
        return 1, frozenset({"a"})

    async with TestEngine(workflows=[returns]) as engine:
        assert await (await engine.start(returns)).result() == (1, frozenset({"a"}))


# -- other asyncio tasks, when the root ends


async def test_asyncio_tasks_left_behind_are_canceled_in_creation_order_and_driven_to_their_end() -> None:
    """As in `asyncio.run`. What they do in their `finally` is durable, and before the outcome is recorded."""

    @workflow
    async def leaves_two_behind() -> str:
        async def background(name: str) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                await note(f"cleaned up {name}")

        tasks = [asyncio.create_task(background(name)) for name in "ab"]
        await asyncio.sleep(1)
        return f"{len(tasks)} left behind"

    async with TestEngine(workflows=[leaves_two_behind]) as engine:
        run = await engine.start(leaves_two_behind)
        assert await run.result() == "2 left behind"
        history = await run.history()
    notes = [each.output for each in history if each.type == "step.succeeded"]
    assert notes == ["cleaned up a", "cleaned up b"]
    assert history.types()[-1] == "run.succeeded"


async def test_an_error_in_a_task_left_behind_does_not_change_the_outcome() -> None:
    @workflow
    async def leaves_one_behind() -> str:
        async def background() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                raise ValueError("nobody sees this")

        task = asyncio.create_task(background())
        await asyncio.sleep(1)
        return task.get_name()

    async with TestEngine(workflows=[leaves_one_behind]) as engine:
        assert await (await engine.start(leaves_one_behind)).result() == "0/0"


# -- after a cancel request


async def canceled(body: Callable[[], Awaitable[Any]]) -> tuple[str, list[str]]:
    """How a run of this body ends that is canceled after a second; and the types of its last records."""

    @workflow
    async def run_body() -> Any:
        return await body()

    async with TestEngine(workflows=[run_body]) as engine:
        run = await engine.start(run_body)
        await engine.clock.advance(1)
        assert await run.cancel()
        await engine.settle()
        history = await run.history()
        await engine.replay_finished()
        return await run.status(), history.types()


async def lets_it_through() -> None:
    await asyncio.sleep(1000)


async def cleans_up() -> None:
    try:
        await asyncio.sleep(1000)
    finally:
        await note("cleaned up")


async def raises_another_error() -> None:
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        raise ValueError("no") from None


async def swallows_it() -> str:
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        return "finished anyway"
    return ""


async def fails_later() -> None:
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        await asyncio.sleep(60)
        raise ConnectionError from None


@pytest.mark.parametrize(
    ("body", "status", "last"),
    [
        (lets_it_through, "CANCELED", ["cancel.requested", "timer.canceled", "run.canceled"]),
        (cleans_up, "CANCELED", ["attempt.started", "step.succeeded", "run.canceled"]),
        (raises_another_error, "FAILED", ["cancel.requested", "timer.canceled", "run.failed"]),
        (swallows_it, "SUCCEEDED", ["cancel.requested", "timer.canceled", "run.succeeded"]),
        (fails_later, "FAILED", ["timer.set", "timer.fired", "run.failed"]),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
async def test_after_a_cancel_request_the_body_is_not_retried(
    body: Callable[[], Awaitable[Any]], status: str, last: list[str]
) -> None:
    """`CancelledError` out → CANCELED, another error → FAILED, a return → SUCCEEDED."""
    found, types = await canceled(body)
    assert found == status
    assert types[-3:] == last


async def test_a_run_canceled_before_its_start_has_no_body() -> None:
    """DESIGN section 3: `cancel.requested`, `run.canceled`, no body."""
    bodies: list[str] = []

    @workflow(on="go")
    async def never() -> None:
        bodies.append("ran")

    async with TestEngine(workflows=[never]) as engine:
        await engine.send(Event("go"))  # its body starts in the next turn of the loop, and that does not come
        engine.workflows = ()
        await engine.restart()
        [info] = await engine.list_runs()
        run = await engine.get_run(info.id, never)
        assert await run.cancel()
        engine.workflows = (never,)
        await engine.restart()
        with pytest.raises(RunCanceled):
            await run.result()
        types = (await run.history()).types()
    assert bodies == []
    assert types == ["run.created", "run.blocked", "run.unblocked", "cancel.requested", "run.canceled"]


async def test_a_run_canceled_while_its_body_waits_for_a_retry_ends_at_once() -> None:
    @workflow
    async def fails() -> None:
        raise ConnectionError

    async with TestEngine(workflows=[fails]) as engine:
        run = await engine.start(fails)
        await engine.clock.advance(0.5)
        assert (await run.info()).phase == "retrying"
        began = engine.clock.now()
        assert await run.cancel()
        with pytest.raises(RunCanceled):
            await run.result()
        assert engine.clock.now() == began
        assert (await run.history()).types()[-2:] == ["cancel.requested", "run.canceled"]
