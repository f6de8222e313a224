"""Users' code with engines and clients, with the types it must have. Checked by test_typing.py, not run."""

from typing import Any, assert_type

from durably import (
    Client,
    ClientRun,
    Engine,
    Event,
    History,
    Message,
    Run,
    RunInfo,
    SyncClient,
    SyncRun,
    step,
    workflow,
)


@workflow
async def ship(order: str, cents: int = 100) -> bool:
    return bool(cents)


@step(on="order/placed")
async def record(event: Event) -> int:
    return len(event.name)


async def run_here(engine: Engine) -> None:
    run = await engine.start(ship, "o-1", cents=3)
    assert_type(run, Run[bool])
    assert_type(await run.result(timeout=3), bool)
    server = await engine.serve_http(port=0)
    assert_type(server.url, str)
    async with server:
        pass


async def run_there(client: Client) -> None:
    run = await client.start(ship, "o-1", cents=3)
    assert_type(run, ClientRun[bool])
    assert_type(await run.result(timeout=3), bool)
    assert_type(await client.start(ship.options(run_id="r", test=True), "o-1"), ClientRun[bool])
    assert_type(await client.start(ship, "o-1", run_id="r"), ClientRun[bool])
    assert_type(await client.start(record, Event("order/placed")), ClientRun[int])
    assert_type(await client.start("ship", order="o-1"), ClientRun[Any])
    assert_type(await client.send(Event("order/placed")), list[str])
    assert_type(await client.get_run("r"), ClientRun[Any])
    assert_type(await client.get_run("r", ship), ClientRun[bool])
    assert_type(await client.list_runs(status="FAILED", workflow=["ship"]), list[RunInfo])
    assert_type(await run.history(), History)
    assert_type(await run.cancel(), bool)
    assert_type(await run.rerun(from_step="charge"), ClientRun[bool])
    assert_type(await run.fork(patch={"charge": 1}), ClientRun[bool])
    async for message in run.stream():
        assert_type(message, Message)


async def run_anywhere(user: Engine | Client) -> None:
    """Code that does not care whose engine it is."""
    run = await user.start(ship, "o-1")
    assert_type(await run.result(), bool)
    assert_type((await run.info()).status == "FAILED", bool)
    again = await run.rerun()
    assert_type(await again.result(), bool)
    assert_type(await (await user.get_run("r", ship)).result(), bool)


def run_without_a_loop() -> None:
    with SyncClient("http://127.0.0.1:8484", "key") as client:
        run = client.start(ship, "o-1", cents=3)
        assert_type(run, SyncRun[bool])
        assert_type(run.result(timeout=3), bool)
        assert_type(client.start(ship, "o-1", run_id="r"), SyncRun[bool])
        assert_type(client.get_run("r", ship), SyncRun[bool])
        assert_type(client.get_run("r"), SyncRun[Any])
        assert_type(client.send(Event("order/placed")), list[str])
        assert_type(client.list_runs(status="FAILED"), list[RunInfo])
        assert_type(run.info(), RunInfo)
        assert_type(run.history(), History)
        assert_type(run.cancel(), bool)
        assert_type(run.rerun(), SyncRun[bool])
        assert_type(run.fork(at=3), SyncRun[bool])
        run.signal("paid", {"cents": 3})
        for message in run.stream(topic="progress"):
            assert_type(message, Message)
