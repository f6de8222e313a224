"""Which records a fork takes over, and as what (DESIGN section 3, "Fork"): tables of histories."""

import pytest
from msgspec import Raw
from msgspec.structs import replace

from durably import ErrorInfo, InvalidInput
from durably.engine.log.changes import Changes
from durably.engine.log.fork import Forked, Prefix, fork_point, take_over
from durably.engine.log.grammar import Entry
from durably.engine.log.records import (
    NOTHING,
    AttemptFailed,
    AttemptLost,
    AttemptStarted,
    BodyFailed,
    BodyStarted,
    CancelRequested,
    OutcomeGiven,
    Published,
    Record,
    RunBlocked,
    RunCanceled,
    RunCreated,
    RunFailed,
    RunStarted,
    RunSucceeded,
    RunUnblocked,
    StepCanceled,
    StepFailed,
    StepScheduled,
    StepSucceeded,
    TimerFired,
    TimerSet,
    from_us,
)
from durably.engine.log.state import fold
from durably.engine.values.overriding import override

ERROR = ErrorInfo("ValueError", ("ValueError",), "no")
CREATED = RunCreated(
    workflow="w",
    version=1,
    input=Raw(b"{}"),
    trigger="CHILD",
    event=NOTHING,
    environment="production",
    test=False,
    parent="p",
    child="0/w#0",
)
STARTED = RunStarted(code="c", python="3", anyio="4", engine="1", seed=1)
BODY_FAILED = BodyFailed(attempt=0, error=ERROR, retry_at=from_us(0), max_retries=4)
AGAIN = BodyStarted(attempt=1)
FAILED = RunFailed(error=ERROR)
CANCEL = CancelRequested(reason="requested")
NO_CHANGES = Changes({}, {})
MADE_AT = from_us(999)
FORKED = Forked("r", "f", MADE_AT)


def called(key: str, attempt: int = 0, start: int = 0) -> AttemptStarted:
    return AttemptStarted(step=key, name=key, attempt=attempt, start=start, input=Raw(b'{"x":1,"y":2}'), digest="d")


def scheduled(key: str) -> StepScheduled:
    return StepScheduled(step=key, name=key, input=Raw(b'{"x":1,"y":2}'), digest="d")


def ended(key: str, output: bytes = b"null", attempt: int = 0) -> StepSucceeded:
    return StepSucceeded(step=key, name=key, attempt=attempt, output=Raw(output))


def failed(key: str) -> StepFailed:
    return StepFailed(step=key, name=key, attempt=0, error=ERROR)


def canceled(key: str) -> StepCanceled:
    return StepCanceled(step=key, name=key)


def missed(key: str, attempt: int = 0) -> AttemptFailed:
    return AttemptFailed(step=key, name=key, attempt=attempt, error=ERROR, retry_at=from_us(0), max_retries=4)


def lost(key: str) -> AttemptLost:
    return AttemptLost(step=key, name=key, attempt=0, start=0, reason="crash")


def said(sender: str) -> Published:
    return Published(message=f"{sender}/message#0", topic="t", data=NOTHING)


def given(key: str, output: bytes = b"null") -> OutcomeGiven:
    return OutcomeGiven(record=ended(key, output), happened_at=MADE_AT)


def entries(*records: Record) -> list[Entry]:
    return [Entry(seq, seq, record) for seq, record in enumerate((CREATED, *records), 1)]


def taken(prefix: Prefix) -> list[Record]:
    """The records behind run.created, which are numbered, in time, and add up."""
    assert [each.seq for each in prefix.entries] == list(range(1, len(prefix.entries) + 1))
    times = [each.at_us for each in prefix.entries]
    assert times == sorted(times)
    fold((each.at_us, each.record) for each in prefix.entries)
    return [each.record for each in prefix.entries[1:]]


def fork(records: list[Record], point: int | None = None, **outcomes: Record) -> Prefix:
    changed = Changes(outcomes, {})  # type: ignore[arg-type]  # of outcomes
    return take_over(entries(*records), point or len(records) + 1, changed, FORKED)


# -- where

BLOCKED = RunBlocked(code="c", error=ERROR)
A_THEN_B = (
    STARTED,
    called("a"),
    missed("a"),
    called("a", 1),
    ended("a"),
    called("b"),
    missed("b"),
    failed("b"),
    FAILED,
)


@pytest.mark.parametrize(
    ("records", "at", "point"),
    [
        (A_THEN_B, None, 6),
        (A_THEN_B, 1, 1),
        (A_THEN_B, 2, 2),
        (A_THEN_B, 5, 2),
        (A_THEN_B, 6, 6),
        (A_THEN_B, 8, 6),
        (A_THEN_B, 9, 9),
        (A_THEN_B, 10, 9),
        (A_THEN_B, "a", 2),
        (A_THEN_B, "b", 6),
        pytest.param((STARTED, FAILED), None, 2, id="a body that failed at once begins anew"),
        pytest.param((STARTED, called("a"), ended("a"), FAILED), None, 4, id="a body that failed on a result has it"),
        pytest.param((STARTED, called("a"), CANCEL, canceled("a"), RunCanceled()), None, 2, id="canceled"),
        pytest.param(
            (STARTED, called("a"), CANCEL, canceled("a"), called("b"), ended("b"), FAILED),
            None,
            2,
            id="failed after a cancel",
        ),
        pytest.param((CANCEL, RunCanceled()), None, 1, id="canceled before the start"),
        pytest.param((CANCEL, RunCanceled()), 2, 1, id="at a cancel before the start"),
        pytest.param(
            (STARTED, BODY_FAILED, CANCEL, RunCanceled()), None, 2, id="canceled while the body's retry waits"
        ),
        pytest.param((STARTED, BODY_FAILED, AGAIN, FAILED), None, 4, id="the last incarnation"),
        pytest.param((STARTED, called("a"), BODY_FAILED, AGAIN, called("a"), ended("a")), "a", 5, id="called twice"),
    ],
)
def test_where_a_fork_begins(records: tuple[Record, ...], at: int | str | None, point: int) -> None:
    assert fork_point(entries(*records), at) == point


@pytest.mark.parametrize(
    ("records", "at", "message"),
    [
        (A_THEN_B, 0, "there is no record 0"),
        (A_THEN_B, 11, "there is no record 11: the run's history has records 1 to 10"),
        (A_THEN_B, "c", "no step 'c'; it has a, b"),
        ((STARTED, called("a")), None, "has not failed: say with at="),
        ((STARTED, RunSucceeded(output=NOTHING)), None, "has not failed: say with at="),
        ((given("a"), STARTED), "a", "its outcome was given"),
    ],
)
def test_where_no_fork_can_begin(records: tuple[Record, ...], at: int | str | None, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        fork_point(entries(*records), at)


# -- what is taken over


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param(
            [STARTED, called("a"), missed("a"), called("a", 1), ended("a", attempt=1)],
            None,
            id="an ended step as it is",
        ),
        pytest.param([STARTED, called("a"), TimerSet(timer="t", delay=1, due_at=from_us(5)), ended("a")], None),
        pytest.param(
            [STARTED, called("a"), called("b"), missed("b"), ended("a")],
            [STARTED, called("a"), scheduled("b"), ended("a")],
            id="a step that waits for its retry",
        ),
        pytest.param(
            [STARTED, scheduled("b"), called("b"), lost("b"), called("b", 0, 1), called("a"), ended("a")],
            [STARTED, scheduled("b"), called("a"), ended("a")],
            id="a step that was scheduled, lost and started again",
        ),
        pytest.param(
            [STARTED, called("a"), said("a"), called("b"), said("b"), said("0"), ended("a")],
            [STARTED, called("a"), said("a"), scheduled("b"), said("0"), ended("a")],
            id="what a step without an end has said",
        ),
        pytest.param(
            [STARTED, called("b"), BLOCKED, RunUnblocked(code="c"), CANCEL],
            [STARTED, scheduled("b"), CANCEL],
            id="no blocks",
        ),
        pytest.param(
            [STARTED, called("b"), BODY_FAILED, AGAIN],
            [STARTED, scheduled("b"), BODY_FAILED, AGAIN],
            id="a step without an end in an earlier incarnation",
        ),
        pytest.param(
            [STARTED, called("b"), BODY_FAILED, AGAIN, called("b", 0, 1), missed("b"), CANCEL],
            [STARTED, scheduled("b"), BODY_FAILED, AGAIN, scheduled("b"), CANCEL],
            id="and called again in a later one",
        ),
        pytest.param(
            [STARTED, called("a"), called("b"), ended("a"), canceled("b"), BODY_FAILED, AGAIN],
            None,
            id="a canceled step as it is",
        ),
    ],
)
def test_what_a_fork_takes_over(records: list[Record], expected: list[Record] | None) -> None:
    prefix = fork(records)
    assert taken(prefix) == (records if expected is None else expected)
    assert prefix.late == []


def test_a_fork_is_a_run_of_its_own() -> None:
    prefix = fork([STARTED, called("b"), BLOCKED, called("a"), ended("a"), FAILED], 6)
    created = prefix.entries[0].record
    assert isinstance(created, RunCreated)
    assert (created.trigger, created.origin, created.parent, created.child) == ("FORK", "r", None, "")
    assert created.copied is not None
    assert (created.copied.upto, created.copied.made_at) == (5, MADE_AT)


@pytest.mark.parametrize(
    ("records", "expected", "late"),
    [
        pytest.param([STARTED], [given("b", b"1"), STARTED], [], id="not called yet: before the body"),
        pytest.param([], [given("b", b"1")], [], id="before the body's start"),
        pytest.param([STARTED, called("b"), ended("b", b"0", 2)], [STARTED, called("b"), ended("b", b"1", 2)], []),
        pytest.param([STARTED, called("b"), failed("b")], [STARTED, called("b"), ended("b", b"1")], []),
        pytest.param([given("b", b"0"), STARTED], [given("b", b"1"), STARTED], [], id="given before"),
        pytest.param(
            [STARTED, called("b"), missed("b"), CANCEL],
            [STARTED, scheduled("b"), CANCEL],
            [ended("b", b"1")],
            id="called, and without an end",
        ),
        pytest.param(
            [STARTED, called("b"), BODY_FAILED, AGAIN],
            [STARTED, scheduled("b"), BODY_FAILED, given("b", b"1"), AGAIN],
            [],
            id="not called yet by the incarnation: before that",
        ),
        pytest.param(
            [STARTED, called("b"), ended("b"), BODY_FAILED, AGAIN],
            [STARTED, called("b"), ended("b", b"1"), BODY_FAILED, AGAIN],
            [],
            id="ended in an earlier incarnation",
        ),
        pytest.param(
            [STARTED, called("b"), CANCEL, canceled("b"), BODY_FAILED, AGAIN],
            [STARTED, called("b"), CANCEL, canceled("b"), BODY_FAILED, given("b", b"1"), AGAIN],
            [],
            id="canceled in an earlier incarnation",
        ),
    ],
)
def test_where_a_given_outcome_goes(records: list[Record], expected: list[Record], late: list[Record]) -> None:
    prefix = fork(records, b=ended("b", b"1"))
    shown = [replace(each, happened_at=MADE_AT) if isinstance(each, OutcomeGiven) else each for each in taken(prefix)]
    assert shown == expected
    assert prefix.late == late


def test_replaced_arguments() -> None:
    """They stand in the record of a step that was called, and in run.created for when the code calls it."""
    changed = Changes({}, {"b": Raw(b'{"y":3}'), "c": Raw(b'{"z":1}')})
    first = take_over(entries(STARTED, called("b"), CANCEL), 4, changed, FORKED)
    raw, digest = override(b'{"x":1,"y":2}', "d", Raw(b'{"y":3}'))
    assert raw == b'{"x":1,"y":3}'
    assert taken(first)[1] == replace(scheduled("b"), input=Raw(raw), digest=digest)
    again = Changes({}, {"b": Raw(b'{"x":4}')})
    second = take_over(first.entries, 4, again, FORKED)
    raw, digest = override(raw, digest, Raw(b'{"x":4}'))
    assert taken(second)[1] == replace(scheduled("b"), input=Raw(raw), digest=digest)
    created = second.entries[0].record
    assert isinstance(created, RunCreated)
    assert created.copied is not None
    assert created.copied.args == {"b": (Raw(b'{"y":3}'), Raw(b'{"x":4}')), "c": (Raw(b'{"z":1}'),)}


def test_what_is_given_too_late() -> None:
    history = entries(STARTED, called("a"), ended("a"), called("b"), TimerFired(timer="t"), canceled("b"), CANCEL)
    for outcomes, args, message in (
        ({}, {"a": Raw(b"{}")}, r"step a has ended before the fork; .*at='a'"),
        ({}, {"b": Raw(b"{}")}, r"step b has ended before the fork"),
        ({"b": ended("b")}, {}, r"step b was canceled before the fork"),
    ):
        with pytest.raises(InvalidInput, match=message):
            take_over(history, 8, Changes(outcomes, args), FORKED)  # type: ignore[arg-type]


def test_steps_that_are_taken_over_are_not_counted() -> None:
    prefix = fork([STARTED, called("a"), ended("a"), called("b"), CANCEL])
    state = fold((each.at_us, each.record) for each in prefix.entries)
    assert state.tasks == 0
    state.apply(called("b"), 1_000)
    assert state.tasks == 1


def test_a_fork_was_created_and_started_when_it_was_made() -> None:
    state = fold((each.at_us, each.record) for each in fork([STARTED, called("a"), ended("a")]).entries)
    assert (state.created_us, state.started_us) == (999, 999)
