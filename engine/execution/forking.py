"""New runs that begin with what older ones have come to: forks, and reruns from a step (DESIGN section 3)."""

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial

from msgspec.structs import replace

from durably.engine.body.calls import StepCall
from durably.engine.body.context import LogLine
from durably.engine.body.ending import conclude
from durably.engine.body.instance import Instance, Undecodable
from durably.engine.body.replay import replay
from durably.engine.body.replayer import beginning_of
from durably.engine.declare.registry import Registered
from durably.engine.errors import InvalidInput, NondeterminismError, RunConflict
from durably.engine.execution.arrivals import run_row
from durably.engine.execution.core import Core
from durably.engine.execution.live import LiveRun
from durably.engine.execution.outbox import Parcel
from durably.engine.execution.pump import SLICE_US
from durably.engine.execution.usage import used
from durably.engine.log.changes import Changes
from durably.engine.log.fork import Forked, Prefix, as_scheduled, fork_point, take_over
from durably.engine.log.grammar import Entry, Incarnation, parse
from durably.engine.log.ids import ids_in
from durably.engine.log.records import (
    AttemptStarted,
    ChildStarted,
    EventAwaited,
    EventSent,
    Input,
    Record,
    RunContinued,
    RunCreated,
    RunFailed,
    SignalSent,
    encode_record,
    from_us,
)
from durably.engine.log.rerun import given_without, resumed
from durably.engine.log.state import RunState, fold
from durably.store import Append, LogRow, RunRow
from durably.store.runtime import Randomness

__all__ = ["fork", "rerun_from"]


async def fork(
    core: Core,
    registered: Registered,
    forked: RunRow,
    entries: Sequence[Entry],
    *,
    at: int | str | None,
    changed: Changes,
) -> tuple[int, str]:
    """Create a fork of a run and let it go on: its number and its id, once it is durable.

    Raises:
        InvalidInput: there is no such place, or a change comes too late there or does not fit.
        NondeterminismError: what would be taken over does not fit the code.
        RunConflict: the workflow is retried by a stored policy that nobody knows.
    """
    missing = registered.missing_policy(())
    if missing is not None:
        raise RunConflict(
            f"run {forked.id!r} cannot be forked: its workflow is retried by the stored policy {missing!r}, and there "
            "never was one of that id. Create it with POST /api/v1/retry-policies first"
        )
    point, now_us = fork_point(entries, at), core.clock.now_us()
    new = replace(forked, run=core.store.new_run(), id=core.randomness.token(), trigger="FORK", origin=forked.id)
    prefix = take_over(entries, point, changed, Forked(forked.id, new.id, from_us(now_us)))
    try:
        log, lines = await _driven_on(core, registered, new.id, prefix, now_us)
    except NondeterminismError as error:
        raise NondeterminismError(
            f"run {forked.id!r} cannot be forked at record {point}: what the fork would take over does not fit the "
            f"code. Fork it at an earlier record, or put fitting code back.\n{error}",
            error.kind,
        ) from None
    await _create(core, replace(new, created_us=now_us), log, lines)
    return new.run, new.id


async def rerun_from(core: Core, created: RunCreated, entries: Sequence[Entry], step: str) -> tuple[int, str]:
    """Create a run that is given what another one with that history has come to, but for `step` and what followed.

    Raises:
        InvalidInput: the history has no such step, or several of that name.
    """
    begin = resumed(entries, step)
    given = given_without(entries, begin.step)
    created = replace(created, resumed=begin, ids=ids_in((each.record for each in given), entries))
    row = run_row(core.store.new_run(), core.randomness.token(), created, core.clock.now_us())
    records: list[Record] = [created, *given]
    log = [Entry(seq, row.created_us, record) for seq, record in enumerate(records, 1)]
    await _create(core, row, log, ())
    return row.run, row.id


# -- what the code does


async def _driven_on(
    core: Core, registered: Registered, run_id: str, prefix: Prefix, now_us: int
) -> tuple[list[Entry], Sequence[LogLine]]:
    """The log of a fork: the prefix, what the code does then, and what it does with outcomes given to it.

    Steps that it calls are written down as scheduled, whenever that was: they start once the fork is durable.
    """
    log = list(prefix.entries)
    instance = await _replayed(core, registered, run_id, log)
    if instance is None:
        return log, []
    try:
        log += _commands(instance, log[-1], core.randomness)
        for outcome in prefix.late:
            if outcome.step not in instance.loop.pending:
                raise InvalidInput(f"step {outcome.step} gets an outcome, and the code does not wait for it any more")
            log.append(Entry(len(log) + 1, max(now_us, log[-1].at_us), outcome))
            log += _commands(instance, log[-1], core.randomness)
        _check_arguments(instance)
        return log, instance.take_lines()
    except Undecodable as error:
        raise InvalidInput(str(error)) from None
    finally:
        instance.evict()


async def _replayed(core: Core, registered: Registered, run_id: str, entries: Sequence[Entry]) -> Instance | None:
    """The body as it was before the last record; None if the run had none."""
    log = parse(entries)
    if not log.incarnations:
        return None
    last = log.incarnations[-1]
    steps = replay(registered, beginning_of(run_id, log), Incarnation(last.groups[:-1], last.carry))
    end_us = core.clock.elapsed_us() + SLICE_US
    while True:
        try:
            next(steps)
        except StopIteration as done:
            instance: Instance = done.value
            return instance
        if core.clock.elapsed_us() > end_us:
            await asyncio.sleep(0)
            end_us = core.clock.elapsed_us() + SLICE_US


def _commands(instance: Instance, entry: Entry, randomness: Randomness) -> list[Entry]:
    """What the code does with an input."""
    seq, at_us, record = entry
    assert isinstance(record, Input)
    commands = instance.feed(record, at_us, seq)
    if instance.ended:
        commands.append(conclude(instance, at_us, randomness))
    records: list[Record] = [*instance.take_notes(), *commands]
    return [
        Entry(number, at_us, as_scheduled(each) if isinstance(each, AttemptStarted) else each)
        for number, each in enumerate(records, seq + 1)
    ]


def _check_arguments(instance: Instance) -> None:
    """Raise `InvalidInput` for replaced arguments that do not fit the step that waits for them."""
    copied = instance.beginning.created.copied
    for key in () if copied is None else copied.args:
        if key in instance.loop.pending:
            call: StepCall = instance.loop.pending[key].command
            call.arguments.decode()


# -- the new run


async def _create(core: Core, row: RunRow, log: Sequence[Entry], lines: Sequence[LogLine]) -> None:
    """Store a run that has a log already, in one commit with what goes out of it, and let it go on."""
    state = fold((entry.at_us, entry.record) for entry in log)
    row = replace(row, **state.change()._asdict())
    records = [LogRow(row.run, seq, at_us, encode_record(record)) for seq, at_us, record in log]
    run = core.runs.add(row.run, row.id)
    run.stored = stored = asyncio.get_running_loop().create_future()
    run.unsaved += 1
    stored.add_done_callback(partial(_begin, core, run))
    parcel, now_us = Parcel(), core.clock.now_us()
    for record in _reaching(log, state):
        core.executor.outbox.pack(parcel, row.id, state, record, now_us)
    append = Append(row.run, records, created=row, after=(run, (), lines, parcel))
    if state.started_us is not None:
        append.used = used(state, now_us, began=True, tasks=state.tasks)
    core.executor.outbox.attach(parcel, append)
    core.journal.add(append)
    await asyncio.shield(stored)  # who asked for the run may go, and it is there all the same


def _reaching(log: Sequence[Entry], state: RunState) -> Iterator[Record]:
    """What concerns others: waits and children that are open, and what the code has sent that was not taken over."""
    children = {key: child.run for key, child in state.children.items() if not child.canceled}
    yield from (wait for wait in state.waits.values() if isinstance(wait, EventAwaited))
    for seq, _, record in log:
        match record:
            case ChildStarted() if children.get(record.child) == record.run:
                del children[record.child]  # later incarnations say it again
                yield record
            case EventSent() | SignalSent() | RunContinued() | RunFailed() if seq > state.copied:
                yield record
            case _:
                pass


def _begin(core: Core, run: LiveRun, stored: "asyncio.Future[None]") -> None:
    if not stored.cancelled() and stored.exception() is None:
        core.loader.request(run)
