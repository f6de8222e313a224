"""The fold: what a log adds up to, record by record (DESIGN rule 10)."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import Raw

from durably import ErrorInfo
from durably.engine.log.records import (
    AttemptFailed,
    AttemptLost,
    AttemptStarted,
    BodyFailed,
    BodyStarted,
    CancelRequested,
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
    TimerCanceled,
    TimerFired,
    TimerSet,
    from_us,
)
from durably.engine.log.state import RunState, fold

START = datetime(2026, 1, 1, tzinfo=UTC)
ERROR = ErrorInfo("ValueError", ("ValueError",), "no")
NULL = Raw(b"null")

CREATED = RunCreated(
    workflow="w", version=1, input=Raw(b"{}"), trigger="MANUAL", event=NULL, environment="production", test=False
)
STARTED = RunStarted(code="c", python="3", anyio="4", engine="1", seed=1)


def started(step: str = "a", attempt: int = 0, start: int = 0) -> AttemptStarted:
    return AttemptStarted(step=step, name=step, attempt=attempt, start=start)


def failed(step: str = "a", attempt: int = 0, retry_us: int | None = 1000) -> AttemptFailed:
    retry_at = None if retry_us is None else from_us(retry_us)
    return AttemptFailed(step=step, name=step, attempt=attempt, error=ERROR, retry_at=retry_at, max_retries=4)


def lost(reason: Any = "crash", step: str = "a", attempt: int = 0, start: int = 0) -> AttemptLost:
    return AttemptLost(step=step, name=step, attempt=attempt, start=start, reason=reason)


def succeeded(step: str = "a") -> StepSucceeded:
    return StepSucceeded(step=step, name=step, attempt=0, output=NULL)


def timer(key: str = "t", due_us: int = 5000) -> TimerSet:
    return TimerSet(timer=key, delay=1, due_at=from_us(due_us))


def state_after(*records: Record) -> RunState:
    """The state after `run.created` and these, one microsecond apart from 1 µs on."""
    return fold(enumerate([CREATED, *records], 1))


PHASES = [
    ("PENDING", "queued", ()),
    ("RUNNING", "executing", (STARTED,)),
    ("RUNNING", "executing", (STARTED, started())),
    ("RUNNING", "queued", (STARTED, StepScheduled(step="a", name="a"))),
    ("RUNNING", "queued", (STARTED, started("b"), StepScheduled(step="a", name="a"))),
    ("RUNNING", "executing", (STARTED, StepScheduled(step="a", name="a"), started())),
    ("RUNNING", "retrying", (STARTED, started(), failed())),
    ("RUNNING", "executing", (STARTED, started(), failed(), started(attempt=1))),
    ("RUNNING", "executing", (STARTED, started("b"), started(), failed())),
    ("RUNNING", "retrying", (STARTED, timer(), started(), failed())),
    ("RUNNING", "queued", (STARTED, started(), lost())),
    ("RUNNING", "executing", (STARTED, started(), lost(), started(start=1))),
    ("RUNNING", "sleeping", (STARTED, timer())),
    ("RUNNING", "executing", (STARTED, timer(), started())),
    ("RUNNING", "executing", (STARTED, timer(), TimerFired(timer="t"))),
    ("RUNNING", "executing", (STARTED, timer(), TimerCanceled(timer="t"))),
    ("RUNNING", "blocked", (STARTED, started(), RunBlocked(code="x", error=ERROR))),
    ("PENDING", "blocked", (RunBlocked(code="x", error=ERROR),)),
    ("RUNNING", "executing", (STARTED, started(), RunBlocked(code="x", error=ERROR), RunUnblocked(code="c"))),
    (
        "RUNNING",
        "retrying",
        (STARTED, BodyFailed(attempt=0, error=ERROR, retry_at=from_us(9000), max_retries=4)),
    ),
    ("SUCCEEDED", None, (STARTED, RunSucceeded(output=NULL))),
    ("FAILED", None, (STARTED, RunFailed(error=ERROR))),
    ("CANCELED", None, (CancelRequested(reason="requested"), RunCanceled())),
    ("SUCCEEDED", None, (STARTED, timer(), started(), succeeded(), RunSucceeded(output=NULL))),
]


@pytest.mark.parametrize(("status", "phase", "records"), PHASES)
def test_status_and_phase(status: str, phase: str | None, records: tuple[Record, ...]) -> None:
    """CONTRACT section 5: the first of blocked, queued, executing, retrying, waiting, sleeping that applies."""
    state = state_after(*records)
    assert (state.status, state.phase) == (status, phase)
    assert state.seq == len(records) + 1
    assert state.ended == (phase is None)


def test_times_are_those_of_the_records() -> None:
    state = state_after(STARTED, RunSucceeded(output=NULL))
    assert (state.created_us, state.started_us, state.finished_us, state.at_us) == (1, 2, 3, 3)


@pytest.mark.parametrize(
    ("tasks", "records"),
    [
        (0, (timer(),)),
        (0, (StepScheduled(step="a", name="a"),)),
        (1, (StepScheduled(step="a", name="a"), started())),
        (1, (started(), failed(), started(attempt=1), failed(attempt=1))),
        (1, (started(), lost(), started(start=1))),
        (1, (started(), failed(retry_us=None), StepFailed(step="a", name="a", attempt=0, error=ERROR))),
        (2, (started("a"), started("b"))),
        # Canceled by the body's failure and started again under the same key: `start` goes on counting.
        (
            1,
            (
                started(),
                StepCanceled(step="a", name="a"),
                BodyFailed(attempt=0, error=ERROR, retry_at=START, max_retries=4),
                BodyStarted(attempt=1),
                started(start=1),
            ),
        ),
    ],
)
def test_a_task_is_a_step_that_ran_however_many_attempts_it_took(tasks: int, records: tuple[Record, ...]) -> None:
    assert state_after(STARTED, *records).tasks == tasks


def test_a_retry_is_due_once_and_keeps_its_attempt() -> None:
    state = state_after(STARTED, started(), failed(retry_us=1000))
    assert state.next_due_us() == state.next_retry_us() == 1000
    assert state.take_due(999) is None
    due = state.take_due(1000)
    assert due is not None
    assert (due.kind, due.key, due.at_us) == ("step", "a", 1000)
    assert state.take_due(2000) is None
    assert state.steps["a"].attempt == 0
    assert state.steps["a"].error is ERROR


def test_due_things_come_in_the_order_of_time_then_of_the_log() -> None:
    state = state_after(STARTED, timer("late", 300), timer("second", 200), timer("third", 200), timer("first", 100))
    found: list[str] = []
    while (due := state.take_due(1000)) is not None:
        found.append(due.key)
    assert found == ["first", "second", "third", "late"]


@pytest.mark.parametrize(
    "gone",
    [
        (timer(due_us=100), TimerCanceled(timer="t")),
        (timer(due_us=100), TimerFired(timer="t")),
        (started(), failed(retry_us=100), StepCanceled(step="a", name="a")),
        (started(), failed(retry_us=100), started(attempt=1)),
        (timer(due_us=100), RunSucceeded(output=NULL)),
        (
            BodyFailed(attempt=0, error=ERROR, retry_at=from_us(100), max_retries=4),
            CancelRequested(reason="requested"),
            RunCanceled(),
        ),
        (BodyFailed(attempt=0, error=ERROR, retry_at=from_us(100), max_retries=4), BodyStarted(attempt=1)),
    ],
)
def test_what_is_gone_is_not_due(gone: tuple[Record, ...]) -> None:
    state = state_after(STARTED, *gone)
    assert state.next_due_us() is None
    assert state.take_due(10**9) is None


def test_a_timer_set_again_is_due_at_its_new_time() -> None:
    """As a body retry does it: the same key, another due time."""
    state = state_after(STARTED, timer(due_us=100), TimerCanceled(timer="t"), timer(due_us=500))
    assert state.next_due_us() == 500
    assert state.take_due(100) is None


LOSSES = [
    (1, [lost()]),
    (2, [lost(), started(start=1), lost(start=1)]),
    (0, [lost("drain")]),
    (0, [lost("fenced")]),
    (2, [lost(), started(start=1), lost("drain", start=1), started(start=2), lost(start=2)]),
    (0, [lost(), started(start=1), failed(), started(attempt=1)]),
    (1, [lost(), started(start=1), failed(), started(attempt=1), lost(attempt=1)]),
]


@pytest.mark.parametrize(("losses", "records"), LOSSES)
def test_only_crashes_in_a_row_count(losses: int, records: list[Record]) -> None:
    """DESIGN rule 12."""
    assert state_after(STARTED, started(), *records).steps["a"].losses == losses


@pytest.mark.parametrize(
    ("attempt", "records"),
    [
        (1, ()),
        (0, (started(start=1), succeeded())),
        (0, (started(start=1), failed(retry_us=None), StepFailed(step="a", name="a", attempt=0, error=ERROR))),
        (1, (started(start=1), failed())),
        (1, (timer(), TimerFired(timer="t"))),
    ],
)
def test_a_bodys_attempt_goes_back_to_0_when_a_step_ends(attempt: int, records: tuple[Record, ...]) -> None:
    failure = BodyFailed(attempt=0, error=ERROR, retry_at=from_us(100), max_retries=4)
    assert state_after(STARTED, failure, BodyStarted(attempt=1), *records).body_attempt == attempt


def test_a_body_failure_drops_what_the_body_was_waiting_for() -> None:
    failure = BodyFailed(attempt=0, error=ERROR, retry_at=from_us(900), max_retries=4)
    state = state_after(STARTED, timer(due_us=100), started(), StepCanceled(step="a", name="a"), failure)
    assert (state.steps, state.timers, state.next_due_us(), state.next_retry_us()) == ({}, {}, 900, 900)
    due = state.take_due(900)
    assert due is not None
    assert due.kind == "body"


def test_what_lists_show() -> None:
    change = state_after(STARTED, started(), failed(retry_us=1000), timer(due_us=500)).change()
    assert (change.status, change.phase, change.due_us, change.tasks) == ("RUNNING", "retrying", 500, 1)


def test_folding_step_by_step_is_folding_at_once() -> None:
    """The engine applies records as it writes them, recovery those it reads: the two cannot disagree."""
    records = [CREATED, STARTED, started(), timer(), failed(), started(attempt=1), succeeded(), TimerFired(timer="t")]
    whole = fold(enumerate(records, 1))
    one_by_one = RunState()
    for at_us, record in enumerate(records, 1):
        one_by_one.apply(record, at_us)
    assert one_by_one.change() == whole.change()
    assert one_by_one.steps.keys() == whole.steps.keys()
