"""What a body asks for, as its records say it, and what it gets from an outcome."""

import inspect
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from durably import NonRetriableError, Signal, step, workflow
from durably.engine.body.calls import Call, ChildCall, ContinueAsNew, EventWait, SignalWait, StepCall, place_of
from durably.engine.declare.matching import Match
from durably.engine.log.grammar import Carry
from durably.engine.log.records import (
    NOTHING,
    ChildCancelRequested,
    EventAwaited,
    SignalAwaited,
    SignalReceived,
    StepCanceled,
    WaitCanceled,
    from_us,
)
from durably.engine.values.codec import decoder_for

SECOND = 1_000_000


@step
async def work(number: int) -> int:
    return number


@workflow(version=3, timeout=7)
async def packs(number: int) -> int:
    return number


def asked(now_us: int = 0, **carry: Any) -> Any:
    """An instance as calls see it."""

    def deadline_us(key: str, delay_us: int) -> int:
        del key
        return now_us + delay_us

    def made_id(key: str) -> str:
        return f"made for {key}"

    return SimpleNamespace(carry=Carry(**carry), now_us=now_us, deadline_us=deadline_us, made_id=made_id)


def event_wait(**fields: Any) -> EventWait:
    given: dict[str, Any] = {
        "match": Match(),
        "where": None,
        "vars": NOTHING,
        "timeout_us": None,
        "since_us": 5,
        **fields,
    }
    return EventWait(event="made", **given)


STEP = StepCall(work, work.signature.bind((1,), {}), "a.py:1")
CHILD = ChildCall(packs, packs.signature.bind_input((1,), {}), "a.py:2")
SIGNAL = SignalWait("ok", decoder_for(timedelta), 2 * SECOND)


@pytest.mark.parametrize(
    ("call", "taken_back"),
    [
        (STEP, StepCanceled(step="k", name="work")),
        (CHILD, ChildCancelRequested(child="k")),
        (SIGNAL, WaitCanceled(wait="k")),
        (event_wait(), WaitCanceled(wait="k")),
    ],
)
def test_each_call_can_be_taken_back(call: Call, taken_back: Any) -> None:
    assert isinstance(call, Call)
    assert call.taken_back("k") == taken_back


def test_a_step_counts_its_starts_over_incarnations() -> None:
    first = STEP.record("k", asked())
    assert (first.step, first.name, first.attempt, first.start, first.line) == ("k", "work", 0, 0, "a.py:1")
    assert STEP.record("k", asked(starts={("k", 0): 2})).start == 2


def test_a_wait_for_an_event_says_all_that_the_store_and_replay_need() -> None:
    wait = event_wait(match=Match.of({"data.n": 1}, None), where="true", vars=Raw(b'{"x":2}'), timeout_us=3 * SECOND)
    assert wait.record("k", asked(10)) == EventAwaited(
        wait="k",
        event="made",
        match=Raw(b'{"data.n":1}'),
        where="true",
        vars=Raw(b'{"x":2}'),
        timeout=3,
        until=from_us(3 * SECOND + 10),
        since=from_us(5),
    )
    assert event_wait().record("k", asked()).until is None


def test_a_wait_that_was_there_before_the_body_failed_looks_back_as_far_as_then() -> None:
    before = EventAwaited(wait="k", event="made", since=from_us(2))
    assert event_wait().record("k", asked(deadlines={"k": before})).since == from_us(2)
    later = EventAwaited(wait="k", event="made", since=from_us(9))
    assert event_wait().record("k", asked(deadlines={"k": later})).since == from_us(5)


def test_a_wait_for_a_signal() -> None:
    record = SIGNAL.record("k", asked(10))
    assert record == SignalAwaited(wait="k", signal="ok", timeout=2, until=from_us(2 * SECOND + 10))


def test_a_signal_is_decoded_as_asked_for() -> None:
    received = SignalReceived(wait="k", signal="ok", data=Raw(b'"PT60S"'), sent_at=from_us(7))
    assert SIGNAL.value(received) == Signal("ok", timedelta(minutes=1), from_us(7))


def test_a_signal_that_does_not_fit_is_not_to_be_retried() -> None:
    received = SignalReceived(wait="k", signal="ok", data=Raw(b"[1]"), sent_at=from_us(7))
    with pytest.raises(NonRetriableError, match=r"'ok' of 1970-01-01 00:00:00 UTC.*wait_for_signal\(\) asks for"):
        SIGNAL.value(received)


def test_a_child_has_the_id_that_its_parent_makes_or_one_that_was_chosen() -> None:
    record = CHILD.record("k", asked())
    assert (record.run, record.workflow, record.version) == ("made for k", "packs", 3)
    assert (msgspec.json.decode(record.input), record.timeout, record.delay) == ({"number": 1}, 7, 0)
    options = packs.options(run_id="mine", delay=timedelta(minutes=1), timeout=3)
    chosen = ChildCall(options, CHILD.arguments, "").record("k", asked())
    assert (chosen.run, chosen.delay, chosen.timeout) == ("mine", 60, 3)


def test_going_on_as_new_is_no_error_that_is_caught_by_chance() -> None:
    error = ContinueAsNew(CHILD.arguments)
    assert not isinstance(error, Exception)
    assert bytes(error.arguments.raw) == b'{"number":1}'


def test_a_place_is_the_users_line() -> None:
    frame = inspect.currentframe()
    assert frame is not None
    assert place_of(frame) == f"test_calls.py:{frame.f_lineno}"
