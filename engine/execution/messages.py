"""What the body of a step publishes while it runs (`durably.publish`)."""

from functools import partial
from typing import TYPE_CHECKING

import structlog
from msgspec import Raw

from durably.engine.execution.attempt import Attempt
from durably.engine.log.limits import too_long
from durably.engine.log.records import Published

if TYPE_CHECKING:
    from durably.engine.execution.executor import Executor

__all__ = ["publish"]

log = structlog.get_logger("durably")


async def publish(executor: "Executor", attempt: Attempt, topic: str, data: Raw) -> None:
    """Put a message of a running attempt into the log: a note, in its place among the attempt's others.

    It does not wait for the commit, only for room in the queue: who publishes much is slowed down to what the store
    takes.
    """
    note = Published(message=f"{attempt.key}/message#{attempt.messages}", topic=topic, data=data)
    attempt.messages += 1
    await executor.journal.committer.wait_for_room()
    if not attempt.run.blocked:  # there is no end to how much could pile up
        attempt.unsaid.append(note)
        executor.when_loaded(attempt.run, partial(_append, executor, attempt))


def _append(executor: "Executor", attempt: Attempt) -> None:
    """Put what an attempt has to say into the log, unless its outcome has taken it there meanwhile."""
    run, state = attempt.run, attempt.run.state
    if state is None or run.attempts.get(attempt.key) is not attempt:
        return  # nobody wants to hear of this attempt any more
    notes, attempt.unsaid = attempt.unsaid, []
    if not notes or attempt.key not in state.steps:
        return
    if too_long(state.seq + len(notes), run.size):
        log.warning("message.dropped", run_id=run.id, reason="the run's history is full")
        return
    executor.append(run, executor.stamp(state), notes)
