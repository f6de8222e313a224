"""What of a history a rerun from a step need not do again (DESIGN section 3): tables of histories."""

import pytest
from msgspec import Raw
from msgspec.structs import replace

from durably import ErrorInfo, InvalidInput
from durably.engine.log.grammar import Entry, parse
from durably.engine.log.records import (
    NOTHING,
    AttemptStarted,
    BodyFailed,
    BodyStarted,
    CancelRequested,
    ChildStarted,
    ChildSucceeded,
    EventAwaited,
    EventReceived,
    EventSent,
    OutcomeGiven,
    PatchMarked,
    Published,
    Record,
    RunCreated,
    RunStarted,
    SignalAwaited,
    SignalReceived,
    StepCanceled,
    StepFailed,
    StepSucceeded,
    TimerFired,
    TimerSet,
    from_us,
    type_name,
)
from durably.engine.log.rerun import given_without, resumed

ERROR = ErrorInfo("ValueError", ("ValueError",), "no")
CREATED = RunCreated(
    workflow="w", version=1, input=Raw(b"{}"), trigger="MANUAL", event=NOTHING, environment="production", test=False
)
STARTED = RunStarted(code="c", python="3", anyio="4", engine="1", seed=17)
BODY_FAILED = BodyFailed(attempt=0, error=ERROR, retry_at=from_us(0), max_retries=4)
AGAIN = BodyStarted(attempt=1)


def called(key: str) -> AttemptStarted:
    return AttemptStarted(step=key, name=key, attempt=0, start=0)


def ended(key: str) -> StepSucceeded:
    return StepSucceeded(step=key, name=key, attempt=0, output=NOTHING)


def failed(key: str) -> StepFailed:
    return StepFailed(step=key, name=key, attempt=0, error=ERROR)


def canceled(key: str) -> StepCanceled:
    return StepCanceled(step=key, name=key)


def timer(key: str) -> TimerSet:
    return TimerSet(timer=key, delay=1, due_at=from_us(0))


def fired(key: str) -> TimerFired:
    return TimerFired(timer=key)


def child(key: str) -> ChildStarted:
    return ChildStarted(child=key, run=f"run of {key}", workflow="c", version=1, input=NOTHING)


def sent(key: str) -> EventSent:
    return EventSent(send=key, events=Raw(b"[]"))


def said(key: str) -> Published:
    return Published(message=key, topic="t", data=NOTHING)


def awaited(key: str) -> EventAwaited:
    return EventAwaited(wait=key, event="e")


def received(*keys: str) -> EventReceived:
    return EventReceived(waits=keys, event=NOTHING)


def signaled(key: str) -> SignalReceived:
    return SignalReceived(wait=key, signal="s", data=NOTHING, sent_at=from_us(0))


def entries(*records: Record) -> list[Entry]:
    return [Entry(seq, 10 * seq, record) for seq, record in enumerate((CREATED, *records), 1)]


def about(record: Record) -> str:
    """What a record is about: `ended a`, and the like."""
    keys = ("step", "timer", "waits", "wait", "child", "send", "message", "patch")
    key = next(value for name in keys if (value := getattr(record, name, None)))
    return f"{type_name(record).partition('.')[2] or 'published'} {key if isinstance(key, str) else '+'.join(key)}"


@pytest.mark.parametrize(
    ("records", "kept"),
    [
        pytest.param([called("s"), failed("s")], [], id="nothing before"),
        pytest.param([called("a"), ended("a"), called("s"), failed("s")], ["succeeded a"], id="a step before"),
        pytest.param([called("a"), failed("a"), called("s"), failed("s")], ["failed a"], id="one that failed"),
        pytest.param([called("s"), ended("s"), called("b"), ended("b")], [], id="a step after"),
        pytest.param([called("s"), called("b"), ended("s"), ended("b")], ["succeeded b"], id="one beside, ended after"),
        pytest.param([called("s"), called("b"), ended("b"), ended("s")], ["succeeded b"], id="one beside"),
        pytest.param([called("s"), called("b"), ended("s")], [], id="one beside without an end"),
        pytest.param([called("s"), called("a"), ended("a")], ["succeeded a"], id="the step has no end"),
        pytest.param([timer("t"), fired("t"), called("s")], ["fired t"], id="a timer"),
        pytest.param([timer("t"), called("s"), ended("s")], [], id="a timer that has not fired"),
        pytest.param([timer("t"), called("s"), fired("t"), canceled("s")], [], id="the deadline of the step"),
        pytest.param(
            [called("s"), CancelRequested(reason="requested"), canceled("s"), called("b"), ended("b")],
            [],
            id="what was done because of a cancel",
        ),
        pytest.param([child("c"), called("s"), ChildSucceeded(child="c", output=NOTHING)], ["succeeded c"], id="child"),
        pytest.param([sent("x"), said("m"), called("s"), ended("s"), sent("y"), said("n")], ["sent x", "published m"]),
        pytest.param([called("s"), said("s/message#0")], [], id="what the step itself has said"),
        pytest.param([PatchMarked(patch="p"), called("s"), ended("s"), PatchMarked(patch="q")], ["marked p"]),
        pytest.param([awaited("v"), awaited("w"), called("s"), received("v", "w")], ["received v", "received w"]),
        pytest.param(
            [awaited("v"), called("s"), ended("s"), awaited("w"), received("v", "w")],
            ["received v"],
            id="an event for two waits, one of them after the step",
        ),
        pytest.param([SignalAwaited(wait="w", signal="s"), signaled("w"), called("s")], ["received w"]),
        pytest.param(
            [called("a"), ended("a"), BODY_FAILED, AGAIN, called("s"), ended("s")],
            ["succeeded a"],
            id="an earlier incarnation",
        ),
        pytest.param(
            [called("s"), ended("s"), called("b"), BODY_FAILED, AGAIN, called("b"), ended("b")],
            [],
            id="after the step, in a later incarnation",
        ),
        pytest.param(
            [called("s"), called("b"), ended("s"), BODY_FAILED, AGAIN, called("b"), ended("b")],
            ["succeeded b"],
            id="beside the step, and called again in a later incarnation",
        ),
    ],
)
def test_what_is_given_to_a_rerun(records: list[Record], kept: list[str]) -> None:
    given = given_without(entries(STARTED, *records), "s")
    assert [about(each.record) for each in given] == kept


def test_it_is_given_with_the_time_it_happened() -> None:
    [given] = given_without(entries(STARTED, called("a"), ended("a"), called("s")), "s")
    assert given == OutcomeGiven(record=ended("a"), happened_at=from_us(40), began=2, happened=4)


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        ("s", ["succeeded a", "fired t", "succeeded b", "succeeded s2"]),
        ("s2", ["succeeded a", "fired t", "succeeded b"]),
        ("b", ["succeeded a", "fired t"]),
        ("a", ["fired t"]),
    ],
)
def test_what_was_given_is_in_order_before_what_was_done(step: str, kept: list[str]) -> None:
    """A rerun of a rerun: the first was given a, t and b, of which b began after a had ended."""
    first = given_without(
        entries(STARTED, called("a"), timer("t"), ended("a"), called("b"), fired("t"), ended("b"), called("s2")), "s2"
    )
    second = entries(*first, STARTED, called("s2"), ended("s2"), called("s"), failed("s"))
    given = given_without(second, step)
    assert [about(each.record) for each in given] == kept
    assert [each.happened for each in given] == sorted(each.happened for each in given)


def test_the_first_incarnation_finds_what_is_given() -> None:
    given = given_without(entries(STARTED, called("a"), ended("a"), called("s")), "s")
    [incarnation] = parse(entries(*given, STARTED, called("s"))).incarnations
    carried = incarnation.carry.outcomes["a"]
    assert (carried.seq, carried.at_us, carried.input) == (2, 40, ended("a"))
    assert parse(entries(*given)).given, "before the body's start"


def test_a_rerun_has_the_time_and_the_chance_of_the_first_run() -> None:
    history = entries(STARTED, called("s"))
    first = resumed(history, "s")
    assert (first.step, first.started_at, first.seed) == ("s", from_us(20), 17)
    again = [
        history[0]._replace(record=replace(CREATED, resumed=first)),
        *entries(RunStarted(code="d", python="3", anyio="4", engine="1", seed=99), called("x"))[1:],
    ]
    assert resumed(again, "x") == type(first)(step="x", started_at=from_us(20), seed=17)


def test_a_rerun_from_a_step_that_is_not_there() -> None:
    with pytest.raises(InvalidInput, match="no step 's'"):
        resumed(entries(STARTED), "s")
