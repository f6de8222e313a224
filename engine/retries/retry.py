"""Whether a failed attempt is tried again, and after how long: `RetryPolicy`, a pure function of values.

Nothing here looks at a clock or draws a random number. `decide` gives the wait and the most that may be added
to it; the engine draws the jitter, records when the next attempt is due, and keeps that time over a restart.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar, Literal, TypeAlias, TypeGuard, cast, final, get_args

from durably.engine.errors import ErrorType, RetryAfterError, is_any
from durably.engine.values.durations import Duration, to_seconds

__all__ = ["Failure", "GiveUp", "Retry", "RetryPolicy", "check_retries"]

FailureKind: TypeAlias = Literal["timeout", "connection", "status", "error"]
DEFAULT_RETRIES = 4


@final
@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, as far as a policy may look at it.

    `status` is the answer's HTTP status where `kind` is "status"; `type` and `types` name the exception's
    class and all it inherits from; `retry_after` is the wait in seconds that was asked for, already read and
    clipped to 1 s … 24 h.
    """

    kind: FailureKind
    status: int | None = None
    type: str | None = None
    types: tuple[str, ...] = ()
    retry_after: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(FailureKind):
            raise ValueError(f"kind is {self.kind!r}; it must be one of {', '.join(get_args(FailureKind))}")
        if self.kind == "status" and self.status is None:
            raise ValueError("kind is 'status' and status is None; it must be the answer's HTTP status")


@final
@dataclass(frozen=True, slots=True)
class Retry:
    """Try again `delay` seconds after the end of the attempt, plus a random part of `jitter` seconds."""

    delay: float
    jitter: float = 0.0


@final
@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again. `reason` says in words why not."""

    reason: str


@final
@dataclass(frozen=True, slots=True, init=False)
class RetryPolicy:
    """How often, how long apart and after which failures a step or a body is tried again.

    **How often.** `max_retries` counts what follows the first attempt, so n means at most n + 1 attempts; 0
    is never. None is 4, or the length of the tuple.

    **How long apart**, from the end of one attempt to the start of the next, durations in seconds or as
    `timedelta`:

    - `backoff="exponential"`: `delay`, then twice that, four times, … and never more than `max_delay`
    - `backoff="fixed"`: `delay` each time; `max_delay` does not apply
    - `backoff=(10, 20, 30)`: these waits, the last of them again once they are used up; `delay` and
      `max_delay` do not apply

    `jitter` is added on top, at random, so that the wait is never less than stated: a `float` from 0 to 1 is
    a fraction of the wait, a `timedelta` the most that is added. A `Retry-After` replaces the wait, without
    jitter.

    **After which failures.** Each field governs its own kind of failure; a field left out means that kind is
    retried.

    - `retry_on_timeout`, `retry_on_connection_error`: True or False
    - `retry_statuses`: statuses of an HTTP answer to retry, as exact codes `"429"` or classes `"5xx"`; an
      empty one matches nothing. `retry_statuses_except` is taken away from it and wins
    - `retry_on`: classes of all other exceptions, or their names. A `RetryAfterError` is always retried
    - `give_up_on`: classes or names never to retry, whatever the kind of failure; it wins over all the others

    `NonRetriableError`, or a failed step that escapes from a body, is never retried: no policy is asked.

    **Presets**

    - `RetryPolicy.DEFAULT`: 4 retries, after 1, 2, 4 and 8 seconds (on to at most 5 minutes with more
      retries), plus up to 25 % of each
    - `RetryPolicy.AUTO_RETRY`: 5 retries, after around 10, 20, 30, 50 and 80 seconds: plus up to 10 % of each
    - `RetryPolicy.INNGEST`: 4 retries, after 15 and 30 seconds, 1 and 2 minutes (with more retries on to 5,
      10, 20, 40 minutes, 1 hour and 2 hours), plus 0 to 30 seconds each time
    - `RetryPolicy.NEVER`: one attempt

    Policies are immutable and compare by value. A `ValueError` or `TypeError` names the field that is wrong,
    its value and what is allowed.
    """

    max_retries: int
    backoff: Literal["fixed", "exponential"] | tuple[float, ...]
    delay: float
    max_delay: float
    jitter: float | timedelta
    retry_on_timeout: bool | None
    retry_on_connection_error: bool | None
    retry_statuses: tuple[str, ...] | None
    retry_statuses_except: tuple[str, ...]
    retry_on: tuple[ErrorType, ...] | None
    give_up_on: tuple[ErrorType, ...]

    DEFAULT: ClassVar["RetryPolicy"]
    AUTO_RETRY: ClassVar["RetryPolicy"]
    INNGEST: ClassVar["RetryPolicy"]
    NEVER: ClassVar["RetryPolicy"]

    def __init__(
        self,
        max_retries: int | None = None,
        *,
        backoff: Literal["fixed", "exponential"] | Sequence[Duration] = "exponential",
        delay: Duration = 1,
        max_delay: Duration = 300,
        jitter: float | timedelta = 0.25,
        retry_on_timeout: bool | None = None,
        retry_on_connection_error: bool | None = None,
        retry_statuses: Collection[str] | None = None,
        retry_statuses_except: Collection[str] = (),
        retry_on: Collection[ErrorType] | None = None,
        give_up_on: Collection[ErrorType] = (),
    ) -> None:
        waits = _check_backoff(backoff)
        statuses = None if retry_statuses is None else _check_statuses(retry_statuses, "retry_statuses")
        types = None if retry_on is None else _check_types(retry_on, "retry_on")
        if max_retries is None:
            max_retries = DEFAULT_RETRIES if isinstance(waits, str) else len(waits)
        fields = {
            "max_retries": check_retries(max_retries, "max_retries"),
            "backoff": waits,
            "delay": to_seconds(delay, "delay"),
            "max_delay": to_seconds(max_delay, "max_delay"),
            "jitter": _check_jitter(jitter),
            "retry_on_timeout": _check_flag(retry_on_timeout, "retry_on_timeout"),
            "retry_on_connection_error": _check_flag(retry_on_connection_error, "retry_on_connection_error"),
            "retry_statuses": statuses,
            "retry_statuses_except": _check_statuses(retry_statuses_except, "retry_statuses_except"),
            "retry_on": types,
            "give_up_on": _check_types(give_up_on, "give_up_on"),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)  # frozen: there is no other way to set a field

    def with_retries(self, retries: int) -> "RetryPolicy":
        """This policy with another number of retries: what `retries=n` on a step means."""
        return replace(self, max_retries=check_retries(retries, "retries"))

    def decide(self, attempt: int, failure: Failure) -> Retry | GiveUp:
        """What comes after attempt number `attempt`, counted from 0, which has just failed with `failure`."""
        if attempt < 0:
            raise ValueError(f"attempt is {attempt}; attempts are counted from 0")
        refusal = self._refusal(failure)
        if refusal is not None:
            return GiveUp(refusal)
        if attempt >= self.max_retries:
            return GiveUp(f"no retry is left: attempt {attempt} failed and max_retries is {self.max_retries}")
        if failure.retry_after is not None:
            return Retry(failure.retry_after)
        delay = self._delay(attempt)
        if isinstance(self.jitter, timedelta):
            return Retry(delay, self.jitter.total_seconds())
        return Retry(delay, delay * self.jitter)

    def _refusal(self, failure: Failure) -> str | None:
        """Why the match fields do not let `failure` be retried, or None."""
        types = failure.types or tuple(filter(None, (failure.type,)))
        if is_any(types, self.give_up_on):
            return f"{failure.type or types[0]} is in give_up_on"
        match failure.kind:
            case "timeout":
                return "retry_on_timeout is False" if self.retry_on_timeout is False else None
            case "connection":
                refused = self.retry_on_connection_error is False
                return "retry_on_connection_error is False" if refused else None
            case "status":
                return self._status_refusal(str(failure.status))
            case "error":
                if self.retry_on is None or is_any(types, (*self.retry_on, RetryAfterError)):
                    return None
                return f"{failure.type or 'the error'} is not in retry_on"

    def _status_refusal(self, status: str) -> str | None:
        patterns = {status, f"{status[0]}xx"}
        if not patterns.isdisjoint(self.retry_statuses_except):
            return f"status {status} is in retry_statuses_except"
        if self.retry_statuses is not None and patterns.isdisjoint(self.retry_statuses):
            return f"status {status} is not in retry_statuses"
        return None

    def _delay(self, attempt: int) -> float:
        match self.backoff:
            case "fixed":
                return self.delay
            case "exponential":
                doublings = min(attempt, 1000)  # 2.0**1000 still is a float
                return min(self.delay * 2.0**doublings, self.max_delay)
            case waits:
                return waits[min(attempt, len(waits) - 1)]


# -- checks: each gives back the value in the form it is kept in, or an error that names the field

STATUS_PATTERN = re.compile(r"[1-5](?:[0-9][0-9]|xx)")


def check_retries(value: object, name: str) -> int:
    """The number of retries, if it is one; an error calls it `name`. `retries=` is checked by it, too."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; it must be an int, 0 for no retry")
    if value < 0:
        raise ValueError(f"{name} is {value}; it must be 0 (no retry) or more")
    return value


def _check_backoff(value: object) -> Literal["fixed", "exponential"] | tuple[float, ...]:
    if value == "fixed":
        return "fixed"
    if value == "exponential":
        return "exponential"
    allowed = "'fixed', 'exponential', or a tuple of one delay or more"
    if isinstance(value, str) or value in ((), []):
        raise ValueError(f"backoff is {value!r}; it must be {allowed}")
    delays = cast("tuple[Duration, ...]", _items(value, "backoff", allowed))  # to_seconds looks at each
    return tuple(to_seconds(delay, f"backoff[{index}]") for index, delay in enumerate(delays))


def _check_jitter(value: object) -> float | timedelta:
    if isinstance(value, timedelta):
        to_seconds(value, "jitter")
        return value
    allowed = "a fraction of the wait from 0 to 1, or a timedelta: the most that is added"
    if not isinstance(value, (int, float)):
        raise TypeError(f"jitter is {value!r}; it must be {allowed}")
    if not 0 <= value <= 1:  # False for NaN too
        raise ValueError(f"jitter is {value!r}; it must be {allowed}")
    return float(value)


def _check_flag(value: object, name: str) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; it must be True, False, or None (retried)")
    return value


def _check_statuses(value: object, name: str) -> tuple[str, ...]:
    allowed = "a tuple of codes from '100' to '599' and classes from '1xx' to '5xx', like ('429', '5xx')"
    patterns: list[str] = []
    for item in _items(value, name, allowed):
        if not isinstance(item, str):
            raise TypeError(f"{name} has {item!r}, which is no str; it must be {allowed}")
        if not STATUS_PATTERN.fullmatch(item.lower()):
            raise ValueError(f"{name} has {item!r}; it must be {allowed}")
        patterns.append(item.lower())
    return tuple(patterns)


def _check_types(value: object, name: str) -> tuple[ErrorType, ...]:
    allowed = "a tuple of exception classes or their names, like (ValueError, 'CardDeclined')"
    types: list[ErrorType] = []
    for item in _items(value, name, allowed):
        if not (isinstance(item, str) and item) and not _is_exception_class(item):
            raise TypeError(f"{name} has {item!r}; it must be {allowed}")
        types.append(item)
    return tuple(types)


def _is_exception_class(value: object) -> TypeGuard[type[BaseException]]:
    return isinstance(value, type) and issubclass(value, BaseException)


def _items(value: object, name: str, allowed: str) -> tuple[object, ...]:
    """The items of a collection. A lone string is none, although Python would iterate over its letters."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
        raise TypeError(f"{name} is {value!r}; it must be {allowed}")
    return tuple(cast("Collection[object]", value))


# -- presets

RetryPolicy.DEFAULT = RetryPolicy()
RetryPolicy.AUTO_RETRY = RetryPolicy(backoff=(10, 20, 30, 50, 80), jitter=0.1)
RetryPolicy.INNGEST = RetryPolicy(
    4, backoff=(15, 30, 60, 120, 300, 600, 1200, 2400, 3600, 7200), jitter=timedelta(seconds=30)
)
RetryPolicy.NEVER = RetryPolicy(0)
