"""Schedules at work: every time has one run, whatever becomes of commits, processes and clocks."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from durably import Cron, Event, workflow
from durably.encryption import Encryption
from durably.engine.execution.arrivals import run_row
from durably.engine.log.ids import derived_id
from durably.engine.log.records import NOTHING, RunCreated, from_us, to_us
from durably.engine.schedules.catch_up import CatchUp
from durably.engine.schedules.cron import CronExpression, CronTimetable, OneTime, Timetable, find_zone
from durably.engine.schedules.schedules import Schedule
from durably.store import MemoryStore, Operation, RunRow, SqliteStore
from durably.store.protocol import Done
from durably.store.sealed import SealedStore
from durably.testing import TestEngine
from tests.engine.execution.test_crashes import DeadlyStore
from tests.engine.execution.test_outage import FailingStore
from tests.engine.schedules.conftest import START, DownEngine, SetEngine, at, scheduled

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@workflow(cron=Cron("0 * * * *", catch_up="all"))
async def hourly() -> None: ...


@workflow
async def chore() -> None: ...


# -- killed, and unknown, at every commit


HOURS = [at("01 01:00"), at("01 02:00"), at("01 03:00")]


async def commits_of_three_hours() -> int:
    store = DeadlyStore(0, happened=True)
    async with engine_on(store) as engine:
        await engine.clock.advance(3 * HOUR)
    return store.commits


def engine_on(store: MemoryStore, *workflows: Any) -> TestEngine:
    engine = TestEngine(workflows=workflows or [hourly])
    engine.use_store(store)
    return engine


@pytest.mark.parametrize("happened", [True, False])
async def test_killed_at_any_commit_each_time_has_one_run(*, happened: bool) -> None:
    """The first position, and for each hour the run's creation with the next position, its start and its end."""
    commits = await commits_of_three_hours()
    assert commits >= 1 + 3 * 2
    for dies_at in range(1, commits + 1):
        store = DeadlyStore(dies_at, happened=happened)
        async with engine_on(store) as engine:
            advancing = asyncio.ensure_future(engine.clock.advance(3 * HOUR))
            await asyncio.wait({advancing, store.died}, return_when="FIRST_COMPLETED")
            advancing.cancel()
            await engine.restart()
            await engine.clock.advance(START + 3 * HOUR - engine.clock.now())
            await engine.settle()
            assert await scheduled(engine) == HOURS, dies_at
            assert {info.status for info in await engine.list_runs()} == {"SUCCEEDED"}
            await engine.replay_finished()


@pytest.mark.parametrize("outage", [0, 3])
@pytest.mark.parametrize("happened", [True, False])
async def test_whatever_becomes_of_a_commit_each_time_has_one_run(*, happened: bool, outage: int) -> None:
    store = FailingStore(0, happened=happened)
    async with engine_on(store) as engine:
        await engine.clock.advance(3 * HOUR)
    for fails in range(1, store.submitted + 1):
        async with engine_on(FailingStore(fails, happened=happened, outage=outage)) as engine:
            await engine.clock.advance(3 * HOUR)
            await engine.settle()
            assert await scheduled(engine) == HOURS, fails
            assert {info.status for info in await engine.list_runs()} == {"SUCCEEDED"}
            assert await engine.core.store.positions() == {"workflow/hourly\t0 * * * * UTC": to_us(at("01 04:00"))}


async def test_what_was_decided_in_time_is_not_missed_in_an_outage() -> None:
    """Two minutes late, although `skip` leaves out what is a minute late: it was due when the engine ran."""

    @workflow("hourly", cron=Cron("0 * * * *", catch_up="skip"))
    async def skipping() -> None: ...

    async with engine_on(FailingStore(2, happened=False, outage=120), skipping) as engine:
        await engine.clock.advance(HOUR + 5 * MINUTE)
        [info] = await engine.list_runs()
        assert (info.scheduled_for, info.status) == (at("01 01:00"), "SUCCEEDED")


async def test_a_time_that_comes_during_an_outage_is_fired_behind_it() -> None:
    """The first of the two workflows' commits fails, and the store stays away over the next hour."""
    async with engine_on(FailingStore(2, happened=False, outage=5000), hourly) as engine:
        await engine.clock.advance(3 * HOUR)
        assert await scheduled(engine) == HOURS


# -- the wall clock


async def test_a_wall_clock_that_is_set_back_fires_no_time_twice_and_none_early() -> None:
    async with SetEngine(hourly) as engine:
        await engine.clock.advance(HOUR + MINUTE)
        engine.set_wall(-HOUR)
        await engine.clock.advance(2 * HOUR - 2 * MINUTE)
        assert await scheduled(engine) == HOURS[:1]
        await engine.clock.advance(2 * MINUTE)
        assert await scheduled(engine) == HOURS[:2]


async def test_a_wall_clock_that_is_set_back_just_before_a_time_fires_it_when_it_comes_again() -> None:
    async with SetEngine(hourly) as engine:
        await engine.clock.advance(HOUR - timedelta(seconds=3))
        engine.set_wall(-10 * MINUTE)
        await engine.clock.advance(10 * MINUTE)
        assert await scheduled(engine) == []
        await engine.clock.advance(timedelta(seconds=15))
        assert await scheduled(engine) == HOURS[:1]


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [("once", [at("01 05:00")]), ("skip", []), ("all", [at(f"01 0{n}:00") for n in range(1, 6)])],
)
async def test_a_wall_clock_that_is_set_forward_is_noticed_soon(catch_up: CatchUp, expected: list[datetime]) -> None:
    """As after a suspend: what was passed over was missed."""

    @workflow(cron=Cron("0 * * * *", catch_up=catch_up))
    async def each_hour() -> None: ...

    async with SetEngine(each_hour) as engine:
        await engine.clock.advance(MINUTE)
        engine.set_wall(5 * HOUR + 10 * MINUTE)
        await engine.clock.advance(timedelta(seconds=11))
        assert await scheduled(engine) == expected


# -- schedules of others, as jobs have them


def cron(text: str) -> CronTimetable:
    return CronTimetable(CronExpression.parse(text), find_zone("UTC"))


def fire(engine: TestEngine, run_id: str, scheduled_us: int) -> tuple[RunRow, RunCreated]:
    core = engine.core
    created = RunCreated(
        workflow="chore",
        version=1,
        input=Raw(b"{}"),
        trigger="SCHEDULE",
        event=NOTHING,
        environment="production",
        test=False,
        scheduled_for=from_us(scheduled_us),
    )
    return run_row(core.store.new_run(), run_id, created, core.clock.now_us()), created


def schedule(engine: TestEngine, name: str, timetable: Timetable, catch_up: CatchUp = "once") -> Schedule:
    return Schedule(name, timetable, partial(fire, engine), catch_up)


async def test_an_owner_has_what_it_said_last() -> None:
    async with TestEngine(workflows=[chore]) as engine:
        schedules = engine.core.schedules
        schedules.set("job/a", [schedule(engine, "x", cron("0 * * * *")), schedule(engine, "y", cron("30 * * * *"))])
        schedules.set("job/b", [schedule(engine, "x", cron("45 * * * *"))])
        assert schedules.next_due_us("job/a", "x") == to_us(at("01 01:00"))
        await engine.clock.advance(50 * MINUTE)
        assert await scheduled(engine) == [at("01 00:30"), at("01 00:45")]
        schedules.set("job/a", [schedule(engine, "y", cron("30 * * * *"))])
        schedules.set("job/b", [])
        await engine.clock.advance(HOUR)
        assert (await scheduled(engine))[2:] == [at("01 01:30")]
        assert schedules.next_due_us("job/a", "x") is None
        assert schedules.next_due_us("job/b", "x") is None
        assert await engine.core.store.positions() == {"job/a\ty": to_us(at("01 02:30"))}


async def test_what_is_said_again_keeps_its_position() -> None:
    async with TestEngine(workflows=[chore]) as engine:
        schedules = engine.core.schedules
        schedules.set("job/a", [schedule(engine, "x", cron("0 * * * *"))])
        await engine.clock.advance(59 * MINUTE)
        for _ in range(3):
            schedules.set("job/a", [schedule(engine, "x", cron("0 * * * *"))])
        await engine.clock.advance(HOUR)
        assert await scheduled(engine) == [at("01 01:00")]


@pytest.mark.parametrize("lost", [False, True])
async def test_a_schedule_whose_position_was_lost_with_its_process_begins_when_it_was_made(*, lost: bool) -> None:
    """The job was stored, and then there was a `kill -9`: a time that has come since is not lost."""
    async with DownEngine(workflows=[chore]) as engine:
        since_us = engine.core.clock.wall_us()
        if not lost:
            engine.core.schedules.set("job/a", [schedule(engine, "x", OneTime(since_us + 1))], since_us)
            await engine.quiesce()
        await engine.core.abandon()
        engine.pass_by(DAY)
        await engine.restart()
        engine.core.schedules.set("job/a", [schedule(engine, "x", OneTime(since_us + 1))], since_us)
        await engine.settle()
        assert [to_us(each) for each in await scheduled(engine)] == [since_us + 1]


async def test_a_single_time_is_fired_once_whoever_says_it_again() -> None:
    async with TestEngine(workflows=[chore]) as engine:
        since_us = engine.core.clock.wall_us()
        for _ in range(3):
            engine.core.schedules.set("job/a", [schedule(engine, "x", OneTime(since_us + 5))], since_us)
            await engine.clock.advance(MINUTE)
            assert engine.core.schedules.next_due_us("job/a", "x") is None
            await engine.restart()
        assert len(await engine.list_runs()) == 1


async def test_a_time_that_has_its_run_already_gets_no_second_one() -> None:
    """Also when a schedule's position was forgotten: ids of runs derive from the schedule and the time."""
    async with TestEngine(workflows=[chore]) as engine:
        schedules, since_us = engine.core.schedules, engine.core.clock.wall_us()
        schedules.set("job/a", [schedule(engine, "x", cron("0 * * * *"), "all")], since_us)
        await engine.clock.advance(2 * HOUR)
        [later, earlier] = await engine.list_runs()
        assert earlier.id == derived_id("job/a\tx", str(to_us(at("01 01:00"))))
        schedules.set("job/a", [])
        schedules.set("job/a", [schedule(engine, "x", cron("0 * * * *"), "all")], since_us)
        await engine.clock.advance(HOUR)
        assert await scheduled(engine) == HOURS
        assert [info.id for info in await engine.list_runs()][1:] == [later.id, earlier.id]
        assert len(list(engine.core.runs)) == 0


async def test_nothing_to_run_moves_the_schedule_on() -> None:
    async with TestEngine(workflows=[chore]) as engine:
        asked: list[int] = []

        def nothing(_run_id: str, scheduled_us: int) -> None:
            asked.append(scheduled_us)

        engine.core.schedules.set("job/a", [Schedule("x", cron("0 * * * *"), nothing)])
        await engine.clock.advance(2 * HOUR)
        assert asked == [to_us(at("01 01:00")), to_us(at("01 02:00"))]
        assert await engine.list_runs() == []
        assert await engine.core.store.positions() == {"job/a\tx": to_us(at("01 03:00"))}


async def test_one_that_is_taken_away_while_it_is_fired_is_not_due_again() -> None:
    async with TestEngine(workflows=[chore]) as engine:
        schedules = engine.core.schedules

        def last_time(run_id: str, scheduled_us: int) -> tuple[RunRow, RunCreated]:
            schedules.set("job/a", [])
            return fire(engine, run_id, scheduled_us)

        schedules.set("job/a", [Schedule("x", cron("0 * * * *"), last_time)])
        await engine.clock.advance(3 * HOUR)
        assert await scheduled(engine) == [at("01 01:00")]


async def test_a_run_that_the_store_refuses_does_not_hold_up_the_next_one() -> None:
    async with TestEngine(workflows=[chore]) as engine:

        def first_is_refused(run_id: str, scheduled_us: int) -> tuple[RunRow, RunCreated]:
            row, created = fire(engine, run_id, scheduled_us)
            if scheduled_us == to_us(at("01 01:00")):
                row = replace(row, due_us=1 << 70)
            return row, created

        engine.core.schedules.set("job/a", [Schedule("x", cron("0 * * * *"), first_is_refused)])
        await engine.clock.advance(2 * HOUR)
        assert await scheduled(engine) == [at("01 02:00")]


async def test_a_thousand_that_are_due_at_once() -> None:
    class Counting(MemoryStore):
        commits = 0

        def submit(self, batch: Sequence[Operation], done: Done) -> None:
            self.commits += 1
            super().submit(batch, done)

    store = Counting()
    async with engine_on(store, chore) as engine:
        for number in range(1000):
            engine.core.schedules.set(f"job/{number}", [schedule(engine, "x", cron("0 0 * * *"))])
        await engine.quiesce()
        before = store.commits
        await engine.clock.advance(DAY)
        await engine.settle()
        runs = await engine.list_runs(limit=10_000)
        assert [info.status for info in runs] == ["SUCCEEDED"] * 1000
        assert {info.scheduled_for for info in runs} == {at("02 00:00")}
        assert store.commits - before < 100


# -- on a disk


async def test_positions_are_in_the_file(tmp_path: Any) -> None:
    for day in range(1, 4):
        engine = DownEngine(workflows=[hourly])
        engine.use_store(SqliteStore(tmp_path / "durably.db"))
        engine.pass_by((day - 1) * DAY)
        async with engine:
            await engine.settle()
            await engine.clock.advance(MINUTE)
            expected = max(0, (day - 1) * 24)
            assert len(await scheduled(engine)) == expected


async def test_runs_of_schedules_are_encrypted_with_the_rest(tmp_path: Any) -> None:
    @workflow(cron="0 * * * *")
    async def secret(event: Event, what: str = "a secret default") -> str:
        return f"{event.name}: {what}"

    path = tmp_path / "durably.db"
    engine = DownEngine(workflows=[secret])
    engine.use_store(SealedStore(SqliteStore(path), Encryption(Encryption.new_key())))
    async with engine:
        await engine.clock.advance(HOUR)
        [info] = await engine.list_runs()
        assert (info.scheduled_for, info.output) == (at("01 01:00"), "durably/schedule: a secret default")
    assert b"durably/schedule" not in path.read_bytes()
