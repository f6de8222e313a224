"""Forking a history: how much of it a new run takes over, and what is otherwise there (DESIGN section 3, "Fork")."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import NamedTuple

from msgspec import Raw, Struct
from msgspec.structs import replace

from durably.engine.errors import InvalidInput
from durably.engine.log.changes import Changes
from durably.engine.log.grammar import Entry, Log, outcome_keys, parse
from durably.engine.log.ids import derived_id, ids_in
from durably.engine.log.records import (
    AttemptFailed,
    AttemptLost,
    AttemptStarted,
    BodyStarted,
    CancelRequested,
    ChildCanceled,
    ChildFailed,
    ChildStarted,
    ChildSucceeded,
    Copied,
    OutcomeGiven,
    Published,
    Record,
    RunBlocked,
    RunCanceled,
    RunCreated,
    RunFailed,
    RunStarted,
    RunUnblocked,
    StepCanceled,
    StepFailed,
    StepScheduled,
    StepSucceeded,
)
from durably.engine.log.steps import KnownStep, Outcome, find_step, known_steps, sender_of
from durably.engine.values.overriding import override

__all__ = ["Forked", "Prefix", "as_scheduled", "fork_point", "take_over"]


CHILD_ENDS = ChildSucceeded | ChildFailed | ChildCanceled

# -- where


def fork_point(entries: Sequence[Entry], at: int | str | None) -> int:
    """The last record that a fork takes over: an input, or 1, `run.created`, if there is none before.

    `at` is a record's number; of one that is not an input the input before it holds, because the commands behind an
    input come from the code now in any case. Or a step, by its key or its name if only one has it: everything before
    it, up to the input whose group called it (the last time). Or None, just before the failure.

    Raises:
        InvalidInput: there is no such record or step, or no failure.
    """
    log = parse(entries)
    places = [group.seq for incarnation in log.incarnations for group in incarnation.groups]
    wanted = _place(log, entries, at)
    return max((place for place in places if place <= wanted), default=1)


def _place(log: Log, entries: Sequence[Entry], at: int | str | None) -> int:
    if at is None:
        return _before_failure(log, entries)
    if isinstance(at, int):
        if not 1 <= at <= len(entries):
            raise InvalidInput(f"there is no record {at}: the run's history has records 1 to {len(entries)}")
        return at
    step = find_step(known_steps(entries), at)
    if step.called is None:
        raise InvalidInput(
            f"step {step.key} did not run in this run, its outcome was given: give another one by patch="
        )
    return step.called


def _before_failure(log: Log, entries: Sequence[Entry]) -> int:
    """The last input before what went wrong.

    That is a cancel, if there was one; else what the code did with the last input, which is therefore taken over;
    else, if that was the failure of a step or a child, the failure itself: the step runs again.
    """
    if not isinstance(entries[-1].record, RunFailed | RunCanceled):
        raise InvalidInput("the run has not failed: say with at= where to fork it, by a record's number or a step")
    places = [1]
    for group in log.incarnations[-1].groups if log.incarnations else ():
        if isinstance(group.input, CancelRequested):
            return places[-1]
        places.append(group.seq)
    if log.incarnations and isinstance(log.incarnations[-1].groups[-1].input, StepFailed | ChildFailed | ChildCanceled):
        return places[-2]
    return places[-1]


# -- what is taken over


class Forked(NamedTuple):
    """Which run a fork is made from, which it is itself, and when it is made."""

    origin: str
    run_id: str
    made_at: datetime


class Prefix(Struct):
    """The beginning of a fork's log, up to the input whose commands come from the code now."""

    entries: list[Entry]
    late: list[Outcome]
    """Given outcomes of steps that were called and had not ended there: inputs that follow."""


def take_over(entries: Sequence[Entry], point: int, changed: Changes, forked: Forked) -> Prefix:
    """The records up to `point`, as a fork has them.

    Times are kept. Steps without an end were only called and not attempted, and nothing tells of blocks. Outcomes given
    for steps that were not called yet stand before the body that calls them.

    Raises:
        InvalidInput: something given comes too late: the step has ended before.
    """
    taken = entries[:point]
    steps, incarnations = known_steps(taken), parse(taken).incarnations
    begin = incarnations[-1].groups[0].seq if incarnations else point + 1
    _check(changed, steps, begin)
    unended = {key for key, step in steps.items() if step.ended is None}
    called = {key for key in unended if (steps[key].called or 0) >= begin}
    replaced = {key for key, step in steps.items() if isinstance(step.end, Outcome)}
    copies = list(_copies(_with_new_children(taken, forked), unended, changed))
    before = [copy for copy in copies if copy.seq < begin]
    given = [
        Entry(0, before[-1].at_us, OutcomeGiven(record=outcome, happened_at=forked.made_at))
        for key, outcome in changed.outcomes.items()
        if key not in called | replaced
    ]
    kept = [*before, *given, *copies[len(before) :]]
    kept[0] = kept[0]._replace(record=_created(kept, entries, changed.args, forked))
    numbered = [entry._replace(seq=seq) for seq, entry in enumerate(kept, 1)]
    return Prefix(numbered, [outcome for key, outcome in changed.outcomes.items() if key in called])


def _check(changed: Changes, steps: Mapping[str, KnownStep], begin: int) -> None:
    for key in changed.args:
        if key in steps and steps[key].ended is not None:
            raise InvalidInput(f"step {key} has ended before the fork; for other arguments fork at it, with at={key!r}")
    for key in changed.outcomes:
        step = steps.get(key)
        if step is not None and isinstance(step.end, StepCanceled) and (step.ended or 0) >= begin:
            raise InvalidInput(f"step {key} was canceled before the fork: its outcome would reach nobody")


def _copies(taken: Iterable[Entry], unended: AbstractSet[str], changed: Changes) -> Iterator[Entry]:
    """The records that are kept, each as the fork has it."""
    called: set[str] = set()
    for entry in taken:
        record = entry.record
        if _is_only_of_the_other(record, unended):
            continue
        if isinstance(record, RunStarted | BodyStarted):
            called.clear()
        copy = _copy(record, unended, changed)
        if isinstance(copy, StepScheduled):
            if copy.step in called:
                continue  # attempted again
            called.add(copy.step)
        yield entry._replace(record=copy)


def _is_only_of_the_other(record: Record, unended: AbstractSet[str]) -> bool:
    """Whether a record tells of blocks, or of attempts that the fork makes anew."""
    match record:
        case RunBlocked() | RunUnblocked():
            return True
        case AttemptFailed() | AttemptLost():
            return record.step in unended
        case Published():
            return sender_of(record) in unended
        case _:
            return False


def _copy(record: Record, unended: AbstractSet[str], changed: Changes) -> Record:
    match record:
        case AttemptStarted() | StepScheduled() if record.step in unended:
            return as_scheduled(record, changed.args.get(record.step))
        case StepSucceeded() | StepFailed() if record.step in changed.outcomes:
            return replace(changed.outcomes[record.step], attempt=record.attempt)
        case OutcomeGiven(record=StepSucceeded(step=step) | StepFailed(step=step)) if step in changed.outcomes:
            return replace(record, record=changed.outcomes[step])
        case _:
            return record


def as_scheduled(command: AttemptStarted | StepScheduled, args: Raw | None = None) -> StepScheduled:
    """A step that was called, to be started when the fork goes on."""
    given, digest = command.input, command.digest
    if args is not None:
        merged, digest = override(given, digest, args)
        given = Raw(merged)
    return StepScheduled(step=command.step, name=command.name, input=given, digest=digest, line=command.line)


def _with_new_children(taken: Sequence[Entry], forked: Forked) -> Iterator[Entry]:
    """Children without an end begin anew, and so under ids of their own, but for those that the code has chosen."""
    ended = {key for entry in taken if isinstance(entry.record, CHILD_ENDS) for key in outcome_keys(entry.record)}
    for entry in taken:
        record = entry.record
        if (
            isinstance(record, ChildStarted)
            and record.child not in ended
            and record.run == derived_id(forked.origin, record.child)
        ):
            yield entry._replace(record=replace(record, run=derived_id(forked.run_id, record.child)))
        else:
            yield entry


def _created(kept: Sequence[Entry], entries: Sequence[Entry], args: Mapping[str, Raw], forked: Forked) -> RunCreated:
    """A run of its own: its parent, if it has one, waits for the other."""
    created = entries[0].record
    assert isinstance(created, RunCreated)
    before = {} if created.copied is None else created.copied.args
    merged = before | {key: (*before.get(key, ()), changes) for key, changes in args.items()}
    copied = Copied(upto=len(kept), made_at=forked.made_at, args=merged)
    records = (each.record.record if isinstance(each.record, OutcomeGiven) else each.record for each in kept)
    ids = ids_in(records, entries)
    return replace(created, trigger="FORK", origin=forked.origin, parent=None, child="", copied=copied, ids=ids)
