"""The program that `test_kills.py` kills: one order of examples/order_fulfilment.py, from event to end.

    python one_order.py STORE REPORT ORDER [BUG]

ORDER is the event's data in JSON; SHOP_URL in the environment says where the shop is. Into REPORT, which the
engine does not know, go lines about what happens: `executed 0/charge#0 1` (the body of attempt 1 calls the
shop), `acknowledged` (the event is taken in), `ended …` (what came of the run). Time runs fifty times as fast
as usual, so that a wait of a second takes 20 ms. All else is as in a server.

BUG plants a mistake that the tests have to find: `hasty` reports commits before they have happened.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, TraceConfig

from durably import DurablyError, Engine, Event, current
from durably.store import Operation, SqliteStore, Store
from durably.store.runtime import SECOND_US, Clock, SystemClock, Timer
from examples.order_fulfilment import fulfil

SPEED = 50
PATIENCE_S = 3
"""Real time after which a run that does not end is given up: several times what it takes."""


class FastClock(SystemClock):
    """A wall clock in a hurry."""

    def __init__(self) -> None:
        super().__init__()
        self._start_us = super().now_us()

    def now_us(self) -> int:
        return self._start_us + SPEED * (super().now_us() - self._start_us)

    def call_at(self, due_us: int, callback: Callable[[], None]) -> Timer:
        delay_s = max(0, due_us - self.now_us()) / SECOND_US / SPEED
        return asyncio.get_running_loop().call_later(delay_s, callback)


class HastyStore(SqliteStore):
    """The planted mistake."""

    def submit(self, batch: Sequence[Operation], done: Callable[[Any], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(done, [None] * len(batch))
        loop.call_later(0.01, super().submit, batch, ignore)


def ignore(_: object) -> None: ...


class FastEngine(Engine):
    """An engine on the fast clock."""

    bug = ""

    def _make_clock(self) -> Clock:
        return FastClock()

    def _open_store(self) -> Store:
        store = super()._open_store()
        return HastyStore(self.url.removeprefix("sqlite:///")) if self.bug == "hasty" else store


class Report:
    """Lines that are in the file before the program goes on. The page cache outlives it."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[Mapping[type, object]]:
        """What steps call the shop with. It tells of each request before it is sent."""
        tracing = TraceConfig()
        tracing.on_request_start.append(self._executed)
        async with ClientSession(trace_configs=[tracing]) as session:
            yield {ClientSession: session}

    async def _executed(self, *_: object) -> None:
        key = current().idempotency_key.rpartition(":")[2]
        self.say(f"executed {key} {current().attempt}")


async def main(store: str, report_path: str, order: str, bug: str = "") -> None:
    report = Report(report_path)
    engine = FastEngine(f"sqlite:///{store}", [fulfil], lifespan=report.lifespan)
    engine.bug = bug
    async with engine:
        await engine.send(Event("shop/order.placed", json.loads(order), id="the order"))
        report.say("acknowledged")
        [info] = await engine.list_runs()
        run = await engine.get_run(info.id, fulfil)
        report.say(f"ended {await run.result(timeout=PATIENCE_S)}")


try:
    asyncio.run(main(*sys.argv[1:]))
except (DurablyError, TimeoutError) as error:
    sys.exit(f"{type(error).__name__}: {error}")
