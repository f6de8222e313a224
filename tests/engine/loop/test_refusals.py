"""What asyncio and anyio offer that a run may not have: refused before it does anything, and by its own name."""

import asyncio
import concurrent.futures
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.to_process
import anyio.to_thread
import pytest

from durably.engine.errors import Forbidden
from durably.engine.loop import refusals

REACHED_OUT: list[str] = []


def effect() -> None:
    REACHED_OUT.append("did it")


async def signals() -> None:
    with anyio.open_signal_receiver(signal.SIGUSR1):
        pass


async def directory() -> None:
    async for _ in anyio.Path(__file__).parent.iterdir():
        pass


async def in_a_task_group() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, effect)


async def executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, effect)


async def wrapped_future() -> None:
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    await asyncio.wrap_future(future)


CALLS: dict[str, Callable[[], Awaitable[Any]]] = {
    "asyncio.to_thread()": lambda: asyncio.to_thread(effect),
    "asyncio.to_thread() ": lambda: asyncio.wait_for(asyncio.to_thread(effect), 5),
    "asyncio.to_thread()  ": lambda: asyncio.gather(asyncio.to_thread(effect)),
    "loop.run_in_executor()": executor,
    "asyncio.wrap_future()": wrapped_future,
    "asyncio.open_connection()": lambda: asyncio.open_connection("127.0.0.1", 9),
    "asyncio.start_server()": lambda: asyncio.start_server(print, "127.0.0.1", 0),
    "asyncio.open_unix_connection()": lambda: asyncio.open_unix_connection("no-such-socket"),
    "asyncio.create_subprocess_exec()": lambda: asyncio.create_subprocess_exec("true"),
    "asyncio.create_subprocess_shell()": lambda: asyncio.create_subprocess_shell("true"),
    "loop.getaddrinfo()": lambda: asyncio.get_running_loop().getaddrinfo("localhost", 80),
    "anyio.to_thread.run_sync()": lambda: anyio.to_thread.run_sync(effect),
    "anyio.to_thread.run_sync() ": in_a_task_group,
    "anyio.to_process.run_sync()": lambda: anyio.to_process.run_sync(effect),
    "anyio.open_file()": lambda: anyio.open_file(__file__),
    "anyio.Path.exists()": lambda: anyio.Path(__file__).exists(),
    "anyio.run_process()": lambda: anyio.run_process(["true"]),
    "anyio.open_process()": lambda: anyio.open_process(["true"]),
    "anyio.connect_tcp()": lambda: anyio.connect_tcp("127.0.0.1", 9),
    "anyio.connect_tcp() ": lambda: anyio.connect_tcp("localhost", 9),
    "anyio.create_tcp_listener()": lambda: anyio.create_tcp_listener(local_port=0),
    "anyio.create_udp_socket()": lambda: anyio.create_udp_socket(family=socket.AF_INET),
    "anyio.getaddrinfo()": lambda: anyio.getaddrinfo("localhost", 80),
    "loop.add_signal_handler()": signals,
}


def only_leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        (error,) = cast("BaseExceptionGroup[BaseException]", error).exceptions
    return error


@pytest.mark.parametrize("name", CALLS)
def test_what_reaches_out_of_the_run_is_refused_by_its_name_before_it_does_anything(name: str, simulate: Any) -> None:
    async def workflow(_: Any) -> None:
        await CALLS[name]()

    REACHED_OUT.clear()
    threads = threading.active_count()
    error = only_leaf(simulate(workflow).error)
    assert isinstance(error, Forbidden)
    assert str(error) == f"a workflow must not call {name.strip()}: replay could not repeat it; put the call in a step"
    assert REACHED_OUT == []
    assert threading.active_count() == threads


def test_a_directory_is_not_listed(simulate: Any) -> None:
    """Its name for it depends on anyio's version."""

    async def workflow(_: Any) -> None:
        await directory()

    with pytest.raises(Forbidden, match=r"anyio\."):
        raise simulate(workflow).error


# -- sets of futures


async def nothing() -> None: ...


def hand_made() -> "asyncio.Future[None]":
    return asyncio.Future()


def gathered() -> "asyncio.Future[tuple[None]]":
    return asyncio.gather(nothing())


@pytest.mark.parametrize(("make", "name"), [(hand_made, r"Future\(\)"), (gathered, r"asyncio\.gather\(\)")])
def test_wait_refuses_futures_whose_place_in_a_set_is_their_address(
    make: Callable[[], "asyncio.Future[Any]"], name: str, simulate: Any
) -> None:
    async def workflow(_: Any) -> None:
        await asyncio.wait([make(), asyncio.create_task(nothing())])

    with pytest.raises(Forbidden, match=rf"asyncio\.wait\(\) of several futures .*{name}.*asyncio\.create_task\(\)"):
        raise simulate(workflow).error


@pytest.mark.parametrize("make", [hand_made, gathered])
def test_one_such_future_is_in_order(make: Callable[[], "asyncio.Future[Any]"], simulate: Any) -> None:
    async def workflow(_: Any) -> int:
        done, pending = await asyncio.wait([make()], timeout=5)
        return len(done) + len(pending)

    assert simulate(workflow).result == 1


def test_wait_takes_what_its_message_says(simulate: Any) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(nothing(), nothing())

    async def workflow(_: Any) -> int:
        future = asyncio.get_running_loop().create_future()
        done, _ = await asyncio.wait([asyncio.create_task(all_of_them()), future], return_when="FIRST_COMPLETED")
        return len(done)

    assert simulate(workflow).result == 1


def test_as_completed_of_coroutines_is_refused_at_once_and_without_a_warning(simulate: Any) -> None:
    async def workflow(_: Any) -> None:
        for next_one in asyncio.as_completed([nothing() for _ in range(3)]):
            await next_one

    with pytest.raises(Forbidden, match=r"bare coroutines.*use durably\.as_completed\(\)"):
        raise simulate(workflow).error


def test_as_completed_of_tasks_made_on_the_way_is_in_order(simulate: Any) -> None:
    """`ensure_future` is called inside of `as_completed` there too, but by the user."""

    async def workflow(step: Any) -> list[Any]:
        tasks = {asyncio.ensure_future(step("s", 3 - number, number)) for number in range(3)}
        return [await next_one for next_one in asyncio.as_completed(tasks)]

    assert simulate(workflow).result == [2, 1, 0]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="as_completed takes generators since 3.13")
def test_as_completed_of_a_generator_of_tasks_is_in_order(simulate: Any) -> None:
    async def workflow(step: Any) -> list[Any]:
        tasks = (asyncio.ensure_future(step("s", 3 - number, number)) for number in range(3))
        return [await next_one for next_one in asyncio.as_completed(tasks)]

    assert simulate(workflow).result == [2, 1, 0]


def test_this_python_has_the_functions_that_are_recognized() -> None:
    """Else nothing would be refused: better a red test than a run that blocks."""
    assert refusals.WAIT is not None
    assert Path(refusals.WAIT.co_filename).name == "tasks.py"
    assert refusals.WRAP_FUTURE is not None
    assert refusals.ENSURE_FUTURE is not None
