"""What a stored retry policy is: its fields and their limits as the third seed gives them, and what it means."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from durably.engine.retries.retry import RetryPolicy

__all__ = ["MAX_DELAY_S", "STATUS_REGEX", "PolicyFields", "StatusPattern", "to_retry_policy"]

MAX_DELAY_S = 366 * 86_400
"""The longest wait, in seconds: a year. The seed has no limit, and engine time has."""

SUCCESSORS = "retry_on_timeout, retry_on_connection_error, retry_statuses and retry_statuses_except"

Delay = Annotated[int, Meta(ge=1, le=MAX_DELAY_S)]
STATUS_REGEX = "^[1-5]([0-9][0-9]|[xX][xX])$(?!\\n)"
StatusPattern = Annotated[str, Meta(pattern=STATUS_REGEX)]
"""An exact code, "429", or a class, "5xx", whose letters may be of either case. A `$` alone lets a line break pass."""
Statuses = Annotated[list[StatusPattern], Meta(max_length=500)]  # there are as many codes


class PolicyFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields that a client writes.

    A match field that is left out does nothing: "a policy retries exactly the failures you opt into".
    """

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    max_retries: Annotated[int, Meta(ge=0, le=10)]
    """After the first attempt; 0 disables retries."""
    backoff: Literal["fixed", "exponential"]
    delay_seconds: Delay
    max_delay_seconds: Delay | None = None
    """Only with exponential backoff; None: the waits double without end."""
    retry_on_timeout: bool = False
    retry_on_connection_error: bool = False
    retry_statuses: Statuses = []
    retry_statuses_except: Statuses = []
    retry_on: Any | UnsetType = UNSET
    """The match rule of former days, which is refused: it must not look as if it did something."""

    def flaws(self) -> list[tuple[str, str]]:
        """What no single field shows: the name of a field, and what is wrong with it."""
        found: list[tuple[str, str]] = []
        if self.retry_on is not UNSET:
            found.append(("retry_on", f"retry_on was replaced by {SUCCESSORS}: say it with these"))
        if self.backoff == "fixed" and self.max_delay_seconds is not None:
            message = (
                "max_delay_seconds is only valid with exponential backoff: leave it out, or make it null, for fixed"
            )
            found.append(("max_delay_seconds", message))
        return found

    def normalized(self) -> "PolicyFields":
        """As they are stored: class tokens in lower case."""
        return msgspec.structs.replace(
            self,
            retry_statuses=[pattern.lower() for pattern in self.retry_statuses],
            retry_statuses_except=[pattern.lower() for pattern in self.retry_statuses_except],
        )


def to_retry_policy(fields: PolicyFields) -> RetryPolicy:
    """The policy as the engine applies it: exact waits without jitter, and no failure that was not opted into.

    So errors that are neither a timeout nor a connection error nor an answer's status are never retried (DESIGN
    section 5): in a step, only a `RetryAfterError` is.
    """
    return RetryPolicy(
        fields.max_retries,
        backoff=fields.backoff,
        delay=fields.delay_seconds,
        max_delay=MAX_DELAY_S if fields.max_delay_seconds is None else fields.max_delay_seconds,
        jitter=0,
        retry_on_timeout=fields.retry_on_timeout,
        retry_on_connection_error=fields.retry_on_connection_error,
        retry_statuses=fields.retry_statuses,
        retry_statuses_except=fields.retry_statuses_except,
        retry_on=(),
    )
