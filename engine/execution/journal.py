"""The way of a group to the log and back: appended, committed, and only then acted upon (DESIGN rules 1, 3, 8)."""

import asyncio
from collections.abc import Callable
from functools import partial

import structlog

from durably.engine.errors import StoreError
from durably.engine.execution.background import Background
from durably.store import (
    Append,
    Committer,
    CorruptStore,
    Fenced,
    Operation,
    Result,
    Store,
    StoreFailure,
    StoreUnavailable,
    Together,
)
from durably.store.runtime import SECOND_US, Clock

__all__ = ["Answer", "Journal", "settle"]

log = structlog.get_logger("durably.journal")

Answer = Callable[[Result | StoreError], bool]
"""What waits for an operation that is not a run's append: told its result, or that it cannot be had.

Its own answer is whether anybody was still waiting."""


class Journal:
    """Hands operations to the committer and their outcomes to those whom they concern.

    While the outcome of a commit is unknown, nothing is written: `lost` gets the appends of which nobody knows, and the
    store is reopened, once a second until that works; `reopened` then gets the other operations, to find out what
    became of them. When the first try fails, those who wait are told that nobody knows, by `unavailable` too. `fatal`
    is called when this engine must stop: another one has the store, or the file is damaged.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        background: Background,
        *,
        committed: Callable[[Append, Result], None],
        lost: Callable[[list[Append]], None],
        unavailable: Callable[[StoreError], None],
        reopened: Callable[[list[Operation]], None],
        fatal: Callable[[StoreFailure], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._background = background
        self._committed = committed
        self._lost = lost
        self._unavailable = unavailable
        self._reopened = reopened
        self._fatal = fatal
        self._stopped = False
        self._unknown: list[Operation] = []
        self.failure: StoreFailure | None = None
        """Why nothing can be written just now; None when all is well."""
        self.committer = Committer(store, elapsed_us=clock.elapsed_us, committed=self._done, failed=self._failed)

    def add(self, operation: Operation) -> None:
        """Append a group, or carry out an operation whose `after` is an `Answer`."""
        if not self._stopped:
            self.committer.add(operation)

    def stop(self) -> None:
        """Take note of nothing any more, and write nothing that is queued."""
        self._stopped = True
        self.committer.stop()

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way, or what is waits for the store to be there again."""
        return self.committer.idle or self.failure is not None

    async def written(self) -> bool:
        """Wait until all that was added before is durable. False when nobody knows whether it is."""
        if self.failure is not None:
            return False
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.add(Together((), after=partial(settle, answer)))
        try:
            await answer
        except StoreError:
            return False
        return True

    def check_writable(self) -> None:
        """Raise `StoreError` when new work has to be refused: the store cannot be written just now."""
        if self.failure is not None:
            raise StoreError(f"nothing can be stored just now ({self.failure}); try again later")

    def _done(self, operation: Operation, result: Result) -> None:
        if self._stopped:
            return
        if type(operation) is Append:
            self._committed(operation, result)
        else:
            answer: Answer = operation.after
            answer(result)

    def _failed(self, operations: list[Operation], failure: StoreFailure) -> None:
        if self._stopped:
            return
        self.failure = failure
        log.error("store.failed", store=self._store.location, reason=str(failure))
        if isinstance(failure, Fenced | CorruptStore):
            self._fatal(failure)
            return
        self._lost([operation for operation in operations if isinstance(operation, Append)])
        self._unknown += [operation for operation in operations if not isinstance(operation, Append)]
        self._retry()

    def _retry(self) -> None:
        self._background.spawn(self._reopen(), "reopening the store")

    async def _reopen(self) -> None:
        try:
            await self._store.reopen()
        except StoreUnavailable as failure:
            self.failure = failure
            reason = StoreError(f"whether it was stored is not known ({failure}); send it again with the same id")
            for operation in self._unknown:
                answer: Answer = operation.after
                answer(reason)
            self._unavailable(reason)
            self._clock.call_at(self._clock.now_us() + SECOND_US, self._retry)
        except StoreFailure as failure:
            self.failure = failure
            self._fatal(failure)
        else:
            log.warning("store.reopened", store=self._store.location)
            self.failure = None
            unknown, self._unknown = self._unknown, []
            self._reopened(unknown)
            self.committer.resume()


def settle(answer: "asyncio.Future[Result]", result: Result | StoreError) -> bool:
    """Give a waiting future the result of its operation. An `Answer`, with the future bound."""
    if answer.done():
        return False
    if isinstance(result, StoreError):
        answer.set_exception(result)
    else:
        answer.set_result(result)
    return True
