"""Ends that do not come from a run's code: a cancel, the run's time limit, a stop after a second cancel."""

from collections.abc import Sequence

from durably.engine.body.ending import timed_out
from durably.engine.execution.executor import Executor
from durably.engine.execution.live import LiveRun
from durably.engine.log.records import CancelRequested, ChildCancelRequested, End, Record, RunCanceled

__all__ = ["cancel", "stop", "time_up"]


def cancel(run: LiveRun, taken: tuple[int, ...], executor: Executor) -> None:
    """Feed a cancel to a loaded run; one without a body ends at once. `taken` is the inbox item that asks for it."""
    request = CancelRequested(reason="requested")
    if _has_body(run):
        executor.activate(run, request, taken=taken)
    else:
        _end(run, [request], RunCanceled(), executor, taken)


def time_up(run: LiveRun, executor: Executor) -> None:
    """The run's own time limit has come: as a cancel, after which it is FAILED."""
    assert run.state is not None
    assert run.state.created is not None
    request = CancelRequested(reason="timeout")
    if _has_body(run):
        executor.activate(run, request)
    else:
        _end(run, [request], timed_out(run.state.created.timeout), executor)


def stop(run: LiveRun, executor: Executor) -> None:
    """End a run that was canceled twice and goes on, whatever its code does (CONTRACT section 7)."""
    _end(run, [], RunCanceled(stopped=True), executor)


def _has_body(run: LiveRun) -> bool:
    return run.instance is not None and not run.instance.ended


def _end(run: LiveRun, before: Sequence[Record], end: End, executor: Executor, taken: tuple[int, ...] = ()) -> None:
    """End a run without its code, and with it its children."""
    state = run.state
    if state is None or state.ended:
        return
    children = [ChildCancelRequested(child=key) for key, child in state.children.items() if not child.canceled]
    executor.append(run, executor.stamp(state), [*before, *children, end], taken=taken)
