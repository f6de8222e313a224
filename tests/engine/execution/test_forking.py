"""Forks and reruns from a step, end to end: evicted at every wait, replayed when they have ended."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from durably import (
    Event,
    History,
    InvalidInput,
    NondeterminismError,
    Run,
    RunConflict,
    RunFailed,
    Signal,
    Step,
    Workflow,
    current,
    now,
    patched,
    publish,
    send_event,
    start_child,
    step,
    uuid4,
    wait_for_event,
    wait_for_signal,
    workflow,
)
from durably.replay import Replayer
from durably.testing import StepMock, TestEngine

pytestmark = pytest.mark.anyio
DAY = 86_400


@step(retries=0)
async def reserve(sku: str) -> str:
    return f"reserved {sku}"


@step(retries=0)
async def charge(order: str, cents: int) -> str:
    return f"{order}: {cents}"


@step(retries=0)
async def ship(order: str, paid: str) -> str:
    return f"{order} for {paid}"


@workflow(retries=0)
async def fulfil(order: str) -> str:
    await reserve("sku")
    await asyncio.sleep(60)
    paid = await charge(order, 100)
    return await ship(order, paid)


@workflow(retries=0)
async def both(order: str) -> tuple[str, str]:
    return await asyncio.gather(reserve("sku"), charge(order, 100))


class Shop:
    """An engine, and how often its steps were called."""

    def __init__(self, engine: TestEngine) -> None:
        self.engine = engine
        self.redeployed = False
        self.reserve = engine.mock(reserve, returns="r")
        self.charge = engine.mock(charge, side_effect=charge.fn)
        self.ship = engine.mock(ship, side_effect=ship.fn)

    def calls(self) -> dict[str, int]:
        mocks: dict[str, StepMock] = {"reserve": self.reserve, "charge": self.charge, "ship": self.ship}
        counts = {name: len(mock.calls) for name, mock in mocks.items()}
        for mock in mocks.values():
            mock.calls.clear()
        return {name: count for name, count in counts.items() if count}

    def decline(self) -> None:
        self.charge = self.engine.mock(charge, raises=ValueError("declined"))

    def accept(self) -> None:
        self.charge = self.engine.mock(charge, side_effect=charge.fn)

    async def failed(self, of: Workflow[..., Any] = fulfil) -> Run[Any]:
        """A run of `of` whose charge was declined; charges are accepted from then on, and a day has passed."""
        self.decline()
        run: Run[Any] = await self.engine.start(of, "o-1")
        with pytest.raises(RunFailed):
            await run.result()
        await self.engine.clock.advance(DAY)
        self.accept()
        self.calls()
        return run

    async def redeploy(self, *workflows: Workflow[..., Any] | Step[..., Any]) -> None:
        """Start again with other code."""
        self.engine.workflows = workflows
        self.redeployed = True
        await self.engine.restart()


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    """Every run that has ended is replayed at the end, unless by then there is other code."""
    async with TestEngine(workflows=[fulfil, both]) as engine:
        shop = Shop(engine)
        yield shop
        if not shop.redeployed:
            await engine.replay_finished()


def story(history: History) -> list[tuple[str, str]]:
    """The records of a history, each with what it is about."""
    keys = ("step", "timer")
    return [(each.type, next((each.get(key) for key in keys if each.get(key)), "")) for each in history]


# -- forks


async def test_a_fork_goes_on_from_just_before_the_failure(shop: Shop) -> None:
    run = await shop.failed()
    fork = await run.fork()
    assert await fork.result() == "o-1 for o-1: 100"
    assert shop.calls() == {"charge": 1, "ship": 1}
    assert story(await fork.history()) == [
        *story(await run.history())[:6],
        ("step.scheduled", "0/charge#0"),
        ("attempt.started", "0/charge#0"),
        ("step.succeeded", "0/charge#0"),
        ("attempt.started", "0/ship#0"),
        ("step.succeeded", "0/ship#0"),
        ("run.succeeded", ""),
    ]
    assert (await run.info()).status == "FAILED"


async def test_what_lists_say_of_a_fork(shop: Shop) -> None:
    run = await shop.failed()
    made_at = shop.engine.clock.now()
    fork = await run.fork()
    await fork.result()
    info = await fork.info()
    assert (info.trigger, info.origin, info.status) == ("FORK", run.id, "SUCCEEDED")
    assert info.tasks == 2, "charge and ship: reserve was counted in the run that is forked"
    assert (info.created_at, info.started_at) == (made_at, made_at)
    assert info.finished_at is not None
    assert info.finished_at >= made_at


@pytest.mark.parametrize(
    ("at", "runs_again"),
    [
        (None, {"charge": 1, "ship": 1}),
        (1, {"reserve": 1, "charge": 1, "ship": 1}),  # run.created
        (2, {"reserve": 1, "charge": 1, "ship": 1}),  # run.started
        (3, {"reserve": 1, "charge": 1, "ship": 1}),  # the command behind it
        (4, {"charge": 1, "ship": 1}),  # step.succeeded
        (6, {"charge": 1, "ship": 1}),  # timer.fired
        (8, {"charge": 1, "ship": 1}),  # a note: attempt.failed
        ("reserve", {"reserve": 1, "charge": 1, "ship": 1}),
        ("0/reserve#0", {"reserve": 1, "charge": 1, "ship": 1}),
        ("charge", {"charge": 1, "ship": 1}),
    ],
)
async def test_what_runs_again_depends_on_where_it_is_forked(
    shop: Shop, at: int | str | None, runs_again: dict[str, int]
) -> None:
    fork = await (await shop.failed()).fork(at=at)
    assert await fork.result() == "o-1 for o-1: 100"
    assert shop.calls() == runs_again


async def test_a_fork_behind_the_failure_fails_in_the_same_way(shop: Shop) -> None:
    fork = await (await shop.failed()).fork(at=10)
    with pytest.raises(RunFailed, match="declined"):
        await fork.result()
    assert shop.calls() == {}


async def test_an_outcome_may_be_given_to_the_step_that_failed(shop: Shop) -> None:
    fork = await (await shop.failed()).fork(patch={"charge": "in cash"})
    assert await fork.result() == "o-1 for in cash"
    assert shop.calls() == {"ship": 1}
    assert (await fork.info()).tasks == 1


async def test_an_outcome_may_be_replaced(shop: Shop) -> None:
    run = await shop.engine.start(fulfil, "o-1")
    await run.result()
    charged = next(each.seq for each in await run.history() if each.type == "step.succeeded" and each.name == "charge")
    shop.calls()
    fork = await run.fork(at=charged, patch={"0/charge#0": "nothing"})
    assert await fork.result() == "o-1 for nothing"
    assert shop.calls() == {"ship": 1}


async def test_an_outcome_may_be_an_error(shop: Shop) -> None:
    fork = await (await shop.failed()).fork(patch={"charge": PermissionError("not today")})
    with pytest.raises(RunFailed, match="PermissionError: not today"):
        await fork.result()
    assert shop.calls() == {}


async def test_an_outcome_may_be_given_to_a_step_that_runs_meanwhile(shop: Shop) -> None:
    """It was called before the point where the run is forked, so it stands there, and gets its outcome at once."""
    run = await shop.failed(both)
    fork = await run.fork(patch={"charge": "in cash"})
    assert await fork.result() == ("r", "in cash")
    assert shop.calls() == {}
    assert ("step.scheduled", "0/1/charge#0") in story(await fork.history())
    given = next(each for each in await fork.history() if each.type == "step.succeeded" and each.name == "charge")
    assert given.at == (await fork.info()).created_at


async def test_an_outcome_for_a_step_that_the_code_gives_up_is_refused(shop: Shop) -> None:
    @workflow("both", retries=0)
    async def only_one(order: str) -> tuple[str, str]:
        reserving, charging = asyncio.create_task(reserve("sku")), asyncio.create_task(charge(order, 100))
        await reserving
        charging.cancel()
        return reserving.result(), ""

    run = await shop.failed(both)
    await shop.redeploy(only_one)
    with pytest.raises(InvalidInput, match="0/1/charge#0 gets an outcome, and the code does not wait for it"):
        await run.fork(patch={"charge": "in cash"})
    assert await (await run.fork()).result() == ("r", "")


async def test_a_step_that_runs_meanwhile_starts_anew(shop: Shop) -> None:
    fork = await (await shop.failed(both)).fork()
    assert await fork.result() == ("r", "o-1: 100")
    assert shop.calls() == {"charge": 1}
    assert (await fork.info()).tasks == 1


@pytest.mark.parametrize("of", [fulfil, both])
async def test_arguments_may_be_replaced(shop: Shop, of: Workflow[..., Any]) -> None:
    """Of a step that is called in the fork, and of one that was called before and has not ended."""
    run = await shop.failed(of)
    fork = await run.fork(args={"charge": {"cents": 5}})
    result = await fork.result()
    assert "o-1: 5" in (result[1] if isinstance(result, tuple) else result)
    [scheduled] = [each for each in await fork.history() if each.type == "step.scheduled" and each.name == "charge"]
    assert scheduled.input == {"order": "o-1", "cents": 5}


@pytest.mark.parametrize("of", [fulfil, both])
async def test_a_fork_of_a_fork(shop: Shop, of: Workflow[..., Any]) -> None:
    shop.decline()
    first = await (await shop.failed(of)).fork(args={"charge": {"cents": 5}})
    shop.decline()
    with pytest.raises(RunFailed):
        await first.result()
    shop.accept()
    second = await first.fork(args={"charge": {"order": "o-2"}})
    assert "o-2: 5" in str(await second.result())
    assert (await second.info()).origin == first.id
    assert (await second.info()).tasks == (2 if of is fulfil else 1)


@pytest.mark.parametrize("slept", [10, 100])
async def test_timers_keep_their_due_time(shop: Shop, slept: float) -> None:
    run = await shop.engine.start(fulfil, "o-1")
    begun = shop.engine.clock.now()
    await shop.engine.clock.advance(10)
    at = next(each.seq for each in await run.history() if each.type == "timer.set")
    await shop.engine.clock.advance(slept - 10)
    fork = await run.fork(at=at)
    await fork.result()
    fired = next(each for each in await fork.history() if each.type == "timer.fired")
    assert (fired.at - begun).total_seconds() == max(60, slept)


async def test_a_run_that_goes_on_may_be_forked(shop: Shop) -> None:
    run = await shop.engine.start(fulfil, "o-1")
    await shop.engine.clock.advance(1)
    fork = await run.fork(at="0/reserve#0")
    assert await fork.result() == await run.result()
    assert shop.calls() == {"reserve": 2, "charge": 2, "ship": 2}


async def test_a_canceled_run_is_forked_where_it_was_canceled(shop: Shop) -> None:
    run = await shop.engine.start(fulfil, "o-1")
    await shop.engine.clock.advance(1)
    await run.cancel()
    await shop.engine.settle()
    shop.calls()
    fork = await run.fork()
    assert await fork.result() == "o-1 for o-1: 100"
    assert shop.calls() == {"charge": 1, "ship": 1}


async def test_a_fork_survives_a_restart_wherever_it_is(shop: Shop) -> None:
    run = await shop.failed()
    for after in range(12):
        fork = await run.fork(at="reserve", args={"charge": {"cents": 7}}, patch={"reserve": "again"})
        for _ in range(after):
            await asyncio.sleep(0)
        await shop.engine.restart()
        assert await fork.result() == "o-1 for o-1: 7"
        assert story(await fork.history())[:4] == [
            ("run.created", ""),
            ("outcome.given", ""),
            ("run.started", ""),
            ("timer.set", "0/timer#0"),
        ]


async def test_a_fork_is_there_whole_or_not_at_all(shop: Shop) -> None:
    """The process dies while a fork is made, and nobody hears of it."""
    run = await shop.failed(both)
    outcomes = set[int]()
    for turns in range(8):
        forking = asyncio.ensure_future(run.fork(patch={"charge": "cash"}))
        for _ in range(turns):
            await asyncio.sleep(0)
        await shop.engine.restart()
        forking.cancel()
        forks = [info.id for info in await shop.engine.list_runs(trigger="FORK")]
        for each in forks:
            assert await (await shop.engine.get_run(each)).result() == ("r", "cash")
        outcomes.add(len(forks))
    assert len(outcomes) > 1, "some were made, some were not"


async def test_who_asks_for_a_fork_may_go(shop: Shop) -> None:
    run = await shop.failed()
    for turns in range(8):
        forking = asyncio.ensure_future(run.fork())
        for _ in range(turns):
            await asyncio.sleep(0)
        forking.cancel()
    await shop.engine.settle()
    forks = await shop.engine.list_runs(trigger="FORK")
    assert forks
    assert {info.status for info in forks} == {"SUCCEEDED"}


async def test_an_outcome_may_be_given_to_a_step_that_has_never_run(shop: Shop) -> None:
    fork = await (await shop.failed()).fork(patch={"0/ship#0": "shipped"})
    assert await fork.result() == "shipped"
    assert shop.calls() == {"charge": 1}


async def test_a_run_that_an_event_started(shop: Shop) -> None:
    @step(on="order/placed", retries=0)
    async def record(event: Event[dict[str, int]], note: str = "none") -> str:
        if event.data["cents"] < 0:
            raise ValueError("negative")
        return f"{event.data['cents']} {note}"

    await shop.redeploy(record)
    await shop.engine.send(Event("order/placed", {"cents": -1}))
    await shop.engine.settle()
    [info] = await shop.engine.list_runs()
    run: Run[Any] = await shop.engine.get_run(info.id)
    event = Event("order/placed", {"cents": 5})
    fork = await run.fork(args={"record": {"event": event, "note": "by hand"}})
    assert await fork.result() == "5 by hand"
    info = await fork.info()
    assert (info.trigger, info.event) == ("FORK", "order/placed")
    Replayer([record]).replay(await fork.history())


async def test_chance_and_time_are_those_of_the_run_that_is_forked(shop: Shop) -> None:
    @step(retries=0)
    async def use(made_at: str, key: str) -> str:
        return f"{made_at} {key}"

    @workflow(retries=0)
    async def chancy(order: str) -> tuple[str, str, str]:
        at, key = now().isoformat(), str(uuid4())
        used = await use(at, key)
        await charge(order, 100)
        return at, key, used

    await shop.redeploy(chancy)
    run = await shop.failed(chancy)
    for again in (await run.fork(), await run.rerun(from_step="charge")):
        at, key, used = await again.result()
        assert used == f"{at} {key}"
        Replayer([chancy]).replay(await again.history())
    assert at == "2026-01-01T00:00:00+00:00"


# -- reruns from a step


async def test_a_rerun_from_a_step_does_not_repeat_what_was_done_before(shop: Shop) -> None:
    run = await shop.failed()
    rerun = await run.rerun(from_step="charge")
    assert await rerun.result() == "o-1 for o-1: 100"
    assert shop.calls() == {"charge": 1, "ship": 1}
    info = await rerun.info()
    assert (info.trigger, info.origin, info.tasks) == ("RERUN", run.id, 2)
    assert story(await rerun.history()) == [
        ("run.created", ""),
        ("outcome.given", ""),
        ("outcome.given", ""),
        ("run.started", ""),
        ("attempt.started", "0/charge#0"),
        ("step.succeeded", "0/charge#0"),
        ("attempt.started", "0/ship#0"),
        ("step.succeeded", "0/ship#0"),
        ("run.succeeded", ""),
    ]
    assert [each.record["type"] for each in (await rerun.history()) if each.type == "outcome.given"] == [
        "step.succeeded",
        "timer.fired",
    ]


async def test_what_a_rerun_sets_anew_counts_from_now(shop: Shop) -> None:
    run = await shop.failed()
    before = shop.engine.clock.now()
    rerun = await run.rerun(from_step="reserve")
    await rerun.result()
    fired = next(each.at for each in await rerun.history() if each.type == "timer.fired")
    assert (fired - before).total_seconds() == 60


async def test_a_rerun_from_a_step_with_other_input_and_other_code(shop: Shop) -> None:
    run = await shop.failed()
    await shop.redeploy(corrected)
    rerun = await run.rerun(from_step="charge", input={"order": "o-2"})
    assert await rerun.result() == "corrected: o-2: 100"
    assert shop.calls() == {"charge": 1}


async def test_a_rerun_of_a_rerun(shop: Shop) -> None:
    """From a step that ran in it, and from one whose outcome it was given."""
    run = await shop.failed()
    first = await run.rerun(from_step="charge")
    await first.result()
    shop.calls()
    for again, expected in (("ship", {"ship": 1}), ("reserve", {"reserve": 1, "charge": 1, "ship": 1})):
        second = await first.rerun(from_step=again)
        assert await second.result() == "o-1 for o-1: 100"
        assert shop.calls() == expected
        third = await second.rerun(from_step="charge")
        await third.result()
        assert shop.calls() == {"charge": 1, "ship": 1}


async def test_forks_of_reruns_and_reruns_of_forks(shop: Shop) -> None:
    run = await shop.failed()
    rerun = await run.rerun(from_step="charge")
    await rerun.result()
    shop.calls()
    fork = await rerun.fork(at="ship", patch={"reserve": "given before, and now otherwise"})
    assert await fork.result() == "o-1 for o-1: 100"
    assert shop.calls() == {"ship": 1}
    again = await fork.rerun(from_step="ship")
    await again.result()
    assert shop.calls() == {"ship": 1}
    with pytest.raises(InvalidInput, match="did not run in this run, its outcome was given"):
        await rerun.fork(at="reserve")


async def test_a_body_that_fails_after_a_rerun_keeps_what_was_given(shop: Shop) -> None:
    @workflow("fragile", retries=1)
    async def fragile(order: str) -> int:
        await reserve("sku")
        await charge(order, 100)
        if current().attempt == 0:
            raise ZeroDivisionError
        return 1

    await shop.redeploy(fragile)
    run = await shop.failed(fragile)
    rerun = await run.rerun(from_step="charge")
    assert await rerun.result() == 1
    assert shop.calls() == {"charge": 1}
    assert (await rerun.info()).tasks == 1
    Replayer([fragile]).replay(await rerun.history())


async def test_a_rerun_from_a_step_survives_a_restart(shop: Shop) -> None:
    run = await shop.failed()
    for after in range(8):
        rerun = await run.rerun(from_step="charge")
        for _ in range(after):
            await asyncio.sleep(0)
        await shop.engine.restart()
        assert await rerun.result() == "o-1 for o-1: 100"


@pytest.mark.parametrize(
    ("from_step", "message"),
    [("ship", "no step 'ship'"), ("0/ship#0", "no step '0/ship#0'; it has 0/reserve#0, 0/charge#0")],
)
async def test_a_rerun_from_a_step_that_is_not_there(shop: Shop, from_step: str, message: str) -> None:
    run = await shop.failed()
    with pytest.raises(InvalidInput, match=message):
        await run.rerun(from_step=from_step)


# -- what reaches others


@workflow(retries=0)
async def packed(sku: str) -> str:
    return await reserve(sku)


@workflow(retries=0)
async def parcel(order: str) -> tuple[str, str]:
    """One child that ends, and one that runs while the charge fails."""
    child = await start_child(packed, "first")
    first = await child.result()
    async with asyncio.TaskGroup() as group:
        other = group.create_task(packed("second"))
        await ship(child.id, first)
        await charge(order, 100)
    return first, other.result()


def echo(sku: str) -> str:
    return sku


def a_while_but_for_the_first(sku: str) -> float:
    return 0 if sku == "first" else 60


async def test_children_without_an_end_begin_anew(shop: Shop) -> None:
    await shop.redeploy(parcel, packed)
    shop.reserve = shop.engine.mock(reserve, side_effect=echo, takes=a_while_but_for_the_first)
    run = await shop.failed(parcel)
    before = {info.id for info in await shop.engine.list_runs(workflow="packed")}
    fork = await run.fork()
    assert await fork.result() == ("first", "second")
    children = [info for info in await shop.engine.list_runs(workflow="packed") if info.id not in before]
    assert [(info.origin, info.input) for info in children] == [(fork.id, {"sku": "second"})]
    assert shop.calls() == {"reserve": 1, "charge": 1}
    Replayer([parcel, packed]).replay(await fork.history())
    again = await fork.fork(at="charge")
    assert await again.result() == ("first", "second")
    assert len(await shop.engine.list_runs(workflow="packed")) == 4


async def test_a_rerun_keeps_children_that_had_ended(shop: Shop) -> None:
    await shop.redeploy(parcel, packed)
    shop.reserve = shop.engine.mock(reserve, side_effect=echo, takes=a_while_but_for_the_first)
    run = await shop.failed(parcel)
    rerun = await run.rerun(from_step="charge")
    assert await rerun.result() == ("first", "second")
    assert shop.calls() == {"reserve": 1, "charge": 1}
    Replayer([parcel, packed]).replay(await rerun.history())


async def test_a_fork_of_a_child_is_nobodys_child(shop: Shop) -> None:
    @workflow(retries=0)
    async def paying(order: str) -> str:
        return await charge(order, 100)

    @workflow(retries=0)
    async def asking(order: str) -> str:
        return await paying(order)

    await shop.redeploy(asking, paying)
    run = await shop.failed(asking)
    [child] = await shop.engine.list_runs(workflow="paying")
    fork = await (await shop.engine.get_run(child.id)).fork()
    assert await fork.result() == "o-1: 100"
    assert await run.status() == "FAILED"
    assert (await fork.info()).origin == child.id


async def test_events_are_not_sent_again(shop: Shop) -> None:
    """Nor do their ids change, which the code may have used; what the code sends behind that point is sent."""

    @step(on="order/*", retries=0)
    async def noted(event: Event[Any]) -> str:
        return event.name

    @workflow(retries=0)
    async def telling(order: str) -> str:
        [placed] = await send_event(Event("order/placed"))
        await reserve(placed)
        [paid] = await send_event(Event("order/paid", {"by": await charge(order, 100)}))
        return f"{placed} {paid}"

    await shop.redeploy(telling, noted)
    run = await shop.failed(telling)
    sent = next(each for each in await run.history() if each.type == "event.sent")
    anew = await run.fork(at=2)
    await anew.result()
    for again in (anew, await anew.fork(at="charge"), await run.fork(), await run.rerun(from_step="charge")):
        await again.result()
        Replayer([telling, noted]).replay(await again.history())
    placed = await run.fork(at="charge", patch={"charge": "cash"})
    first, second = (await placed.result()).split()
    assert first == sent.events[0]["id"] != second
    await shop.engine.settle()
    events = [info.event for info in await shop.engine.list_runs(workflow="noted")]
    assert sorted(events, key=str) == ["order/paid"] * 5 + ["order/placed"] * 2, "placed anew by the fork at record 2"


async def test_a_fork_waits_for_what_the_run_waited_for(shop: Shop) -> None:
    @workflow(retries=0)
    async def waiting(order: str) -> tuple[Any, Any]:
        await reserve("sku")
        event = await wait_for_event("parcel/shipped", match={"data.order": order}, timeout=DAY)
        signal: Signal[Any] | None = await wait_for_signal("received")
        return event and event.data, signal and signal.data

    await shop.redeploy(waiting)
    run = await shop.engine.start(waiting, "o-1")
    await shop.engine.clock.advance(1)
    awaited = next(each.seq for each in await run.history() if each.type == "event.awaited")
    early, late = await run.fork(at=awaited), await run.fork(at=1)
    await shop.engine.clock.advance(1)
    await shop.engine.send(Event("parcel/shipped", {"order": "o-1"}))
    await shop.engine.clock.advance(1)
    behind = await run.fork(at=awaited)
    for each in (run, early, late, behind):
        await each.signal("received", each.id)
    for each in (run, early, late, behind):
        assert await each.result() == ({"order": "o-1"}, each.id)
        Replayer([waiting]).replay(await each.history())
    received = next(each.seq for each in await run.history() if each.type == "signal.received")
    again = await run.fork(at=received)
    assert await again.result() == ({"order": "o-1"}, run.id)


async def test_patches_and_messages_are_taken_over(shop: Shop) -> None:
    @workflow(retries=0)
    async def patching(order: str) -> bool:
        new = patched("new way")
        await publish("one")
        await charge(order, 100)
        await publish("two")
        return new

    await shop.redeploy(patching)
    run = await shop.failed(patching)
    for again in (await run.fork(), await run.rerun(from_step="charge")):
        assert await again.result()
        history = await again.history()
        Replayer([patching]).replay(history)
        published = [each.data for each in history if each.type == "message.published"]
        given = [each.record["data"] for each in history if each.get("record", {}).get("type") == "message.published"]
        assert given + published == ["one", "two"]


async def test_the_time_limit_of_a_run_counts_from_when_it_was_forked(shop: Shop) -> None:
    run = await shop.failed(fulfil.options(timeout=2 * 3600))
    fork = await run.fork()
    assert await fork.result() == "o-1 for o-1: 100"


# -- other code


@workflow("fulfil", retries=0)
async def corrected(order: str) -> str:
    await reserve("sku")
    await asyncio.sleep(60)
    return f"corrected: {await charge(order, 100)}"


@workflow("fulfil", retries=0)
async def rewritten(order: str) -> str:
    return f"rewritten: {await charge(order, 50)}"


async def test_commands_come_from_the_code_now(shop: Shop) -> None:
    run = await shop.failed()
    await shop.redeploy(corrected)
    fork = await run.fork()
    assert await fork.result() == "corrected: o-1: 100"
    Replayer([corrected]).replay(await fork.history())


async def test_a_fork_that_does_not_fit_the_code_is_refused(shop: Shop) -> None:
    run = await shop.failed()
    await shop.redeploy(rewritten)
    with pytest.raises(NondeterminismError, match=r"cannot be forked at record 6(.|\n)*0/reserve#0"):
        await run.fork()
    assert [info.id for info in await shop.engine.list_runs()] == [run.id]
    fork = await run.fork(at="reserve")
    assert await fork.result() == "rewritten: o-1: 50"


async def test_a_blocked_run_is_forked_where_it_still_fits(shop: Shop) -> None:
    run = await shop.engine.start(fulfil, "o-1")
    await shop.engine.clock.advance(1)
    await shop.redeploy(rewritten)
    await shop.engine.clock.advance(DAY)
    assert (await run.info()).phase == "blocked"
    fork = await run.fork(at=1)
    assert await fork.result() == "rewritten: o-1: 50"


async def test_a_body_that_failed_is_forked_with_the_outcomes_of_its_earlier_incarnations(shop: Shop) -> None:
    """What the wrong code did before is not driven again: its outcomes count, in whatever incarnation they came."""

    @workflow("sum", retries=1)
    async def wrong() -> int:
        await reserve("sku")
        raise ZeroDivisionError

    @workflow("sum", retries=1)
    async def right() -> int:
        await reserve("sku")
        return len(await charge("o-1", 100))

    await shop.redeploy(wrong)
    run: Run[Any] = await shop.engine.start(wrong)
    with pytest.raises(RunFailed):
        await run.result()
    await shop.redeploy(right)
    shop.calls()
    fork = await run.fork()
    assert await fork.result() == 8
    assert shop.calls() == {"charge": 1}
    assert (await fork.info()).tasks == 1
    assert [each.type for each in await fork.history()].count("body.started") == 1
    Replayer([right]).replay(await fork.history())


# -- what cannot be


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"at": 0}, r"no record 0: the run's history has records 1 to 10"),
        ({"at": 11}, r"no record 11: the run's history has records 1 to 10"),
        ({"at": "ship"}, r"no step 'ship'; it has 0/reserve#0, 0/charge#0"),
        ({"patch": {"ship": 1}}, r"no step 'ship'; it has 0/reserve#0, 0/charge#0"),
        ({"patch": {"charge": object()}}, r"the outcome of step 0/charge#0: .*cannot be encoded"),
        ({"patch": {"charge": 7}}, r"result of step 0/charge#0: Expected `str`"),
        ({"patch": {"charge": "a", "0/charge#0": "b"}}, r"0/charge#0 is given twice"),
        ({"patch": {"charge": "a"}, "args": {"charge": {"cents": 1}}}, r"0/charge#0 has both an outcome and arguments"),
        ({"args": {"charge": {"dollars": 1}}}, r"0/charge#0 has no parameter 'dollars'; it has order, cents"),
        ({"args": {"charge": {"cents": "1"}}}, r"parameter 'cents' does not fit"),
        ({"args": {"charge": {"cents": object()}}}, r"the arguments of step 0/charge#0: .*cannot be encoded"),
        ({"args": {"charge": 5}}, r"must be an object by parameter name, not 5"),
        ({"args": {"reserve": {"sku": "x"}}}, r"0/reserve#0 has ended before the fork.*at='0/reserve#0'"),
    ],
)
async def test_a_fork_that_cannot_be_is_refused(shop: Shop, given: dict[str, Any], message: str) -> None:
    run = await shop.failed()
    with pytest.raises(InvalidInput, match=message):
        await run.fork(**given)
    assert [info.id for info in await shop.engine.list_runs()] == [run.id]


async def test_a_run_that_has_not_failed_is_forked_at_a_place_that_is_named(shop: Shop) -> None:
    run = await shop.engine.start(fulfil, "o-1")
    for _ in range(2):
        with pytest.raises(InvalidInput, match="has not failed: say with at="):
            await run.fork()
        await run.result()


async def test_a_fork_needs_to_know_the_stored_policy_of_its_workflow() -> None:
    @workflow("policed")
    async def before() -> None:
        await reserve("sku")
        raise ValueError("no")

    @workflow("policed", retry="patient")
    async def after() -> None:
        await reserve("sku")
        raise ValueError("no")

    async with TestEngine(workflows=[before]) as engine:
        run = await engine.start(before)
        with pytest.raises(RunFailed):
            await run.result()
        engine.workflows = (after,)
        await engine.restart()
        with pytest.raises(RunConflict, match="stored policy 'patient', and there never was one of that id"):
            await run.fork()
        assert len(await engine.list_runs()) == 1
