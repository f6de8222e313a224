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
    ChildCancelRequested,
    ChildStarted,
    ChildSucceeded,
    EventAwaited,
    EventReceived,
    EventSent,
    PatchMarked,
    Record,
    RunBlocked,
    RunCanceled,
    RunContinued,
    RunCreated,
    RunFailed,
    RunStarted,
    RunSucceeded,
    RunUnblocked,
    SignalAwaited,
    StepCanceled,
    StepFailed,
    StepScheduled,
    StepSucceeded,
    TimerCanceled,
    TimerFired,
    TimerSet,
    WaitCanceled,
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


def waiting(key: str = "w", until_us: int | None = None) -> EventAwaited:
    return EventAwaited(wait=key, event="e", until=None if until_us is None else from_us(until_us))


def child(key: str = "c") -> ChildStarted:
    return ChildStarted(child=key, run="r", workflow="w", version=1, input=NULL)


EVENT = Raw(b'{"id":"e","name":"e"}')
BODY_FAILED = BodyFailed(attempt=0, error=ERROR, retry_at=from_us(9000), max_retries=4)


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
    ("RUNNING", "waiting", (STARTED, waiting())),
    ("RUNNING", "waiting", (STARTED, waiting(until_us=9000), timer())),
    ("RUNNING", "waiting", (STARTED, SignalAwaited(wait="w", signal="s"))),
    ("RUNNING", "waiting", (STARTED, child())),
    ("RUNNING", "executing", (STARTED, waiting(), started())),
    ("RUNNING", "retrying", (STARTED, waiting(), started(), failed())),
    ("RUNNING", "executing", (STARTED, waiting(), EventReceived(waits=("w",), event=EVENT))),
    ("RUNNING", "executing", (STARTED, waiting(), WaitCanceled(wait="w"))),
    ("RUNNING", "executing", (STARTED, waiting(until_us=9000), TimerFired(timer="w"))),
    ("RUNNING", "executing", (STARTED, child(), ChildSucceeded(child="c", output=NULL))),
    ("RUNNING", "executing", (STARTED, child(), ChildCancelRequested(child="c"))),
    ("RUNNING", "sleeping", (STARTED, child(), ChildCancelRequested(child="c"), timer())),
    ("RUNNING", "executing", (STARTED, EventSent(send="s", events=NULL), PatchMarked(patch="p"))),
    ("RUNNING", "retrying", (STARTED, waiting(), child(), BODY_FAILED)),
    ("SUCCEEDED", None, (STARTED, child(), RunContinued(continued_to="x", version=1, input=NULL))),
    ("CANCELED", None, (STARTED, waiting(), RunCanceled(stopped=True))),
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
    records: list[Record] = [CREATED, STARTED, started(), timer(), failed(), started(attempt=1), succeeded()]
    records += [TimerFired(timer="t"), waiting(), child(), EventReceived(waits=("w",), event=EVENT)]
    whole = fold(enumerate(records, 1))
    one_by_one = RunState()
    for at_us, record in enumerate(records, 1):
        one_by_one.apply(record, at_us)
    assert one_by_one.change() == whole.change()
    assert one_by_one.steps.keys() == whole.steps.keys()


# -- waits, children, and the run's own times


def test_a_waits_deadline_is_due_unless_it_has_ended() -> None:
    state = state_after(STARTED, waiting("a", 10), waiting("b", 20), waiting("c"))
    assert state.next_due_us() == 10
    state.apply(EventReceived(waits=("a", "c"), event=EVENT), 5)
    due = state.take_due(30)
    assert (due and (due.kind, due.key)) == ("wait", "b")
    state.apply(TimerFired(timer="b"), 30)
    assert (state.waits, state.next_due_us()) == ({}, None)


def test_what_was_given_out_stays_in_the_projection_until_it_has_had_its_effect() -> None:
    """The deadline has come, and before that is in the log something else happens, and the process dies."""
    state = state_after(STARTED, waiting("a", 10), timer("t", 50))
    assert state.take_due(10) is not None
    assert (state.next_due_us(), state.earliest_us(), state.change().due_us) == (50, 10, 10)
    state.apply(TimerFired(timer="a"), 10)
    assert (state.earliest_us(), state.change().due_us) == (50, 50)


def test_it_knows_the_events_it_has_had_over_body_retries() -> None:
    state = state_after(STARTED, waiting(), EventReceived(waits=("w",), event=EVENT), BODY_FAILED)
    assert list(state.events) == ["e"]


def test_children_outlive_a_body_and_its_waits_do_not() -> None:
    state = state_after(STARTED, waiting(), child(), BODY_FAILED)
    assert (state.waits, list(state.children)) == ({}, ["c"])
    state.apply(BodyStarted(attempt=1), 9000)
    state.apply(child(), 9000)
    assert (state.children["c"].run, state.children["c"].canceled) == ("r", False)


LIMITED = RunCreated(
    workflow="w",
    version=1,
    input=Raw(b"{}"),
    trigger="MANUAL",
    event=NULL,
    environment="production",
    test=False,
    timeout=0.5,
    due_at=from_us(100),
)
CANCEL = CancelRequested(reason="requested")


def test_a_delayed_run_sleeps_until_its_start_and_its_time_counts_from_there() -> None:
    state = fold([(1, LIMITED)])
    assert (state.status, state.phase, state.next_due_us()) == ("PENDING", "sleeping", 100)
    state.apply(STARTED, 120)
    due = state.take_due(500_120)
    assert (due and (due.kind, due.at_us)) == ("timeout", 500_120)


@pytest.mark.parametrize("reason", ["requested", "timeout"])
def test_once_it_is_canceled_its_time_is_never_up(reason: Any) -> None:
    state = fold([(1, LIMITED), (2, STARTED), (3, CancelRequested(reason=reason))])
    assert (state.timeout_us, state.next_due_us()) == (None, None)


def test_the_second_request_sets_the_end_and_a_third_does_not_move_it() -> None:
    state = state_after(STARTED)
    for at_us in (10, 20, 30):
        state.apply(CANCEL, at_us)
    due = state.take_due(10_000_020)
    assert (due and (due.kind, due.at_us)) == ("stop", 10_000_020)
    timed_out = state_after(STARTED, CancelRequested(reason="timeout"), CANCEL)
    assert timed_out.stop_us is None, "a time limit is no request"


def test_a_run_that_goes_on_as_another_has_succeeded() -> None:
    state = state_after(STARTED, child(), RunContinued(continued_to="x", version=1, input=NULL))
    change = state.change()
    assert (change.status, change.continued_to, change.phase, change.due_us) == ("SUCCEEDED", "x", None, None)
    assert state.children == {}
