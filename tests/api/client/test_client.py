"""`Engine` and `Client` are used alike: the same calls, results and exceptions, in the process or over HTTP."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest

from durably import (
    Client,
    ClientRun,
    DurablyError,
    Engine,
    Event,
    EventConflict,
    InvalidInput,
    NondeterminismError,
    NonRetriableError,
    Run,
    RunCanceled,
    RunConflict,
    RunFailed,
    RunNotFound,
    StepError,
    SyncClient,
    SyncRun,
    continue_as_new,
    current,
    publish,
    step,
    wait_for_signal,
    workflow,
)
from durably.engine.listing import RunFilters

pytestmark = pytest.mark.anyio

User: TypeAlias = "Engine | Client"


# -- workflows


@dataclass
class Parcel:
    order: str
    number: int
    sent: datetime


@step
async def charge(cents: int) -> int:
    if cents < 0:
        raise NonRetriableError("less than nothing")
    return cents


@workflow
async def ship(order: str, cents: int = 100) -> Parcel:
    return Parcel(order, await charge(cents), datetime(2026, 1, 31, tzinfo=UTC))


@workflow
async def careful(cents: int) -> str:
    try:
        await charge(cents)
    except StepError as error:
        return error.message
    return "charged"


@workflow
async def charge_twice(cents: int) -> int:
    return await charge(cents) + await charge(cents)


@workflow("charge_twice")
async def charge_later(cents: int) -> int:
    await asyncio.sleep(1)
    return await charge_twice.fn(cents)


@workflow("ship", version=2)
async def ship_again(order: str, cents: int = 100) -> Parcel:
    return Parcel(order, await charge(-cents), datetime(2026, 1, 31, tzinfo=UTC))


@workflow
async def rate() -> int:
    answer = await wait_for_signal("stars", type=int)
    for star in range(answer.data):
        await publish({"star": star})
        await publish(star, topic="other")
    return answer.data


@workflow
async def count_down(left: int) -> str:
    if left:
        continue_as_new(left - 1)
    return "lift-off"


@workflow(on="order/placed")
async def placed(event: Event[dict[str, int]]) -> tuple[dict[str, int], bool]:
    trigger = current().event
    return event.data, trigger is not None and trigger.name == "order/placed"


@workflow
async def nap(seconds: float) -> bool:
    await asyncio.sleep(seconds)
    return current().test


WORKFLOWS = (ship, ship_again, careful, rate, count_down, placed, nap)


@pytest.fixture(params=["engine", "client"])
async def user(request: pytest.FixtureRequest, launch: Any) -> AsyncIterator[User]:
    api = await launch(Engine("memory://", workflows=WORKFLOWS, drain_timeout=0))
    if request.param == "engine":
        yield api.engine
    else:
        async with Client(api.server.url) as client:
            yield client


# -- starting


async def test_results_are_decoded_by_annotation(user: User) -> None:
    run = await user.start(ship, "o-1", cents=7)
    parcel = await run.result(timeout=10)
    assert parcel == Parcel("o-1", 7, datetime(2026, 1, 31, tzinfo=UTC))
    again = await user.get_run(run.id, ship)
    assert await again.result() == parcel
    assert (await run.info()).version == 1, "that of the code at hand, not the newest"


async def test_by_name_it_is_the_newest_version(user: User) -> None:
    run = await user.start("ship", order="o-1", cents=-7)
    assert await run.status() in ("PENDING", "RUNNING", "SUCCEEDED")
    await run.result(timeout=10)
    info = await run.info()
    assert (info.version, info.output["number"], info.input) == (2, 7, {"order": "o-1", "cents": -7})


async def test_a_known_id_is_the_run_that_exists(user: User) -> None:
    run = await user.start(ship, "o-1", run_id="o 1/ü")
    assert run.id == "o 1/ü"
    assert (await user.start(ship.options(run_id="o 1/ü"), "o-1")).id == run.id
    with pytest.raises(RunConflict, match="is another one"):
        await user.start(ship, "o-2", run_id="o 1/ü")
    assert len(await user.list_runs()) == 1


async def test_options_of_one_run(user: User) -> None:
    options = nap.options(test=True, timeout=timedelta(hours=1), delay=0.01, environment="staging", run_id="n")
    run = await user.start(options, 3600)
    assert await run.result(timeout=10) is True
    info = await run.info()
    assert (info.id, info.test, info.environment) == ("n", True, "staging")
    created = (await run.history()).records[0]
    assert created.timeout == 3600
    assert created.get("due_at") is not None


async def test_input_that_misses_is_refused_before_anything_is_stored(user: User) -> None:
    with pytest.raises(InvalidInput, match="'cents' does not fit its annotation int"):
        await user.start(ship, *cast("tuple[Any, ...]", ("o-1", "x")))
    with pytest.raises(InvalidInput, match=r"misses its parameter 'order'|missing a required argument"):
        await user.start("ship")
    with pytest.raises(DurablyError, match="'nobody' is not registered; this engine knows"):
        await user.start("nobody")
    with pytest.raises(InvalidInput, match="1 to 255 printable"):
        await user.start(ship, "o-1", run_id="i" * 256)
    assert await user.list_runs() == []


async def test_an_event_given_by_hand_is_the_trigger(user: User) -> None:
    run = await user.start(placed, Event("order/placed", {"n": 1}))
    assert await run.result(timeout=10) == ({"n": 1}, True)


# -- events


async def test_events_start_runs_and_their_ids_are_theirs(user: User) -> None:
    events = [Event("order/placed", {"n": n}, id=f"e{n}", user={"id": 3}, v="1") for n in range(3)]
    assert await user.send(*events) == ["e0", "e1", "e2"]
    assert await user.send(*events) == ["e0", "e1", "e2"]
    [unnamed] = await user.send(Event("order/placed"))
    assert unnamed
    runs = await user.list_runs(event="order/placed", trigger="EVENT")
    assert {info.event_id for info in runs} == {"e0", "e1", "e2", unnamed}
    assert await user.send() == []


async def test_events_that_cannot_be(user: User) -> None:
    await user.send(Event("x", {"n": 1}, id="e1"))
    with pytest.raises(EventConflict, match="'e1' was sent before"):
        await user.send(Event("x", {"n": 2}, id="e1"))
    with pytest.raises(InvalidInput, match="more than 524,288"):
        await user.send(Event("y"), Event("x", {"text": "x" * 600_000}))
    with pytest.raises(InvalidInput, match="more than 5,000"):
        await user.send(*[Event("x")] * 5_001)


# -- ends


async def test_how_runs_end_otherwise(user: User) -> None:
    failed = await user.start(ship, "o-1", -1)
    with pytest.raises(RunFailed) as failure:
        await failed.result(timeout=10)
    assert failure.value.run_id == failed.id
    assert failure.value.error.type == "durably.StepError"
    assert failure.value.error.cause is not None
    assert failure.value.error.cause.message == "less than nothing"
    assert "raise NonRetriableError" in failure.value.error.cause.traceback

    napping = await user.start(nap, 3600)
    with pytest.raises(TimeoutError):
        await napping.result(timeout=0.01)
    assert await napping.cancel() is True
    with pytest.raises(RunCanceled):
        await napping.result(timeout=10)
    assert await napping.cancel() is False
    assert await napping.status() == "CANCELED"


async def test_a_result_of_the_run_that_it_goes_on_as(user: User) -> None:
    run = await user.start(count_down, 3)
    assert await run.result(timeout=10) == "lift-off"
    assert (await run.info()).continued_to


async def test_nobody(user: User) -> None:
    with pytest.raises(RunNotFound, match="there is no run 'nobody'") as missing:
        await user.get_run("nobody")
    assert missing.value.run_id == "nobody"


# -- handles


async def test_signals_and_streams(user: User) -> None:
    run = await user.start(rate)

    async def seen(**options: Any) -> list[Any]:
        async with aclosing(run.stream(**options)) as messages:
            return [message.data async for message in messages]

    watching = asyncio.gather(seen(topic="progress"), seen())
    await run.signal("stars", 2)
    progress, everything = await watching
    assert progress == [{"star": 0}, {"star": 1}]
    assert everything == [{"star": 0}, 0, {"star": 1}, 1]
    assert await run.result(timeout=10) == 2
    first, _ = [message async for message in run.stream(topic="other")]
    assert first.at.tzinfo is UTC
    assert await seen(topic="other", after=first.seq) == [1]
    assert await seen(after=(await run.info()).history_length) == [], "the end has been seen"
    with pytest.raises(RunConflict, match="has ended"):
        await run.signal("stars", 1)
    with pytest.raises(InvalidInput, match="more than 524,288"):
        await run.signal("stars", "x" * 600_000)
    with pytest.raises(ValueError, match="a signal's name"):
        await run.signal("", 1)


async def test_running_it_again(user: User) -> None:
    failed = await user.start(ship, "o-1", -1)
    with pytest.raises(RunFailed):
        await failed.result(timeout=10)
    again = await failed.rerun(input={"order": "o-2", "cents": 5}, version="original")
    assert (await again.result(timeout=10)).number == 5
    info = await again.info()
    assert (info.trigger, info.origin, info.version) == ("RERUN", failed.id, 1)
    from_step = await again.rerun(from_step="charge", version=1)
    assert (await from_step.result(timeout=10)).number == 5
    with pytest.raises(InvalidInput, match="has no step 'x'"):
        await again.rerun(from_step="x", version=1)
    with pytest.raises(InvalidInput, match="misses its parameter 'order'"):
        await again.rerun(input={}, version=1)


async def test_going_on_from_the_middle(user: User) -> None:
    failed = await user.start(ship, "o-1", -1)
    with pytest.raises(RunFailed):
        await failed.result(timeout=10)
    patched = await failed.fork(patch={"charge": 9})
    assert (await patched.result(timeout=10)).number == 9
    cheaper = await failed.fork(at="charge", args={"charge": {"cents": 3}})
    assert (await cheaper.result(timeout=10)).number == 3
    with pytest.raises(InvalidInput, match="has no parameter"):
        await failed.fork(at="charge", args={"charge": {"dollars": 3}})

    careless = await user.start(careful, 1)
    assert await careless.result(timeout=10) == "charged"
    unlucky = await careless.fork(at="charge", patch={"charge": ValueError("stolen")})
    assert await unlucky.result(timeout=10) == "stolen"
    [failure] = [record for record in await unlucky.history() if record.type == "outcome.given"]
    assert failure.record["error"]["types"][:2] == ["ValueError", "Exception"]


async def test_code_that_does_not_fit(launch: Any, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    async with Engine(store, workflows=[charge_twice]) as before:
        run = await before.start(charge_twice, 1)
        assert await run.result(timeout=30) == 2
    api = await launch(Engine(store, workflows=[charge_later]))
    async with Client(api.server.url) as client:
        with pytest.raises(NondeterminismError, match="cannot be forked at record") as misfit:
            await (await client.get_run(run.id)).fork(at="0/charge#1")
    assert "extra: the code does something that the history does not hold" in str(misfit.value)


async def test_lists_are_read_page_by_page(user: User) -> None:
    await user.send(*(Event("order/placed", id=f"e{number}") for number in range(130)))
    found = await user.list_runs(workflow="placed", limit=120)
    assert len({info.id for info in found}) == 120
    assert [info.created_at for info in found] == sorted((info.created_at for info in found), reverse=True)
    late = max(info.created_at for info in found) + timedelta(hours=1)
    assert len(await user.list_runs(created_until=late, limit=1_000)) == 130
    assert await user.list_runs(created_from=late) == []
    assert await user.list_runs(status=["FAILED", "CANCELED"], limit=1_000) == []


async def test_lists_by_every_filter(user: User) -> None:
    run = await user.start(nap.options(environment="staging"), 0)
    await run.result(timeout=10)
    again = await run.rerun()
    await again.result(timeout=10)
    info = await again.info()
    assert info.started_at is not None
    assert info.finished_at is not None
    for filters in (
        RunFilters(origin=run.id),
        RunFilters(trigger="RERUN", environment="staging", status="SUCCEEDED"),
        RunFilters(started_from=info.started_at, started_until=info.started_at + timedelta(hours=1)),
        RunFilters(finished_from=info.finished_at),
    ):
        assert [each.id for each in await user.list_runs(**filters)] == [again.id]
    assert await user.list_runs(scheduled_from=info.started_at) == []
    assert await user.list_runs(phase="sleeping") == []
    with pytest.raises(TypeError, match="runs cannot be listed by 'stauts'"):
        await user.list_runs(**cast("Any", {"stauts": "FAILED"}))


# -- nothing is left out, and nothing is called otherwise


METHODS = ("start", "get_run", "list_runs", "send")
OF_RUNS = ("result", "status", "info", "history", "cancel", "rerun", "signal", "fork", "stream")


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [(Engine, Client, METHODS), (Engine, SyncClient, METHODS), (Run, ClientRun, OF_RUNS), (Run, SyncRun, OF_RUNS)],
)
def test_the_methods_take_the_same(ours: type, theirs: type, names: tuple[str, ...]) -> None:
    def parameters(kind: type, name: str) -> list[inspect.Parameter]:
        return list(inspect.signature(getattr(kind, name)).parameters.values())[1:]

    assert [name for name in names if parameters(ours, name) != parameters(theirs, name)] == []


def test_handles_have_the_same_methods() -> None:
    assert public(Run) == public(ClientRun) == public(SyncRun) == {*OF_RUNS, "id"}
    assert public(Client) == public(SyncClient) == set(METHODS)
