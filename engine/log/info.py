"""What is known of a run at a glance: its list entry, and what its log adds to it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from durably.engine.errors import ErrorInfo, qualified_names
from durably.engine.log.records import (
    EventAwaited,
    RunCreated,
    RunFailed,
    RunSucceeded,
    Sealed,
    decode_record,
    from_us,
)
from durably.engine.log.state import RunState, Wait, fold
from durably.store import LogRow, RunRow

__all__ = ["RunInfo", "Status", "WaitingFor", "describe_run"]

Status: TypeAlias = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED"]


class WaitingFor(Struct, frozen=True, omit_defaults=True):
    """One thing that an open run waits for.

    A step under way (`step`) or to be retried (`retry`), a timer, an event, a signal, a child run, or the body's own
    retry (`body`). `name` is the step's, the event's, the signal's, or the child's workflow.
    """

    kind: Literal["step", "retry", "timer", "event", "signal", "child", "body"]
    key: str = ""
    name: str = ""
    attempt: int = 0
    due_at: datetime | None = None
    """When it is over in any case."""
    run: str = ""
    """The child's id."""


class RunInfo(Struct, frozen=True, kw_only=True):
    """A run at a glance. Times are aware datetimes in UTC."""

    id: str
    workflow: str
    version: int
    trigger: str
    environment: str
    event: str | None
    event_id: str | None
    origin: str | None
    """The run that this one is a rerun, fork, child or continuation of."""
    parent: str | None = None
    """The run that has started this one as its child."""
    continued_to: str | None = None
    """The run that this one goes on as."""
    test: bool
    status: Status
    phase: str | None
    """Says more of an open run: blocked, queued, executing, retrying, waiting or sleeping; None once it has ended."""
    input: Any
    """Arguments by parameter name, or the event that triggered it."""
    output: Any
    error: ErrorInfo | None
    """What it failed with, or why it is blocked."""
    tasks: int
    """Steps that ran, however many attempts each took."""
    next_retry_at: datetime | None
    waiting_for: tuple[WaitingFor, ...]
    history_length: int
    created_at: datetime
    scheduled_for: datetime | None = None
    """The time that a schedule started it for, or at which a job's retry is due."""
    started_at: datetime | None
    finished_at: datetime | None


def describe_run(row: RunRow, rows: Sequence[LogRow]) -> RunInfo:
    """Put together what lists know and what the log says. `rows` is the whole log, or, of an ended run, its ends."""
    ended = row.phase is None
    try:
        first, last = decode_record(rows[0].body), decode_record(rows[-1].body)
        state = RunState() if ended else fold((each.at_us, decode_record(each.body)) for each in rows)
    except Sealed as sealed:
        return _describe_sealed(row, rows[-1].seq, sealed)
    assert isinstance(first, RunCreated)
    error = last.error if isinstance(last, RunFailed) else None
    if state.blocked is not None:
        error = state.blocked.error
    return RunInfo(
        **_columns(row),
        parent=first.parent,
        status=_status(row.status if ended else state.status),
        phase=None if ended else state.phase,
        input=_input(first),
        output=msgspec.json.decode(last.output) if isinstance(last, RunSucceeded) else None,
        error=error,
        tasks=row.tasks if ended else state.tasks,
        next_retry_at=_time(state.next_retry_us()),
        waiting_for=tuple(_waits(state)),
        history_length=rows[-1].seq,
        started_at=_time(row.started_us if ended else state.started_us),
    )


def _describe_sealed(row: RunRow, history_length: int, error: Sealed) -> RunInfo:
    """What lists know of a run whose log cannot be read, and why. If it is open it waits, as a blocked one does."""
    types = qualified_names(Sealed)
    return RunInfo(
        **_columns(row),
        status=_status(row.status),
        phase=row.phase and "blocked",
        input=None,
        output=None,
        error=ErrorInfo(type=types[0], types=types, message=str(error)),
        tasks=row.tasks,
        next_retry_at=None,
        waiting_for=(),
        history_length=history_length,
        started_at=_time(row.started_us),
    )


def _columns(row: RunRow) -> dict[str, Any]:
    """What of a run is never in its log only, and never sealed."""
    return {
        "id": row.id,
        "workflow": row.workflow,
        "version": row.version,
        "trigger": row.trigger,
        "environment": row.environment,
        "event": row.event,
        "event_id": row.event_id,
        "origin": row.origin,
        "continued_to": row.continued_to,
        "test": row.test,
        "created_at": from_us(row.created_us),
        "scheduled_for": _time(row.scheduled_us),
        "finished_at": _time(row.finished_us),
    }


def _status(status: str) -> Status:
    known: Status = msgspec.convert(status, Status)
    return known


def _input(created: RunCreated) -> Any:
    event = msgspec.json.decode(created.event)
    return msgspec.json.decode(created.input) if event is None else {"event": event}


def _time(at_us: int | None) -> datetime | None:
    return None if at_us is None else from_us(at_us)


def _waits(state: RunState) -> list[WaitingFor]:
    waits = [
        WaitingFor(
            kind="step" if step.retry_us is None else "retry",
            key=key,
            name=step.name,
            attempt=step.attempt,
            due_at=_time(step.retry_us),
        )
        for key, step in state.steps.items()
    ]
    waits += [WaitingFor(kind="timer", key=key, due_at=from_us(due_us)) for key, due_us in state.timers.items()]
    waits += [_waiting_for(key, wait) for key, wait in state.waits.items()]
    waits += [
        WaitingFor(kind="child", key=key, name=child.workflow, run=child.run)
        for key, child in state.children.items()
        if not child.canceled
    ]
    if state.body_retry_us is not None:
        waits.append(WaitingFor(kind="body", attempt=state.body_attempt, due_at=from_us(state.body_retry_us)))
    return waits


def _waiting_for(key: str, wait: Wait) -> WaitingFor:
    if isinstance(wait, EventAwaited):
        return WaitingFor(kind="event", key=key, name=wait.event, due_at=wait.until)
    return WaitingFor(kind="signal", key=key, name=wait.signal, due_at=wait.until)
