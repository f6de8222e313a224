"""Workflows and steps that are declared with `cron=`."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durably import (
    Cron,
    Engine,
    Event,
    InvalidInput,
    continue_as_new,
    current,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from durably.engine.schedules.catch_up import CatchUp
from durably.testing import TestEngine
from tests.engine.schedules.conftest import START, DownEngine, at, scheduled

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@step
async def time_in_a_step() -> str:
    return str(current().scheduled_for)


@workflow(cron="0 2 * * *")
async def nightly() -> list[str]:
    return [str(current().scheduled_for), await time_in_a_step()]


# -- what a run of a schedule is


async def test_each_time_has_a_run_that_knows_it() -> None:
    async with TestEngine(workflows=[nightly]) as engine:
        await engine.clock.advance(3 * DAY)
        assert await scheduled(engine) == [at("01 02:00"), at("02 02:00"), at("03 02:00")]
        for info in await engine.list_runs():
            assert (info.trigger, info.status, info.event) == ("SCHEDULE", "SUCCEEDED", None)
            assert info.created_at == info.scheduled_for
            assert info.output == [str(info.scheduled_for)] * 2
        [*_, first] = await engine.list_runs()
        created = (await (await engine.get_run(first.id)).history()).records[0]
        assert (created.trigger, created.scheduled_for) == ("SCHEDULE", "2026-01-01T02:00:00Z")
        await engine.replay_finished()


async def test_it_is_local_time_that_counts() -> None:
    """Three in the morning in New York, over the night of the 8th of March in which two o'clock is missing."""

    @workflow(cron=Cron("30 2 * * *", timezone="America/New_York"))
    async def local() -> None: ...

    async with TestEngine(workflows=[local]) as engine:
        await engine.clock.advance(datetime(2026, 3, 7, tzinfo=UTC) - START)
        before = len(await scheduled(engine))
        await engine.clock.advance(3 * DAY)
        expected = [(7, 7, 30), (8, 7, 0), (9, 6, 30)]
        times = (await scheduled(engine))[before:]
        assert times == [datetime(2026, 3, day, hour, minute, tzinfo=UTC) for day, hour, minute in expected]


async def test_a_run_by_hand_has_no_time() -> None:
    async with TestEngine(workflows=[nightly]) as engine:
        run = await engine.start(nightly)
        assert await run.result() == ["None", "None"]
        assert (await run.info()).scheduled_for is None


async def test_several_schedules_of_one_workflow_are_apart() -> None:
    """At midnight on Saturday both are due: two runs."""

    @workflow(cron=["0 0 * * *", Cron("0 0 * * 6")])
    async def both() -> None: ...

    async with TestEngine(workflows=[both]) as engine:
        await engine.clock.advance(3 * DAY)
        assert await scheduled(engine) == [at("02 00:00"), at("03 00:00"), at("03 00:00"), at("04 00:00")]
        assert len({info.id for info in await engine.list_runs()}) == 4


async def test_a_step_with_a_schedule_is_a_run_of_its_own() -> None:
    tried: list[int] = []

    @step(cron="0 * * * *", retries=2)
    async def flaky() -> str:
        tried.append(current().attempt)
        if current().attempt == 0:
            raise ConnectionError
        return "done"

    async with TestEngine(workflows=[flaky]) as engine:
        await engine.clock.advance(HOUR)
        await engine.settle()
        assert [(info.workflow, info.output) for info in await engine.list_runs()] == [("flaky", "done")]
    assert tried == [0, 1]


async def test_only_the_newest_version_is_started() -> None:
    @workflow("report", cron="0 1 * * *")
    async def old() -> str:
        return "old"

    @workflow("report", cron="0 2 * * *", version=2)
    async def new() -> str:
        return "new"

    @workflow("report", version=3)
    async def newest() -> str:
        return "newest"

    async with TestEngine(workflows=[new, old]) as engine:
        await engine.clock.advance(DAY)
        assert [info.output for info in await engine.list_runs()] == ["new"]
    async with TestEngine(workflows=[newest, new, old]) as engine:
        await engine.clock.advance(DAY)
        assert await engine.list_runs() == []


async def test_runs_belong_to_the_engines_environment() -> None:
    async with DownEngine(workflows=[nightly]) as engine:
        engine.settings = engine.settings._replace(environment="staging")
        await engine.restart()
        await engine.clock.advance(DAY)
        assert {info.environment for info in await engine.list_runs()} == {"staging"}


# -- what it is given


async def test_one_that_takes_an_event_gets_one_that_tells_of_the_schedule() -> None:
    @workflow(cron=Cron(" 0  2 * * *", timezone="Europe/Berlin"))
    async def told(event: Event, many: int = 3) -> list[Any]:
        assert current().event == event
        return [event.name, event.data, event.ts.isoformat(), event.id == current().run_id, many]

    async with TestEngine(workflows=[told]) as engine:
        await engine.clock.advance(DAY)
        [info] = await engine.list_runs()
        data = {"cron": " 0  2 * * *", "timezone": "Europe/Berlin", "scheduled_for": "2026-01-01T01:00:00Z"}
        assert info.output == ["durably/schedule", data, "2026-01-01T01:00:00+00:00", True, 3]
        assert info.input["event"]["data"] == data
        again = await (await engine.get_run(info.id)).rerun()
        assert (await again.result())[:2] == ["durably/schedule", data]


async def test_defaults_are_the_input_as_it_was_when_it_began() -> None:
    @workflow(cron="0 2 * * *")
    async def with_defaults(many: int = 3, *, name: str = "all") -> str:
        return f"{name} {many}"

    async with TestEngine(workflows=[with_defaults]) as engine:
        await engine.clock.advance(DAY)
        [info] = await engine.list_runs()
        assert (info.input, info.output) == ({"many": 3, "name": "all"}, "all 3")


async def test_events_and_a_schedule_start_the_same_workflow() -> None:
    @workflow(on="app/refresh", cron="0 2 * * *")
    async def refresh(event: Event) -> str:
        return event.name

    async with TestEngine(workflows=[refresh]) as engine:
        await engine.send(Event("app/refresh"))
        await engine.clock.advance(DAY)
        runs = await engine.list_runs()
        assert [(info.trigger, info.output) for info in runs] == [
            ("SCHEDULE", "durably/schedule"),
            ("EVENT", "app/refresh"),
        ]


async def test_started_by_hand_with_an_event_it_has_it_as_its_trigger() -> None:
    @workflow(cron="0 2 * * *")
    async def told(event: Event) -> str:
        assert current().event == event
        return event.name

    async with TestEngine(workflows=[told]) as engine:
        assert await (await engine.start(told, Event("by/hand"))).result() == "by/hand"


async def test_a_default_that_cannot_be_an_input_is_refused_at_the_start() -> None:
    @step(cron="0 2 * * *")
    async def with_client(client: object = object()) -> None: ...

    with pytest.raises(InvalidInput, match=r"with_client\(\): parameter 'client'"):
        async with TestEngine(workflows=[with_client]):
            pass


# -- jitter


async def test_the_body_begins_later_by_up_to_the_jitter() -> None:
    @workflow(cron=Cron("0 * * * *", jitter=timedelta(minutes=10)))
    async def spread() -> None:
        assert current().scheduled_for is not None

    async with TestEngine(workflows=[spread]) as engine:
        await engine.clock.advance(DAY)
        await engine.settle()
        late: list[float] = []
        for info in await engine.list_runs():
            assert info.scheduled_for == info.created_at
            assert info.started_at is not None
            late.append((info.started_at - info.created_at).total_seconds())
    assert len(late) == 24
    assert 0 < min(late) < 200
    assert 400 < max(late) < 600


async def test_a_run_that_waits_for_its_jitter_survives_a_restart() -> None:
    @workflow(cron=Cron("0 * * * *", jitter=600))
    async def spread() -> None: ...

    async with TestEngine(workflows=[spread]) as engine:
        await engine.clock.advance(HOUR)
        [waiting] = await engine.list_runs()
        assert (waiting.status, waiting.phase) == ("PENDING", "sleeping")
        await engine.restart()
        await engine.settle()
        [info] = await engine.list_runs()
        assert (info.id, info.status) == (waiting.id, "SUCCEEDED")


# -- runs that come of it


async def test_a_rerun_is_for_the_same_time() -> None:
    async with TestEngine(workflows=[nightly]) as engine:
        await engine.clock.advance(DAY)
        [info] = await engine.list_runs()
        again = await (await engine.get_run(info.id)).rerun()
        assert await again.result() == ["2026-01-01 02:00:00+00:00"] * 2
        fork = await (await engine.get_run(info.id)).fork(at=1)
        assert await fork.result() == ["2026-01-01 02:00:00+00:00"] * 2
        assert [each.scheduled_for for each in await engine.list_runs()] == [at("01 02:00")] * 3


async def test_what_goes_on_as_another_run_is_for_the_same_time() -> None:
    @workflow(cron="0 2 * * *")
    async def in_two(part: int = 1) -> str:
        if part == 1:
            continue_as_new(2)
        return str(current().scheduled_for)

    async with TestEngine(workflows=[in_two]) as engine:
        await engine.clock.advance(DAY)
        assert [info.output for info in await engine.list_runs()] == ["2026-01-01 02:00:00+00:00", None]


# -- starts, deploys and downtime


def nightly_with(catch_up: CatchUp) -> Any:
    @workflow("nightly", cron=Cron("0 2 * * *", catch_up=catch_up))
    async def body() -> None: ...

    return body


async def test_a_schedule_that_is_seen_for_the_first_time_begins_now() -> None:
    engine = DownEngine(workflows=[nightly])
    engine.pass_by(10 * DAY)
    async with engine:
        await engine.quiesce()
        assert await scheduled(engine) == []
        await engine.clock.advance(DAY)
        assert await scheduled(engine) == [at("11 02:00")]


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize(("catch_up", "expected"), [("once", ["04"]), ("skip", []), ("all", ["02", "03", "04"])])
async def test_after_downtime(catch_up: CatchUp, expected: list[str], *, killed: bool) -> None:
    engine = DownEngine(workflows=[nightly_with(catch_up)])
    async with engine:
        await engine.clock.advance(DAY)
        if killed:
            await engine.core.abandon()
    engine.pass_by(3 * DAY)
    async with engine:
        await engine.settle()
        assert await scheduled(engine) == [at("01 02:00"), *(at(f"{day} 02:00") for day in expected)]
        await engine.clock.advance(DAY)
        assert (await scheduled(engine))[-1] == at("05 02:00")
        assert len(await scheduled(engine)) == len(expected) + 2


async def test_all_that_was_missed_comes_in_order_and_in_several_commits() -> None:
    @workflow(cron=Cron("* * * * *", catch_up="all"))
    async def minutely() -> None: ...

    engine = DownEngine(workflows=[minutely])
    async with engine:
        await engine.clock.advance(60)
    engine.pass_by(10 * HOUR)
    async with engine:
        await engine.settle()
        assert await scheduled(engine) == [START + timedelta(minutes=each) for each in range(1, 602)]
        assert {info.status for info in await engine.list_runs(limit=1000)} == {"SUCCEEDED"}


@pytest.mark.parametrize("catch_up", ["once", "skip", "all"])
async def test_a_deploy_at_the_time_itself_misses_nothing(catch_up: CatchUp) -> None:
    engine = DownEngine(workflows=[nightly_with(catch_up)])
    async with engine:
        await engine.clock.advance(2 * HOUR - timedelta(seconds=10))
    engine.pass_by(timedelta(seconds=30))
    async with engine:
        await engine.settle()
        assert await scheduled(engine) == [at("01 02:00")]


def declared(cron: Any, version: int = 1) -> Any:
    @workflow("report", cron=cron, version=version)
    async def body() -> None: ...

    return body


@pytest.mark.parametrize(
    "after",
    [
        declared("  0 2 *  * * "),
        declared(Cron("0 2 * * *", jitter=0.5)),
        declared(["0 2 * * *", "0 5 1 1 *"], version=2),
    ],
    ids=["spaces", "jitter", "version"],
)
async def test_an_edit_that_leaves_expression_and_zone_keeps_the_cadence(after: Any) -> None:
    """What was missed meanwhile is caught up."""
    engine = DownEngine(workflows=[declared("0 2 * * *")])
    async with engine:
        await engine.clock.advance(HOUR)
    engine.pass_by(3 * HOUR)
    engine.deploy(after)
    async with engine:
        await engine.settle()
        assert await scheduled(engine) == [at("01 02:00")]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (declared("0 3 * * *"), ["02 03:00"]),
        (declared(Cron("0 2 * * *", timezone="Europe/Berlin")), ["02 01:00"]),
        (declared("0 * * * *"), ["01 05:00", "01 06:00"]),
        (declared(None), []),
    ],
    ids=["time", "zone", "oftener", "none"],
)
async def test_another_schedule_begins_anew_from_now(after: Any, expected: list[str]) -> None:
    """The times of the one before are not caught up: it is gone. Nor are those of the new one."""
    engine = DownEngine(workflows=[declared("0 2 * * *")])
    async with engine:
        await engine.clock.advance(HOUR)
    engine.pass_by(3 * HOUR + timedelta(minutes=30))
    engine.deploy(after)
    async with engine:
        await engine.clock.advance(DAY)
        assert (await scheduled(engine))[: len(expected) or 1] == [at(each) for each in expected]
        assert len(await engine.core.store.positions()) == (1 if expected else 0)


async def test_a_schedule_that_comes_back_begins_anew() -> None:
    engine = DownEngine(workflows=[declared("0 2 * * *")])
    async with engine:
        await engine.quiesce()
    engine.deploy(declared(None))
    async with engine:
        await engine.quiesce()
    engine.pass_by(3 * DAY)
    engine.deploy(declared("0 2 * * *"))
    async with engine:
        await engine.settle()
        assert await scheduled(engine) == []


async def test_a_workflow_that_a_deploy_lacks_for_a_while_was_down_meanwhile() -> None:
    engine = DownEngine(workflows=[declared("0 2 * * *"), nightly])
    async with engine:
        await engine.clock.advance(HOUR)
    engine.deploy(nightly)
    async with engine:
        await engine.clock.advance(3 * DAY)
        assert await scheduled(engine, "report") == []
    engine.deploy(declared("0 2 * * *"))
    async with engine:
        await engine.settle()
        assert await scheduled(engine, "report") == [at("03 02:00")]


# -- the test's clock


async def test_settling_does_not_wait_for_schedules() -> None:
    """There is always one more. What is due on the way to a timer happens in its time."""

    @workflow(cron="0 * * * *")
    async def hourly() -> str:
        return str(current().scheduled_for)

    @workflow
    async def patient() -> None:
        await sleep(2.5 * 3600)

    async with TestEngine(workflows=[hourly, patient]) as engine:
        await engine.settle()
        assert engine.clock.now() == START
        await (await engine.start(patient)).result()
        assert engine.clock.now() == START + 2.5 * HOUR
        await engine.settle()
        assert [info.created_at for info in await engine.list_runs(workflow="hourly")] == [
            at("01 02:00"),
            at("01 01:00"),
        ]


async def test_a_run_that_waits_for_nothing_to_come_does_not_move_the_clock() -> None:
    @workflow(cron="* * * * *")
    async def minutely() -> None: ...

    @workflow
    async def waits() -> str:
        return (await wait_for_event("app/never")).name

    async with TestEngine(workflows=[minutely, waits]) as engine:
        run = await engine.start(waits)
        with pytest.raises(TimeoutError):
            await run.result(timeout=0.05)
        assert engine.clock.now() - START < timedelta(minutes=1)
        await engine.clock.advance(180)
        assert len(await scheduled(engine)) == 3


# -- what is refused where it is declared


async def needs(customer: str, many: int = 1) -> None: ...


async def needs_event_and_more(event: Event, customer: str) -> None: ...


async def fits() -> None: ...


@pytest.mark.parametrize("decorator", [step, workflow])
@pytest.mark.parametrize(
    ("fn", "cron", "error", "message"),
    [
        (needs, "0 2 * * *", TypeError, r"needs\(\) is started by a schedule.* and customer has none"),
        (needs_event_and_more, "0 2 * * *", TypeError, "and customer has none"),
        (fits, "0 2 * *", ValueError, "has 4 fields"),
        (fits, "0 25 * * *", ValueError, "'25' is no hour"),
        (fits, [2], TypeError, "a cron expression is 2; it must be text"),
        (fits, ["0 2 * * *", "0  2 * * *"], ValueError, "'0  2 [*] [*] [*]' is given twice for time zone UTC"),
    ],
)
def test_refused(
    decorator: Callable[..., Any], fn: Callable[..., Any], cron: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        decorator(cron=cron)(fn)


def test_the_same_time_in_another_zone_is_another_schedule() -> None:
    declared = workflow(cron=["0 2 * * *", Cron("0 2 * * *", timezone="Europe/Berlin")])(fits)
    assert [each.key for each in declared.crons] == ["0 2 * * * UTC", "0 2 * * * Europe/Berlin"]


def test_an_engine_takes_it() -> None:
    assert Engine("memory://", workflows=[nightly]).workflows == (nightly,)
