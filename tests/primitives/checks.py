"""How each cell of docs/asyncio.md is tested: on a `TestEngine`, with its process killed at every commit in turn."""

import asyncio
from collections.abc import Sequence
from typing import Any

from durably import History, Run, Workflow
from durably.store import MemoryStore, Operation
from durably.store.protocol import Done
from durably.testing import TestEngine
from tests.primitives.primitive import UNIT, Primitive, broken, work

__all__ = ["DeadlyStore", "finished", "fitted", "killed_at", "parked"]

LONG_S = 10_000 * UNIT


class DeadlyStore(MemoryStore):
    """The process dies with commit number `dies_at`, which happens; 0 is never. Nobody hears of anything then."""

    def __init__(self, dies_at: int = 0) -> None:
        super().__init__()
        self.dies_at = dies_at
        self.commits = 0
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        self.commits += 1
        if self.commits == self.dies_at:
            super().submit(batch, lambda _: None)
            asyncio.get_running_loop().call_soon(self.died.set_result, None)
        else:
            super().submit(batch, done)


def fitted(workflow: Workflow[..., Any], store: MemoryStore, *, max_parked: int = 0, auto: bool = True) -> TestEngine:
    """An engine for one workflow, whose steps take their time on its clock."""
    engine = TestEngine(workflows=[workflow], max_parked=max_parked, auto=auto)
    engine.use_store(store)

    def name_of(name: str, _takes: float = 1) -> str:
        return name

    def work_takes(_name: str, takes: float = 1) -> float:
        return takes * UNIT

    def broken_takes(takes: float = 1) -> float:
        return takes * UNIT

    engine.mock(work, side_effect=name_of, takes=work_takes)
    engine.mock(broken, raises=ValueError("broken"), takes=broken_takes)
    return engine


async def finished(primitive: Primitive, *, max_parked: int = 0) -> tuple[Any, History, int]:
    """What a run comes to, its history, and how many commits it took. With 0, it is evicted at every wait."""
    store = DeadlyStore()
    async with fitted(primitive.workflow, store, max_parked=max_parked) as engine:
        run: Run[Any] = await engine.start(primitive.workflow, run_id="run")
        async with asyncio.timeout(30):  # a run whose replay differs is blocked, and would never end
            result = await run.result()
            await engine.settle()
        return result, await run.history(), store.commits


async def parked(primitive: Primitive) -> tuple[str, History]:
    """The phase of a run at its first wait, and its history so far."""
    async with fitted(primitive.workflow, DeadlyStore(), auto=False) as engine:
        run: Run[Any] = await engine.start(primitive.workflow, run_id="run")
        await engine.settle()
        found = str((await run.info()).phase), await run.history()
        await engine.clock.advance(LONG_S)
        assert (await run.info()).status == "SUCCEEDED"
        return found


async def killed_at(primitive: Primitive, commit: int) -> Any:
    """What comes of a run whose process is killed with that commit, and is started again on the same store."""
    store = DeadlyStore(commit)
    async with fitted(primitive.workflow, store) as engine:
        starting = asyncio.ensure_future(engine.start(primitive.workflow, run_id="run"))
        await engine.wait(store.died)
        starting.cancel()
        await engine.restart()
        run: Run[Any] = await engine.start(primitive.workflow, run_id="run")
        result = await run.result()
        await engine.replay_finished()
        return result
