"""What became of an attempt, as the records that say so: decided where the body ended, whatever the run does then."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import structlog
from msgspec import Raw, Struct

from durably.engine.body.calls import StepCall
from durably.engine.errors import NonRetriableError
from durably.engine.log.records import AttemptFailed, Published, Record, StepFailed, StepSucceeded, from_us
from durably.engine.log.state import RunState
from durably.engine.log.steps import sender_of
from durably.engine.retries.failures import describe, judge, unreadable_retry_after
from durably.engine.retries.retry import GiveUp, RetryPolicy
from durably.engine.values.codec import Unencodable, encode_result
from durably.store.runtime import SECOND_US

if TYPE_CHECKING:
    from durably.engine.execution.attempt import Attempt

__all__ = ["Outcome", "failure", "outcome_in", "outcome_of", "success"]

log = structlog.get_logger("durably")


class Outcome(Struct, frozen=True):
    """The records that an attempt's end adds to the log. It holds for that start of that attempt and no other."""

    step: str
    attempt: int
    start: int
    records: tuple[AttemptFailed | StepSucceeded | StepFailed, ...]
    messages: tuple[Published, ...] = ()
    """What the attempt published last and is not in the log yet: it comes before the records."""
    taken: tuple[int, ...] = ()
    """The inbox item it was kept in while the run was blocked."""


def outcome_in(records: Sequence[Record], state: RunState | None) -> Outcome | None:
    """What a group tells that an attempt came to, if it does. `state` is what the group has led to."""
    ends = [each for each in records if isinstance(each, AttemptFailed | StepSucceeded | StepFailed)]
    if not ends:
        return None
    step, attempt = ends[-1].step, ends[-1].attempt
    known = state.steps.get(step) if state is not None else None
    said = [each for each in records if isinstance(each, Published) and sender_of(each) == step]  # not by the body
    return Outcome(step, attempt, known.start if known is not None else 0, tuple(ends), tuple(said))


def outcome_of(
    attempt: "Attempt", value: Any, error: BaseException | None, now_us: int, draw: Callable[[float], float]
) -> tuple[AttemptFailed | StepSucceeded | StepFailed, ...]:
    """The records of an attempt that has come to its end: with a value, or with what it raised."""
    name = attempt.call.step.name
    if error is None:
        try:
            return (success(attempt.call, attempt.key, attempt.number, value),)
        except NonRetriableError as unkept:
            error = unkept
    unread = unreadable_retry_after(error, now_us)
    if unread is not None:
        log.warning("retry_after.unreadable", run_id=attempt.run.id, step=name, retry_after=unread)
    policy = attempt.policy.with_retries(0) if attempt.beginning.created.test else attempt.policy
    return failure(attempt.key, name, attempt.number, error, policy=policy, now_us=now_us, draw=draw)


def success(call: StepCall, step: str, attempt: int, value: Any) -> StepSucceeded:
    """The record of a result.

    Raises `NonRetriableError` when the result cannot be kept, or would not come back as the step is annotated to
    return: trying again would repeat the side effect and give the same.
    """
    name = call.step.name
    output = encode_result(value)
    try:
        call.step.decode_result(output)
    except ValueError as error:
        raise Unencodable(f"step {name!r} returned something that does not fit its annotation: {error}") from None
    return StepSucceeded(step=step, name=name, attempt=attempt, output=Raw(output))


def failure(
    step: str,
    name: str,
    attempt: int,
    error: BaseException,
    *,
    policy: RetryPolicy,
    now_us: int,
    draw: Callable[[float], float],
) -> tuple[AttemptFailed, ...] | tuple[AttemptFailed, StepFailed]:
    """The records of a failed attempt: with the time of the next one, or followed by the step's failure.

    The wait counts from `now_us`, the end of this attempt; `draw` gives a number from 0 to the jitter allowed.
    """
    info = describe(error)
    verdict = judge(error, now_us, policy, attempt)
    if isinstance(verdict, GiveUp):
        failed = AttemptFailed(
            step=step, name=name, attempt=attempt, error=info, retry_at=None, max_retries=policy.max_retries
        )
        return failed, StepFailed(step=step, name=name, error=info, attempt=attempt)
    wait_us = ceil((verdict.delay + draw(verdict.jitter)) * SECOND_US)
    return (
        AttemptFailed(
            step=step,
            name=name,
            error=info,
            attempt=attempt,
            retry_at=from_us(now_us + wait_us),
            max_retries=policy.max_retries,
        ),
    )
