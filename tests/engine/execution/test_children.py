"""Child runs: awaited, started, canceled, found again (CONTRACT sections 2 and 7, DESIGN rule 9)."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from durably import (
    ChildError,
    NonRetriableError,
    RetryPolicy,
    Run,
    RunCanceled,
    RunFailed,
    continue_as_new,
    current,
    start_child,
    step,
    wait_for_signal,
    workflow,
)
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

Running = Callable[..., AbstractAsyncContextManager[TestEngine]]
QUICK = RetryPolicy(3, backoff="fixed", delay=10, jitter=0)


@dataclass
class Parcel:
    number: int
    after: timedelta


@step
async def work(number: int) -> int:
    return number


@workflow
async def pack(number: int) -> Parcel:
    await asyncio.sleep(number)
    return Parcel(await work(number), timedelta(seconds=number))


@workflow
async def breaks(how: str) -> None:
    await asyncio.sleep(1)
    if how == "fails":
        raise NonRetriableError("no parcel")
    await asyncio.sleep(1000)


async def statuses(engine: TestEngine) -> dict[str, list[str]]:
    await engine.quiesce()
    found: dict[str, list[str]] = {}
    for info in reversed(await engine.list_runs(limit=1000)):
        found.setdefault(info.workflow, []).append(info.status)
    return found


async def child_of(engine: TestEngine, run: Run[Any], place: int = 0) -> Run[Any]:
    infos = [info for info in reversed(await engine.list_runs()) if info.parent == run.id]
    return await engine.get_run(infos[place].id)


# -- outcomes


@pytest.mark.parametrize("restart", [False, True])
async def test_a_childs_result_comes_back_as_annotated(running: Running, restart: bool) -> None:
    @workflow
    async def ships() -> list[float]:
        one, two = await asyncio.gather(pack(1), pack(number=2))
        three = await start_child(pack, 3)
        parcels = [one, two, await three.result()]
        return [each.number + each.after.total_seconds() for each in parcels]

    async with running(ships, pack) as engine:
        run = await engine.start(ships)
        if restart:
            for _ in range(4):
                await engine.clock.advance(0.7)
                await engine.restart()
        assert await run.result() == [2, 4, 6]
        assert await statuses(engine) == {"ships": ["SUCCEEDED"], "pack": ["SUCCEEDED"] * 3}
        started = [each for each in await run.history() if each.type == "child.started"]
        assert [each.child for each in started] == ["0/0/pack#0", "0/1/pack#0", "0/pack#0"]
        assert started[2].line.startswith("test_children.py:")


@pytest.mark.parametrize(("how", "status"), [("fails", "FAILED"), ("hangs", "CANCELED")])
async def test_a_child_that_does_not_succeed_is_an_error(running: Running, how: str, status: str) -> None:
    @workflow
    async def ships() -> list[Any]:
        try:
            await breaks(how)
        except ChildError as error:
            return [error.run_id, error.status, error.error and error.error.message]
        return []

    async with running(ships, breaks) as engine:
        run = await engine.start(ships)
        await engine.quiesce()
        child = await child_of(engine, run)
        if how == "hangs":
            assert await child.cancel()
        await engine.restart()
        message = "no parcel" if how == "fails" else None
        assert await run.result() == [child.id, status, message]


async def test_a_childs_error_that_escapes_fails_the_parent_at_once(running: Running) -> None:
    """DESIGN rule 15: an escaping `ChildError` counts as a `StepError`."""

    @workflow
    async def ships() -> None:
        await breaks("fails")

    async with running(ships, breaks) as engine:
        run = await engine.start(ships)
        with pytest.raises(RunFailed, match="no parcel") as failed:
            await run.result()
        assert failed.value.error.type == "durably.ChildError"
        assert "body.failed" not in (await run.history()).types()


async def test_children_of_children(running: Running) -> None:
    @workflow
    async def tree(depth: int) -> int:
        await asyncio.sleep(1)
        return 1 if depth == 0 else 1 + sum(await asyncio.gather(tree(depth - 1), tree(depth - 1)))

    async with running(tree) as engine:
        run = await engine.start(tree, 3)
        await engine.clock.advance(1.5)
        await engine.restart()
        assert await run.result() == 15


async def test_a_child_is_what_its_parent_says(running: Running) -> None:
    """Environment and test mode are inherited, the version is that of the declaration."""

    @workflow("shows", version=1)
    async def old() -> Any: ...

    @workflow("shows", version=2)
    async def shows() -> list[Any]:
        await asyncio.sleep(100)
        return [current().test]

    @workflow
    async def asks() -> Any:
        return await shows()

    async with running(asks, old, shows) as engine:
        run = await engine.start(asks.options(test=True, environment="staging"))
        began = engine.clock.now()
        assert await run.result() == [True]
        assert engine.clock.now() == began, "sleeps do not wait in test mode"
        info = await (await child_of(engine, run)).info()
        assert (info.version, info.environment, info.trigger, info.test) == (2, "staging", "CHILD", True)
        assert (info.origin, info.parent) == (run.id, run.id)


async def test_a_child_begins_after_its_delay_and_has_its_own_time_limit(running: Running) -> None:
    @workflow
    async def ships() -> str:
        try:
            await breaks.options(delay=60, timeout=30)("hangs")
        except ChildError as error:
            return f"{error.status} {error.error and error.error.type}"
        return ""

    async with running(ships, breaks) as engine:
        run = await engine.start(ships)
        began = engine.clock.now()
        await engine.clock.advance(30)
        assert await statuses(engine) == {"ships": ["RUNNING"], "breaks": ["PENDING"]}
        await engine.restart()
        assert await run.result() == "FAILED durably.TimedOut"
        assert (engine.clock.now() - began).total_seconds() == 90


async def test_a_workflow_that_is_not_registered_cannot_be_a_child(running: Running) -> None:
    @workflow
    async def ships() -> None:
        await pack(1)

    async with running(ships) as engine:
        run = await engine.start(ships)
        with pytest.raises(RunFailed, match=r"'pack' version 1 is not registered.*beside 'ships'"):
            await run.result()
        assert "body.failed" not in (await run.history()).types()


async def test_arguments_that_do_not_fit_are_said_at_the_call(running: Running) -> None:
    @workflow(retries=0)
    async def ships() -> None:
        await pack("many")  # type: ignore[arg-type]  # that is the mistake

    async with running(ships, pack) as engine:
        with pytest.raises(RunFailed):
            await (await engine.start(ships)).result()


# -- the handle


async def test_a_started_child_can_be_awaited_canceled_and_told(running: Running) -> None:
    @workflow
    async def listens() -> Any:
        signal = await wait_for_signal("go")
        return signal and signal.data

    @workflow
    async def ships() -> list[Any]:
        told, stopped = await start_child(listens), await start_child(listens)
        await told.signal("go", 7)
        found: list[Any] = [await told.result(), await told.result()]
        try:
            await stopped.result(timeout=5)
        except TimeoutError as error:
            found.append("has not ended within 5 s" in str(error))
        found += [await stopped.cancel(), await stopped.cancel()]
        try:
            await stopped.result()
        except ChildError as error:
            found.append(error.status)
        return [*found, told.id != stopped.id]

    async with running(ships, listens) as engine:
        run = await engine.start(ships)
        await engine.quiesce()
        await engine.restart()
        assert await run.result() == [7, 7, True, True, False, "CANCELED", True]
        assert await statuses(engine) == {"ships": ["SUCCEEDED"], "listens": ["SUCCEEDED", "CANCELED"]}


@pytest.mark.parametrize("asked", ["status", "info", "history", "rerun", "fork", "stream"])
async def test_what_differs_at_each_replay_cannot_be_asked_of_a_child(running: Running, asked: str) -> None:
    @workflow(retries=0)
    async def ships() -> None:
        child = await start_child(pack, 1)
        await getattr(child, asked)()

    async with running(ships, pack) as engine:
        with pytest.raises(RunFailed, match=rf"Run\.{asked}\(\).*in a step"):
            await (await engine.start(ships)).result()


async def test_a_parent_that_ends_leaves_the_children_that_it_does_not_await(running: Running) -> None:
    @workflow
    async def ships() -> str:
        return (await start_child(pack, 100)).id

    async with running(ships, pack) as engine:
        child = await engine.get_run(await (await engine.start(ships)).result())
        await engine.restart()
        assert (await child.result()).number == 100
        assert await engine.core.store.inbox_runs() == []


async def test_a_child_whose_await_is_given_up_is_canceled(running: Running) -> None:
    @workflow
    async def ships() -> str:
        try:
            await asyncio.wait_for(pack(100), 5)
        except TimeoutError:
            await asyncio.sleep(60)
        return "left"

    async with running(ships, pack) as engine:
        run = await engine.start(ships)
        assert await run.result() == "left"
        assert await statuses(engine) == {"ships": ["SUCCEEDED"], "pack": ["CANCELED"]}


# -- a chosen id


async def test_a_child_may_have_a_chosen_id(running: Running) -> None:
    @workflow
    async def ships() -> list[Any]:
        child = await start_child(pack.options(run_id="my parcel"), 1)
        return [child.id, (await child.result()).number]

    async with running(ships, pack) as engine:
        assert await (await engine.start(ships)).result() == ["my parcel", 1]
        assert (await (await engine.get_run("my parcel", pack)).result()).number == 1


@pytest.mark.parametrize("ended", [False, True])
async def test_an_id_that_another_run_has_is_a_conflict_and_not_a_wait(running: Running, ended: bool) -> None:
    @workflow
    async def ships() -> list[Any]:
        try:
            await pack.options(run_id="taken")(1)
        except ChildError as failed:
            why = failed.error
            return [failed.run_id, failed.status, why and why.type, why and "Take another run_id" in why.message]
        return []

    async with running(ships, pack) as engine:
        other = await engine.start(pack, 1 if ended else 1000, run_id="taken")
        if ended:
            await other.result()
        run = await engine.start(ships)
        await engine.restart()
        assert await run.result() == ["taken", "FAILED", "durably.RunConflict", True]
        assert await other.status() == ("SUCCEEDED" if ended else "RUNNING")


async def test_two_children_of_one_run_cannot_have_one_id(running: Running) -> None:
    @workflow
    async def ships() -> list[str]:
        two = [pack.options(run_id="one")(1) for _ in range(2)]
        return [type(each).__name__ for each in await asyncio.gather(*two, return_exceptions=True)]

    async with running(ships, pack) as engine:
        assert await (await engine.start(ships)).result() == ["Parcel", "ChildError"]


# -- cancel


@workflow
async def holds(depth: int) -> None:
    kept = await start_child(breaks, "hangs")
    if depth:
        await asyncio.gather(holds(depth - 1), asyncio.shield(breaks("hangs")))
    await kept.result()


@pytest.mark.parametrize("restart", [False, True])
async def test_a_parents_cancel_reaches_all_its_children(running: Running, restart: bool) -> None:
    """Awaited, shielded and started ones, three deep."""
    async with running(holds, breaks) as engine:
        run = await engine.start(holds, 2)
        await engine.clock.advance(5)
        assert await statuses(engine) == {"holds": ["RUNNING"] * 3, "breaks": ["RUNNING"] * 5}
        if restart:
            await engine.restart()
        assert await run.cancel()
        with pytest.raises(RunCanceled):
            await run.result()
        await engine.settle()
        assert await statuses(engine) == {"holds": ["CANCELED"] * 3, "breaks": ["CANCELED"] * 5}


async def test_a_cancel_does_not_reach_a_child_of_the_compensation(running: Running) -> None:
    @workflow
    async def compensates() -> int:
        try:
            await breaks("hangs")
        except asyncio.CancelledError:
            return (await pack(3)).number
        return 0

    async with running(compensates, breaks, pack) as engine:
        run = await engine.start(compensates)
        await engine.clock.advance(2)
        await run.cancel()
        assert await run.result() == 3
        assert await statuses(engine) == {
            "compensates": ["SUCCEEDED"],
            "breaks": ["CANCELED"],
            "pack": ["SUCCEEDED"],
        }


async def test_a_child_can_be_canceled_before_it_begins(running: Running) -> None:
    @workflow
    async def ships() -> None:
        await breaks.options(delay=60)("hangs")

    async with running(ships, breaks) as engine:
        run = await engine.start(ships)
        await engine.quiesce()
        await run.cancel()
        with pytest.raises(RunCanceled):
            await run.result()
        await engine.settle()
        assert (await (await child_of(engine, run)).history()).types() == [
            "run.created",
            "cancel.requested",
            "run.canceled",
        ]


# -- the parent's body is run again


@pytest.mark.parametrize("ends", ["during the wait", "afterwards"])
async def test_the_next_incarnation_finds_the_same_child(running: Running, ends: str) -> None:
    @workflow(retry=QUICK)
    async def flaky() -> list[Any]:
        child = await start_child(pack, 5 if ends == "during the wait" else 50)
        await asyncio.sleep(1)
        if current().attempt == 0:
            raise ConnectionError
        return [child.id, (await child.result()).number, current().attempt]

    async with running(flaky, pack) as engine:
        run = await engine.start(flaky)
        await engine.clock.advance(3)
        assert (await run.info()).phase == "retrying"
        child = await child_of(engine, run)
        await engine.restart()
        number = 5 if ends == "during the wait" else 50
        assert await run.result() == [child.id, number, 1]
        assert await statuses(engine) == {"flaky": ["SUCCEEDED"], "pack": ["SUCCEEDED"]}


async def test_a_childs_end_waits_for_an_incarnation_that_asks_for_it_later(running: Running) -> None:
    @workflow(retry=QUICK)
    async def flaky() -> Any:
        if current().attempt:
            await asyncio.sleep(100)
        child = await start_child(pack, 5)
        if current().attempt == 0:
            raise ConnectionError
        return (await child.result()).number

    async with running(flaky, pack) as engine:
        run = await engine.start(flaky)
        await engine.clock.advance(50)
        await engine.restart()
        assert await run.result() == 5
        assert await statuses(engine) == {"flaky": ["SUCCEEDED"], "pack": ["SUCCEEDED"]}


async def test_a_child_canceled_by_one_incarnation_is_not_awaited_for_ever_by_the_next(running: Running) -> None:
    @workflow(retry=QUICK)
    async def flaky() -> str:
        if current().attempt:
            try:
                await pack(100)
            except ChildError as error:
                return error.status
        try:
            async with asyncio.timeout(1):
                await pack(100)
        except TimeoutError:
            await asyncio.sleep(1)
            raise ConnectionError from None
        return ""

    async with running(flaky, pack) as engine:
        run = await engine.start(flaky)
        assert await run.result() == "CANCELED"


async def test_a_childs_outcome_is_carried_over(running: Running) -> None:
    @workflow(retry=QUICK)
    async def flaky() -> list[Any]:
        status = ""
        try:
            await breaks("fails")
        except ChildError as error:
            status = error.status
        parcel = await pack(5)
        if current().attempt == 0:
            raise ConnectionError
        return [status, parcel.number, current().attempt]

    async with running(flaky, pack, breaks) as engine:
        run = await engine.start(flaky)
        assert await run.result() == ["FAILED", 5, 1]
        assert (await run.history()).types().count("child.started") == 2


@pytest.mark.parametrize("when", ["retry wait", "next incarnation"])
async def test_a_cancel_reaches_children_of_an_earlier_incarnation(running: Running, when: str) -> None:
    @workflow(retry=QUICK)
    async def flaky() -> None:
        if current().attempt == 0:
            await start_child(breaks, "hangs")
            raise ConnectionError
        await asyncio.sleep(100)

    async with running(flaky, breaks) as engine:
        run = await engine.start(flaky)
        await engine.clock.advance(5 if when == "retry wait" else 20)
        await run.cancel()
        with pytest.raises(RunCanceled):
            await run.result()
        await engine.settle()
        assert await statuses(engine) == {"flaky": ["CANCELED"], "breaks": ["CANCELED"]}


# -- children that go on as new runs


@workflow
async def counts(number: int) -> int:
    await asyncio.sleep(1)
    if number < 3:
        continue_as_new(number + 1)
    return number


async def test_the_parent_gets_what_the_last_continuation_comes_to(running: Running) -> None:
    @workflow
    async def waits() -> int:
        return await counts(0)

    async with running(waits, counts) as engine:
        run = await engine.start(waits)
        await engine.clock.advance(2.5)
        await engine.restart()
        assert await run.result() == 3


async def test_a_cancel_follows_a_child_that_went_on(running: Running) -> None:
    @workflow
    async def waits() -> None:
        await counts(-1000)

    async with running(waits, counts) as engine:
        run = await engine.start(waits)
        await engine.clock.advance(2.5)
        await run.cancel()
        with pytest.raises(RunCanceled):
            await run.result()
        await engine.settle()
        assert set((await statuses(engine))["counts"]) == {"SUCCEEDED", "CANCELED"}


async def test_a_child_of_the_run_before_is_none_of_the_next(running: Running) -> None:
    """Both have it under the same key; the first one's ends while the next run waits for its own."""

    @workflow
    async def goes_on(first: bool) -> int:
        child = await start_child(pack, 5 if first else 50)
        if first:
            continue_as_new(first=False)
        return (await child.result()).number

    async with running(goes_on, pack) as engine:
        run = await engine.start(goes_on, first=True)
        assert await run.result() == 50


# -- what is shown


async def test_what_a_parent_waits_for_is_shown(running: Running) -> None:
    @workflow
    async def waits() -> None:
        await counts(0)

    async with running(waits, counts) as engine:
        run = await engine.start(waits)
        await engine.quiesce()
        info = await run.info()
        child = await child_of(engine, run)
        [waiting] = info.waiting_for
        assert info.phase == "waiting"
        assert (waiting.kind, waiting.key, waiting.name, waiting.run) == ("child", "0/counts#0", "counts", child.id)
        await run.result()
        continued = await child.info()
        following = await (await engine.get_run(continued.continued_to or "")).info()
        assert (following.parent, following.origin) == (run.id, child.id)


async def test_a_child_of_a_workflow_that_is_gone_is_blocked_until_it_is_back(max_parked: int) -> None:
    @workflow
    async def ships() -> int:
        return (await pack(5)).number

    async with TestEngine(workflows=[ships, pack], max_parked=max_parked) as engine:
        run = await engine.start(ships)
        await engine.quiesce()
        engine.workflows = (ships,)
        await engine.restart()
        await engine.clock.advance(10)
        child = await child_of(engine, run)
        assert (await child.info()).phase == "blocked"
        engine.workflows = (ships, pack)
        await engine.restart()
        assert await run.result() == 5
