"""What is due of a run: timers, retries, deadlines, its start and its end."""

from collections.abc import Callable, Mapping

from durably.engine.execution.beginnings import start, start_again
from durably.engine.execution.endings import stop, time_up
from durably.engine.execution.executor import Executor
from durably.engine.execution.live import LiveRun
from durably.engine.log.records import TimerFired

__all__ = ["wake"]


def wake(run: LiveRun, executor: Executor) -> None:
    """Do whatever of this loaded run is due."""
    while run.state is not None and not run.state.ended and not run.blocked:
        due = run.state.take_due(executor.clock.now_us())
        if due is None:
            executor.arm(run)
            return
        run.shown = None  # so that the next group sets the alarm, though what it waits for be due then too
        _ACTIONS[due.kind](run, due.key, executor)


def _fire_timer(run: LiveRun, key: str, executor: Executor) -> None:
    executor.activate(run, TimerFired(timer=key))


def _expire_wait(run: LiveRun, key: str, executor: Executor) -> None:
    executor.expire_when_saved(run, key)


def _retry_step(run: LiveRun, key: str, executor: Executor) -> None:
    executor.begin(run, key)


def _retry_body(run: LiveRun, _key: str, executor: Executor) -> None:
    start_again(run, executor)


def _start(run: LiveRun, _key: str, executor: Executor) -> None:
    assert run.registered is not None, "it is loaded, and not blocked"
    start(run, run.registered, executor)


def _time_up(run: LiveRun, _key: str, executor: Executor) -> None:
    time_up(run, executor)


def _stop(run: LiveRun, _key: str, executor: Executor) -> None:
    stop(run, executor)


_ACTIONS: Mapping[str, Callable[[LiveRun, str, Executor], None]] = {
    "timer": _fire_timer,
    "wait": _expire_wait,
    "step": _retry_step,
    "body": _retry_body,
    "start": _start,
    "timeout": _time_up,
    "stop": _stop,
}
"""By the kind of `Due`."""
