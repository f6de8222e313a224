"""What tests run in another process: `python -m tests.primitives.elsewhere replay|guard|wait STORE|finish STORE`."""

import asyncio
import json
import random
import sys
from typing import Any

from durably import Engine, NondeterminismError, Run, RunFailed
from durably.engine.loop import guard
from durably.engine.testing import VirtualClock
from durably.replay import History, Replayer
from durably.store.runtime import Clock, SystemClock
from durably.testing import TestEngine
from tests.primitives.programs import AT_HAND, GUARDED
from tests.primitives.refused_programs import REACHED_OUT

__all__: list[str] = []


def replay(histories: dict[str, str]) -> dict[str, str]:
    """By name: `equal`, or why not. Objects lie elsewhere in each process."""
    holes = [bytearray(random.randrange(16, 512)) for _ in range(random.randrange(1, 20_000))]  # noqa: S311
    random.shuffle(holes)
    del holes[::2]
    found: dict[str, str] = {}
    replayer = Replayer([each.workflow for each in AT_HAND])
    for each in AT_HAND:
        if (history := histories.get(each.name)) is not None:
            try:
                replayer.replay(History.from_json(history))
                found[each.name] = "equal"
            except NondeterminismError as error:
                found[each.name] = str(error)
    return found


async def guard_all() -> dict[str, tuple[str, list[str]]]:
    """By name, how those end that the guard stops, and what they have done."""
    guard.install()
    found: dict[str, tuple[str, list[str]]] = {}
    stopped = [each for each in GUARDED if sys.version_info >= each.since]
    async with TestEngine(workflows=[each.workflow for each in stopped]) as engine:
        for each in stopped:
            REACHED_OUT.clear()
            run = await engine.start(each.workflow)
            try:
                await run.result()
            except RunFailed as failed:
                found[each.name] = failed.error.type, list(REACHED_OUT)
    return found


class StandingStill(Engine):
    """An engine for which no time passes, so that it waits until it is killed."""

    def _make_clock(self) -> Clock:
        return VirtualClock(SystemClock().now_us())


async def start_all(engine: Engine) -> dict[str, Run[Any]]:
    return {each.name: await engine.start(each.workflow, run_id=each.workflow.name) for each in AT_HAND}


async def wait(store: str) -> None:
    """Start every program, say which of them wait, and wait to be killed."""
    async with StandingStill(store, [each.workflow for each in AT_HAND]) as engine:
        runs = await start_all(engine)
        while not all([await is_waiting(run) for run in runs.values()]):  # noqa: ASYNC110 - no engine tells that
            await asyncio.sleep(0.01)
        print(json.dumps([name for name, run in runs.items() if await run.status() == "RUNNING"]), flush=True)
        await asyncio.Event().wait()


async def is_waiting(run: Run[Any]) -> bool:
    info = await run.info()
    return info.status == "SUCCEEDED" or info.phase in {"sleeping", "executing"}


async def finish(store: str) -> None:
    """Let every program come to its end, and say what they gave."""
    async with Engine(store, [each.workflow for each in AT_HAND]) as engine:
        print(json.dumps({name: await run.result(30) for name, run in (await start_all(engine)).items()}))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["replay"]:
            print(json.dumps(replay(json.load(sys.stdin))))
        case ["guard"]:
            print(json.dumps(asyncio.run(guard_all())))
        case ["wait", store]:
            asyncio.run(wait(store))
        case ["finish", store]:
            asyncio.run(finish(store))
        case _:
            sys.exit(__doc__)
