# ruff: noqa: N818 - these names are the contract's
"""Every exception that users raise or catch (CONTRACT section 3), and the recorded form of an error.

An exception object lives in one process, a history outlives many. What a run's log keeps of an error, and
what a workflow gets to see of it, live as on replay, is therefore an `ErrorInfo`: names and text
(DESIGN rule 14).
"""

from collections.abc import Iterable
from typing import TypeAlias

from msgspec import Struct

from durably.engine.retries.retry_after import RetryAfter

__all__ = [
    "ChildError",
    "DurablyError",
    "ErrorInfo",
    "ErrorType",
    "EventConflict",
    "Forbidden",
    "InvalidInput",
    "NonRetriableError",
    "NondeterminismError",
    "NotBuilt",
    "RetryAfterError",
    "RunCanceled",
    "RunConflict",
    "RunFailed",
    "RunNotFound",
    "StepError",
    "StoreError",
    "TimedOut",
    "WorkerLost",
    "is_any",
    "qualified_name",
    "qualified_names",
]

# -- types by name

ErrorType: TypeAlias = type[BaseException] | str
"""An exception class, or its name: `"shop.payments.CardDeclined"`, or the end of that, `"CardDeclined"`."""


def qualified_name(cls: type) -> str:
    """How a class is named in a history: `module.QualName`, a builtin without its module.

    Durably's own classes are named as users import them, `durably.StepError`: histories outlive our modules.
    """
    module = str(cls.__module__)
    if module == "builtins":
        return cls.__qualname__
    if module.partition(".")[0] == "durably":
        module = "durably"
    return f"{module}.{cls.__qualname__}"


def qualified_names(cls: type) -> tuple[str, ...]:
    """The names of a class and of all it inherits from, most special first, without `object`."""
    return tuple(qualified_name(base) for base in cls.__mro__[:-1])


def is_any(types: Iterable[str], wanted: Iterable[ErrorType]) -> bool:
    """Whether one of the recorded names `types` is one of those `wanted`.

    A class is found by its qualified name only, so that the builtin `TimeoutError` is not taken for
    `lib.TimeoutError`.
    """
    known = tuple(types)
    for each in wanted:
        if isinstance(each, str):
            if any(name == each or name.endswith(f".{each}") for name in known):
                return True
        elif qualified_name(each) in known:
            return True
    return False


class ErrorInfo(Struct, frozen=True, omit_defaults=True):
    """What a history keeps of an exception (CONTRACT section 6: `error`). `describe` makes it."""

    type: str
    """The qualified name of its class."""
    types: tuple[str, ...]
    """The qualified names of its class and of all it inherits from, most special first."""
    message: str
    traceback: str = ""
    cause: "ErrorInfo | None" = None
    """What Python prints above it: its `__cause__`, or the error that was being handled."""
    group: "tuple[ErrorInfo, ...]" = ()
    """The members of an exception group."""
    status: int | None = None
    """The HTTP status of the answer that the error is about."""

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


# -- above all


class DurablyError(Exception):
    """The root of Durably's exceptions: catch it to catch them all."""


# -- raised by steps and bodies


class NonRetriableError(DurablyError):
    """Raise it when trying again cannot help: the step, or the run if a body raises it, fails at once.

    No retry policy is asked. Subclass it for permanent errors of your own; raise it `from` the error that you
    caught and the history shows both. In the workflow the failed step is a `StepError` like any other, and
    can be caught.
    """


class RetryAfterError(DurablyError):
    """Raise it to say when to try again, instead of after the wait of the policy.

    `retry_after` is a number of seconds, a `timedelta`, a `datetime` (a naive one is UTC) or the text of a
    `Retry-After` header. It is clipped to 1 s … 24 h, gets no jitter and uses up an attempt: after the last
    one the step fails. Where it cannot be read the policy's own wait holds, with a warning.
    """

    def __init__(self, message: str, retry_after: RetryAfter) -> None:
        super().__init__(message, retry_after)
        self.message = message
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.message


# -- raised in workflows


class StepError(DurablyError):
    """A step has failed for good: its retries are used up, or its error is not to be retried.

    Raised in the workflow where the step was awaited. Catch it to go on without the step or to compensate; if
    it escapes, the run fails at once. The original exception is never raised again, because on replay it
    could not be: ask `matches`, or read `type`, `message`, `traceback` and, where it was about the answer of an
    HTTP service, its `status`. `error` is the whole record, with causes.
    """

    def __init__(self, step: str, error: ErrorInfo, attempts: int = 1) -> None:
        super().__init__(step, error, attempts)
        self.step = step
        self.error = error
        self.attempts = attempts
        self.type = error.type
        self.types = error.types
        self.message = error.message
        self.traceback = error.traceback
        self.status = error.status

    def matches(self, *types_or_names: ErrorType) -> bool:
        """Whether the original exception was of one of these types, or of a type that inherits from one.

        A class matches by its qualified name. A name may be qualified or the end of that: `"CardDeclined"`
        matches `shop.payments.CardDeclined`.
        """
        return is_any(self.types, types_or_names)

    def __str__(self) -> str:
        tries = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        return f"step {self.step!r} failed after {tries}: {self.error}"


class WorkerLost(StepError):
    """A step's process died under it too often: `max_lost` crashes in a row, or one with `on_lost="fail"`.

    DESIGN rule 12. Look for what kills the process: memory, a crash in native code, a signal. The body may
    have run several times up to any line, so look at what it has done before you run it again.
    """


class ChildError(DurablyError):
    """A child run has ended otherwise than SUCCEEDED. Raised where the workflow awaited it.

    `status` is FAILED or CANCELED, `error` what the child failed with, None for a canceled one. Catch it to
    go on; if it escapes, the run fails at once. The child's own history is under `run_id`.
    """

    def __init__(self, run_id: str, status: str, error: ErrorInfo | None = None) -> None:
        super().__init__(run_id, status, error)
        self.run_id = run_id
        self.status = status
        self.error = error

    def __str__(self) -> str:
        because = "" if self.error is None else f": {self.error}"
        return f"child run {self.run_id!r} ended {self.status}{because}"


# -- from handles


class RunFailed(DurablyError):
    """The run whose result was asked for has failed. `error` is what it failed with.

    `durably show RUN` prints its history; `rerun` and `fork` start from it anew.
    """

    def __init__(self, run_id: str, error: ErrorInfo) -> None:
        super().__init__(run_id, error)
        self.run_id = run_id
        self.error = error

    def __str__(self) -> str:
        return f"run {self.run_id!r} failed: {self.error}"


class RunCanceled(DurablyError):
    """The run whose result was asked for was canceled, so there is none."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"run {self.run_id!r} was canceled and has no result"


class TimedOut(DurablyError):
    """A run was not done within its workflow's `timeout`. It is what such a run FAILED with, and is never raised."""


class RunNotFound(DurablyError):
    """No run has this id in this store. Check the id, and that it is the store the run was started in."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"there is no run {self.run_id!r} in this store; check the id and the store's URL"


class RunConflict(DurablyError):
    """What was asked does not fit the run that exists.

    It has this id but another workflow or input: take another id. Or it has ended: it takes no signals.
    """


class EventConflict(DurablyError):
    """An event with this id was sent within 24 h with another body. One id is one event: take a new id."""


class InvalidInput(NonRetriableError):
    """The input does not fit the workflow's annotations, or is over a limit. Nothing was started or sent."""


class NondeterminismError(DurablyError):
    """The code does not do what the history says it did, so the history cannot be replayed with it.

    Put the code back, or bring the change under `patched`. A run in production is not failed by this: it is
    blocked, and goes on when fitting code is deployed (DESIGN rule 13). `kind` says how they differ, in a word or
    two, such as `"renamed"`.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message, kind)
        self.kind = kind

    def __str__(self) -> str:
        return str(self.args[0])


class StoreError(DurablyError):
    """The store did not do what was asked: it cannot be opened, is full, or is owned by another engine.

    The message says which. After a write it does not say whether the write is there: ask the store.
    """


# -- what was called and cannot be


class NotBuilt(NonRetriableError):
    """A name of the public contract that is not built yet. There is nothing to do but to go without it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"{self.name} is part of Durably's contract and is not built yet"


class Forbidden(NonRetriableError):
    """A workflow did what cannot be deterministic: it opened a socket, started a thread or a process, …

    Never retried, since it would do so again (DESIGN rule 14). Move the call into a step, where everything is
    allowed.
    """

    def __init__(self, call: str, instead: str = "put the call in a step") -> None:
        super().__init__(call, instead)
        self.call = call
        self.instead = instead

    def __str__(self) -> str:
        return f"a workflow must not call {self.call}: replay could not repeat it; {self.instead}"
