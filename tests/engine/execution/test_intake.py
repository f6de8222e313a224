"""Ways in: events and started runs, their ids, duplicates and conflicts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from durably import (
    DurablyError,
    Engine,
    Event,
    EventConflict,
    InvalidInput,
    RunConflict,
    RunNotFound,
    StoreError,
    current,
    step,
    wait_for_event,
    wait_for_signal,
    workflow,
)
from durably.store import MemoryStore, Operation, UnknownOutcome
from durably.store.protocol import Done
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


@step
async def double(number: int) -> int:
    return 2 * number


@workflow
async def calculate(number: int) -> int:
    return await double(number)


@workflow
async def calculate_otherwise(number: int) -> int:
    return number


@workflow(on="order/placed")
async def on_order(event: Event) -> str:
    return f"{event.id} {event.name} {event.data}"


@workflow(on=["order/*", "user.created"])
async def on_anything(event: Event) -> None: ...


WORKFLOWS = (calculate, calculate_otherwise, on_order, on_anything)


@pytest.fixture
async def engine() -> AsyncIterator[TestEngine]:
    async with TestEngine(workflows=WORKFLOWS) as engine:
        yield engine


async def started_by(engine: Engine) -> list[str]:
    return sorted(info.workflow for info in await engine.list_runs(trigger="EVENT"))


# -- events


async def test_an_event_starts_one_run_of_each_workflow_that_wants_it(engine: TestEngine) -> None:
    await engine.send(Event("order/placed", {"n": 1}))
    assert await started_by(engine) == ["on_anything", "on_order"]
    await engine.send(Event("user.created"))
    assert await started_by(engine) == ["on_anything", "on_anything", "on_order"]
    await engine.send(Event("nobody/cares"))
    assert len(await started_by(engine)) == 3


async def test_what_the_sender_left_out_is_filled_in(engine: TestEngine) -> None:
    [event_id] = await engine.send(Event("order/placed"))
    await engine.settle()
    [info] = await engine.list_runs(workflow="on_order")
    event = info.input["event"]
    assert (event["id"], event["name"], event["data"]) == (event_id, "order/placed", {})
    assert datetime.fromisoformat(event["ts"]) == engine.clock.now()
    assert (info.event, info.event_id) == ("order/placed", event_id)
    assert info.output == f"{event_id} order/placed {{}}"


async def test_what_the_sender_said_is_kept(engine: TestEngine) -> None:
    at = datetime(2020, 5, 5, tzinfo=UTC)
    assert await engine.send(Event("order/placed", {"n": 1}, id="mine", ts=at)) == ["mine"]
    [info] = await engine.list_runs(workflow="on_order")
    assert datetime.fromisoformat(info.input["event"]["ts"]) == at


async def test_the_same_event_again_is_acknowledged_and_starts_nothing(engine: TestEngine) -> None:
    event = Event("order/placed", {"n": 1}, id="once")
    assert [await engine.send(event) for _ in range(3)] == [["once"]] * 3
    assert await started_by(engine) == ["on_anything", "on_order"]


async def test_the_same_id_with_another_body_is_a_conflict(engine: TestEngine) -> None:
    await engine.send(Event("order/placed", {"n": 1}, id="once"))
    for other in (Event("order/placed", {"n": 2}, id="once"), Event("order/paid", {"n": 1}, id="once")):
        with pytest.raises(EventConflict, match="'once' was sent before with other content"):
            await engine.send(other)
    assert await started_by(engine) == ["on_anything", "on_order"]


async def test_an_id_is_remembered_for_24_hours(engine: TestEngine) -> None:
    event = Event("user.created", id="once")
    await engine.send(event)
    await engine.clock.advance(timedelta(hours=23, minutes=59))
    await engine.send(event)
    assert len(await started_by(engine)) == 1
    await engine.clock.advance(timedelta(minutes=2))
    await engine.send(event)
    assert len(await started_by(engine)) == 2


async def test_ids_are_remembered_over_a_crash(engine: TestEngine) -> None:
    event = Event("user.created", id="once")
    await engine.send(event)
    await engine.restart()
    assert await engine.send(event) == ["once"]
    assert len(await started_by(engine)) == 1


async def test_several_events_are_stored_together_and_answered_in_order(engine: TestEngine) -> None:
    ids = await engine.send(*(Event("user.created", id=f"e{n}") for n in range(5)))
    assert ids == [f"e{n}" for n in range(5)]
    assert len(await started_by(engine)) == 5


async def test_of_several_events_with_a_bad_one_none_is_stored(engine: TestEngine) -> None:
    await engine.send(Event("user.created", {"n": 1}, id="known"))
    with pytest.raises(EventConflict):
        await engine.send(Event("user.created", id="new"), Event("user.created", {"n": 2}, id="known"))
    with pytest.raises(InvalidInput, match=r"event 1: event 'user.created' takes .* bytes, more than 524,288"):
        await engine.send(Event("user.created", id="new"), Event("user.created", {"x": "x" * 600_000}))
    assert len(await started_by(engine)) == 1
    assert await engine.core.store.event("new") is None


async def test_an_event_twice_in_one_request_starts_one_run(engine: TestEngine) -> None:
    event = Event("user.created", id="once")
    assert await engine.send(event, event) == ["once", "once"]
    assert len(await started_by(engine)) == 1


async def test_too_many_events_at_once_are_refused(engine: TestEngine) -> None:
    with pytest.raises(InvalidInput, match="5,001 events at once are more than 5,000; send them in parts"):
        await engine.send(*[Event("user.created")] * 5_001)


async def test_an_event_that_is_nested_too_deeply_is_refused(engine: TestEngine) -> None:
    data: dict[str, object] = {}
    for _ in range(64):
        data = {"a": data}
    with pytest.raises(DurablyError, match="nested more than 64 deep"):
        await engine.send(Event("user.created", data))


async def test_no_event_is_no_request(engine: TestEngine) -> None:
    assert await engine.send() == []


# -- runs


async def test_a_known_run_id_with_the_same_input_gives_the_existing_run(engine: TestEngine) -> None:
    first = await engine.start(calculate, 21, run_id="mine")
    assert await first.result() == 42
    again = await engine.start(calculate, number=21, run_id="mine")
    assert (again.id, await again.result()) == ("mine", 42)
    assert len(await engine.list_runs()) == 1


async def test_a_known_run_id_of_another_run_is_a_conflict(engine: TestEngine) -> None:
    await engine.start(calculate, 21, run_id="mine")
    for other, number in ((calculate, 22), (calculate_otherwise, 21)):
        with pytest.raises(RunConflict, match=r"run 'mine' exists and is another one: .* Take another run_id"):
            await engine.start(other, number, run_id="mine")


@pytest.mark.parametrize("turns", range(1, 6))
async def test_whoever_started_a_run_may_go_away_before_the_answer(engine: TestEngine, turns: int) -> None:
    """A client that hangs up, a timeout: the engine goes on, and the run is there when asked for again."""
    starting = asyncio.ensure_future(engine.start(calculate, 21, run_id="mine"))
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    run = await engine.start(calculate, 21, run_id="mine")
    assert await run.result() == 42
    assert not engine.core.failed.done()


async def test_the_same_start_at_the_same_time_is_one_run(tmp_path: Path) -> None:
    """On a real file, where asking whether the id is known takes time."""
    async with Engine(f"sqlite:///{tmp_path / 'runs.db'}", workflows=WORKFLOWS) as engine:
        runs = await asyncio.gather(*(engine.start(calculate, 21, run_id="mine") for _ in range(5)))
        assert [await run.result(timeout=5) for run in runs] == [42] * 5
        assert len(await engine.list_runs()) == 1


async def test_two_runs_that_want_one_id_at_the_same_time_are_a_conflict(tmp_path: Path) -> None:
    async with Engine(f"sqlite:///{tmp_path / 'runs.db'}", workflows=WORKFLOWS) as engine:
        starts = [engine.start(calculate, number, run_id="mine") for number in (21, 22)]
        done = await asyncio.gather(*starts, return_exceptions=True)
        assert sorted(type(each).__name__ for each in done) == ["Run", "RunConflict"]
        [info] = await engine.list_runs()
        assert info.input == {"number": 21}


@pytest.mark.parametrize("run_id", ["x" * 256, "a\nb"])
async def test_a_run_id_is_printable_and_not_too_long(engine: TestEngine, run_id: str) -> None:
    with pytest.raises(InvalidInput, match="must be 1 to 255 printable characters"):
        await engine.start(calculate, 21, run_id=run_id)


async def test_input_that_misses_its_annotation_starts_nothing(engine: TestEngine) -> None:
    with pytest.raises(InvalidInput, match="'number' does not fit"):
        await engine.start("calculate", "many")
    with pytest.raises(InvalidInput):
        await engine.start("calculate")
    assert await engine.list_runs() == []


async def test_an_unknown_workflow_is_named_with_those_that_are_known(engine: TestEngine) -> None:
    with pytest.raises(DurablyError, match=r"workflow 'calculat' is not registered; this engine knows calculate, "):
        await engine.start("calculat", 1)


async def test_a_run_that_nobody_started_is_not_found(engine: TestEngine) -> None:
    with pytest.raises(RunNotFound, match="there is no run 'never' in this store"):
        await engine.get_run("never")


async def test_options_of_one_run() -> None:
    @workflow
    async def looks() -> tuple[str, bool]:
        return current().run_id, current().test

    async with TestEngine(workflows=[looks]) as engine:
        run = await engine.start(looks.options(run_id="mine", test=True, environment="staging"))
        assert await run.result() == ("mine", True)
        info = await run.info()
        assert (info.environment, info.test, info.trigger) == ("staging", True, "MANUAL")


async def test_an_engine_that_stops_takes_nothing_new(engine: TestEngine) -> None:
    await engine.core.abandon()
    with pytest.raises(StoreError, match="is stopping and takes nothing new"):
        await engine.send(Event("user.created"))
    with pytest.raises(StoreError, match="is stopping and takes nothing new"):
        await engine.start(calculate, 1)


# -- reruns


async def test_a_rerun_has_the_same_input_and_says_where_it_comes_from(engine: TestEngine) -> None:
    first = await engine.start(calculate, 21)
    await first.result()
    again = await first.rerun()
    assert await again.result() == 42
    info = await again.info()
    assert (info.origin, info.trigger, info.input) == (first.id, "RERUN", {"number": 21})
    other = await first.rerun(input={"number": 4})
    assert await other.result() == 8


async def test_a_rerun_of_an_event_gets_the_event(engine: TestEngine) -> None:
    await engine.send(Event("order/placed", {"n": 1}, id="once"))
    await engine.settle()
    [info] = await engine.list_runs(workflow="on_order")
    run = await engine.get_run(info.id, on_order)
    again = await run.rerun()
    assert await again.result() == await run.result()


async def test_a_rerun_with_input_that_does_not_fit_starts_nothing(engine: TestEngine) -> None:
    first = await engine.start(calculate, 21)
    await first.result()
    with pytest.raises(InvalidInput):
        await first.rerun(input={"number": "many"})
    assert len(await engine.list_runs()) == 1


# -- callers that go away


@workflow(on="go")
async def goes(event: Event) -> str:
    return event.name


@workflow
async def waits() -> object:
    signal = await wait_for_signal("ok")
    return signal and signal.data


@workflow
async def waits_for_event() -> object:
    event = await wait_for_event("woken")
    return event and event.name


@pytest.mark.parametrize("turns", range(1, 6))
async def test_what_a_caller_brought_has_its_effect_when_he_goes_away(turns: int) -> None:
    """A client that hangs up between the commit and the answer: what is durable is seen at once, not at a restart."""
    async with TestEngine(workflows=[goes, waits, waits_for_event]) as engine:
        signaled, canceled, woken = [await engine.start(each) for each in (waits, waits, waits_for_event)]
        await engine.quiesce()
        calls = [
            asyncio.ensure_future(call)
            for call in (
                signaled.signal("ok", 1),
                canceled.cancel(),
                engine.send(Event("go", id="e1")),
                engine.send(Event("woken", id="e2")),
            )
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await engine.quiesce()
        assert [await run.status() for run in (signaled, canceled, woken)] == ["SUCCEEDED", "CANCELED", "SUCCEEDED"]
        assert [info.status for info in await engine.list_runs(workflow="goes")] == ["SUCCEEDED"]


async def test_a_sender_has_his_answer_before_the_runs_begin() -> None:
    begun: list[str] = []

    @workflow(on="go")
    async def notes(event: Event) -> None:
        begun.append(event.id)

    @workflow
    async def notes_when_woken() -> None:
        await wait_for_event("go")
        begun.append("woken")

    async with TestEngine(workflows=[notes, notes_when_woken], max_parked=10) as engine:
        await engine.start(notes_when_woken)
        await engine.quiesce()
        [event_id] = await engine.send(Event("go"))
        assert begun == []
        await engine.settle()
        assert sorted(begun) == sorted([event_id, "woken"])


class UnsureStore(MemoryStore):
    """Nobody knows what became of the next commit; it was not carried out."""

    unsure = False

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        if self.unsure:
            self.unsure = False
            asyncio.get_running_loop().call_soon(done, UnknownOutcome("the disk said EIO"))
        else:
            super().submit(batch, done)


async def test_a_known_event_sent_again_starts_nothing_when_its_commit_is_unknown() -> None:
    """It is found in the store, from the first time: the runs prepared for the second are not there."""
    store, engine = UnsureStore(), TestEngine(workflows=[goes], max_parked=10)
    engine.use_store(store)
    async with engine:
        event = Event("go", id="once")
        await engine.send(event)
        await engine.settle()
        store.unsure = True
        assert await engine.send(event) == ["once"]
        assert len(engine.core.runs) == 0, "a run that is in no store"
        await engine.settle()
        assert len(await engine.list_runs()) == 1
        assert not engine.core.failed.done()
