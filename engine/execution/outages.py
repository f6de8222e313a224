"""Commits whose outcome nobody knows: what was built on them is forgotten, and found out once the store answers.

DESIGN rule 8: never "rejected", never blindly repeated. Runs are rebuilt from what is durable, and fed the outcomes of
attempts that were kept in memory.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from durably.engine.errors import StoreError
from durably.engine.execution.background import Background
from durably.engine.execution.executor import Executor
from durably.engine.execution.follow import Followers
from durably.engine.execution.live import LiveRun
from durably.engine.execution.loader import Runs
from durably.engine.execution.outcomes import outcome_in
from durably.engine.log.records import AttemptStarted
from durably.store import Append, Ingest, Operation, Store, Written

__all__ = ["Outages"]


class Outages:
    """What the journal calls when commits fail: `lost`, perhaps `unavailable`, and in the end `reopened`.

    `load` brings a run into memory; `go_on` finds what may have been created or begun meanwhile, as at a start.
    """

    def __init__(
        self,
        store: Store,
        background: Background,
        runs: Runs,
        executor: Executor,
        *,
        load: Callable[[LiveRun], None],
        followers: Followers,
        go_on: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._background = background
        self._runs = runs
        self._executor = executor
        self._load = load
        self._followers = followers
        self._go_on = go_on
        self._concerned: set[LiveRun] = set()

    def lost(self, operations: Sequence[Append]) -> None:
        """Nobody knows what became of these: forget what was built on them, keep what cannot be rebuilt."""
        for operation in operations:
            run, records, *_ = operation.after
            run.unsaved -= 1
            outcome = outcome_in(records, run.state)
            for record in records:
                if isinstance(record, AttemptStarted):
                    self._executor.admission.leave(run, record.step)
            if outcome is not None:
                run.outcomes[outcome.step] = outcome
            self._concerned.add(run)
        for run in self._concerned:
            run.fenced = True
            run.drop()

    def unavailable(self, reason: StoreError) -> None:
        """Nobody knows, and will not soon: who starts a run is not kept waiting."""
        for run in self._concerned:
            if run.stored is not None and not run.stored.done():
                run.stored.set_exception(reason)

    def reopened(self, unknown: Sequence[Operation]) -> None:
        """The store answers: find out what became of it all."""
        self._followers.wake_all()
        concerned, self._concerned = self._concerned, set()
        for run in concerned:
            if run.stored is not None:
                self._background.spawn(self._settle_creation(run), "creation")
            else:
                self._load(run)
        self._background.spawn(self._settle(unknown), "recovery")

    async def _settle(self, unknown: Sequence[Operation]) -> None:
        """Tell who waits what became of it, and go on with what others may have got by it.

        Runs may have been created and inboxes filled, by groups too, and nobody was told.
        """
        read = self._background.read
        for operation in unknown:
            if isinstance(operation, Ingest):
                rows = [row for row, *_ in operation.events]
                stored = [await read(partial(self._store.event, row.id, row.environment)) == row for row in rows]
                reason = StoreError("the events were not stored; send them again")
                known = Written(known=tuple(range(len(stored))))  # their runs are found as at a start
                operation.after(known if all(stored) else reason)
            else:
                operation.after(StoreError("whether it was stored is not known; look, and ask again"))
        await self._go_on()

    async def _settle_creation(self, run: LiveRun) -> None:
        """Tell who created a run whether that happened."""
        stored, run.stored = run.stored, None
        assert stored is not None
        if await self._background.read(partial(self._store.run_numbered, run.number)) is None:
            self._runs.remove(run)
            if not stored.done():
                stored.set_exception(StoreError("the run was not started: the store failed. Start it again."))
        else:
            if not stored.done():
                stored.set_result(None)
            self._load(run)
