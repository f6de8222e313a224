"""A workflow for each primitive that a run may not have."""

import asyncio
import concurrent.futures
import os
import socket
import subprocess
import threading
import time

import anyio
import anyio.to_process
import anyio.to_thread

from tests.primitives.primitive import guarded, refused, work

__all__ = ["REACHED_OUT"]

REACHED_OUT: list[str] = []
"""What a function has done that ought not to have been called."""


def reach_out() -> None:
    REACHED_OUT.append("did it")


@refused("asyncio.run", "asyncio.run() cannot be called from a running event loop", instead="")
async def asyncio_run() -> None:
    coroutine = asyncio.sleep(0)
    try:
        asyncio.run(coroutine)
    finally:
        coroutine.close()


@refused("asyncio.Runner", "Runner.run() cannot be called from a running event loop", instead="")
async def asyncio_runner() -> None:
    coroutine = asyncio.sleep(0)
    try:
        asyncio.Runner().run(coroutine)
    finally:
        coroutine.close()


@refused("anyio.run", "Already running asyncio in this thread", instead="")
async def anyio_run() -> None:
    anyio.run(anyio.sleep, 0)


@refused(
    "asyncio.as_completed of coroutines",
    "asyncio.as_completed() of bare coroutines",
    instead="use durably.as_completed()",
)
async def asyncio_as_completed_coroutines() -> None:
    for next_one in asyncio.as_completed([work("a"), work("b")]):
        await next_one


@refused(
    "asyncio.wait of a gather() and others",
    "asyncio.wait() of several futures of which one is from asyncio.gather()",
    instead="give it asyncio tasks",
)
async def asyncio_wait_of_gather() -> None:
    await asyncio.wait([asyncio.gather(work("a")), asyncio.create_task(work("b"))])


@refused("asyncio.Task itself", "asyncio.Task() itself, instead of asyncio.create_task()")
async def asyncio_task_itself() -> None:
    await asyncio.Task(work("a"))


@refused("asyncio.to_thread", "asyncio.to_thread()")
async def asyncio_to_thread() -> None:
    await asyncio.to_thread(reach_out)


@refused("loop.run_in_executor", "loop.run_in_executor()")
async def asyncio_run_in_executor() -> None:
    with concurrent.futures.ThreadPoolExecutor() as threads:
        await asyncio.get_running_loop().run_in_executor(threads, reach_out)


@refused("asyncio.open_connection", "asyncio.open_connection()")
async def asyncio_open_connection() -> None:
    await asyncio.open_connection("127.0.0.1", 9)


@refused("asyncio.start_server", "asyncio.start_server()")
async def asyncio_start_server() -> None:
    await asyncio.start_server(print, "127.0.0.1", 0)


@refused("asyncio.create_subprocess_exec", "asyncio.create_subprocess_exec()")
async def asyncio_subprocess() -> None:
    await asyncio.create_subprocess_exec("true")


@refused("anyio.to_thread.run_sync", "anyio.to_thread.run_sync()")
async def anyio_to_thread() -> None:
    await anyio.to_thread.run_sync(reach_out)


@refused("anyio.to_process.run_sync", "anyio.to_process.run_sync()")
async def anyio_to_process() -> None:
    await anyio.to_process.run_sync(reach_out)


@refused("anyio.open_file", "anyio.open_file()")
async def anyio_open_file() -> None:
    await anyio.open_file(__file__)


@refused("anyio.Path", "anyio.Path.exists()")
async def anyio_path() -> None:
    await anyio.Path(__file__).exists()


@refused("anyio.run_process", "anyio.run_process()")
async def anyio_run_process() -> None:
    await anyio.run_process(["true"])


@refused("anyio.connect_tcp", "anyio.connect_tcp()")
async def anyio_connect_tcp() -> None:
    await anyio.connect_tcp("localhost", 9)


@refused("anyio.getaddrinfo", "anyio.getaddrinfo()")
async def anyio_getaddrinfo() -> None:
    await anyio.getaddrinfo("localhost", 80)


# -- around asyncio


@guarded("open()")
async def opened_file() -> None:
    with open(os.devnull, "w"):  # noqa: ASYNC230, PTH123 - what is not to be done
        reach_out()


@guarded("socket.create_connection")
async def plain_socket() -> None:
    socket.create_connection(("127.0.0.1", 9)).close()
    reach_out()


@guarded("anyio.connect_unix")
async def anyio_connect_unix() -> None:
    """anyio connects such a socket without asking the loop."""
    await anyio.connect_unix("no-such-socket")


@guarded("subprocess.run")
async def plain_process() -> None:
    subprocess.run(["true"], check=True)  # noqa: ASYNC221
    reach_out()


@guarded("threading.Thread.start", since=(3, 12))
async def plain_thread() -> None:
    threading.Thread(target=reach_out).start()


@guarded("concurrent.futures.ThreadPoolExecutor.submit", since=(3, 12))
async def plain_executor() -> None:
    concurrent.futures.ThreadPoolExecutor().submit(reach_out)


@guarded("time.sleep", since=(3, 13))
async def plain_sleep() -> None:
    time.sleep(0.001)  # noqa: ASYNC251
    reach_out()
