"""Runs in memory: loaded when something happens to them, evicted when too many wait (DESIGN rules 5, 6, 13)."""

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import structlog

from durably.engine.body.beginning import Beginning
from durably.engine.body.mismatch import BLOCKED, unknown_policy
from durably.engine.body.replay import replay
from durably.engine.declare.registry import Registered, Registry
from durably.engine.errors import DurablyError, NondeterminismError
from durably.engine.execution.background import Background
from durably.engine.execution.live import LiveRun
from durably.engine.execution.pump import SLICE_US
from durably.engine.log.grammar import Carry, Entry, Incarnation, carry_over, parse
from durably.engine.log.records import End, RunStarted, decode_end, decode_record, refuse_sealed
from durably.engine.log.state import RunState, fold
from durably.store import InboxRow, LogRow, Store
from durably.store.runtime import Clock

__all__ = ["Loader", "Runs"]

log = structlog.get_logger("durably")

CHUNK = 200
"""Runs read in one go: few enough that the first goes on while the others are still read."""


class Runs:
    """The runs in memory, by number and by public id, and which of them wait with an instance."""

    def __init__(self, max_parked: int) -> None:
        self._max_parked = max_parked
        self._by_number: dict[int, LiveRun] = {}
        self._by_id: dict[str, LiveRun] = {}
        self._parked: dict[int, LiveRun] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def get(self, number: int) -> LiveRun | None:
        """The run with this number, if it is in memory."""
        return self._by_number.get(number)

    def by_id(self, run_id: str) -> LiveRun | None:
        """The run with this public id, if it is in memory."""
        return self._by_id.get(run_id)

    def add(self, number: int, run_id: str = "") -> LiveRun:
        """The run with this number, now in memory. Its public id may be learned later, when it is loaded."""
        run = self._by_number.get(number)
        if run is None:
            run = self._by_number[number] = LiveRun(number)
        if run_id and not run.id:
            run.id = run_id
            self._by_id[run_id] = run
        return run

    def remove(self, run: LiveRun) -> None:
        """Let go of a run."""
        self._parked.pop(run.number, None)
        self._by_number.pop(run.number, None)
        self._by_id.pop(run.id, None)
        run.drop()

    def rest(self, run: LiveRun) -> None:
        """The run waits: evict those that have waited longest when there are too many."""
        parked = self._parked
        parked.pop(run.number, None)
        parked[run.number] = run
        while len(parked) > self._max_parked:
            oldest = parked.pop(next(iter(parked)))
            if not oldest.can_rest:
                continue  # it rests again when what it waits for has arrived
            oldest.drop()
            if oldest.can_go:
                self.remove(oldest)

    def __iter__(self) -> "Generator[LiveRun]":
        yield from list(self._by_number.values())


class Loaded(NamedTuple):
    """What a run's log gives."""

    state: RunState
    beginning: Beginning | None
    incarnation: Incarnation | None
    """The one to be driven; None before the start and while a body's retry waits."""
    carry: Carry | None
    """What the next incarnation takes over, while a body's retry waits."""


def read_log(run_id: str, rows: Sequence[LogRow]) -> Loaded:
    """Read a run's log: its state, and what replay needs."""
    entries = [Entry(row.seq, row.at_us, decode_record(row.body)) for row in rows]
    log = parse(entries)  # first, because it says what is wrong with a damaged log
    incarnations = log.incarnations
    state = fold((entry.at_us, entry.record) for entry in entries)
    if not incarnations or state.created is None:
        return Loaded(state, None, None, carry_over(incarnations, entries, log.given))
    first = incarnations[0].groups[0]
    assert isinstance(first.input, RunStarted)
    beginning = Beginning(run_id, state.created, log.created_us, first.input, first.at_us)
    last = incarnations[-1]
    if last.ended:
        return Loaded(state, beginning, None, carry_over(incarnations, entries, log.given))
    return Loaded(state, beginning, last, None)


class Loader:
    """Brings runs into memory, a chunk at a time, and says when code does not fit a history.

    `resume` is called with each run that was loaded, before the actions that waited for it; `finish` with one that
    turned out to have ended, and its last record.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        registry: Registry,
        runs: Runs,
        background: Background,
        *,
        resume: Callable[[LiveRun, list[InboxRow]], None],
        block: Callable[[LiveRun, str, NondeterminismError], None],
        finish: Callable[[LiveRun, End, list[InboxRow]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._registry = registry
        self._runs = runs
        self._background = background
        self._resume = resume
        self._block = block
        self._finish = finish
        self._wanted: list[LiveRun] = []
        self._loading = False

    def when_loaded(self, run: LiveRun, action: Callable[[], None]) -> None:
        """Run `action` as soon as the run is in memory: at once if it is."""
        if run.state is not None and not run.todo and not run.loading:
            if not run.blocked:
                action()
            return
        run.todo.append(action)
        self.request(run)

    def request(self, run: LiveRun) -> None:
        """Load the run, unless it is loaded or being loaded."""
        if not run.loading and run.state is None:
            run.loading = True
            self._wanted.append(run)
            if not self._loading:
                self._loading = True
                self._background.spawn(self._load_all(), "loader")

    def request_number(self, number: int) -> None:
        """Load the run with this number."""
        self.request(self._runs.add(number))

    async def _load_all(self) -> None:
        try:
            while self._wanted:
                chunk, self._wanted = self._wanted[:CHUNK], self._wanted[CHUNK:]
                logs, inbox = await self._background.read(partial(self._read, chunk))
                end_us = self._clock.elapsed_us() + SLICE_US
                for run in chunk:
                    for _ in self._load(run, logs.get(run.number, []), inbox.get(run.number, [])):
                        if self._clock.elapsed_us() > end_us:
                            await asyncio.sleep(0)
                            end_us = self._clock.elapsed_us() + SLICE_US
        finally:
            self._loading = False

    async def _read(self, chunk: Sequence[LiveRun]) -> tuple[Mapping[int, list[LogRow]], dict[int, list[InboxRow]]]:
        """The logs and the inboxes of these runs, whose public ids are known then."""
        numbers = [run.number for run in chunk]
        for number, run_id in (await self._store.run_ids([run.number for run in chunk if not run.id])).items():
            self._runs.add(number, run_id)
        logs = await self._store.records(numbers)
        inbox: dict[int, list[InboxRow]] = {}
        for item in await self._store.inbox(numbers):
            inbox.setdefault(item.run, []).append(item)
        return logs, inbox

    def _load(self, run: LiveRun, rows: Sequence[LogRow], inbox: list[InboxRow]) -> Generator[None]:
        run.drop()
        try:
            loaded = read_log(run.id, rows)
            run.state, run.beginning, run.carry = loaded.state, loaded.beginning, loaded.carry
            run.size = sum(len(row.body) for row in rows)
            for item in inbox:
                refuse_sealed(item.body)
            if not run.state.ended:
                run.registered = self._fitting(run.state)
                self._check_policies(run.registered, ())
                if loaded.incarnation is not None:
                    assert loaded.beginning is not None
                    run.instance = yield from replay(run.registered, loaded.beginning, loaded.incarnation)
                    self._check_policies(run.registered, run.instance.named)
        except DurablyError as error:
            run.loading = False
            if run.instance is not None:  # all of it was replayed, and then a policy was missing
                run.instance.evict()
                run.instance = None
            self.block(run, error)
            self._runs.rest(run)
            yield
            return
        run.loading = run.blocked = False
        state = run.state
        run.shown = (state.status, state.phase, state.earliest_us())
        if state.ended:
            self._finish(run, decode_end(rows[-1].body), inbox)
        else:  # it may end by this, in memory: that is told when it is durable
            self._resume(run, inbox)
        todo, run.todo = run.todo, []
        for action in todo:
            if run.is_open and not run.blocked:
                action()
        if run.is_open and not run.blocked and run.can_rest:
            self._runs.rest(run)
        yield

    def _fitting(self, state: RunState) -> Registered:
        assert state.created is not None
        name, version = state.created.workflow, state.created.version
        registered = self._registry.get(name, version)
        if registered is None:
            raise NondeterminismError(
                f"the run belongs to workflow {name!r} version {version}, which is not registered here. It waits as it "
                "is: register that version beside the others and restart."
            )
        return registered

    @staticmethod
    def _check_policies(registered: Registered, named: Sequence[str]) -> None:
        missing = registered.missing_policy(named)
        if missing is not None:
            raise unknown_policy(missing)

    def block(self, run: LiveRun, error: DurablyError) -> None:
        """Leave a run alone whose code does not fit its history, until fitting code is there (DESIGN rule 13)."""
        run.blocked = True
        code = "" if run.registered is None else run.registered.code
        if not isinstance(error, NondeterminismError):
            error = NondeterminismError(str(error))
        elif run.registered is not None:
            error = NondeterminismError(f"{error}\n{BLOCKED}", error.kind)
        log.error("run.blocked", run_id=run.id, reason=str(error))
        self._block(run, code, error)
