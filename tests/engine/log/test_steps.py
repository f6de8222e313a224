"""The steps of a history: where each was called, and how it ended."""

import pytest
from msgspec import Raw

from durably import ErrorInfo, InvalidInput
from durably.engine.log.grammar import Entry
from durably.engine.log.records import (
    NOTHING,
    AttemptStarted,
    BodyFailed,
    BodyStarted,
    OutcomeGiven,
    Record,
    RunCreated,
    RunStarted,
    StepCanceled,
    StepScheduled,
    StepSucceeded,
    from_us,
)
from durably.engine.log.steps import find_step, known_steps

ERROR = ErrorInfo("ValueError", ("ValueError",), "no")
CREATED = RunCreated(
    workflow="w", version=1, input=Raw(b"{}"), trigger="MANUAL", event=NOTHING, environment="production", test=False
)
STARTED = RunStarted(code="c", python="3", anyio="4", engine="1", seed=1)
BODY_FAILED = BodyFailed(attempt=0, error=ERROR, retry_at=from_us(0), max_retries=4)


def called(key: str) -> AttemptStarted:
    return AttemptStarted(step=key, name=key[0], attempt=0, start=0, input=Raw(b'{"x":1}'))


def ended(key: str) -> StepSucceeded:
    return StepSucceeded(step=key, name=key[0], attempt=0, output=NOTHING)


def entries(*records: Record) -> list[Entry]:
    return [Entry(seq, seq, record) for seq, record in enumerate((CREATED, *records), 1)]


HISTORY = entries(
    OutcomeGiven(record=ended("g"), happened_at=from_us(0)),  # 2
    STARTED,
    called("a#0"),
    called("a#1"),
    StepScheduled(step="b#0", name="b"),
    ended("a#0"),  # 7
    StepCanceled(step="b#0", name="b"),
    BODY_FAILED,
    BodyStarted(attempt=1),  # 10
    called("a#1"),
    called("b#0"),
)


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ("g", (None, 2)),
        ("a#0", (3, 7)),
        ("a#1", (10, None)),  # it had no end when the body failed, and was called again
        ("b#0", (10, None)),  # it was canceled, and is called again
    ],
)
def test_where_each_step_was_called_and_ended(key: str, where: tuple[int | None, int | None]) -> None:
    step = known_steps(HISTORY)[key]
    assert (step.called, step.ended) == where


def test_how_a_step_ended() -> None:
    before = known_steps(HISTORY[:9])
    assert before["a#0"].end == ended("a#0")
    assert (before["b#0"].ended, before["b#0"].end) == (7, StepCanceled(step="b#0", name="b"))
    assert bytes(before["a#1"].input) == b'{"x":1}'


@pytest.mark.parametrize(("wanted", "found"), [("a#1", "a#1"), ("b", "b#0"), ("b#0", "b#0"), ("g", "g")])
def test_a_step_is_found_by_its_key_and_by_a_name_that_only_it_has(wanted: str, found: str) -> None:
    assert find_step(known_steps(HISTORY), wanted).key == found


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("a", r"2 steps of the run are called 'a': say which, by its key: a#0, a#1"),
        ("c", r"no step 'c'; it has g, a#0, a#1, b#0"),
    ],
)
def test_a_name_that_says_too_little(wanted: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        find_step(known_steps(HISTORY), wanted)


def test_a_long_list_of_steps_is_cut() -> None:
    many = entries(STARTED, *(called(f"a#{number}") for number in range(15)))
    with pytest.raises(InvalidInput, match=r"a#9 and 5 more$"):
        find_step(known_steps(many), "c")
