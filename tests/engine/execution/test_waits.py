"""Waits for events: what wakes them, from when on, and how they end (DESIGN rule 9 and section 3, "Waits")."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest

from durably import Event, Run, RunFailed, current, now, send_event, step, wait_for_event, workflow
from durably.engine.execution import inbox
from durably.store import MemoryStore
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

Running = Callable[..., AbstractAsyncContextManager[TestEngine]]
Jump = Callable[[TestEngine, float], None]
HOUR = 3600.0


@step
async def work(number: int) -> int:
    return number


def number_of(event: Event[Any] | None) -> Any:
    return None if event is None else event.data["n"]


def seconds(engine: TestEngine, since: Any) -> float:
    passed: float = (engine.clock.now() - since).total_seconds()
    return passed


@workflow
async def waits(order: str) -> Any:
    return number_of(await wait_for_event("shipped", match={"data.order": order}, timeout=HOUR))


def shipped(order: str, number: int = 1) -> Event[Any]:
    return Event("shipped", {"order": order, "n": number})


# -- what wakes


@pytest.mark.parametrize("restart", [False, True])
async def test_an_event_wakes_the_runs_whose_match_it_has_and_no_other(running: Running, restart: bool) -> None:
    async with running(waits) as engine:
        runs = [await engine.start(waits, order) for order in ("a", "a", "b")]
        await engine.quiesce()
        if restart:
            await engine.restart()
        await engine.send(Event("other", {"order": "a", "n": 9}), shipped("c", 8), shipped("a", 1))
        assert [await run.result() for run in runs] == [1, 1, None]
        assert "timer.fired" not in (await runs[0].history()).types()


async def test_one_event_wakes_two_waits_of_a_run_as_one_input(running: Running) -> None:
    @workflow
    async def twice() -> list[Any]:
        both = asyncio.gather(
            wait_for_event("shipped", match={"data.order": "a"}), wait_for_event("shipped", where="event.data.n > 4")
        )
        return [number_of(event) for event in await both]

    async with running(twice) as engine:
        run = await engine.start(twice)
        await engine.quiesce()
        await engine.send(shipped("a", 5))
        assert await run.result() == [5, 5]
        [received] = [each for each in await run.history() if each.type == "event.received"]
        assert received.waits == ["0/0/event#0", "0/1/event#0"]


async def test_an_event_that_fits_one_of_two_waits_leaves_the_other(running: Running) -> None:
    @workflow
    async def twice() -> list[Any]:
        both = asyncio.gather(*(wait_for_event("shipped", match={"data.order": each}) for each in "ab"))
        return [number_of(event) for event in await both]

    async with running(twice) as engine:
        run = await engine.start(twice)
        await engine.quiesce()
        await engine.send(shipped("b", 2))
        await engine.restart()
        await engine.send(shipped("a", 1))
        assert await run.result() == [1, 2]


@workflow(on="ordered")
async def follows(event: Event) -> Any:
    del event
    return number_of(await wait_for_event("shipped", match="data.order", timeout=HOUR))


@workflow(on="ordered")
async def compares(event: Event) -> Any:
    del event
    where = "event.data.n > trigger.data.n + vars.more"
    return number_of(await wait_for_event("shipped", where=where, vars={"more": 1}, timeout=HOUR))


@pytest.mark.parametrize(
    ("waiting", "expected"), [(follows, [None, 3, 4]), (compares, [None, None, 4])], ids=["one path", "where"]
)
async def test_a_wait_may_compare_with_the_event_that_started_the_run(
    running: Running, waiting: Any, expected: list[Any]
) -> None:
    found: list[Any] = []
    for number in (None, 3, 4):
        async with running(waiting) as engine:
            await engine.send(Event("ordered", {"order": "a", "n": 2}))
            await engine.quiesce()
            if number is not None:
                await engine.send(shipped("b", 9) if waiting is follows else shipped("b", 3), shipped("a", number))
            [info] = await engine.list_runs()
            found.append(await (await engine.get_run(info.id)).result())
    assert found == expected


async def test_one_path_without_a_triggering_event_is_a_mistake(running: Running) -> None:
    @workflow(retries=0)
    async def alone() -> None:
        await wait_for_event("shipped", match="data.order")

    async with running(alone) as engine:
        with pytest.raises(RunFailed, match="no event did"):
            await (await engine.start(alone)).result()


async def test_the_event_that_started_the_run_is_not_given_to_it(running: Running) -> None:
    @workflow(on="shipped")
    async def again(event: Event) -> list[Any]:
        return [number_of(event), number_of(await wait_for_event("shipped", timeout=60))]

    async with running(again) as engine:
        await engine.send(shipped("a", 1), shipped("a", 2))
        results = [await (await engine.get_run(info.id)).result() for info in await engine.list_runs()]
        assert sorted(results, key=str) == [[1, 2], [2, 1]]


# -- looking back


def late(**options: Any) -> Callable[[], Coroutine[Any, Any, list[Any]]]:
    async def waits_late() -> list[Any]:
        await asyncio.sleep(100)
        return [number_of(await wait_for_event("shipped", timeout=10, **options)) for _ in range(3)]

    return waits_late


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 2, None]),
        ({"lookback": timedelta(0)}, [None, None, None]),
        ({"lookback": timedelta(seconds=60)}, [2, None, None]),
        ({"lookback": timedelta(days=1)}, [0, 1, 2]),
    ],
    ids=["since the run's creation", "none", "a minute", "before the run"],
)
@pytest.mark.parametrize("restart", [False, True])
async def test_a_wait_looks_back(running: Running, options: Any, expected: list[Any], restart: bool) -> None:
    """Oldest first, and never an event twice."""
    waits_late = workflow("late", retries=0)(late(**options))
    async with running(waits_late) as engine:
        await engine.send(shipped("a", 0))
        await engine.clock.advance(1)
        run: Run[Any] = await engine.start(waits_late)
        await engine.clock.advance(10)
        await engine.send(shipped("a", 1))
        await engine.clock.advance(50)
        await engine.send(shipped("a", 2))
        if restart:
            await engine.restart()
        assert await run.result() == expected


async def test_looking_back_for_one_wait_wakes_none_that_looks_back_less_far(running: Running) -> None:
    @workflow
    async def two() -> list[Any]:
        await asyncio.sleep(10)
        both = asyncio.gather(
            wait_for_event("shipped", timeout=5), wait_for_event("shipped", timeout=5, lookback=timedelta(0))
        )
        return [number_of(event) for event in await both]

    async with running(two) as engine:
        run = await engine.start(two)
        await engine.send(shipped("a", 1))
        assert await run.result() == [1, None]


async def test_looking_back_wakes_all_waits_that_look_back_as_far(running: Running) -> None:
    @workflow
    async def two() -> list[Any]:
        await asyncio.sleep(10)
        both = asyncio.gather(wait_for_event("shipped", timeout=5), wait_for_event("shipped", timeout=5))
        return [number_of(event) for event in await both]

    async with running(two) as engine:
        run = await engine.start(two)
        await engine.send(shipped("a", 1), shipped("a", 2))
        assert await run.result() == [1, 1]


async def test_looking_back_goes_through_all_pages(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durably.engine.execution.waits.PAGE", 3)

    @workflow
    async def picky() -> Any:
        await asyncio.sleep(10)
        return number_of(await wait_for_event("shipped", match={"data.n": 7}, timeout=5))

    async with running(picky) as engine:
        run = await engine.start(picky)
        await engine.send(*(shipped("a", number) for number in range(9)))
        assert await run.result() == 7


async def looked_at(count: int) -> int:
    """How often a wait and an event are compared when that many waits look back over as many events."""

    @workflow
    async def looks_back() -> int:
        await asyncio.sleep(10)
        events = await asyncio.gather(
            *(wait_for_event("shipped", match={"data.n": n}, timeout=1) for n in range(count))
        )
        return len([event for event in events if event is not None])

    async with TestEngine(workflows=[looks_back]) as engine:
        run = await engine.start(looks_back)
        await engine.send(*(shipped("a", -1 - number) for number in range(count)))
        before = inbox.matched.cache_info()
        assert await run.result() == 0
        after = inbox.matched.cache_info()
    return after.hits + after.misses - before.hits - before.misses


async def test_each_wait_that_looks_back_is_compared_once_with_each_event() -> None:
    assert [await looked_at(count) for count in (5, 20)] == [5 * 5, 20 * 20]


class SlowStore(MemoryStore):
    """Reads come back only when they are let, as those of a disk may."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0

    async def events_since(self, name: str, after: tuple[int, int], limit: int, environment: str = "production") -> Any:
        found = await super().events_since(name, after, limit, environment)
        self.asked += 1
        await self.gate.wait()
        return found

    async def inbox(self, runs: Any) -> Any:
        found = await super().inbox(runs)
        await asyncio.sleep(0)
        return found


async def until_asked(store: SlowStore, times: int) -> None:
    for _ in range(1000):
        if store.asked >= times:
            return
        await asyncio.sleep(0)
    raise AssertionError("nobody looked back")


@pytest.mark.parametrize("limit", [0, 5])
async def test_a_deadline_waits_for_a_look_back_under_way(jump: Jump, max_parked: int, limit: int) -> None:
    """At a deadline the inbox is looked at first; the run is not evicted while something is looked up for it."""

    @workflow
    async def waits_late() -> Any:
        await asyncio.sleep(10)
        return number_of(await wait_for_event("shipped", timeout=limit))

    store, engine = SlowStore(), TestEngine(workflows=[waits_late], max_parked=max_parked, auto=False)
    engine.use_store(store)
    async with engine:
        run = await engine.start(waits_late)
        await engine.send(shipped("a", 1))
        store.gate.clear()
        advancing = asyncio.ensure_future(engine.clock.advance(10 + limit))
        await until_asked(store, 1)
        jump(engine, 20)
        for _ in range(50):
            await asyncio.sleep(0)
        store.gate.set()
        await advancing
        assert await run.result() == 1
        assert store.asked == 1


async def test_an_event_that_comes_while_the_run_looks_back_is_given_once(max_parked: int) -> None:
    @workflow
    async def waits_late() -> list[Any]:
        await asyncio.sleep(10)
        return [number_of(await wait_for_event("shipped", timeout=5)) for _ in range(3)]

    store, engine = SlowStore(), TestEngine(workflows=[waits_late], max_parked=max_parked)
    engine.use_store(store)
    async with engine:
        run = await engine.start(waits_late)
        await engine.send(shipped("a", 1))
        store.gate.clear()
        advancing = asyncio.ensure_future(engine.clock.advance(10))
        await until_asked(store, 1)
        await engine.send(shipped("a", 2))
        store.gate.set()
        await advancing
        assert sorted(await run.result(), key=str) == [1, 2, None]
        await engine.replay_finished()


# -- how a wait ends


async def test_a_wait_ends_at_its_deadline_with_none(running: Running) -> None:
    async with running(waits) as engine:
        run = await engine.start(waits, "a")
        began = engine.clock.now()
        await engine.restart()
        assert await run.result() is None
        assert seconds(engine, began) == HOUR
        assert (await run.history()).types()[2:] == ["event.awaited", "timer.fired", "run.succeeded"]


async def test_a_wait_of_no_time_finds_what_has_come(running: Running) -> None:
    @workflow
    async def looks() -> list[Any]:
        found = [number_of(await wait_for_event("shipped", timeout=0))]
        await asyncio.sleep(1)
        return [*found, *[number_of(await wait_for_event("shipped", timeout=0)) for _ in range(2)]]

    async with running(looks) as engine:
        run = await engine.start(looks)
        await engine.clock.advance(0.5)
        await engine.send(shipped("a", 1))
        assert await run.result() == [None, 1, None]


async def test_an_event_in_the_moment_of_the_deadline_wins(running: Running, jump: Jump) -> None:
    """It lies in the inbox when the deadline comes; nobody has told the run yet."""
    async with running(waits, auto=False) as engine:
        run = await engine.start(waits, "a")
        await engine.quiesce()
        sending = asyncio.ensure_future(engine.send(shipped("a", 1)))
        await asyncio.sleep(0)  # on its way to the store
        jump(engine, HOUR)
        await sending
        await engine.quiesce()
        assert await run.result() == 1


async def test_an_event_behind_the_deadline_is_late(running: Running) -> None:
    async with running(waits) as engine:
        run = await engine.start(waits, "a")
        await engine.clock.advance(HOUR)
        await engine.send(shipped("a", 1))
        assert await run.result() is None


@workflow
async def gives_up(how: str) -> Any:
    waiting = wait_for_event("shipped", match={"data.order": "a"})
    match how:
        case "wait_for":
            try:
                return number_of(await asyncio.wait_for(waiting, 5))
            except TimeoutError:
                pass
        case "timeout":
            try:
                async with asyncio.timeout(5):
                    return number_of(await waiting)
            except TimeoutError:
                pass
        case _:
            first, second = asyncio.ensure_future(waiting), asyncio.ensure_future(asyncio.sleep(5))
            await asyncio.wait([first, second], return_when="FIRST_COMPLETED")
            first.cancel()
    await asyncio.sleep(60)
    return "gave up"


@pytest.mark.parametrize("how", ["wait_for", "timeout", "race"])
async def test_no_event_reaches_a_wait_that_was_given_up(running: Running, how: str) -> None:
    async with running(gives_up) as engine:
        run = await engine.start(gives_up, how)
        await engine.clock.advance(10)
        await engine.send(shipped("a", 1))
        await engine.quiesce()
        types = (await run.history()).types()
        assert "wait.canceled" in types
        assert "event.received" not in types
        assert await engine.core.store.inbox_runs() == []
        assert await run.result() == "gave up"


async def test_the_first_of_several_wins_and_the_others_are_canceled(running: Running) -> None:
    @workflow
    async def race() -> Any:
        tasks = [asyncio.ensure_future(wait_for_event(name)) for name in ("one", "two", "three")]
        done, losers = await asyncio.wait(tasks, return_when="FIRST_COMPLETED")
        for loser in losers:
            loser.cancel()
        await work(1)
        return [number_of(task.result()) for task in done]

    async with running(race) as engine:
        run = await engine.start(race)
        await engine.quiesce()
        await engine.restart()
        await engine.send(Event("two", {"n": 2}))
        await engine.send(Event("one", {"n": 1}))
        assert await run.result() == [2]
        assert (await run.history()).types().count("wait.canceled") == 2


async def test_a_run_that_ends_no_longer_waits(running: Running) -> None:
    @workflow
    async def leaves() -> None:
        waiting = asyncio.ensure_future(wait_for_event("shipped"))
        await asyncio.sleep(1)
        del waiting

    async with running(leaves) as engine:
        await (await engine.start(leaves)).result()
        await engine.send(shipped("a"))
        assert await engine.core.store.inbox_runs() == []
        assert await engine.core.store.wait_paths() == []


# -- while the body's retry waits


async def test_an_event_that_comes_while_the_body_waits_for_its_retry_is_found_then(running: Running) -> None:
    """Also by a wait that does not look back: it waited already when the body failed."""

    @workflow
    async def flaky() -> list[Any]:
        first = asyncio.ensure_future(wait_for_event("shipped", lookback=timedelta(0)))
        await asyncio.sleep(1)
        if current().attempt == 0:
            raise ConnectionError
        return [number_of(await first), current().attempt]

    async with running(flaky) as engine:
        run = await engine.start(flaky)
        await engine.clock.advance(1)
        assert (await run.info()).phase == "retrying"
        await engine.send(shipped("a", 1))
        await engine.restart()
        assert await run.result() == [1, 1]


async def test_events_that_were_received_are_carried_over_a_body_retry(running: Running) -> None:
    @workflow
    async def flaky() -> list[Any]:
        got = [number_of(await wait_for_event("shipped", timeout=60)) for _ in range(2)]
        if current().attempt == 0:
            raise ConnectionError
        return [*got, str(now()), current().attempt]

    async with running(flaky) as engine:
        run = await engine.start(flaky)
        await engine.quiesce()
        await engine.send(shipped("a", 1))
        await engine.quiesce()
        received = engine.clock.now()
        await engine.clock.advance(60)
        await engine.restart()
        one, nothing, _, attempt = await run.result()
        assert (one, nothing, attempt) == (1, None, 1)
        assert (await run.history()).types().count("event.awaited") == 2
        assert received < engine.clock.now()


async def test_a_wait_keeps_its_deadline_over_a_body_retry(running: Running) -> None:
    @workflow
    async def flaky() -> list[Any]:
        waiting = asyncio.ensure_future(wait_for_event("shipped", timeout=HOUR))
        await asyncio.sleep(1)
        if current().attempt == 0:
            raise ConnectionError
        return [number_of(await waiting), current().attempt]

    async with running(flaky) as engine:
        run = await engine.start(flaky)
        began = engine.clock.now()
        assert await run.result() == [None, 1]
        assert seconds(engine, began) == HOUR


async def test_one_event_that_woke_two_waits_is_carried_over_to_one(running: Running) -> None:
    @workflow
    async def flaky() -> Any:
        names = [wait_for_event("shipped")] * 1 if current().attempt else []
        if current().attempt == 0:
            await asyncio.gather(wait_for_event("shipped"), wait_for_event("shipped"))
            raise ConnectionError
        [event] = await asyncio.gather(*names)
        return number_of(event)

    async with running(flaky) as engine:
        run = await engine.start(flaky)
        await engine.quiesce()
        await engine.send(shipped("a", 1))
        assert await run.result() == 1


async def test_a_history_that_grows_too_long_ends_the_waits_too(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durably.engine.log.limits.MAX_RECORDS", 30)

    @workflow
    async def for_ever() -> None:
        waiting = asyncio.ensure_future(wait_for_event("never"))
        while True:
            await wait_for_event("shipped", timeout=10)
        await waiting

    async with running(for_ever) as engine:
        run = await engine.start(for_ever)
        with pytest.raises(RunFailed, match="HistoryTooLong"):
            await run.result()
        await engine.send(shipped("a"), Event("never"))
        assert await engine.core.store.wait_paths() == []
        assert await engine.core.store.inbox_runs() == []


# -- what it sends itself, what is asked wrongly, what is shown


@pytest.mark.parametrize("first", ["send", "wait"])
async def test_a_run_may_wait_for_what_it_sends_in_the_same_breath(running: Running, first: str) -> None:
    @workflow
    async def talks_to_itself() -> Any:
        waiting = wait_for_event("shipped", match={"data.order": "mine"}, timeout=60)
        if first == "send":
            await send_event(shipped("mine", 1))
            return number_of(await waiting)
        task = asyncio.ensure_future(waiting)
        await asyncio.sleep(0)
        await send_event(shipped("mine", 1))
        return number_of(await task)

    async with running(talks_to_itself) as engine:
        assert await (await engine.start(talks_to_itself)).result() == 1


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"timeout": -1}, "ValueError"),
    ({"timeout": float("nan")}, "ValueError"),
    ({"lookback": timedelta(seconds=-1)}, "ValueError"),
    ({"match": {"order": 1}}, "perhaps 'data.order'"),
    ({"where": "event.data.n >"}, "ValueError"),
]


@pytest.mark.parametrize(("options", "complaint"), MISTAKES, ids=lambda each: str(each)[:30])
async def test_what_cannot_work_is_said_at_the_call(options: dict[str, Any], complaint: str) -> None:
    @workflow(retries=0)
    async def mistaken() -> None:
        await wait_for_event("shipped", **options)

    async with TestEngine(workflows=[mistaken]) as engine:
        with pytest.raises(RunFailed, match=complaint):
            await (await engine.start(mistaken)).result()


async def test_what_a_run_waits_for_is_shown(running: Running) -> None:
    async with running(waits) as engine:
        run = await engine.start(waits, "a")
        await engine.quiesce()
        info = await run.info()
        [waiting] = info.waiting_for
        assert (info.status, info.phase) == ("RUNNING", "waiting")
        assert (waiting.kind, waiting.key, waiting.name) == ("event", "0/event#0", "shipped")
        assert waiting.due_at is not None
        assert (waiting.due_at - info.created_at).total_seconds() == HOUR


# -- blocked


async def test_an_event_for_a_blocked_run_is_kept_until_fitting_code_is_there(max_parked: int) -> None:
    @workflow("waits")
    async def otherwise(order: str) -> Any:
        await asyncio.sleep(1)
        return order

    async with TestEngine(workflows=[waits], max_parked=max_parked) as engine:
        run = await engine.start(waits, "a")
        await engine.quiesce()
        for code in (otherwise, waits):
            engine.workflows = (code,)
            await engine.restart()
            if code is otherwise:
                assert (await run.info()).phase != "blocked", "it is loaded when something happens to it"
                await engine.send(shipped("a", 1))
                await engine.quiesce()
                assert (await run.info()).phase == "blocked"
                [row] = await engine.core.store.inbox([1])
                assert b'"type":"event"' in row.body
        assert await run.result() == 1
