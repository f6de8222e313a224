"""Group commit, the loop's side: what was queued while one commit ran is the next one (DESIGN rule 3)."""

import asyncio
from collections import deque
from collections.abc import Callable

from durably.store.errors import StoreFailure
from durably.store.protocol import Store
from durably.store.rows import Append, Ingest, Operation, Result, Together

__all__ = ["Committer"]

SLICE_US = 2_000
"""How long results are handed out before the loop gets a turn."""

CLOCK_EVERY = 16
"""Results between two looks at the clock."""


class Committer:
    """Collects operations into batches, one batch at a time on its way, and hands their results out in order.

    There is no time window: one run alone waits for one commit, a thousand share it. A batch is at most
    `cap_rows` log rows unless one operation alone is longer (256 has the throughput of 1,000 at less than
    half the lag). When a commit returns, the next batch is handed over before the results of the last are
    looked at, so that disk and Python work side by side. Results are told in slices of `SLICE_US`, so that
    the loop stays responsive.

    `committed` is told the result of each operation. When a batch fails, `failed` is told its operations and
    all that were queued behind it, after the results of the commits before. From then on nothing is handed
    over until `resume`; what is added meanwhile is kept. `elapsed_us` is the clock slices are measured by.
    Make a committer on the loop it is used on.
    """

    def __init__(
        self,
        store: Store,
        *,
        committed: Callable[[Operation, Result], None],
        failed: Callable[[list[Operation], StoreFailure], None],
        elapsed_us: Callable[[], int],
        cap_rows: int = 256,
        max_queued: int = 4096,
    ) -> None:
        self.commits = 0
        """Batches committed."""
        self.rows = 0
        """Log rows in them; an operation without one counts as one."""
        self.rows_queued = 0
        """Rows waiting to be handed to the store."""
        self._store = store
        self._committed = committed
        self._failed = failed
        self._elapsed_us = elapsed_us
        self._cap_rows = cap_rows
        self._max_queued = max_queued
        self._loop = asyncio.get_running_loop()
        self._open: list[Operation] = []
        self._open_rows = 0
        self._closed: deque[tuple[list[Operation], int]] = deque()
        self._in_flight: tuple[list[Operation], int] | None = None
        self._results: deque[tuple[Operation, Result]] = deque()
        self._failure: tuple[list[Operation], StoreFailure] | None = None
        self._held = False
        self._telling = False
        self._flush_scheduled = False
        self._tell_scheduled = False
        self._line: deque[asyncio.Future[None]] = deque()
        """Who waits for room, in order. Waking all of them for each batch took as long as the work itself."""
        self._settled = asyncio.Event()

    def add(self, operation: Operation) -> None:
        """Queue an operation; never waits. `wait_for_room` first, where somebody can be made to wait."""
        rows = len(operation.records) if type(operation) is Append else _records(operation)
        rows = rows or 1
        if self._open_rows + rows > self._cap_rows and self._open:
            self._close_batch()
        self._open.append(operation)
        self._open_rows += rows
        self.rows_queued += rows
        if self._open_rows >= self._cap_rows:
            self._close_batch()
        if self._in_flight is not None or self._held:
            return
        if self._closed:
            self._flush()  # a full batch and an idle writer: waiting for the end of the slice gains nothing
        elif not (self._telling or self._flush_scheduled):
            self._flush_scheduled = True
            self._loop.call_soon(self._flush_soon)

    @property
    def full(self) -> bool:
        """The queue is at its bound: refuse what can be refused (HTTP 503), let the rest wait."""
        return self.rows_queued >= self._max_queued

    @property
    def idle(self) -> bool:
        """Nothing is queued, on its way, or still to be told."""
        return not (self._open or self._closed or self._in_flight or self._results or self._failure)

    async def wait_for_room(self) -> None:
        """Wait until the queue is below its bound. The bound holds if `add` follows without another await."""
        while self.full:
            turn: asyncio.Future[None] = self._loop.create_future()
            self._line.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._let_in()  # the turn may have been given to one who no longer wants it
                raise

    def _let_in(self) -> None:
        """Wake as many of those in line as there are rows of room: each adds at least one."""
        room = self._max_queued - self.rows_queued
        while room > 0 and self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1

    async def drain(self) -> None:
        """Wait until `idle`. After a failure that takes a `resume`."""
        while not self.idle:
            self._settled.clear()
            await self._settled.wait()

    def stop(self) -> None:
        """Hand nothing over any more, not even what is queued."""
        self._held = True

    def resume(self) -> None:
        """The store can be written again: hand over what was kept since `failed` was told."""
        self._held = False
        self._flush()

    # -- handing over

    def _close_batch(self) -> None:
        self._closed.append((self._open, self._open_rows))
        self._open = []
        self._open_rows = 0

    def _flush_soon(self) -> None:
        self._flush_scheduled = False
        self._flush()

    def _flush(self) -> None:
        """Hand the next batch over if the writer is idle."""
        if self._in_flight is not None or self._held:
            return
        if not self._closed:
            if not self._open:
                return
            self._close_batch()
        batch, rows = self._in_flight = self._closed.popleft()
        self.rows_queued -= rows
        self._let_in()
        self._store.submit(batch, self._done)

    # -- telling

    def _done(self, outcome: list[Result] | StoreFailure) -> None:
        assert self._in_flight is not None, "a store answered twice"
        batch, rows = self._in_flight
        self._in_flight = None
        if isinstance(outcome, StoreFailure):
            self._failure = (batch, outcome)
            self._held = True
        else:
            self.commits += 1
            self.rows += rows
            self._results.extend(zip(batch, outcome, strict=True))
            self._flush()  # the next commit runs while these results are told
        if not self._tell_scheduled:
            self._tell()

    def _tell_soon(self) -> None:
        self._tell_scheduled = False
        self._tell()

    def _tell(self) -> None:
        """Tell results for one slice, then the failure behind them if there is one."""
        self._telling = True
        try:
            self._tell_slice()
        finally:
            self._telling = False
            if self._results:
                self._tell_scheduled = True
                self._loop.call_soon(self._tell_soon)
            elif self._failure is not None:
                self._tell_failure(*self._failure)
            self._flush()
            if self.idle:
                self._settled.set()

    def _tell_slice(self) -> None:
        results, committed, elapsed_us = self._results, self._committed, self._elapsed_us
        deadline_us = elapsed_us() + SLICE_US
        told = 0
        while results:
            committed(*results.popleft())
            told += 1
            if not told % CLOCK_EVERY and elapsed_us() >= deadline_us:
                return

    def _tell_failure(self, batch: list[Operation], failure: StoreFailure) -> None:
        # Only now: what the results before it have added belongs to runs that the failure may concern.
        operations = [*batch, *(operation for queued, _ in self._closed for operation in queued), *self._open]
        self._failure = None
        self._closed.clear()
        self._open = []
        self._open_rows = self.rows_queued = 0
        self._let_in()
        self._failed(operations, failure)


def _records(operation: Operation) -> int:
    match operation:
        case Ingest():
            return sum(len(arrival.runs) for arrival in operation.events)
        case Together():
            return len(operation.operations)
        case _:
            return 0
