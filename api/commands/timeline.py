"""What a run did and when, as the pure fold of its history: the rows that `durably show` draws."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from durably import History
from durably.api.console import how_long
from durably.engine.body.commands import in_words
from durably.replay import HistoryRecord

__all__ = ["Note", "Row", "Segment", "timeline"]

BRIEF = 40
"""Characters of a message that are shown."""

Kind = Literal["step", "timer", "wait", "child", "messages", "body", "run"]
Doing = Literal["running", "waiting", "sleeping", "blocked", "elsewhere"]


class Segment(Struct):
    """A stretch of time; `end` is None while it lasts."""

    doing: Doing
    start: datetime
    end: datetime | None = None
    ok: bool = True
    """False when it ended in an error or was lost."""


class Note(Struct):
    """Something that happened on the way, in words."""

    at: datetime
    text: str
    due_at: datetime | None = None
    """When it is tried again."""


class Row(Struct):
    """A step, a timer, a wait, a child, a topic's messages, or something that concerns the whole run."""

    kind: Kind
    key: str
    name: str
    start: datetime
    outcome: str = "open"
    attempts: int = 0
    due_at: datetime | None = None
    """When what it waits for is due, while it waits."""
    run: str = ""
    """Another run that this is about."""
    segments: list[Segment] = field(default_factory=list[Segment])
    moments: list[datetime] = field(default_factory=list[datetime])
    """When something happened that took no time."""
    notes: list[Note] = field(default_factory=list[Note])

    @property
    def end(self) -> datetime | None:
        """When it was over; None while it is open."""
        return self.segments[-1].end if self.segments else self.start


def timeline(history: History) -> list[Row]:
    """The rows of a run, in the order in which they began. Types of records that are not known here are passed over."""
    fold = _Fold()
    for record in history:
        fold.apply(record)
    return fold.rows


class _Fold:
    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._open: dict[str, Row] = {}
        self._topics: dict[str, Row] = {}
        self._forked: Row | None = None
        self._copied = 0

    def apply(self, record: HistoryRecord) -> None:
        if self._forked is not None and record.seq > self._copied and record.at < self._forked.start:
            # What the code does anew has the time of the copied input before it: the fork began it when it was made.
            record = HistoryRecord(record.seq, self._forked.start, record.to_dict())
        act = getattr(self, "_" + record.type.replace(".", "_"), None)
        if act is not None:
            act(record)
        if self._forked is not None and record.seq == self._copied:
            self._go_on_as(self._forked, record.at)

    def _go_on_as(self, fork: Row, last: datetime) -> None:
        """Close what was taken over. Steps and children without an end begin again: their old time is the origin's."""
        fork.outcome = f"{how_long(max((fork.start - last).total_seconds(), 0))} later, {fork.outcome}"
        again = [row for row in self._open.values() if row.kind in {"step", "child"}]
        for row in again:
            row.start = fork.start
            row.segments = [Segment(row.segments[-1].doing, fork.start)]
            row.notes, row.due_at = [], None
        self.rows = [row for row in self.rows if row not in again] + [fork, *again]

    # -- rows

    def _row(self, kind: Kind, key: str, name: str, at: datetime) -> Row:
        row = self._open.get(key)
        if row is None:
            row = self._open[key] = Row(kind, key, name, at)
            self.rows.append(row)
        return row

    @staticmethod
    def _begin(row: Row, doing: Doing, at: datetime) -> None:
        row.segments.append(Segment(doing, at))

    @staticmethod
    def _pause(row: Row, at: datetime, *, ok: bool = True) -> None:
        if row.segments and row.segments[-1].end is None:
            row.segments[-1].end = at
            row.segments[-1].ok = ok

    def _close(self, key: str, outcome: str, at: datetime, *, ok: bool = True) -> None:
        row = self._open.pop(key, None)
        if row is not None:
            self._pause(row, at, ok=ok)
            row.outcome, row.due_at = outcome, None

    def _close_all(self, at: datetime) -> None:
        """Nothing of this incarnation goes on but its children."""
        for key, row in list(self._open.items()):
            if row.kind != "child":
                self._close(key, "canceled", at)

    def _mark(self, name: str, at: datetime, outcome: str = "", *, text: str = "", run: str = "") -> None:
        """Something that took no time."""
        notes = [Note(at, text)] if text else []
        self.rows.append(Row("run", "", name, at, outcome, run=run, notes=notes, moments=[at]))

    # -- one method for each type of record, by its name

    def _run_created(self, record: HistoryRecord) -> None:
        origin, copied, resumed = record.get("origin"), record.get("copied"), record.get("resumed")
        if copied is not None:
            at, self._copied = datetime.fromisoformat(copied["made_at"]), copied["upto"]
            outcome = f"taken over up to record {self._copied}"
            self._forked = Row("run", "", "fork", at, outcome, run=origin, moments=[at])
        if resumed is not None:
            self._mark("rerun", record.at, f"from step {resumed['step']}", run=origin)
        self._begin(self._row("run", "queued", "queued", record.at), "waiting", record.at)

    def _outcome_given(self, record: HistoryRecord) -> None:
        """What a rerun from a step or a fork need not do: what came of it is known."""
        about = _about(record.record)
        if about is not None:
            kind, key, name = about
            error = record.record.get("error")
            notes = [] if error is None else [Note(record.at, _error(error))]
            self.rows.append(Row(kind, key, name, record.at, "given", notes=notes, moments=[record.at]))

    def _run_started(self, record: HistoryRecord) -> None:
        self._close("queued", "", record.at)

    def _step_scheduled(self, record: HistoryRecord) -> None:
        row = self._row("step", record.step, record.name, record.at)
        row.outcome = "queued"
        self._begin(row, "waiting", record.at)

    def _attempt_started(self, record: HistoryRecord) -> None:
        row = self._row("step", record.step, record.name, record.at)
        self._pause(row, record.at)
        row.outcome, row.due_at = "running", None
        row.attempts = record.attempt + 1
        self._begin(row, "running", record.at)

    def _attempt_failed(self, record: HistoryRecord) -> None:
        row = self._row("step", record.step, record.name, record.at)
        self._pause(row, record.at, ok=False)
        text = f"attempt {record.attempt} failed: {_error(record.error)}"
        due_at = _time(record.get("retry_at"))
        row.notes.append(Note(record.at, text, due_at))
        if due_at is not None:
            row.outcome, row.due_at = f"retry {record.attempt + 1} of {record.max_retries}", due_at
            self._begin(row, "waiting", record.at)

    def _attempt_lost(self, record: HistoryRecord) -> None:
        row = self._row("step", record.step, record.name, record.at)
        self._pause(row, record.at, ok=False)
        row.outcome = "lost"
        why = {"crash": "its process died", "drain": "its process was stopped"}.get(record.reason, record.reason)
        row.notes.append(Note(record.at, f"attempt {record.attempt} was lost: {why}; it is started again"))
        self._begin(row, "waiting", record.at)

    def _step_succeeded(self, record: HistoryRecord) -> None:
        self._close(record.step, "succeeded", record.at)

    def _step_failed(self, record: HistoryRecord) -> None:
        row = self._row("step", record.step, record.name, record.at)
        text = _error(record.error)
        if not row.notes or not row.notes[-1].text.endswith(text):
            row.notes.append(Note(record.at, text))
        self._close(record.step, "failed", record.at, ok=False)

    def _step_canceled(self, record: HistoryRecord) -> None:
        self._close(record.step, "canceled", record.at)

    def _timer_set(self, record: HistoryRecord) -> None:
        row = self._row("timer", record.timer, f"sleep {in_words(record.delay)}", record.at)
        row.outcome, row.due_at = "sleeping", _time(record.due_at)
        self._begin(row, "sleeping", record.at)

    def _timer_fired(self, record: HistoryRecord) -> None:
        row = self._open.get(record.timer)
        self._close(record.timer, "timed out" if row is not None and row.kind == "wait" else "over", record.at)

    def _timer_canceled(self, record: HistoryRecord) -> None:
        self._close(record.timer, "canceled", record.at)

    def _event_awaited(self, record: HistoryRecord) -> None:
        self._await(record, f"event {record.event}")

    def _signal_awaited(self, record: HistoryRecord) -> None:
        self._await(record, f"signal {record.signal}")

    def _await(self, record: HistoryRecord, name: str) -> None:
        row = self._row("wait", record.wait, name, record.at)
        row.outcome, row.due_at = "waiting", _time(record.get("until"))
        self._begin(row, "waiting", record.at)

    def _event_received(self, record: HistoryRecord) -> None:
        for wait in record.waits:
            self._close(wait, "received", record.at)

    def _signal_received(self, record: HistoryRecord) -> None:
        self._close(record.wait, "received", record.at)

    def _wait_canceled(self, record: HistoryRecord) -> None:
        self._close(record.wait, "canceled", record.at)

    def _event_sent(self, record: HistoryRecord) -> None:
        self._mark(_sent(record.events), record.at)

    def _signal_sent(self, record: HistoryRecord) -> None:
        self._mark(f"signaled {record.signal}", record.at, run=record.run)

    def _child_started(self, record: HistoryRecord) -> None:
        row = self._row("child", record.child, record.workflow, record.at)
        row.outcome, row.run = "running", record.run
        self._pause(row, record.at)
        self._begin(row, "elsewhere", record.at)

    def _child_succeeded(self, record: HistoryRecord) -> None:
        self._close(record.child, "succeeded", record.at)

    def _child_failed(self, record: HistoryRecord) -> None:
        row = self._open.get(record.child)
        if row is not None:
            row.notes.append(Note(record.at, _error(record.error)))
        self._close(record.child, "failed", record.at, ok=False)

    def _child_canceled(self, record: HistoryRecord) -> None:
        self._close(record.child, "canceled", record.at)

    _child_cancel_requested = _child_canceled

    def _message_published(self, record: HistoryRecord) -> None:
        row = self._topics.get(record.topic)
        if row is None:
            row = self._topics[record.topic] = Row("messages", record.topic, f"published {record.topic}", record.at)
            self.rows.append(row)
        row.moments.append(record.at)
        count = "1 message" if len(row.moments) == 1 else f"{len(row.moments)} messages"
        row.outcome = f"{count}, last {_brief(record.data)}"

    def _patch_marked(self, record: HistoryRecord) -> None:
        self._mark(f"patch {record.patch}", record.at)

    def _body_failed(self, record: HistoryRecord) -> None:
        self._close_all(record.at)
        row = self._row("body", "", "body", record.at)
        row.outcome, row.due_at = (
            f"retry {record.attempt + 1} of {record.max_retries}",
            _time(record.retry_at),
        )
        text = f"attempt {record.attempt} of the body failed: {_error(record.error)}"
        row.notes.append(Note(record.at, text, row.due_at))
        self._begin(row, "waiting", record.at)

    def _body_started(self, record: HistoryRecord) -> None:
        self._close("", f"attempt {record.attempt}", record.at)

    def _cancel_requested(self, record: HistoryRecord) -> None:
        self._mark("time limit" if record.reason == "timeout" else "cancel requested", record.at)

    def _run_blocked(self, record: HistoryRecord) -> None:
        row = self._row("run", "blocked", "blocked", record.at)
        row.outcome = "the code does not fit"
        self._pause(row, record.at)
        self._begin(row, "blocked", record.at)

    def _run_unblocked(self, record: HistoryRecord) -> None:
        self._close("blocked", "the code fits again", record.at)

    def _run_succeeded(self, record: HistoryRecord) -> None:
        self._close_all(record.at)
        for key in list(self._open):  # children that nobody has waited for
            self._close(key, "goes on", record.at)

    _run_failed = _run_succeeded

    def _run_canceled(self, record: HistoryRecord) -> None:
        self._run_succeeded(record)
        if record.get("stopped"):
            self._mark("stopped", record.at, text="it went on for too long after a second request to end")

    def _run_continued(self, record: HistoryRecord) -> None:
        self._run_succeeded(record)
        self._mark("continued", record.at, run=record.continued_to)


def _error(error: Mapping[str, Any]) -> str:
    message = error.get("message", "")
    return f"{error['type']}: {message}" if message else str(error["type"])


def _sent(events: Sequence[Mapping[str, Any]]) -> str:
    first, *more = events
    return f"sent {first['name']}" + (f" and {len(more)} more" if more else "")


def _about(given: Mapping[str, Any]) -> tuple[Kind, str, str] | None:
    """The kind, key and name of something given. What was published is not said again, and so is no row."""
    found: tuple[Kind, str, str] | None
    match given:
        case {"step": key, "name": name}:
            found = "step", key, name
        case {"timer": key}:
            found = "timer", key, "sleep" if _word(key) == "timer" else f"{_word(key)} timed out"
        case {"waits": [key, *_], "event": {"name": name}}:
            found = "wait", key, f"event {name}"
        case {"wait": key, "signal": name}:
            found = "wait", key, f"signal {name}"
        case {"child": key}:
            found = "child", key, _word(key)
        case {"send": key, "events": events}:
            found = "run", key, _sent(events)
        case {"send": key, "signal": name}:
            found = "run", key, f"signaled {name}"
        case {"patch": patch}:
            found = "run", "", f"patch {patch}"
        case _:
            found = None
    return found


def _word(key: str) -> str:
    """The name in a key: `pay` of `0/pay#0`."""
    return key.rpartition("/")[2].partition("#")[0]


def _time(text: Any) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _brief(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= BRIEF else f"{text[:BRIEF]}…"
