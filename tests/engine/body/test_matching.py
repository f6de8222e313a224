"""What counts as the same, and what as different: the decision alone, for every command there is."""

from asyncio import CancelledError
from typing import Any, get_args

import pytest
from msgspec import Raw
from msgspec.structs import replace

from durably import workflow
from durably.engine.body.calls import ContinueAsNew
from durably.engine.body.matching import Kind, Mismatch, identity, match
from durably.engine.errors import ErrorInfo
from durably.engine.log.limits import history_too_long
from durably.engine.log.records import (
    ENDS,
    AttemptStarted,
    BodyFailed,
    ChildCancelRequested,
    ChildStarted,
    Command,
    EventAwaited,
    EventSent,
    PatchMarked,
    RunCanceled,
    RunContinued,
    RunFailed,
    RunSucceeded,
    SignalAwaited,
    SignalSent,
    StepCanceled,
    StepScheduled,
    TimerCanceled,
    TimerSet,
    WaitCanceled,
    from_us,
)

SOON, LATER = from_us(1_000_000), from_us(2_000_000)


STARTED = AttemptStarted(step="0/charge#0", name="charge", attempt=0, start=0, digest="d1")
AWAITED = EventAwaited(wait="0/event#0", event="app/paid", match=Raw(b'{"id":1}'), timeout=60.0)
SIGNAL = SignalAwaited(wait="0/signal#0", signal="approve", timeout=60.0)
SENT = EventSent(send="0/send#0", events=Raw(b"[]"), digest="d1")
TOLD = SignalSent(send="0/tell#0", run="r2", signal="go", data=Raw(b"1"), digest="d1")
CHILD = ChildStarted(child="0/ship#0", run="r2", workflow="ship", version=1, input=Raw(b"{}"), digest="d1")
TIMER = TimerSet(timer="0/timer#0", delay=60.0, due_at=SOON)

# -- one command of each type: what may differ in it, and what may not

SAME: list[tuple[Command, Command]] = [
    (STARTED, replace(STARTED, line="flows.py:7", start=2)),
    (STARTED, StepScheduled(step="0/charge#0", name="charge", digest="d1")),
    (StepScheduled(step="0/charge#0", name="charge", digest="d1"), STARTED),
    (StepCanceled(step="0/charge#0", name="charge"), StepCanceled(step="0/charge#0", name="charge")),
    (TIMER, TimerSet(timer="0/timer#0", delay=60.0, due_at=LATER)),
    (TimerCanceled(timer="0/timer#0"), TimerCanceled(timer="0/timer#0")),
    (AWAITED, replace(AWAITED, match=Raw(b'{ "id": 1 }'), until=LATER, since=SOON)),
    (SIGNAL, replace(SIGNAL, until=LATER)),
    (WaitCanceled(wait="0/event#0"), WaitCanceled(wait="0/event#0")),
    (SENT, SENT),
    (TOLD, TOLD),
    (CHILD, replace(CHILD, line="flows.py:7")),
    (ChildCancelRequested(child="0/ship#0"), ChildCancelRequested(child="0/ship#0")),
    (PatchMarked(patch="vat"), PatchMarked(patch="vat")),
]

CHANGED: list[tuple[Command, Command, Kind]] = [
    (STARTED, replace(STARTED, digest="d2"), "changed arguments"),
    (STARTED, StepScheduled(step="0/charge#0", name="charge", digest="d2"), "changed arguments"),
    (TIMER, TimerSet(timer="0/timer#0", delay=61.0, due_at=SOON), "changed delay"),
    (AWAITED, replace(AWAITED, event="app/refunded"), "changed wait"),
    (AWAITED, replace(AWAITED, match=Raw(b'{"id":2}')), "changed wait"),
    (AWAITED, replace(AWAITED, match=Raw(b"null")), "changed wait"),
    (AWAITED, replace(AWAITED, where="event.data.sum > 1"), "changed wait"),
    (AWAITED, replace(AWAITED, vars=Raw(b'{"least":1}')), "changed wait"),
    (AWAITED, replace(AWAITED, timeout=None), "changed wait"),
    (SIGNAL, replace(SIGNAL, signal="refuse"), "changed wait"),
    (SIGNAL, replace(SIGNAL, timeout=61.0), "changed wait"),
    (SENT, replace(SENT, digest="d2"), "changed arguments"),
    (TOLD, replace(TOLD, digest="d2"), "changed arguments"),
    (TOLD, replace(TOLD, run="r3"), "changed arguments"),
    (TOLD, replace(TOLD, signal="stop"), "changed arguments"),
    (CHILD, replace(CHILD, digest="d2"), "changed arguments"),
    (CHILD, replace(CHILD, workflow="deliver"), "changed arguments"),
]


@pytest.mark.parametrize(("recorded", "got"), SAME, ids=lambda each: type(each).__name__)
def test_the_same_command(recorded: Command, got: Command) -> None:
    assert identity(recorded) == identity(got)
    assert match([recorded], [got]) is None


@pytest.mark.parametrize(("recorded", "got", "kind"), CHANGED, ids=lambda each: type(each).__name__)
def test_a_command_that_asks_for_something_else(recorded: Command, got: Command, kind: Kind) -> None:
    assert match([recorded], [got]) == Mismatch(kind, recorded, got)


def test_the_tables_above_have_every_command() -> None:
    assert {type(recorded) for recorded, _ in SAME} == set(get_args(Command)) - ENDS


@pytest.mark.parametrize("command", [each for each, _ in SAME], ids=lambda each: type(each).__name__)
def test_a_command_that_only_one_side_has(command: Command) -> None:
    other = replace(STARTED, step="0/other#0")
    if isinstance(command, PatchMarked):
        return  # see below
    assert match([command], []) == Mismatch("missing", command, None)
    assert match([], [command]) == Mismatch("extra", None, command)
    assert match([command], [other]) == Mismatch("missing", command, other)
    assert match([other], [other, command]) == Mismatch("extra", None, command)


def test_the_order_within_a_group_is_no_difference() -> None:
    commands = [replace(STARTED, step="0/0/a#0"), TIMER, AWAITED, CHILD]
    assert match(commands, commands[::-1]) is None


# -- patches


def test_a_patch_that_the_code_no_longer_asks_for_is_no_difference() -> None:
    assert match([PatchMarked(patch="vat"), STARTED], [STARTED]) is None


def test_a_patch_that_the_history_marks_elsewhere_is_no_difference() -> None:
    assert match([STARTED], [PatchMarked(patch="vat"), STARTED], patches={"vat"}) is None


def test_a_patch_that_the_history_lacks_is_one() -> None:
    mark = PatchMarked(patch="vat")
    assert match([STARTED], [mark, STARTED], patches={"other"}) == Mismatch("new patch", None, mark)


# -- ends


@workflow
async def pages(page: int) -> None: ...


def continued(page: int) -> ContinueAsNew:
    return ContinueAsNew(pages.signature.bind((page,), {}))


ERROR = ErrorInfo("LookupError", ("LookupError",), "no such order")
SUCCESS = RunSucceeded(output=Raw(b'{ "a": 1 }'))
FAILURE = RunFailed(error=ERROR)
TIMED_OUT = RunFailed(error=ErrorInfo("durably.TimedOut", ("durably.TimedOut",), "too late"))
RETRY = BodyFailed(error=ERROR, attempt=0, retry_at=SOON, max_retries=3)
CONTINUED = RunContinued(continued_to="r2", version=1, input=Raw(b'{ "page": 2 }'))


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (SUCCESS, b'{"a":1}'),
        (RunSucceeded(output=Raw(b'["a","b"]')), b'["b","a"]'),  # a set, in another process
        (FAILURE, LookupError("another message")),
        (RETRY, LookupError()),
        (TIMED_OUT, CancelledError()),
        (RunCanceled(), CancelledError()),
        (CONTINUED, continued(2)),
    ],
)
def test_the_same_end(end: Command, outcome: bytes | BaseException) -> None:
    assert match([STARTED, end], [STARTED], outcome) is None


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (SUCCESS, b'{"a":2}'),
        (SUCCESS, LookupError()),
        (FAILURE, b"1"),
        (FAILURE, ValueError()),
        (RETRY, CancelledError()),
        (RunCanceled(), b"1"),
        (RunCanceled(), LookupError()),
        (TIMED_OUT, ValueError()),
        (CONTINUED, continued(3)),
        (CONTINUED, b'{"page":2}'),
        (SUCCESS, continued(1)),
    ],
)
def test_another_end(end: Command, outcome: bytes | BaseException) -> None:
    assert match([STARTED, end], [STARTED], outcome) == Mismatch("ended otherwise", end, None, outcome)


@pytest.mark.parametrize(
    "end", [RunCanceled(stopped=True), history_too_long(60_000, 1)], ids=["stopped", "history too long"]
)
@pytest.mark.parametrize("outcome", [None, b"1", LookupError()])
def test_an_end_that_the_engine_made_fits_whatever_the_code_did(end: Command, outcome: Any) -> None:
    assert match([end], [STARTED], outcome) is None
    assert match([STARTED, end], [], outcome) is None


def test_an_end_that_comes_too_early() -> None:
    assert match([TIMER], [], b"1") == Mismatch("ended early", TIMER, None, b"1")
    assert match([TIMER], [TIMER], b"1") == Mismatch("ended early", None, None, b"1")


def test_an_end_that_does_not_come() -> None:
    assert match([SUCCESS], []) == Mismatch("ended late", SUCCESS, None)
    assert match([SUCCESS], [TIMER]) == Mismatch("ended late", SUCCESS, TIMER)
    assert match([TIMER, SUCCESS], []) == Mismatch("missing", TIMER, None)
