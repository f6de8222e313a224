"""Inboxes that are looked into while other things go on, and what an engine finds when it starts."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest

from durably import Event, Run, StoreError, start_child, wait_for_event, wait_for_signal, workflow
from durably.engine.testing import VirtualClock
from durably.store import DocumentRow, EventRow, InboxRow, LogRow, MemoryStore, OpenRun, StoreUnavailable
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

Running = Callable[..., AbstractAsyncContextManager[TestEngine]]
Jump = Callable[[TestEngine, float], None]


class GatedStore(MemoryStore):
    """What one read of inboxes found is handed over only when it is let: it may be old by then."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: asyncio.Event | None = None
        self.reads = 0

    def leave(self, row: InboxRow) -> None:
        """As an engine before has left it."""
        self._put_item(row)

    async def inbox(self, runs: Sequence[int]) -> list[InboxRow]:
        found = await super().inbox(runs)
        self.reads += 1
        gate, self.gate = self.gate, None
        if gate is not None:
            await gate.wait()
        return found


@workflow
async def collects(number: int) -> list[Any]:
    signals = [await wait_for_signal("ok", timeout=60) for _ in range(number)]
    return [signal and signal.data for signal in signals]


async def turns(number: int = 50) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_what_comes_while_the_inbox_is_read_is_neither_missed_nor_taken_twice(max_parked: int) -> None:
    """Evicted, the run is being loaded then; kept, another look is faster than the first."""
    store, engine = GatedStore(), TestEngine(workflows=[collects], max_parked=max_parked)
    engine.use_store(store)
    async with engine:
        run = await engine.start(collects, 4)
        await engine.quiesce()
        store.gate = gate = asyncio.Event()
        first = asyncio.ensure_future(run.signal("ok", 1))
        await turns()
        second = asyncio.ensure_future(run.signal("ok", 2))
        await turns()
        gate.set()
        await asyncio.gather(first, second)
        await engine.quiesce()
        assert (await run.history()).types().count("signal.received") == 2, "at once, not when the next thing happens"
        assert await run.result() == [1, 2, None, None]
        await engine.replay_finished()


async def test_a_run_that_ends_while_its_inbox_is_read(max_parked: int) -> None:
    store, engine = GatedStore(), TestEngine(workflows=[collects], max_parked=max_parked)
    engine.use_store(store)
    async with engine:
        run = await engine.start(collects, 1)
        await engine.quiesce()
        await run.signal("other", 0)
        await engine.quiesce()
        store.gate = gate = asyncio.Event()
        late = asyncio.ensure_future(run.signal("other", 1))
        await turns()
        ending = asyncio.ensure_future(run.signal("ok", 2))
        await turns()
        gate.set()
        await asyncio.gather(late, ending, return_exceptions=True)
        assert await run.result() == [2]
        await engine.quiesce()
        assert await store.inbox_runs() == []


async def test_an_engine_that_starts_clears_the_inboxes_of_ended_runs(max_parked: int) -> None:
    store, engine = GatedStore(), TestEngine(workflows=[collects], max_parked=max_parked)
    engine.use_store(store)
    async with engine:
        run = await engine.start(collects, 0)
        await run.result()
        store.leave(InboxRow(1, 5, b'{"type":"signal","name":"ok","data":1,"sent_us":5}'))
        await engine.restart()
        await engine.quiesce()
        assert await store.inbox_runs() == []


async def test_a_run_that_waits_without_end_is_not_loaded_before_something_comes(running: Running) -> None:
    @workflow
    async def waits() -> Any:
        event = await wait_for_event("made")
        return event and event.data["n"]

    async with running(waits) as engine:
        run = await engine.start(waits)
        await engine.quiesce()
        await engine.restart()
        await engine.quiesce()
        assert len(engine.core.runs) == 0
        await engine.send(Event("made", {"n": 1}))
        assert await run.result() == 1


async def test_a_deadline_is_known_to_the_store_until_it_has_had_its_effect(jump: Jump) -> None:
    """The engine dies between the moment a deadline comes and the commit that says so, with another one between."""

    @workflow
    async def two() -> list[Any]:
        both = await asyncio.gather(wait_for_signal("ok", timeout=60), wait_for_signal("other"))
        return [signal and signal.data for signal in both]

    store, engine = GatedStore(), TestEngine(workflows=[two], max_parked=10)
    engine.use_store(store)
    async with engine:
        run = await engine.start(two)
        await engine.quiesce()
        store.gate = asyncio.Event()  # which nobody opens
        jump(engine, 60)
        await turns()
        await run.signal("other", 1)
        await turns()
        assert "signal.received" in (await run.history()).types()
        await engine.restart()
        assert await run.result(timeout=10) == [None, 1]


@pytest.mark.parametrize("delay", [0, 100])
async def test_a_delayed_child_does_not_stay_in_memory(running: Running, delay: int) -> None:
    @workflow
    async def parent() -> str:
        return (await start_child(collects.options(delay=delay), 0)).id

    async with running(parent, collects) as engine:
        run: Run[str] = await engine.start(parent)
        child = await engine.get_run(await run.result())
        if engine.settings.max_parked == 0:
            await engine.quiesce()
            assert len(engine.core.runs) == 0
        assert await child.result() == []


async def test_what_waits_for_a_run_keeps_no_engine_from_stopping(max_parked: int) -> None:
    @workflow
    async def waits() -> None:
        await asyncio.gather(wait_for_event("made", timeout=5), wait_for_signal("ok"), start_child(collects, 1))

    async with TestEngine(workflows=[waits, collects], max_parked=max_parked) as engine:
        await engine.start(waits)
        await engine.quiesce()
        await engine.send(Event("made"))


# -- a store that cannot be read for a while


class UnreadableStore(MemoryStore):
    """Reads of one kind fail so many times."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = ""
        self.fails = 0

    def _read(self, kind: str) -> None:
        if kind == self.kind and self.fails:
            self.fails -= 1
            raise StoreUnavailable("the disk said EIO")

    async def inbox(self, runs: Sequence[int]) -> list[InboxRow]:
        self._read("inbox")
        return await super().inbox(runs)

    async def inbox_runs(self) -> list[int]:
        self._read("inbox_runs")
        return await super().inbox_runs()

    async def records(self, runs: Sequence[int]) -> dict[int, list[LogRow]]:
        self._read("records")
        return await super().records(runs)

    async def open_runs(self, after: int, limit: int) -> list[OpenRun]:
        self._read("open_runs")
        return await super().open_runs(after, limit)

    async def due_runs(self, before_us: int, after: tuple[int, int], limit: int) -> list[tuple[int, int]]:
        self._read("due_runs")
        return await super().due_runs(before_us, after, limit)

    async def events_since(
        self, name: str, after: tuple[int, int], limit: int, environment: str = "production"
    ) -> list[tuple[int, EventRow]]:
        self._read("events_since")
        return await super().events_since(name, after, limit, environment)


@workflow
async def waits_for_all() -> list[Any]:
    signal = await wait_for_signal("ok", timeout=100)
    event = await wait_for_event("made", lookback=timedelta(hours=1), timeout=100)
    await asyncio.sleep(3600)
    return [signal and signal.data, event and event.id]


READS = ["inbox", "inbox_runs", "records", "open_runs", "due_runs", "events_since"]


@pytest.mark.parametrize("kind", READS)
async def test_a_read_that_fails_is_tried_again_until_it_succeeds(max_parked: int, kind: str) -> None:
    """Only damage stops an engine, or another owner of its store (DESIGN rule 8)."""
    store, engine = UnreadableStore(), TestEngine(workflows=[waits_for_all], max_parked=max_parked)
    engine.use_store(store)
    async with engine:
        run = await engine.start(waits_for_all)
        await engine.send(Event("made", id="e1"))
        await engine.quiesce()
        store.kind, store.fails = kind, 3
        if kind in ("open_runs", "inbox_runs", "records"):
            await engine.restart()
        await run.signal("ok", 1)
        await engine.clock.advance(50)
        await engine.clock.advance(4_000)
        assert await run.result() == [1, "e1"]
        assert store.fails == 0
        assert not engine.core.failed.done()
        await engine.replay_finished()


async def test_a_deadline_waits_for_an_inbox_that_cannot_be_read(max_parked: int) -> None:
    """What lies there may be what the run waits for."""
    store, engine = UnreadableStore(), TestEngine(workflows=[collects], max_parked=max_parked)
    engine.use_store(store)
    async with engine:
        run = await engine.start(collects, 1)
        await engine.clock.advance(59)
        store.kind, store.fails = "inbox", 5
        await run.signal("ok", 1)
        await engine.clock.advance(10)
        assert await run.result() == [1]
        assert store.fails == 0


@pytest.mark.parametrize("kind", ["inbox", "records"])
async def test_an_engine_stops_although_it_cannot_read(max_parked: int, kind: str) -> None:
    store, engine = UnreadableStore(), TestEngine(workflows=[collects], max_parked=max_parked)
    engine.use_store(store)
    async with engine:
        run = await engine.start(collects, 1)
        await engine.quiesce()
        store.kind, store.fails = kind, 1_000
        await run.signal("ok", 1)
        await engine.quiesce()
        core = engine.core
    assert store.fails >= 998
    assert not core.failed.done()


class SpoiltStore(MemoryStore):
    """Has no answer to one question."""

    def __init__(self) -> None:
        super().__init__()
        self.unreadable = True
        self.opened = 0

    async def open(self) -> None:
        await super().open()
        self.opened += 1

    async def close(self) -> None:
        await super().close()
        self.opened = 0

    async def documents(self, kind: str) -> list[DocumentRow]:
        if kind == "job" and self.unreadable:
            raise StoreUnavailable("the disk said EIO")
        return await super().documents(kind)


async def test_an_engine_that_cannot_open_leaves_nothing_behind() -> None:
    @workflow(cron="* * * * *")
    async def each_minute() -> None: ...

    store, engine = SpoiltStore(), TestEngine(workflows=[each_minute])
    engine.use_store(store)
    before = asyncio.all_tasks()
    with pytest.raises(StoreError, match="EIO"):
        await engine.__aenter__()
    assert store.opened == 0
    assert asyncio.all_tasks() == before
    clock = engine._make_clock()  # pyright: ignore[reportPrivateUsage]  # what the engine would have set timers on
    assert isinstance(clock, VirtualClock)
    assert clock.next_us() is None
    store.unreadable = False
    async with engine:
        await engine.clock.advance(60)
        assert len(await engine.list_runs()) == 1


@workflow(on="app/asked")
async def answers(event: Event) -> str:
    return event.name


async def test_a_run_that_is_evicted_before_its_turn_begins_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one is that has inherited an inbox: that is looked into, and the run rests, before the loop comes to it."""
    async with TestEngine(workflows=[answers]) as engine:
        core = engine.core
        begin = core.begin

        def begin_and_rest(*given: Any) -> None:
            begin(*given)
            for run in core.runs:
                core.runs.rest(run)

        monkeypatch.setattr(core, "begin", begin_and_rest)
        await engine.send(Event("app/asked"))
        await engine.settle()
        assert [run.status for run in await engine.list_runs()] == ["SUCCEEDED"]
