"""Going on with a run that was just loaded: what is gone, what is fed, what starts again (DESIGN rules 8, 12)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

from durably.engine.errors import ErrorInfo, WorkerLost, qualified_names
from durably.engine.execution.admission import SUSPECT_AFTER
from durably.engine.execution.beginnings import start
from durably.engine.execution.deadlines import wake
from durably.engine.execution.endings import cancel
from durably.engine.execution.executor import Executor
from durably.engine.execution.inbox import CancelItem, KnownChildItem, LookBackItem, OutcomeItem, decode_item
from durably.engine.execution.live import LiveRun
from durably.engine.log.records import AttemptLost, RunUnblocked, StepFailed
from durably.engine.log.state import RunState, StepState
from durably.store import InboxRow

__all__ = ["LookUps", "feed_inbox", "resume"]


LookUp: TypeAlias = Callable[[LiveRun, str, int], None]
"""Finds something out for a run: about the wait or child of that key, as the inbox item of that number asks."""


class LookUps(NamedTuple):
    """How a run finds out what it has to know before it goes on."""

    back: LookUp
    """For events that have arrived before a wait."""
    child: LookUp
    """What became of a child that was there already."""


def resume(run: LiveRun, items: Sequence[InboxRow], executor: Executor, look_up: LookUps) -> None:
    """Make a loaded run go on: its code fits its history up to the last record.

    Outcomes that are known are fed first, those kept in memory over an outage and those left in the inbox while the run
    was blocked. What should be running then and is not has been lost; it starts again under the same attempt number.
    """
    state = run.state
    assert state is not None
    assert run.registered is not None
    gone = list(_gone(run, state))  # before anything is started here
    run.taken.clear()  # what is still in the inbox has not been taken, whatever was tried
    if state.blocked is not None:
        executor.append(run, executor.stamp(state), [RunUnblocked(code=run.registered.code)])
    if state.started_us is None and state.start_us is None and not _is_canceled(run, items):
        start(run, run.registered, executor)
    feed_inbox(run, items, executor, look_up)
    if run.blocked:  # by what was fed: the attempts that it came from are not lost
        return
    if run.is_open:
        _write_losses(run, gone, executor)
    for key in list(_waiting(run)):
        _start_or_fail(run, key, executor)
    if run.is_open:
        wake(run, executor)


def feed_inbox(run: LiveRun, items: Sequence[InboxRow], executor: Executor, look_up: LookUps) -> None:
    """Feed a loaded run the outcomes that are known, and what lies in its inbox, each item once.

    Outcomes come first and cancels last: what was done before a cancel must not be thrown away by it.
    """
    new = [row for row in items if not (row.item in run.taken or row.item in run.kept or row.item in run.lookups)]
    cancels = [row.item for row in new if not _put_in_place(run, row, executor, look_up)]
    for key in list(run.outcomes):
        if run.is_open and not run.blocked:  # as it may be by the one before
            executor.deliver(run, key)
    executor.offer(run)
    for number in cancels:
        if run.is_open and not run.blocked:
            cancel(run, (number,), executor)
    if not run.is_open:
        executor.discard(run, [row.item for row in items])


def _put_in_place(run: LiveRun, row: InboxRow, executor: Executor, look_up: LookUps) -> bool:
    """Keep an item where it is fed from. False for a cancel, which is fed when all else was."""
    match decode_item(row.body):
        case CancelItem() as item:
            if _is_meant(item, run):
                return False
            executor.discard(run, [row.item])
        case OutcomeItem() as item:
            before = run.outcomes.get(item.step)  # it may lie there twice
            run.outcomes[item.step] = item.outcome(row.item, *(() if before is None else before.taken))
        case LookBackItem() as item:
            look_up.back(run, item.wait, row.item)
        case KnownChildItem() as item:
            look_up.child(run, item.child, row.item)
        case item:
            run.kept.put(row.item, item)
    return True


def _is_canceled(run: LiveRun, items: Iterable[InboxRow]) -> bool:
    asked = (decode_item(row.body) for row in items)
    return any(isinstance(item, CancelItem) and _is_meant(item, run) for item in asked)


def _is_meant(item: CancelItem, run: LiveRun) -> bool:
    assert run.state is not None
    assert run.state.created is not None
    return item.is_for(run.state.created)


def _gone(run: LiveRun, state: RunState) -> Iterator[tuple[str, StepState]]:
    """Steps whose attempt should be running and is not."""
    for key, step in state.steps.items():
        attempt = run.attempts.get(key)
        alive = attempt is not None and (attempt.number, attempt.start) == (step.attempt, step.start)
        if step.running and not alive:
            yield key, step


def _write_losses(run: LiveRun, gone: Sequence[tuple[str, StepState]], executor: Executor) -> None:
    state = run.state
    assert state is not None
    reason: Literal["fenced", "crash"] = "fenced" if run.fenced else "crash"
    run.fenced = False
    notes = [
        AttemptLost(step=key, name=step.name, reason=reason, attempt=step.attempt, start=step.start)
        for key, step in gone
        if step.running and state.steps.get(key) is step  # and not ended by an outcome that was known
    ]
    if notes:
        executor.append(run, executor.stamp(state), notes)


def _waiting(run: LiveRun) -> Iterator[str]:
    """Steps that wait neither for a body nor for time: scheduled ones, and lost ones."""
    if run.is_open and run.state is not None:
        for key, step in run.state.steps.items():
            if not step.running and step.retry_us is None:
                yield key


def _start_or_fail(run: LiveRun, key: str, executor: Executor) -> None:
    """Start a waiting step, or fail it as `WorkerLost`.

    Only crashes count, and with `max_lost` over two the last of them happened while the step was the one suspect
    running. A step with `on_lost="fail"` must never run twice and fails with its first loss, whatever the reason.
    """
    step = run.state.steps.get(key) if run.state is not None else None
    if step is None or run.instance is None:
        return
    never_again = step.start >= 0 and run.instance.loop.pending[key].command.step.on_lost == "fail"
    max_lost = max(executor.settings.max_lost, 1)
    if not never_again and step.losses < max_lost:
        executor.begin(run, key)
        return
    if never_again:
        message = "its process was gone while it ran, and on_lost='fail' forbids to run it again"
    else:
        alone = ", the last time while it was the only suspect running" if max_lost > SUSPECT_AFTER else ""
        message = f"its process died {step.losses} times in a row while it ran{alone}"
    types = qualified_names(WorkerLost)
    error = ErrorInfo(type=types[0], types=types, message=message)
    executor.activate(run, StepFailed(step=key, name=step.name, error=error, attempt=step.attempt, lost=True))
