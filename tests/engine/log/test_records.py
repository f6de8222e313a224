"""Records: what is in the log is what CONTRACT section 6 names, and comes back as it went in."""

import json
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from durably import ErrorInfo
from durably.engine.log import records
from durably.engine.log.records import (
    AttemptFailed,
    AttemptLost,
    AttemptStarted,
    BodyFailed,
    BodyStarted,
    CancelRequested,
    ChildCanceled,
    ChildCancelRequested,
    ChildFailed,
    ChildStarted,
    ChildSucceeded,
    EventAwaited,
    EventReceived,
    EventSent,
    OutcomeGiven,
    PatchMarked,
    Published,
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
    SignalReceived,
    SignalSent,
    StepCanceled,
    StepFailed,
    StepScheduled,
    StepSucceeded,
    TimerCanceled,
    TimerFired,
    TimerSet,
    WaitCanceled,
    decode_record,
    encode_record,
    from_us,
    to_us,
    type_name,
)

AT = datetime(2026, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)
ERROR = ErrorInfo("ValueError", ("ValueError", "Exception", "BaseException"), "no", "Traceback …")
ERROR_JSON = {
    "type": "ValueError",
    "types": ["ValueError", "Exception", "BaseException"],
    "message": "no",
    "traceback": "Traceback …",
}

RECORDS: list[tuple[Record, dict[str, Any]]] = [
    (
        RunCreated(
            workflow="w",
            version=1,
            input=Raw(b'{"a":1}'),
            trigger="MANUAL",
            event=Raw(b"null"),
            environment="production",
            test=False,
        ),
        {
            "type": "run.created",
            "workflow": "w",
            "version": 1,
            "input": {"a": 1},
            "trigger": "MANUAL",
            "event": None,
            "environment": "production",
            "test": False,
        },
    ),
    (
        RunStarted(code="c", python="3.13.0", anyio="4", engine="1", seed=7),
        {"type": "run.started", "code": "c", "python": "3.13.0", "anyio": "4", "engine": "1", "seed": 7},
    ),
    (BodyStarted(attempt=1), {"type": "body.started", "attempt": 1}),
    (
        OutcomeGiven(record=TimerFired(timer="0/timer#0"), happened_at=AT, began=3, happened=7),
        {
            "type": "outcome.given",
            "record": {"type": "timer.fired", "timer": "0/timer#0"},
            "happened_at": "2026-01-01T12:30:15.250000Z",
            "began": 3,
            "happened": 7,
        },
    ),
    (
        StepScheduled(step="0/a#0", name="a", input=Raw(b"{}"), digest="d", line="f.py:1"),
        {"type": "step.scheduled", "step": "0/a#0", "name": "a", "input": {}, "digest": "d", "line": "f.py:1"},
    ),
    (
        AttemptStarted(step="0/a#0", name="a", attempt=0, start=0, input=Raw(b"{}"), digest="d", line="f.py:1"),
        {
            "type": "attempt.started",
            "step": "0/a#0",
            "name": "a",
            "attempt": 0,
            "start": 0,
            "input": {},
            "digest": "d",
            "line": "f.py:1",
        },
    ),
    (
        AttemptStarted(step="0/a#0", name="a", attempt=1, start=2),  # a note: what is known already is left out
        {"type": "attempt.started", "step": "0/a#0", "name": "a", "attempt": 1, "start": 2},
    ),
    (
        AttemptFailed(step="0/a#0", name="a", attempt=0, error=ERROR, retry_at=AT, max_retries=4),
        {
            "type": "attempt.failed",
            "step": "0/a#0",
            "name": "a",
            "attempt": 0,
            "error": ERROR_JSON,
            "retry_at": "2026-01-01T12:30:15.250000Z",
            "max_retries": 4,
        },
    ),
    (
        AttemptFailed(step="0/a#0", name="a", attempt=4, error=ERROR, retry_at=None, max_retries=4),
        {
            "type": "attempt.failed",
            "step": "0/a#0",
            "name": "a",
            "attempt": 4,
            "error": ERROR_JSON,
            "retry_at": None,
            "max_retries": 4,
        },
    ),
    (
        AttemptLost(step="0/a#0", name="a", attempt=0, start=0, reason="crash"),
        {"type": "attempt.lost", "step": "0/a#0", "name": "a", "attempt": 0, "start": 0, "reason": "crash"},
    ),
    (
        StepSucceeded(step="0/a#0", name="a", attempt=0, output=Raw(b"[1,2]")),
        {"type": "step.succeeded", "step": "0/a#0", "name": "a", "attempt": 0, "output": [1, 2]},
    ),
    (
        StepFailed(step="0/a#0", name="a", attempt=0, error=ERROR),
        {"type": "step.failed", "step": "0/a#0", "name": "a", "attempt": 0, "error": ERROR_JSON},
    ),
    (StepCanceled(step="0/a#0", name="a"), {"type": "step.canceled", "step": "0/a#0", "name": "a"}),
    (
        TimerSet(timer="0/timer#0", delay=1.5, due_at=AT),
        {"type": "timer.set", "timer": "0/timer#0", "delay": 1.5, "due_at": "2026-01-01T12:30:15.250000Z"},
    ),
    (TimerFired(timer="0/timer#0"), {"type": "timer.fired", "timer": "0/timer#0"}),
    (TimerCanceled(timer="0/timer#0"), {"type": "timer.canceled", "timer": "0/timer#0"}),
    (
        EventAwaited(
            wait="0/event#0",
            event="parcel/shipped",
            match=Raw(b'{"data.order_id":"o-1"}'),
            where="event.data.cents > vars.least",
            vars=Raw(b'{"least":1}'),
            timeout=60.0,
            until=AT,
            since=AT,
        ),
        {
            "type": "event.awaited",
            "wait": "0/event#0",
            "event": "parcel/shipped",
            "match": {"data.order_id": "o-1"},
            "where": "event.data.cents > vars.least",
            "vars": {"least": 1},
            "timeout": 60.0,
            "until": "2026-01-01T12:30:15.250000Z",
            "since": "2026-01-01T12:30:15.250000Z",
        },
    ),
    (
        EventReceived(waits=("0/event#0", "0/1/event#0"), event=Raw(b'{"name":"parcel/shipped"}')),
        {"type": "event.received", "waits": ["0/event#0", "0/1/event#0"], "event": {"name": "parcel/shipped"}},
    ),
    (
        SignalAwaited(wait="0/signal#0", signal="approve", timeout=60.0, until=AT),
        {
            "type": "signal.awaited",
            "wait": "0/signal#0",
            "signal": "approve",
            "timeout": 60.0,
            "until": "2026-01-01T12:30:15.250000Z",
        },
    ),
    (
        SignalReceived(wait="0/signal#0", signal="approve", data=Raw(b"true"), sent_at=AT),
        {
            "type": "signal.received",
            "wait": "0/signal#0",
            "signal": "approve",
            "data": True,
            "sent_at": "2026-01-01T12:30:15.250000Z",
        },
    ),
    (WaitCanceled(wait="0/signal#0"), {"type": "wait.canceled", "wait": "0/signal#0"}),
    (
        EventSent(send="0/send#0", events=Raw(b'[{"name":"a"}]'), digest="d"),
        {"type": "event.sent", "send": "0/send#0", "events": [{"name": "a"}], "digest": "d"},
    ),
    (
        SignalSent(send="0/tell#0", run="r", signal="approve", data=Raw(b"1"), digest="d"),
        {"type": "signal.sent", "send": "0/tell#0", "run": "r", "signal": "approve", "data": 1, "digest": "d"},
    ),
    (
        ChildStarted(
            child="0/ship#0", run="r", workflow="ship", version=1, input=Raw(b"{}"), digest="d", line="f.py:1"
        ),
        {
            "type": "child.started",
            "child": "0/ship#0",
            "run": "r",
            "workflow": "ship",
            "version": 1,
            "input": {},
            "digest": "d",
            "line": "f.py:1",
        },
    ),
    (
        ChildSucceeded(child="0/ship#0", output=Raw(b"1")),
        {"type": "child.succeeded", "child": "0/ship#0", "output": 1},
    ),
    (
        ChildFailed(child="0/ship#0", error=ERROR),
        {"type": "child.failed", "child": "0/ship#0", "error": ERROR_JSON},
    ),
    (ChildCanceled(child="0/ship#0"), {"type": "child.canceled", "child": "0/ship#0"}),
    (ChildCancelRequested(child="0/ship#0"), {"type": "child.cancel_requested", "child": "0/ship#0"}),
    (
        Published(message="0/message#0", topic="progress", data=Raw(b"0.5")),
        {"type": "message.published", "message": "0/message#0", "topic": "progress", "data": 0.5},
    ),
    (PatchMarked(patch="use-baz"), {"type": "patch.marked", "patch": "use-baz"}),
    (CancelRequested(reason="requested"), {"type": "cancel.requested", "reason": "requested"}),
    (
        BodyFailed(attempt=0, error=ERROR, retry_at=AT, max_retries=4),
        {
            "type": "body.failed",
            "attempt": 0,
            "error": ERROR_JSON,
            "retry_at": "2026-01-01T12:30:15.250000Z",
            "max_retries": 4,
        },
    ),
    (RunSucceeded(output=Raw(b'"x"')), {"type": "run.succeeded", "output": "x"}),
    (RunFailed(error=ERROR), {"type": "run.failed", "error": ERROR_JSON}),
    (RunCanceled(), {"type": "run.canceled"}),
    (RunCanceled(stopped=True), {"type": "run.canceled", "stopped": True}),
    (
        RunContinued(continued_to="r", version=2, input=Raw(b'{"n":1}')),
        {"type": "run.continued", "continued_to": "r", "version": 2, "input": {"n": 1}},
    ),
    (RunBlocked(code="c", error=ERROR), {"type": "run.blocked", "code": "c", "error": ERROR_JSON}),
    (RunUnblocked(code="c"), {"type": "run.unblocked", "code": "c"}),
]


@pytest.mark.parametrize(("record", "document"), RECORDS, ids=lambda each: getattr(each, "type", None))
def test_a_record_in_the_log(record: Record, document: dict[str, Any]) -> None:
    """The names are fixed: histories outlive every version of this code."""
    raw = encode_record(record)
    assert json.loads(raw) == document
    assert encode_record(decode_record(raw)) == raw
    assert type_name(record) == document["type"]


def test_every_type_is_in_the_table() -> None:
    assert {type(record) for record, _ in RECORDS} == set(get_args(Record))


def test_the_three_kinds_share_no_type_and_leave_none_out() -> None:
    commands = set(get_args(records.Command))
    assert set(get_args(records.Input)) == records.INPUTS
    assert commands >= records.ENDS
    assert not records.INPUTS & commands
    assert not records.INPUTS & records.NOTES
    assert not commands & records.NOTES
    assert records.INPUTS | commands | records.NOTES == set(get_args(Record))


def test_a_payload_keeps_its_bytes() -> None:
    """Rule 14: what a workflow sees is decoded from what was stored, not from something like it."""
    raw = b'{"type":"run.succeeded","output":{"z":1.0,"a":[1e3, 2]}}'
    record = decode_record(raw)
    assert isinstance(record, RunSucceeded)
    assert bytes(record.output) == b'{"z":1.0,"a":[1e3, 2]}'
    assert encode_record(record) == raw


def test_a_record_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"event\.forgotten"):
        decode_record(b'{"type":"event.forgotten","event":"x"}')


@given(st.integers(0, 2**55))
def test_times_are_exact_to_the_microsecond(us: int) -> None:
    assert to_us(from_us(us)) == us
