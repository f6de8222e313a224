"""Following a run's records as they become durable."""

import asyncio
from collections.abc import Sequence

import pytest

from durably import DurablyError, RetryPolicy, current, publish, step, workflow
from durably.engine.execution.follow import PAGE
from durably.store import LogRow, MemoryStore, Operation, StoreUnavailable, UnknownOutcome
from durably.store.protocol import Done
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


@step
async def work(n: int) -> int:
    return n


@workflow
async def count(to: int) -> int:
    return sum([await work(n) for n in range(to)])


@workflow
async def nap(seconds: float = 60) -> str:
    await asyncio.sleep(seconds)
    return "awake"


@workflow
async def talk() -> str:
    for percent in (0, 50, 100):
        await publish({"percent": percent})
        await asyncio.sleep(60)
    await publish("done", topic="news")
    await work(1)
    return "said"


@workflow(retry=RetryPolicy(2, delay=1, jitter=0))
async def stumble() -> None:
    await publish("before")
    if current().attempt < 2:
        raise ValueError("not yet")
    await publish("after")


@step(retry=RetryPolicy(1, delay=1, jitter=0))
async def chatter(name: str) -> str:
    for n in range(3):
        await publish(f"{name} {n}")
    if current().attempt == 0:
        raise ValueError("not yet")
    return name


@workflow
async def crowd() -> list[str]:
    return list(await asyncio.gather(chatter("a"), chatter("b")))


WORKFLOWS = (count, nap, talk, stumble, crowd)


ONLY = 1
"""The number of the one run that there is."""


async def follow(engine: TestEngine, after: int = 0) -> list[LogRow]:
    """What a follower of the run is given until that has ended."""
    told: list[LogRow] = []
    while records := await engine.core.followers.next_records(ONLY, after):
        told += records
        after = records[-1].seq
    return told


async def log(engine: TestEngine) -> list[LogRow]:
    """What is stored of the run."""
    return (await engine.core.store.records([ONLY]))[ONLY]


# -- what is told


async def test_an_ended_run_is_told_in_pages() -> None:
    async with TestEngine(workflows=WORKFLOWS) as engine:
        await (await engine.start(count, 150)).result()
        whole = await log(engine)
        assert len(whole) > 3 * PAGE
        assert await engine.core.followers.next_records(ONLY, 7) == whole[7 : 7 + PAGE]
        for after in (0, 7, len(whole), 10_000):
            assert await follow(engine, after) == whole[after:]


@pytest.mark.parametrize("max_parked", [0, 100])
async def test_what_happens_is_told_once_and_in_order(max_parked: int) -> None:
    async with TestEngine(workflows=WORKFLOWS, max_parked=max_parked) as engine:
        run = await engine.start(nap)
        following = asyncio.create_task(follow(engine))
        await run.result()
        assert await following == await log(engine)


async def test_a_slow_follower_holds_up_nobody() -> None:
    async with TestEngine(workflows=WORKFLOWS) as engine:
        run = await engine.start(count, 20)
        first = await engine.core.followers.next_records(ONLY, 0)
        assert await run.result() == 190
        rest = await follow(engine, after=first[-1].seq)
        assert first + rest == await log(engine)


class Slow(MemoryStore):
    """Lets something happen while it looks for records and finds none."""

    async def meanwhile(self) -> None:
        """Replaced by the test."""

    async def records_after(self, run: int, seq: int, limit: int) -> list[LogRow]:
        records = await super().records_after(run, seq, limit)
        if not records:
            await self.meanwhile()
        return records


async def test_an_end_between_two_looks_is_told_whole() -> None:
    engine, store = TestEngine(workflows=WORKFLOWS, auto=False), Slow()
    engine.use_store(store)
    async with engine:
        await engine.start(nap)
        store.meanwhile = lambda: engine.clock.advance(60)  # type: ignore[method-assign]
        assert await follow(engine) == await log(engine)


# -- messages


@pytest.mark.parametrize("max_parked", [0, 100])
async def test_messages_are_streamed_until_the_run_ends(max_parked: int) -> None:
    async with TestEngine(workflows=WORKFLOWS, max_parked=max_parked) as engine:
        run = await engine.start(talk)
        messages = [message async for message in run.stream()]
        assert [(message.topic, message.data) for message in messages] == [
            ("progress", {"percent": 0}),
            ("progress", {"percent": 50}),
            ("progress", {"percent": 100}),
            ("news", "done"),
        ]
        published = [record for record in await run.history() if record.type == "message.published"]
        assert [(message.seq, message.at) for message in messages] == [(each.seq, each.at) for each in published]
        assert [message async for message in run.stream()] == messages  # once it has ended, too
        assert [message async for message in run.stream(topic="news")] == messages[3:]
        assert [message async for message in run.stream(after=messages[1].seq)] == messages[2:]


async def test_a_message_is_there_before_the_next_thing_happens() -> None:
    async with TestEngine(workflows=WORKFLOWS, auto=False) as engine:
        run = await engine.start(talk)
        stream = run.stream()
        assert (await anext(stream)).data == {"percent": 0}
        second = asyncio.ensure_future(anext(stream))
        await engine.clock.advance(59)
        assert not second.done()
        await engine.clock.advance(1)
        assert (await second).data == {"percent": 50}


async def test_a_body_that_is_run_again_says_nothing_twice() -> None:
    async with TestEngine(workflows=WORKFLOWS) as engine:
        run = await engine.start(stumble)
        assert [message.data async for message in run.stream()] == ["before", "after"]


@pytest.mark.parametrize("max_parked", [0, 100])
async def test_steps_are_heard_while_they_run_in_every_attempt(max_parked: int) -> None:
    async with TestEngine(workflows=WORKFLOWS, max_parked=max_parked) as engine:
        run = await engine.start(crowd)
        heard = [message.data async for message in run.stream()]
        assert await run.result() == ["a", "b"]
        assert [each for each in heard if each[0] == "a"] == ["a 0", "a 1", "a 2"] * 2
        assert [each for each in heard if each[0] == "b"] == ["b 0", "b 1", "b 2"] * 2
        keys = [record.message for record in await run.history() if record.type == "message.published"]
        assert set(keys) == {f"0/{task}/chatter#0/message#{n}" for task in (0, 1) for n in range(3)}
        await engine.replay_finished()


async def test_a_stream_goes_on_with_the_next_engine() -> None:
    async with TestEngine(workflows=WORKFLOWS, auto=False) as engine:
        run = await engine.start(talk)
        stream = run.stream()
        first = await anext(stream)
        second = asyncio.ensure_future(anext(stream))
        await engine.quiesce()
        await engine.restart()
        with pytest.raises(DurablyError, match="the engine has stopped"):
            await second
        rest = asyncio.ensure_future(anext(run.stream(after=first.seq)))
        await engine.clock.advance(60)
        assert (await rest).data == {"percent": 50}


# -- who follows leaves nothing


async def test_who_goes_away_is_forgotten() -> None:
    async with TestEngine(workflows=WORKFLOWS, auto=False) as engine:
        await engine.start(nap)
        observers = engine.core.executor.observers
        following = [asyncio.create_task(follow(engine)) for _ in range(3)]
        await engine.quiesce()
        assert len(observers) == 1
        for task in following:
            assert len(observers) == 1
            task.cancel()
            await asyncio.wait([task])
        assert observers == []


@pytest.mark.parametrize("how", ["close", "abandon"])
async def test_an_engine_that_stops_says_so(how: str) -> None:
    async with TestEngine(workflows=WORKFLOWS, auto=False) as engine:
        await engine.start(nap)
        following = asyncio.create_task(follow(engine))
        await engine.quiesce()
        await getattr(engine.core, how)()
        for told in (following, follow(engine)):
            with pytest.raises(DurablyError, match="the engine has stopped; the run goes on with the next one"):
                await told


# -- commits whose outcome nobody knows


class Failing(MemoryStore):
    """Carries commit number `fails` out, or does not, and says that nobody knows; needs two reopenings then."""

    def __init__(self, fails: int, *, happened: bool) -> None:
        super().__init__()
        self.fails = fails
        self.happened = happened
        self.submitted = 0
        self.outage = 1

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        self.submitted += 1
        if self.submitted != self.fails:
            super().submit(batch, done)
            return
        if self.happened:
            super().submit(batch, lambda _: None)
        asyncio.get_running_loop().call_soon(done, UnknownOutcome("the disk said EIO"))

    async def reopen(self) -> None:
        if self.outage:
            self.outage -= 1
            raise StoreUnavailable("still no space")
        await super().reopen()


@pytest.mark.parametrize("happened", [True, False])
@pytest.mark.parametrize("fails", [2, 3, 4])
async def test_what_nobody_knows_is_told_when_it_is_known(fails: int, happened: bool) -> None:
    engine = TestEngine(workflows=WORKFLOWS, auto=False)
    engine.use_store(Failing(fails, happened=happened))
    async with engine:
        run = await engine.start(count, 3)
        following = asyncio.create_task(follow(engine))
        await engine.quiesce()
        assert engine.core.journal.failure is not None
        late = asyncio.create_task(follow(engine))
        await engine.quiesce()
        assert {following.done(), late.done()} == {False}  # though the last record may lie there: it may not be durable
        await engine.clock.advance(1)
        assert await following == await late == await log(engine)
        assert await run.status() == "SUCCEEDED"
