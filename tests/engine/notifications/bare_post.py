"""A deliverer without an engine around it, on a virtual clock."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from durably import ErrorInfo, StoreError
from durably.engine.execution.background import Background
from durably.engine.execution.documents import Documents
from durably.engine.execution.journal import Journal, settle
from durably.engine.http.client import HttpClient
from durably.engine.notifications.courier import Courier
from durably.engine.notifications.deliverer import Deliverer
from durably.engine.notifications.deliveries import deliveries
from durably.engine.notifications.destination import Destination
from durably.engine.notifications.failure import RunFailure
from durably.engine.testing import VirtualClock
from durably.store import DeliveryRow, Notify, Operation, Result, Store
from durably.store.runtime import SECOND_US

LOOPBACK = ("127.0.0.0/8",)


def failure_of(run_id: str = "run-1", **changed: Any) -> RunFailure:
    """A run that has failed, as the engine tells of it."""
    cause = ErrorInfo("shop.CardDeclined", ("shop.CardDeclined", "Exception"), "insufficient funds")
    message = "step 'charge#0' failed after 6 attempts: shop.CardDeclined: insufficient funds"
    error = ErrorInfo("durably.StepError", ("durably.StepError",), message, cause=cause)
    given: dict[str, Any] = {"workflow": "fulfil", "error": error, "input": {"order_id": "o-1"}}
    return RunFailure(run_id, **{**given, **changed})


class Post:
    """A deliverer on an open store, with the parts of an engine that it needs."""

    def __init__(self, store: Store, clock: VirtualClock, destinations: Sequence[Destination]) -> None:
        self.store = store
        self.clock = clock
        self.errors: list[BaseException] = []
        self.background = Background(clock, self.errors.append)
        self.http = HttpClient(LOOPBACK)
        self.journal = Journal(
            store,
            clock,
            self.background,
            committed=lambda _operation, _result: None,
            lost=lambda _operations: None,
            unavailable=lambda _reason: None,
            reopened=self._reopened,
            fatal=self.errors.append,
        )
        self.destinations = destinations
        documents = Documents(store, self.journal)
        self.courier = Courier(
            store, self.journal, documents, clock, self.background, http=self.http, destinations=destinations
        )
        self.deliverer = Deliverer(self.courier, store, self.journal, clock, self.background)

    def _reopened(self, operations: list[Operation]) -> None:
        for operation in operations:
            operation.after(StoreError("nobody knows whether it was stored"))
        self.deliverer.look()

    async def record(self, *run_ids: str) -> list[DeliveryRow]:
        """These runs have failed: store the messages, as the commits that end the runs do."""
        now_us = self.clock.now_us()
        rows = [row for run_id in run_ids for row in deliveries(failure_of(run_id), self.destinations, now_us)]
        for row in rows:
            stored: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            self.journal.add(Notify(row, after=partial(settle, stored)))
            assert await stored is None
        return rows

    async def tell(self, *run_ids: str) -> None:
        """These runs have failed: record it, and deliver as far as that can be done now."""
        self.deliverer.add(await self.record(*(run_ids or ("run-1",))))
        await self.rest()

    async def rest(self) -> None:
        """Until nothing is under way."""
        quiet = 0
        while quiet < 5:
            await asyncio.sleep(0)
            quiet = quiet + 1 if self.journal.committer.idle and not self.background.busy else 0
        assert self.errors == []

    async def advance(self, seconds: float) -> None:
        """Let that much time pass, through due timers in their order."""
        end_us = self.clock.now_us() + int(seconds * SECOND_US)
        await self.rest()
        while (next_us := self.clock.next_us()) is not None and next_us <= end_us:
            self.clock.jump(next_us)
            await self.rest()
        self.clock.jump(end_us)
        await self.rest()

    async def rows(self, run_id: str = "run-1") -> list[DeliveryRow]:
        """What is recorded about a run."""
        return await self.store.deliveries([run_id])

    async def row(self, run_id: str = "run-1") -> DeliveryRow:
        """The same, where there is one destination."""
        [row] = await self.rows(run_id)
        return row

    async def die(self) -> None:
        """As by `kill -9`."""
        self.journal.stop()
        self.deliverer.stop()
        await self.background.close()
        await self.http.close()
        await self.store.close()
