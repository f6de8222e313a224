"""Children that were there when their parent asked for them: whose they are, and whether they have ended."""

from collections.abc import Callable
from functools import partial

from durably.engine.errors import ErrorInfo, RunConflict, qualified_names
from durably.engine.execution.executor import Executor
from durably.engine.execution.live import LiveRun
from durably.engine.execution.lookups import Lookups
from durably.engine.execution.outbox import child_outcome
from durably.engine.log.records import (
    BodyFailed,
    ChildCanceled,
    ChildFailed,
    ChildSucceeded,
    RunContinued,
    RunCreated,
    decode_end,
    decode_record,
)
from durably.store import RunRow, Store

__all__ = ["Children"]

Outcome = ChildSucceeded | ChildFailed | ChildCanceled


class Children:
    """Looks at runs that have the id of a child that was asked for.

    It is that child if the parent's body is run again: its end may have been told while nobody waited for it. A chosen
    id may also be that of another run, which nobody must wait for as if it were the child.
    """

    def __init__(self, store: Store, executor: Executor, lookups: Lookups) -> None:
        self._store = store
        self._executor = executor
        self._lookups = lookups

    def look_at(self, run: LiveRun, key: str, item: int) -> None:
        """Find out what run it is that a child was asked for as; `item` is the inbox item that asks so."""
        self._lookups.begin(run, item, partial(self._look_at, run, key, item), "known child")

    async def _look_at(self, run: LiveRun, key: str, item: int) -> Callable[[], None]:
        child = None if run.state is None else run.state.children.get(key)
        row = None if child is None else await self._store.run(child.run)
        return partial(self._give, run, key, None if row is None else await self._outcome(run.id, key, row), item)

    async def _outcome(self, parent: str, key: str, row: RunRow) -> Outcome | None:
        """What the child came to, or why it is none; None while it is under way, and will tell by itself."""
        created = decode_record((await self._store.first_records([row.run]))[row.run].body)
        assert isinstance(created, RunCreated)
        if (created.parent, created.child) != (parent, key):
            return _another(key, row)
        while row.phase is None:
            end = decode_end((await self._store.last_records([row.run]))[row.run].body)
            if not isinstance(end, RunContinued):
                assert not isinstance(end, BodyFailed), "the run has ended"
                return child_outcome(key, end)
            heir = await self._store.run(end.continued_to)
            assert heir is not None, "it was created with that record"
            row = heir
        return None

    def _give(self, run: LiveRun, key: str, outcome: Outcome | None, item: int) -> None:
        executor, state, instance = self._executor, run.state, run.instance
        assert state is not None
        if outcome is None or instance is None or key not in instance.loop.pending:
            executor.append(run, executor.stamp(state), (), taken=(item,))
        else:
            executor.activate(run, outcome, taken=(item,))


def _another(key: str, row: RunRow) -> ChildFailed:
    types = qualified_names(RunConflict)
    message = (
        f"run {row.id!r} exists and is not this child: workflow {row.workflow!r}, started as {row.trigger}. "
        "Take another run_id for the child"
    )
    return ChildFailed(child=key, error=ErrorInfo(types[0], types, message))
