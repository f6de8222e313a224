"""The grammar: incarnations and groups, what makes no sense, and what one incarnation leaves to the next."""

import pytest
from msgspec import Raw

from durably import ErrorInfo
from durably.engine.log.grammar import BadHistory, Carry, Entry, Log, carry_over, parse
from durably.engine.log.records import (
    AttemptFailed,
    AttemptLost,
    AttemptStarted,
    BodyFailed,
    BodyStarted,
    CancelRequested,
    ChildCanceled,
    ChildCancelRequested,
    ChildStarted,
    ChildSucceeded,
    EventAwaited,
    EventReceived,
    EventSent,
    PatchMarked,
    Published,
    Record,
    RunBlocked,
    RunCanceled,
    RunCreated,
    RunStarted,
    RunSucceeded,
    RunUnblocked,
    SignalAwaited,
    SignalReceived,
    SignalSent,
    StepCanceled,
    StepFailed,
    StepScheduled,
    StepSucceeded,
    TimerFired,
    TimerSet,
    from_us,
    type_name,
)

NULL = Raw(b"null")
ERROR = ErrorInfo("ValueError", ("ValueError",), "no")
CREATED = RunCreated(
    workflow="w", version=1, input=Raw(b"{}"), trigger="MANUAL", event=NULL, environment="production", test=False
)
STARTED = RunStarted(code="c", python="3", anyio="4", engine="1", seed=1)
BODY_FAILED = BodyFailed(attempt=0, error=ERROR, retry_at=from_us(100), max_retries=4)
DONE = RunSucceeded(output=NULL)


def started(step: str = "a", attempt: int = 0, start: int = 0) -> AttemptStarted:
    return AttemptStarted(step=step, name=step, attempt=attempt, start=start)


def retried(step: str = "a", attempt: int = 0) -> AttemptFailed:
    return AttemptFailed(step=step, name=step, attempt=attempt, error=ERROR, retry_at=from_us(9), max_retries=4)


def succeeded(step: str = "a") -> StepSucceeded:
    return StepSucceeded(step=step, name=step, attempt=0, output=Raw(f'"{step}"'.encode()))


def failed(step: str = "a") -> StepFailed:
    return StepFailed(step=step, name=step, attempt=0, error=ERROR)


def timer(key: str = "t") -> TimerSet:
    return TimerSet(timer=key, delay=1, due_at=from_us(50))


def entries(*records: Record) -> list[Entry]:
    """A log of these behind `run.created`; record n was written at n µs."""
    return [Entry(seq, seq, record) for seq, record in enumerate((CREATED, *records), 1)]


def shape(log: Log) -> list[list[tuple[int, str, list[str]]]]:
    """Each incarnation's groups: seq and type of the input, types of the commands."""
    return [
        [
            (group.seq, type_name(group.input), [type_name(command) for command in group.commands])
            for group in incarnation.groups
        ]
        for incarnation in log.incarnations
    ]


def test_a_sequence_of_two_steps() -> None:
    """The example of DESIGN section 3."""
    log = parse(entries(STARTED, started("A"), succeeded("A"), started("B"), succeeded("B"), DONE))
    assert log.created is CREATED
    assert shape(log) == [
        [
            (2, "run.started", ["attempt.started"]),
            (4, "step.succeeded", ["attempt.started"]),
            (6, "step.succeeded", ["run.succeeded"]),
        ]
    ]
    assert log.incarnations[0].ended


def test_a_run_that_has_not_begun_has_no_incarnation() -> None:
    assert shape(parse(entries())) == []


def test_notes_belong_to_no_group() -> None:
    log = parse(
        entries(
            RunBlocked(code="x", error=ERROR),
            RunUnblocked(code="c"),
            STARTED,
            started(),
            retried(),
            AttemptLost(step="a", name="a", attempt=0, start=0, reason="crash"),
            started(attempt=1),
            succeeded(),
        )
    )
    assert shape(log) == [[(4, "run.started", ["attempt.started"]), (9, "step.succeeded", [])]]
    assert not log.incarnations[0].ended


def test_only_the_first_start_of_a_step_in_an_incarnation_is_a_command() -> None:
    """Also when it had to wait: then `step.scheduled` is the command, and every start a note."""
    scheduled = StepScheduled(step="a", name="a")
    log = parse(entries(STARTED, scheduled, started(), retried(), started(attempt=1), succeeded(), DONE))
    assert shape(log) == [
        [(2, "run.started", ["step.scheduled"]), (7, "step.succeeded", ["run.succeeded"])],
    ]


def test_a_body_retry_begins_an_incarnation_in_which_steps_are_new_again() -> None:
    log = parse(
        entries(
            STARTED,
            started("A"),
            started("B"),
            succeeded("A"),
            StepCanceled(step="B", name="B"),
            BODY_FAILED,
            BodyStarted(attempt=1),
            started("B", start=1),
            succeeded("B"),
            DONE,
        )
    )
    assert shape(log) == [
        [
            (2, "run.started", ["attempt.started", "attempt.started"]),
            (5, "step.succeeded", ["step.canceled", "body.failed"]),
        ],
        [(8, "body.started", ["attempt.started"]), (10, "step.succeeded", ["run.succeeded"])],
    ]
    assert [incarnation.ended for incarnation in log.incarnations] == [True, True]


@pytest.mark.parametrize(
    "before", [(), (STARTED, BODY_FAILED)], ids=["before the start", "while the body waits for its retry"]
)
def test_a_cancel_without_a_body_belongs_to_no_incarnation(before: tuple[Record, ...]) -> None:
    log = parse(entries(*before, CancelRequested(reason="requested"), RunCanceled()))
    assert len(log.incarnations) == (1 if before else 0)
    assert all(type_name(group.input) != "cancel.requested" for each in log.incarnations for group in each.groups)


# -- what makes no sense


NONSENSE: list[tuple[list[Entry], str]] = [
    ([], "begins with run.created; this one does not"),
    ([Entry(1, 1, STARTED)], "begins with run.created; this one does not"),
    ([Entry(2, 1, CREATED)], "record 1 is missing: the history begins with seq 2"),
    ([*entries(STARTED), Entry(4, 4, DONE)], "record 3 is missing: the history goes on with seq 4"),
    (entries(started()), "record 2, attempt.started, is a command without an input before it"),
    (entries(succeeded()), "record 2, step.succeeded, came while no body was running"),
    (entries(STARTED, DONE, succeeded()), "record 4, step.succeeded, came while no body was running"),
    (
        entries(STARTED, BODY_FAILED, TimerFired(timer="t")),
        "record 4, timer.fired, came while no body was running",
    ),
    (entries(STARTED, CREATED), "record 3, run.created, is in the middle of the history"),
    (entries(BodyStarted(attempt=1)), "record 2, body.started, came before run.started"),
    (entries(STARTED, STARTED), "record 3, run.started, came while a body was running"),
    (entries(STARTED, BodyStarted(attempt=1)), "record 3, body.started, came while a body was running"),
    (entries(STARTED, BODY_FAILED, STARTED), "record 4, run.started, came after the run's end"),
    (entries(STARTED, DONE, BodyStarted(attempt=1)), "record 4, body.started, came after the run's end"),
    (entries(STARTED, DONE, timer()), "record 4, timer.set, came after the body's end"),
]


@pytest.mark.parametrize(("log", "complaint"), NONSENSE, ids=lambda each: each if isinstance(each, str) else "")
def test_a_history_that_makes_no_sense_is_refused_with_the_place(log: list[Entry], complaint: str) -> None:
    with pytest.raises(BadHistory) as raised:
        parse(log)
    assert complaint in str(raised.value)


# -- carry-over


def carried(*records: Record) -> dict[str, tuple[int, str]]:
    log = entries(*records)
    carry = carry_over(parse(log).incarnations, log)
    return {key: (outcome.seq, type_name(outcome.input)) for key, outcome in carry.outcomes.items()}


def test_the_first_incarnation_takes_over_nothing() -> None:
    log = parse(entries(STARTED))
    assert log.incarnations[0].carry.outcomes == {}
    assert log.incarnations[0].carry.starts == {}


def test_outcomes_carry_over_with_their_place_in_the_log() -> None:
    """Finished and finally failed steps, and fired timers."""
    found = carried(
        STARTED,
        started("A"),
        started("B"),
        timer(),
        succeeded("A"),
        TimerFired(timer="t"),
        failed("B"),
        BODY_FAILED,
    )
    assert found == {"A": (6, "step.succeeded"), "t": (7, "timer.fired"), "B": (8, "step.failed")}


def test_steps_without_an_end_and_pending_timers_do_not_carry_over() -> None:
    assert carried(STARTED, started("A"), timer(), BODY_FAILED) == {}


def test_outcomes_of_all_earlier_incarnations_carry_over() -> None:
    found = carried(
        STARTED,
        started("A"),
        succeeded("A"),
        BODY_FAILED,
        BodyStarted(attempt=1),
        started("B"),
        succeeded("B"),
        BODY_FAILED,
        BodyStarted(attempt=1),
        BODY_FAILED,
    )
    assert found == {"A": (4, "step.succeeded"), "B": (8, "step.succeeded")}


def test_timers_that_were_set_are_remembered_with_their_due_time() -> None:
    log = entries(STARTED, timer("a"), BODY_FAILED, BodyStarted(attempt=1), timer("b"), BODY_FAILED)
    carried = carry_over(parse(log).incarnations, log).deadlines
    assert {key: each.due_at for key, each in carried.items() if isinstance(each, TimerSet)} == {
        "a": from_us(50),
        "b": from_us(50),
    }


def test_starts_go_on_counting_over_incarnations() -> None:
    """So that no task is counted twice, and no start of an attempt has the number of another."""
    log = entries(
        STARTED,
        started("A"),
        AttemptLost(step="A", name="A", attempt=0, start=0, reason="crash"),
        started("A", start=1),
        retried("A"),
        started("A", attempt=1),
        StepCanceled(step="A", name="A"),
        BODY_FAILED,
    )
    # A canceled step is no group of its own: it follows an input.
    log[7:8] = []
    log = [entry._replace(seq=seq) for seq, entry in enumerate(log, 1)]
    assert carry_over(parse(log).incarnations, log).starts == {("A", 0): 2, ("A", 1): 1}


def test_each_incarnation_is_parsed_with_what_it_took_over() -> None:
    log = parse(
        entries(
            STARTED,
            started("A"),
            succeeded("A"),
            BODY_FAILED,
            BodyStarted(attempt=1),
            started("B"),
            succeeded("B"),
            DONE,
        )
    )
    assert [set(each.carry.outcomes) for each in log.incarnations] == [set(), {"A"}]


# -- waits, children and what was said


def child(key: str = "c") -> ChildStarted:
    return ChildStarted(child=key, run="r", workflow="w", version=1, input=NULL)


def carry_of(*records: Record) -> Carry:
    log = entries(*records)
    return carry_over(parse(log).incarnations, log)


EVENT = EventReceived(waits=("a", "b"), event=Raw(b'{"id":"e"}'))
SIGNAL = SignalReceived(wait="s", signal="ok", data=NULL, sent_at=from_us(1))


def test_events_signals_deadlines_and_children_carry_over() -> None:
    found = carried(
        STARTED,
        EventAwaited(wait="a", event="e"),
        EventAwaited(wait="b", event="e"),
        SignalAwaited(wait="s", signal="ok"),
        child("c"),
        child("d"),
        EVENT,
        SIGNAL,
        EventAwaited(wait="late", event="e", until=from_us(9)),
        TimerFired(timer="late"),
        ChildSucceeded(child="c", output=NULL),
        ChildCanceled(child="d"),
        BODY_FAILED,
    )
    assert found == {
        "a": (8, "event.received"),
        "b": (8, "event.received"),
        "s": (9, "signal.received"),
        "late": (11, "timer.fired"),
        "c": (12, "child.succeeded"),
        "d": (13, "child.canceled"),
    }


def test_waits_are_remembered_with_their_deadline() -> None:
    wait, signal = EventAwaited(wait="a", event="e", until=from_us(9)), SignalAwaited(wait="s", signal="ok")
    assert carry_of(STARTED, wait, signal, BODY_FAILED).deadlines == {"a": wait, "s": signal}


def test_what_was_said_is_not_said_again() -> None:
    carry = carry_of(
        STARTED,
        Published(message="m", topic="t", data=NULL),
        EventSent(send="e", events=NULL),
        SignalSent(send="s", run="r", signal="ok", data=NULL),
        PatchMarked(patch="p"),
        BODY_FAILED,
        BodyStarted(attempt=1),
        EventSent(send="e2", events=NULL),
        BODY_FAILED,
    )
    assert carry.said == {"m", "e", "s", "e2"}
    assert carry.patches == {"p"}


def test_children_that_go_on_are_known_to_the_next_incarnation() -> None:
    carry = carry_of(
        STARTED,
        child("a"),
        child("b"),
        child("c"),
        ChildSucceeded(child="a", output=NULL),
        ChildCancelRequested(child="b"),
        BODY_FAILED,
        BodyStarted(attempt=1),
        child("d"),
        BODY_FAILED,
    )
    assert carry.children == ("c", "d")


def test_an_end_that_the_engine_gives_belongs_to_the_group_before() -> None:
    """A stop after a second cancel is no input."""
    log = entries(STARTED, child(), CancelRequested(reason="requested"), ChildCancelRequested(child="c"), RunCanceled())
    assert shape(parse(log))[-1][-1] == (4, "cancel.requested", ["child.cancel_requested", "run.canceled"])
