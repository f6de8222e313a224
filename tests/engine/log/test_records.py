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
    with pytest.raises(msgspec.ValidationError, match=r"event\.awaited"):
        decode_record(b'{"type":"event.awaited","event":"x"}')


@given(st.integers(0, 2**55))
def test_times_are_exact_to_the_microsecond(us: int) -> None:
    assert to_us(from_us(us)) == us
