import copy
import pickle
from datetime import timedelta

import msgspec
import pytest

from durably.engine import errors
from durably.engine.errors import (
    ChildError,
    DurablyError,
    ErrorInfo,
    EventConflict,
    Forbidden,
    InvalidInput,
    NondeterminismError,
    NonRetriableError,
    NotBuilt,
    RetryAfterError,
    RunCanceled,
    RunConflict,
    RunFailed,
    RunNotFound,
    StepError,
    StoreError,
    TimedOut,
    WorkerLost,
    qualified_name,
    qualified_names,
)


class Declined(ValueError):  # noqa: N818 - stands for a user's
    class Inner(Exception):  # noqa: N818 - stands for a user's nested class
        pass


HERE = Declined.__module__
INFO = ErrorInfo(
    type=qualified_name(Declined),
    types=qualified_names(Declined),
    message="no funds",
    traceback="Traceback (most recent call last):\n",
)
ALL: list[DurablyError] = [
    NonRetriableError("the user is gone"),
    RetryAfterError("rate limit", timedelta(seconds=30)),
    StepError("charge", INFO, 5),
    WorkerLost("resize", ErrorInfo("durably.WorkerLost", ("durably.WorkerLost",), "killed 3 times"), 1),
    ChildError("r-2", "FAILED", INFO),
    ChildError("r-2", "CANCELED"),
    RunFailed("r-1", INFO),
    RunCanceled("r-1"),
    RunNotFound("r-1"),
    TimedOut("the run had not ended 30 s after its start"),
    RunConflict("run 'r-1' exists with other input"),
    EventConflict("event 'e-1' was sent with another body"),
    InvalidInput("`cents` must be an int"),
    NondeterminismError("expected 0/charge#0, got 0/refund#0"),
    StoreError("the disk is full"),
    NotBuilt("Engine(throttle=)"),
    Forbidden("socket.socket"),
]


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_every_error_is_a_durably_error_and_survives_pickle_and_copy(error: DurablyError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):  # noqa: S301 - our own bytes
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_every_public_exception_is_in_the_table_above_and_says_what_it_means() -> None:
    public = {value for name in errors.__all__ if isinstance(value := getattr(errors, name), type)}
    exceptions = {cls for cls in public if issubclass(cls, BaseException)}
    assert exceptions == {type(error) for error in ALL} | {DurablyError}
    assert all(cls.__doc__ for cls in exceptions)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (StepError("charge", INFO, 5), f"step 'charge' failed after 5 attempts: {HERE}.Declined: no funds"),
        (
            StepError("a", ErrorInfo("KeyError", ("KeyError",), "")),
            "step 'a' failed after 1 attempt: KeyError",
        ),
        (ChildError("r-2", "FAILED", INFO), f"child run 'r-2' ended FAILED: {HERE}.Declined: no funds"),
        (ChildError("r-2", "CANCELED"), "child run 'r-2' ended CANCELED"),
        (RunFailed("r-1", INFO), f"run 'r-1' failed: {HERE}.Declined: no funds"),
        (RunCanceled("r-1"), "run 'r-1' was canceled and has no result"),
        (RunNotFound("r-1"), "there is no run 'r-1' in this store; check the id and the store's URL"),
        (RetryAfterError("rate limit", 30), "rate limit"),
        (NotBuilt("Run.fork"), "Run.fork is part of Durably's contract and is not built yet"),
        (
            Forbidden("socket.socket"),
            "a workflow must not call socket.socket: replay could not repeat it; put the call in a step",
        ),
    ],
)
def test_messages(error: DurablyError, text: str) -> None:
    assert str(error) == text


def test_a_step_error_shows_what_was_recorded() -> None:
    error = StepError("charge", INFO, 5)
    assert (error.step, error.attempts, error.error) == ("charge", 5, INFO)
    assert (error.type, error.types, error.message) == (INFO.type, INFO.types, "no funds")
    assert error.traceback == INFO.traceback


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ((Declined,), True),
        ((ValueError,), True),  # it inherits from it
        ((Exception,), True),
        ((KeyError,), False),
        ((KeyError, ValueError), True),
        (("Declined",), True),
        ((f"{HERE}.Declined",), True),
        (("ValueError",), True),
        (("elsewhere.Declined",), False),
        (("clined",), False),  # the end of a name only at a dot
        (("",), False),
        ((), False),
    ],
)
def test_matches(wanted: tuple[type[BaseException] | str, ...], found: bool) -> None:
    assert StepError("charge", INFO).matches(*wanted) is found


def test_a_class_does_not_match_another_of_the_same_bare_name() -> None:
    error = StepError("call", ErrorInfo("lib.TimeoutError", ("lib.TimeoutError", "Exception"), ""))
    assert error.matches("TimeoutError")
    assert not error.matches(TimeoutError)


def test_names() -> None:
    assert qualified_name(ValueError) == "ValueError"
    assert qualified_name(Declined.Inner) == f"{HERE}.Declined.Inner"
    assert qualified_name(StepError) == "durably.StepError"  # as users import it
    assert qualified_names(Declined) == (f"{HERE}.Declined", "ValueError", "Exception", "BaseException")


def test_a_worker_lost_is_a_step_error_and_a_child_error_is_not() -> None:
    assert issubclass(WorkerLost, StepError)
    assert not issubclass(ChildError, StepError)


@pytest.mark.parametrize("cls", [NotBuilt, Forbidden])
def test_what_can_never_succeed_is_non_retriable(cls: type[DurablyError]) -> None:
    assert issubclass(cls, NonRetriableError)


def test_an_error_is_recorded_without_what_is_empty() -> None:
    plain = ErrorInfo("KeyError", ("KeyError",), "'a'")
    nested = ErrorInfo("G", ("G",), "two", cause=plain, group=(plain, INFO))
    assert msgspec.json.encode(plain) == b'{"type":"KeyError","types":["KeyError"],"message":"\'a\'"}'
    assert msgspec.json.decode(msgspec.json.encode(nested), type=ErrorInfo) == nested
