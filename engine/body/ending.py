"""How a body's end is judged (DESIGN rule 15): a pure decision."""

from asyncio import CancelledError
from math import ceil

from msgspec import Raw

from durably.engine.body.calls import ContinueAsNew
from durably.engine.body.instance import Instance
from durably.engine.errors import ErrorInfo, TimedOut, qualified_names
from durably.engine.log.ids import derived_id
from durably.engine.log.records import (
    BodyFailed,
    End,
    RunCanceled,
    RunContinued,
    RunFailed,
    RunSucceeded,
    from_us,
)
from durably.engine.retries.failures import describe, judge
from durably.engine.retries.retry import GiveUp
from durably.store.runtime import SECOND_US, Randomness

__all__ = ["conclude", "timed_out"]


def conclude(instance: Instance, now_us: int, randomness: Randomness) -> End:
    """The record that ends an incarnation whose body is done.

    After a cancel request the body is not retried: `CancelledError` out means CANCELED, another error FAILED, a return
    SUCCEEDED. After the run's own time limit, `CancelledError` out means FAILED. A `CancelledError` that nobody asked
    for is an error of the body. Test mode does not retry.
    """
    try:
        return RunSucceeded(output=Raw(instance.encoded_result()))
    except BaseException as error:  # noqa: BLE001 - a body's SystemExit and CancelledError are its outcome (rule 6)
        return _failed(error, instance, now_us, randomness)


def _failed(error: BaseException, instance: Instance, now_us: int, randomness: Randomness) -> End:
    match error:
        case CancelledError() if instance.cancel_requested:
            return RunCanceled()
        case CancelledError() if instance.timed_out:
            return timed_out(instance.beginning.created.timeout)
        case ContinueAsNew():
            return RunContinued(
                continued_to=derived_id(instance.run_id, "continued"),
                version=instance.runnable.newest,
                input=Raw(error.arguments.raw),
            )
        case _:
            return _raised(error, instance, now_us, randomness)


def timed_out(limit_s: float | None) -> RunFailed:
    """The end of a run whose time is up."""
    types = qualified_names(TimedOut)
    return RunFailed(error=ErrorInfo(types[0], types, f"the run had not ended {limit_s or 0:g} s after its start"))


def _raised(error: BaseException, instance: Instance, now_us: int, randomness: Randomness) -> End:
    described = describe(error)
    verdict = judge(error, now_us, instance.runnable.retry, instance.body_attempt)
    if (
        instance.cancel_requested
        or instance.timed_out
        or instance.beginning.created.test
        or isinstance(verdict, GiveUp)
    ):
        return RunFailed(error=described)
    wait_s = verdict.delay + randomness.uniform(verdict.jitter)
    return BodyFailed(
        error=described,
        retry_at=from_us(now_us + ceil(wait_s * SECOND_US)),
        attempt=instance.body_attempt,
        max_retries=instance.runnable.retry.max_retries,
    )
