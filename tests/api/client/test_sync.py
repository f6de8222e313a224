"""The client for code without an event loop: in threads of its own, against a server in this one's loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from anyio.lowlevel import checkpoint

from durably import (
    DurablyError,
    Engine,
    Event,
    NoServer,
    RetryPolicy,
    RunFailed,
    RunNotFound,
    SyncClient,
    publish,
    step,
    wait_for_signal,
    workflow,
)

pytestmark = pytest.mark.anyio

T = TypeVar("T")


@step
async def double(number: int) -> int:
    if number < 0:
        raise ValueError(number)
    return 2 * number


@workflow(retries=0)
async def doubled(number: int) -> int:
    return await double.options(retries=0)(number)


@workflow
async def talk() -> int:
    heard = await wait_for_signal("number", type=int)
    for number in range(heard.data):
        await publish(number)
    return heard.data


@workflow
async def hold() -> str:
    await publish("here")
    await wait_for_signal("go")
    return "gone"


@pytest.fixture
async def url(launch: Any) -> str:
    api = await launch(Engine("memory://", workflows=[doubled, talk], drain_timeout=0))
    address: str = api.server.url
    return address


async def beside(code: Callable[[], T]) -> T:
    """Run it in a thread, as this one's loop has the server."""
    return await asyncio.to_thread(code)


async def test_a_run_from_start_to_history(url: str) -> None:
    def code() -> None:
        with SyncClient(url) as client:
            run = client.start(doubled, 21)
            assert run.result(timeout=10) == 42
            assert run.status() == "SUCCEEDED"
            assert run.info().output == 42
            assert run.history().types()[-1] == "run.succeeded"
            assert run.cancel() is False
            assert client.get_run(run.id, doubled).result() == 42
            assert run.rerun(input={"number": 4}).result(timeout=10) == 8
            assert run.fork(patch={"double": 1}, at="double").result(timeout=10) == 1
            assert len(client.list_runs(workflow="doubled")) == 3
            assert client.send(Event("x", id="e1")) == ["e1"]
            assert repr(run) == f"<run {run.id}>"

    await beside(code)


async def test_it_raises_what_the_async_one_raises(url: str) -> None:
    def code() -> None:
        with SyncClient(url) as client:
            with pytest.raises(RunNotFound):
                client.get_run("nobody")
            with pytest.raises(RunFailed, match="ValueError"):
                client.start(doubled, -1).result(timeout=10)
            with pytest.raises(TimeoutError):
                client.start(talk).result(timeout=0.01)
        with pytest.raises(DurablyError, match="use it inside `with client:`"):
            client.list_runs()
        with SyncClient("http://127.0.0.1:1", retry=RetryPolicy.NEVER) as nobody, pytest.raises(NoServer):
            nobody.list_runs()

    await beside(code)


async def test_a_stream_is_a_loop(url: str) -> None:
    def code() -> None:
        with SyncClient(url) as client:
            run = client.start(talk)
            run.signal("number", 3)
            assert [message.data for message in run.stream()] == [0, 1, 2]
            messages = run.stream()
            assert next(messages).data == 0
            messages.close()
            assert run.result() == 3

    await beside(code)


async def test_a_stream_that_is_left_holds_no_connection(launch: Any) -> None:
    api = await launch(Engine("memory://", workflows=[hold], drain_timeout=0))
    left = asyncio.Event()
    loop = asyncio.get_running_loop()

    def code() -> None:
        with SyncClient(api.server.url) as client:
            run = client.start(hold)
            messages = run.stream()
            assert next(messages).data == "here"
            messages.close()
            loop.call_soon_threadsafe(left.set)
            assert run.result(timeout=60) == "gone"

    working = asyncio.ensure_future(beside(code))
    await left.wait()
    while api.server.connections > 2:  # that of short requests, and that of the result
        await checkpoint()
    [info] = await api.engine.list_runs()
    await (await api.engine.get_run(info.id)).signal("go")
    await working


async def test_several_threads_have_one_client(url: str) -> None:
    def code() -> None:
        with SyncClient(url) as client, ThreadPoolExecutor(8) as threads:

            def result(number: int) -> int:
                return client.start(doubled, number).result(timeout=10)

            assert list(threads.map(result, range(8))) == [2 * number for number in range(8)]

    await beside(code)


async def test_it_can_be_opened_again(url: str) -> None:
    def code() -> None:
        client = SyncClient(url)
        for _ in range(2):
            with client:
                assert client.list_runs() == []
        assert not [thread for thread in threading.enumerate() if thread.name == "durably-client"]

    await beside(code)


async def test_who_stops_waiting_leaves_nothing_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def code() -> None:
        with SyncClient(url) as client:
            run = client.start(talk)
            waiting = interrupt(monkeypatch, client)
            with pytest.raises(KeyboardInterrupt):
                run.result()
            monkeypatch.undo()
            assert [future.cancelled() for future in waiting] == [True]
            run.signal("number", 0)
            assert run.result(timeout=10) == 0

    await beside(code)


def interrupt(monkeypatch: pytest.MonkeyPatch, client: SyncClient) -> list[Any]:
    """Ctrl-C while somebody waits: it arrives in `Future.result` of what is given back."""
    portal: Any = vars(client)["_loop"].portal
    original = portal.start_task_soon
    futures: list[Any] = []

    def start_task_soon(work: Callable[[], Any]) -> Any:
        future = original(work)
        future.result = press
        futures.append(future)
        return future

    def press() -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(portal, "start_task_soon", start_task_soon)
    return futures
