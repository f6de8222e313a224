"""The engine's parts put together: who loads, drives, wakes and stores, and how they start and stop."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial, wraps
from typing import Any, ParamSpec

import structlog

from durably.engine.declare.definitions import Step, Workflow
from durably.engine.declare.registry import Registry
from durably.engine.errors import NondeterminismError, StoreError
from durably.engine.execution.aftermath import Aftermath
from durably.engine.execution.arrivals import Arrivals
from durably.engine.execution.attempt import Attempt, Perform
from durably.engine.execution.background import Background
from durably.engine.execution.beginnings import start
from durably.engine.execution.blocking import Blocking
from durably.engine.execution.children import Children
from durably.engine.execution.deadlines import wake
from durably.engine.execution.documents import Documents
from durably.engine.execution.executor import Executor
from durably.engine.execution.follow import Followers
from durably.engine.execution.journal import Journal
from durably.engine.execution.live import LiveRun
from durably.engine.execution.loader import Loader, Runs
from durably.engine.execution.lookups import Lookups
from durably.engine.execution.outages import Outages
from durably.engine.execution.outbox import Outbox
from durably.engine.execution.outcomes import Outcome
from durably.engine.execution.pump import Pump
from durably.engine.execution.recovery import LookUps, feed_inbox, resume
from durably.engine.execution.retention import Retention
from durably.engine.execution.settings import Settings
from durably.engine.execution.waits import Waits
from durably.engine.http.client import HttpClient
from durably.engine.jobs.jobs import Jobs
from durably.engine.jobs.quota import Quota
from durably.engine.log.records import AttemptLost, End, RunCreated
from durably.engine.log.state import RunState
from durably.engine.notifications.courier import Courier
from durably.engine.notifications.deliverer import Deliverer
from durably.engine.notifications.deliveries import deliveries
from durably.engine.policies.policies import Policies
from durably.engine.schedules.schedules import Schedules
from durably.engine.schedules.workflows import CronRuns, owner_of
from durably.engine.timing.timers import Timers
from durably.store import Append, InboxRow, Operation, Result, RunRow, Store, TriggerRow
from durably.store.runtime import SECOND_US, Clock, Randomness
from durably.store.sealed import refuse_unreadable

__all__ = ["Core"]

log = structlog.get_logger("durably")

P = ParamSpec("P")
PAGE = 1_000
WAITING_PHASES = frozenset({"retrying", "waiting", "sleeping"})


class Core:
    """One engine's durable part, from `open` to `close`."""

    def __init__(
        self,
        store: Store,
        definitions: Iterable[Workflow[..., Any] | Step[..., Any]],
        settings: Settings,
        clock: Clock,
        randomness: Randomness,
        *,
        resources: Mapping[type[Any], Any],
        builtin: Sequence[Workflow[..., Any]] = (),
        perform: Perform | None = None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.clock = clock
        self.randomness = randomness
        self.runs = Runs(settings.max_parked)
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the reason when this engine cannot go on: the store is damaged, or another engine has it."""
        self.draining = False
        self._abandoned = False
        self.background = Background(clock, self._fail)
        self.journal = self._make_journal()
        self.http = HttpClient(settings.http_allow)
        self.documents = Documents(store, self.journal)
        self.policies = Policies(self.documents, now_us=clock.now_us, changed=self._look_at_blocked)
        self.registry = Registry(definitions, settings.default_retry, self.policies.lookup, builtin=builtin)
        self.loader = self._make_loader()
        self.timers = Timers(clock, self._watched(self.wake), store.due_runs, self.background)
        self.starting: Pump[LiveRun] = Pump(clock, self._watched(self._start))
        self.schedules = Schedules(store, self.journal, clock, begin=self.begin, watched=self._watched)
        self.jobs = self._make_jobs()
        self.policies.referencing = self.jobs.referencing
        self.quota = Quota(store, clock, settings.quota)
        self.deliverer = self._make_deliverer()
        keep_us = None if settings.retention is None else int(settings.retention * SECOND_US)
        self.retention = Retention(self.journal, clock, self.background, keep_us)
        self.arrivals = Arrivals(store, self.registry, clock, randomness)
        self.url = settings.url
        """Where the API is reached from outside, if it is."""
        self.aftermath = self._make_aftermath()
        # Only the client may be another one, such as a test's.
        provided: dict[type[Any], Any] = {HttpClient: self.http, **resources, Jobs: self.jobs, Quota: self.quota}
        self.executor = self._make_executor(provided, perform)
        self.blocking = Blocking(
            store, self.journal, self.background, self.runs, self.executor, load=self.loader.request_number
        )
        self.followers = Followers(store, self.journal, self.executor.observers)
        self.outages = self._make_outages()
        self.lookups = Lookups(self.background, block=self.loader.block, rest=self.runs.rest)
        self.waits = Waits(store, self.executor, self.lookups)
        self.look_up = LookUps(back=self.waits.look_back, child=Children(store, self.executor, self.lookups).look_at)

    def _make_journal(self) -> Journal:
        return Journal(
            self.store,
            self.clock,
            self.background,
            committed=self._committed,
            lost=self._lost,
            unavailable=self._unavailable,
            reopened=self._reopened,
            fatal=self._fail,
        )

    def _make_loader(self) -> Loader:
        return Loader(
            self.store,
            self.clock,
            self.registry,
            self.runs,
            self.background,
            resume=self._resume,
            block=self._block,
            finish=self._finish,
        )

    def _make_jobs(self) -> Jobs:
        return Jobs(
            self.store,
            self.journal,
            self.documents,
            self.policies,
            schedules=self.schedules,
            clock=self.clock,
            look=self.look,
        )

    def _make_aftermath(self) -> Aftermath:
        return Aftermath(
            self.registry,
            successor=self.jobs.next_try,
            notify=lambda failure, now_us: deliveries(failure, self.settings.notify, now_us),
            url=lambda: self.url,
        )

    def _make_outages(self) -> Outages:
        return Outages(
            self.store,
            self.background,
            self.runs,
            self.executor,
            load=self.loader.request,
            followers=self.followers,
            go_on=self._go_on,
        )

    def _make_deliverer(self) -> Deliverer:
        courier = Courier(
            self.store,
            self.journal,
            self.documents,
            self.clock,
            self.background,
            http=self.http,
            destinations=self.settings.notify,
        )
        return Deliverer(courier, self.store, self.journal, self.clock, self.background)

    def _make_executor(self, resources: Mapping[type[Any], Any], perform: Perform | None) -> Executor:
        return Executor(
            self.settings,
            self.clock,
            self.randomness,
            self.journal,
            Outbox(
                self.store,
                self.arrivals,
                self.aftermath,
                begin=self.begin,
                look=self.look,
                deliver=self.deliverer.add,
            ),
            resources=resources,
            perform=perform,
            when_loaded=self.loader.when_loaded,
            arm=self._arm,
            expire=self._expire,
            rest=self.runs.rest,
            forget=self._forget,
            block=self.loader.block,
            shelve=self._shelve,
            watched=self._watched,
        )

    # -- start and stop

    async def open(self) -> None:
        """Open the store, register the workflows, and go on with every run that has not ended."""
        try:
            await self.store.open()
            await refuse_unreadable(self.store)
            await self._register()
            await self.arrivals.open()
            await self.policies.load()
            await self.schedules.open()
            self._schedule_workflows()
            await self.jobs.load()
            await self.deliverer.open()
            self.retention.open()
        except BaseException:
            await self.abandon()  # some of it has begun
            raise
        self.background.spawn(self._recover(), "recovery")

    async def _register(self) -> None:
        known = self.registry.all()
        await self.store.register_triggers(
            [(each.name, each.version) for each in known],
            [
                TriggerRow(each.name, each.version, trigger.name, self.settings.environment, trigger.where or "")
                for each in known
                for trigger in each.definition.triggers
            ],
        )

    def _schedule_workflows(self) -> None:
        cron_runs = CronRuns(self.store, self.clock, self.randomness, self.settings.environment)
        newest = {each.name: each for each in self.registry.all()}
        for name, registered in newest.items():
            self.schedules.set(owner_of(name), cron_runs.schedules(registered))

    async def close(self) -> None:
        """Drain, and close the store. No step starts any more; running bodies get `drain_timeout` to end.

        What does not end is written down as lost by the drain, which never counts against a step.
        """
        if self._abandoned:
            return
        self.draining = True
        self.timers.close()
        self.schedules.close()
        self.retention.close()
        self.executor.admission.close()
        for attempt in await self.executor.attempts.drain(self.settings.drain_timeout):
            note, state = partial(self._note_drain, attempt), attempt.run.state
            if state is not None and state.blocked is not None:
                note()  # nothing else is done with such a run
            else:
                self.loader.when_loaded(attempt.run, note)
        if self.journal.failure is None and not self.failed.done():
            await self.journal.committer.drain()
            await self.deliverer.close(self.settings.drain_timeout)  # before `settle`, which waits as long as it takes
            await self.background.settle()
            await self.journal.committer.drain()
        self.deliverer.stop()
        await self.background.close()
        await self.http.close()
        self.executor.waiters.give_up()
        self.followers.stop()
        for run in self.runs:
            self.runs.remove(run)
        await self.store.close()

    async def abandon(self) -> None:
        """Stop as `kill -9` would: nothing more is written, nobody is waited for."""
        self.draining = self._abandoned = True
        self.journal.stop()
        self.followers.stop()
        self.timers.close()
        self.schedules.close()
        self.retention.close()
        self.deliverer.stop()
        self.executor.admission.close()
        await self.background.close()
        await self.http.close()
        for run in self.runs:
            self.runs.remove(run)
        self.executor.attempts.abandon()
        await self.store.close()

    def _note_drain(self, attempt: Attempt) -> None:
        run = attempt.run
        step = run.state.steps.get(attempt.key) if run.state is not None else None
        if step is None or run.state is None or not step.running:
            return
        note = AttemptLost(
            step=attempt.key, name=step.name, reason="drain", attempt=attempt.number, start=attempt.start
        )
        self.executor.append(run, self.executor.stamp(run.state), [note])

    def _fail(self, reason: BaseException) -> None:
        log.critical("engine.failed", reason=str(reason), exc_info=reason)
        if not self.failed.done():
            self.failed.set_exception(reason)

    def _watched(self, callback: Callable[P, None]) -> Callable[P, None]:
        """A callback whose error is a bug of ours, after which memory and log may differ: the engine stops."""

        @wraps(callback)
        def watched(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                callback(*args, **kwargs)
            except Exception as error:
                self._fail(error)
                raise

        return watched

    @property
    def idle(self) -> bool:
        """Whether nothing can happen but by time, by a running body, or from outside."""
        parts = (self.journal, self.timers, self.schedules, self.starting)
        return all(each.idle for each in parts) and not self.background.busy

    # -- runs that go on

    async def _recover(self) -> None:
        """Load what was at work, and arm what waits for time; what is due beyond the horizon stays in the store."""
        read, after = self.background.read, 0
        while rows := await read(partial(self.store.open_runs, after, PAGE)):
            now_us = self.clock.now_us()
            for row in rows:
                if self.runs.get(row.run) is not None:
                    continue  # begun since this engine opened
                if row.phase not in WAITING_PHASES or (row.due_us is not None and row.due_us <= now_us):
                    self.loader.request_number(row.run)
                elif row.due_us is not None:
                    self.timers.set(row.run, row.due_us)
            after = rows[-1].run
        await self._look_into(await read(self.store.inbox_runs))

    def wake(self, number: int) -> None:
        """A run's timer or retry is due."""
        run = self.runs.get(number)
        if run is not None:
            self.loader.when_loaded(run, partial(wake, run, self.executor))
        else:
            self.loader.request_number(number)

    def begin(self, row: RunRow, created: RunCreated) -> None:
        """A run was created by a commit that is durable: start its body soon."""
        run = self.runs.add(row.run, row.id)
        if run.loading or run.state is not None:
            return  # recovery has found it, and starts it
        run.state = RunState()
        run.state.apply(created, row.created_us)
        run.registered = self.registry.get(row.workflow, row.version)
        if run.state.start_us is None:
            self.starting.add(run)
        else:
            self._arm(run)
            self.runs.rest(run)

    def _start(self, run: LiveRun) -> None:
        if self.draining:
            return
        if run.state is None:  # it was evicted before its turn had come
            self.loader.request_number(run.number)
            return
        if run.state.started_us is not None or run.state.ended:
            return
        if run.registered is None:  # a child, of a workflow that was registered when its parent asked for it
            run.drop()
            self.loader.request(run)  # which says so
            return
        start(run, run.registered, self.executor)

    def _arm(self, run: LiveRun) -> None:
        assert run.state is not None
        self.timers.set(run.number, run.state.next_due_us())

    def _forget(self, run: LiveRun) -> None:
        self.timers.set(run.number, None)
        self.runs.remove(run)

    def _finish(self, run: LiveRun, record: End, items: list[InboxRow]) -> None:
        self.executor.discard(run, [row.item for row in items])
        self.executor.finish(run, record)

    def _resume(self, run: LiveRun, items: list[InboxRow]) -> None:
        resume(run, items, self.executor, self.look_up)

    async def _look_into(self, numbers: Sequence[int]) -> None:
        loaded: list[LiveRun] = []
        for number in numbers:
            run = self.runs.get(number)
            if run is None or (run.state is None and not run.loading):
                self.loader.request_number(number)  # which reads the inbox too
            elif run.loading:  # and may have read it before
                self.loader.when_loaded(run, partial(self.look, (number,)))
            else:
                loaded.append(run)
        if loaded:
            await self._look_again(loaded)

    async def _look_again(self, loaded: Sequence[LiveRun]) -> None:
        """Read the inboxes of runs that are in memory, and keep them there meanwhile."""
        with ExitStack() as held:
            for run in loaded:
                held.enter_context(run.hold())
            states = [run.state for run in loaded]
            items: dict[int, list[InboxRow]] = {}
            for item in await self.background.read(partial(self.store.inbox, [run.number for run in loaded])):
                items.setdefault(item.run, []).append(item)
        for run, state in zip(loaded, states, strict=True):
            if state is not None and run.state is state:  # else it was loaded anew, and its inbox read again
                self._feed(run, items.get(run.number, []))

    def _feed(self, run: LiveRun, items: list[InboxRow]) -> None:
        if not run.blocked:
            feed_inbox(run, items, self.executor, self.look_up)
        if run.is_open:
            self.runs.rest(run)

    def look(self, numbers: Sequence[int]) -> None:
        """Something was put into the inboxes of these runs: they see it soon."""
        if numbers:
            self.background.spawn(self._look_into(numbers), "inbox")

    def _expire(self, run: LiveRun, key: str) -> None:
        held = ExitStack()
        held.enter_context(run.hold())
        self.background.spawn(self._expire_wait(run, key, held), "deadline")

    async def _expire_wait(self, run: LiveRun, key: str, held: ExitStack) -> None:
        """A wait's deadline has come: the inbox is looked at first (DESIGN section 3)."""
        state = run.state
        with held:
            await self._look_into([run.number])
            await self.lookups.settled(run)
        if run.state is state and run.is_open:  # else it was loaded anew, and finds the deadline again
            if not run.blocked:
                self.waits.expire(run, key)
            self.runs.rest(run)

    # -- runs whose code does not fit

    def _block(self, run: LiveRun, code: str, error: NondeterminismError) -> None:
        self.blocking.block(run, code, error)

    def _shelve(self, run: LiveRun, outcome: Outcome) -> None:
        self.blocking.shelve(run, outcome)

    def _look_at_blocked(self) -> None:
        self.blocking.look_again()

    # -- commits and their failures

    def _committed(self, operation: Append, result: Result) -> None:
        # As `_watched` does, without its layer: this is the way of every group.
        try:
            self.executor.committed(operation, result)
        except Exception as error:
            self._fail(error)
            raise

    def _lost(self, operations: Sequence[Append]) -> None:
        self.outages.lost(operations)

    def _unavailable(self, reason: StoreError) -> None:
        self.outages.unavailable(reason)

    def _reopened(self, unknown: Sequence[Operation]) -> None:
        self.outages.reopened(unknown)

    async def _go_on(self) -> None:
        """Find what others may have written or begun while nobody could tell: as at a start."""
        await self.background.read(self.policies.load)
        await self.background.read(self.jobs.load)
        self.deliverer.look()
        self.blocking.look_again()
        await self._recover()
