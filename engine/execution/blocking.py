"""Runs that cannot go on with the code, or the stored policies, that are there: blocked, not failed (DESIGN rule 13).

Their log says why. What their attempts still come to waits in the inbox, and they are looked at again when what they
wait for may have come.
"""

from collections.abc import Callable
from functools import partial

from durably.engine.errors import NondeterminismError, StoreError
from durably.engine.execution.background import Background
from durably.engine.execution.executor import Executor
from durably.engine.execution.inbox import OutcomeItem, encode_item
from durably.engine.execution.journal import Journal
from durably.engine.execution.live import LiveRun
from durably.engine.execution.loader import Runs
from durably.engine.execution.outcomes import Outcome
from durably.engine.log.records import RunBlocked
from durably.engine.retries.failures import describe
from durably.store import InboxRow, Missing, Put, Result, Store, Written

__all__ = ["Blocking"]

PAGE = 1_000


class Blocking:
    """Writes down that runs are blocked, and has them loaded again by `load`, which takes a run's number."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        background: Background,
        runs: Runs,
        executor: Executor,
        *,
        load: Callable[[int], None],
    ) -> None:
        self._store = store
        self._journal = journal
        self._background = background
        self._runs = runs
        self._executor = executor
        self._load = load

    def block(self, run: LiveRun, code: str, error: NondeterminismError) -> None:
        """Say it in the run's log, once for each fingerprint of the code, and keep what is to be fed to it."""
        state = run.state
        if state is not None and (state.blocked is None or state.blocked.code != code):
            record = RunBlocked(code=code, error=describe(error))
            self._executor.append(run, self._executor.stamp(state), [record])
        for outcome in list(run.outcomes.values()):
            if outcome.taken:
                del run.outcomes[outcome.step]  # it lies in the inbox
            else:
                self.shelve(run, outcome)

    def shelve(self, run: LiveRun, outcome: Outcome) -> None:
        """Put what an attempt of a blocked run came to into its inbox. It stays in memory until it is durable there."""
        item = OutcomeItem(outcome.step, outcome.attempt, outcome.start, outcome.records, outcome.messages)
        row = InboxRow(run.number, self._executor.clock.now_us(), encode_item(item))
        self._journal.add(Put(row, after=partial(self._shelved, run, outcome)))

    def _shelved(self, run: LiveRun, outcome: Outcome, result: Result | StoreError) -> bool:
        if run.outcomes.get(outcome.step) is not outcome:
            return False  # it was fed meanwhile
        if isinstance(result, Written | Missing):
            del run.outcomes[outcome.step]
            self._runs.rest(run)
        elif isinstance(result, StoreError) and self._journal.failure is None and run.blocked and not run.loading:
            self.shelve(run, outcome)  # nobody knows whether it is there: twice does no harm
        return False

    def look_again(self) -> None:
        """What runs are blocked for may be there now."""
        self._background.spawn(self._load_blocked(), "blocked runs")

    async def _load_blocked(self) -> None:
        # What was blocked before is in the store then, with what its attempts came to. What is blocked from now on
        # knows of what is new.
        if not await self._journal.written():
            return  # an outage: behind it they are looked at in any case
        read, after = self._background.read, 0
        while rows := await read(partial(self._store.open_runs, after, PAGE)):
            for row in rows:
                run = self._runs.get(row.run)
                if run is not None and run.blocked and not (run.loading or run.unsaved):
                    run.drop()
                if row.phase == "blocked":
                    self._load(row.run)
            after = rows[-1].run
