import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from durably import NonRetriableError, workflow
from durably.engine.bulk import workflow as bulk
from durably.engine.bulk.request import BulkRequest, Selection
from durably.engine.bulk.workflow import Progress
from durably.store import Append, MemoryStore, Operation, StoreUnavailable, UnknownOutcome
from durably.store.protocol import Done
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio
out_of_order: set[str] = set()


@pytest.fixture(autouse=True)
def broken() -> None:
    out_of_order.add("fragile")


@workflow
async def fragile(number: int) -> int:
    if out_of_order:
        raise NonRetriableError(f"{number} is broken")
    return number


@workflow
async def sleeper() -> None:
    await asyncio.sleep(timedelta(days=30).total_seconds())


def engine(**options: object) -> TestEngine:
    return TestEngine(workflows=[fragile, sleeper], **options)  # type: ignore[arg-type]  # as given


async def statuses(running: TestEngine, name: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in await running.list_runs(workflow=name, limit=1000):
        found[each.status] = found.get(each.status, 0) + 1
    return found


async def test_runs_that_have_failed_are_run_again_once_each() -> None:
    async with engine() as running:
        for number in range(25):
            await running.start(fragile, number)
        await running.settle()
        out_of_order.clear()
        operation = await running.start_bulk(BulkRequest(action="rerun", rate=10))
        assert await operation.result() == Progress(done=25)
        await running.settle()
        assert await statuses(running, "fragile") == {"FAILED": 25, "SUCCEEDED": 25}
        outputs = [each.output for each in await running.list_runs(status="SUCCEEDED", workflow="fragile")]
        assert sorted(outputs) == list(range(25))


async def test_reruns_that_fail_again_are_not_run_again_for_ever() -> None:
    async with engine() as running:
        for number in range(3):
            await running.start(fragile, number)
        await running.settle()
        operation = await running.start_bulk(BulkRequest(action="rerun", rate=1))
        assert await operation.result() == Progress(done=3)
        await running.settle()
        assert await statuses(running, "fragile") == {"FAILED": 6}


async def test_open_runs_are_canceled_and_no_others() -> None:
    async with engine() as running:
        for _ in range(12):
            await running.start(sleeper)
        failed = await running.start(fragile, 1)
        await asyncio.sleep(0)
        operation = await running.start_bulk(BulkRequest(action="cancel", selection=Selection(workflow=("sleeper",))))
        assert await operation.result() == Progress(done=12)
        assert await statuses(running, "sleeper") == {"CANCELED": 12}
        assert await failed.status() == "FAILED"


async def test_it_does_not_cancel_itself() -> None:
    async with engine() as running:
        await running.start(sleeper)
        operation = await running.start_bulk(BulkRequest(action="cancel"))
        assert await operation.result() == Progress(done=1)


async def test_the_rate_is_kept() -> None:
    async with engine(auto=False) as running:
        for _ in range(6):
            await running.start(sleeper)
        await running.settle()
        await running.start_bulk(BulkRequest(action="cancel", selection=Selection(workflow=("sleeper",)), rate=2))
        for canceled in (2, 4, 6):
            await running.settle()
            assert (await statuses(running, "sleeper")).get("CANCELED", 0) == canceled
            await running.clock.advance(1)


async def test_it_goes_on_after_a_crash() -> None:
    async with engine(auto=False) as running:
        for _ in range(6):
            await running.start(sleeper)
        await running.settle()
        operation = await running.start_bulk(
            BulkRequest(action="cancel", selection=Selection(workflow=("sleeper",)), rate=2)
        )
        await running.settle()
        await running.restart()
        await running.clock.advance(10)
        assert await operation.result() == Progress(done=6)
        assert await statuses(running, "sleeper") == {"CANCELED": 6}


async def test_it_can_be_canceled() -> None:
    async with engine(auto=False) as running:
        for _ in range(6):
            await running.start(sleeper)
        await running.settle()
        operation = await running.start_bulk(
            BulkRequest(action="cancel", selection=Selection(workflow=("sleeper",)), rate=2)
        )
        await running.settle()
        await operation.cancel()
        await running.clock.advance(10)
        assert await statuses(running, "sleeper") == {"RUNNING": 4, "CANCELED": 2}


async def test_what_fails_is_counted_and_told() -> None:
    async with engine() as running:
        await running.start(fragile, 1)
        await running.settle()
        running.workflows = (sleeper,)
        await running.restart()
        operation = await running.start_bulk(BulkRequest(action="rerun"))
        progress = await operation.result()
        assert (progress.done, progress.failed) == (0, 1)
        assert progress.last_error is not None
        assert "'fragile' is not registered" in progress.last_error


async def test_a_long_one_goes_on_as_a_new_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "LONG", 10)
    async with engine() as running:
        for _ in range(12):
            await running.start(sleeper)
        await asyncio.sleep(0)
        operation = await running.start_bulk(
            BulkRequest(action="cancel", selection=Selection(workflow=("sleeper",)), rate=2)
        )
        assert await operation.result() == Progress(done=12)
        assert len(await running.list_runs(workflow="durably.bulk")) > 1


async def test_how_far_it_is_can_be_followed() -> None:
    async with engine() as running:
        for _ in range(4):
            await running.start(sleeper)
        await asyncio.sleep(0)
        operation = await running.start_bulk(
            BulkRequest(action="cancel", selection=Selection(workflow=("sleeper",)), rate=2)
        )
        told = [message.data["done"] async for message in operation.stream(topic="progress")]
        assert told[-1] == 4
        assert told[0] == 2


class FullStore(MemoryStore):
    """Has no room for a while, from the creation of the third run of `fragile` on that it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None
        self.outage = 0

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        for each in batch:
            if isinstance(each, Append) and each.created is not None and self.left is not None:
                self.left -= 1
                if self.left == 0:
                    self.outage = 3
        if self.outage:
            asyncio.get_running_loop().call_soon(done, UnknownOutcome("no space"))
        else:
            super().submit(batch, done)

    async def reopen(self) -> None:
        if self.outage > 1:
            self.outage -= 1
            raise StoreUnavailable("still no space")
        self.outage = 0
        await super().reopen()


async def test_an_outage_is_no_reason_to_leave_runs_out() -> None:
    store = FullStore()
    running = engine()
    running.use_store(store)
    async with running:
        for number in range(10):
            await running.start(fragile, number)
        await running.settle()
        out_of_order.clear()
        operation = await running.start_bulk(BulkRequest(action="rerun", rate=10))
        store.left = 3
        assert await operation.result() == Progress(done=10)
        assert store.left <= 0
        await running.settle()
        assert await statuses(running, "fragile") == {"FAILED": 10, "SUCCEEDED": 10}


async def test_what_it_will_be_done_to_is_counted_without_operations_like_it() -> None:
    async with engine(auto=False) as running:
        for _ in range(3):
            await running.start(sleeper)
        slow = BulkRequest(action="cancel", selection=Selection(workflow=("sleeper",)), rate=0.01)
        await running.start_bulk(slow)
        await running.settle()
        assert await running.count_meant(BulkRequest(action="cancel")) == 2
        assert await running.count_meant(slow) == 2
        everything = Selection(workflow=("sleeper", bulk.WORKFLOW))
        assert await running.count_meant(BulkRequest(action="cancel", selection=everything)) == 2
