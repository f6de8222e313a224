"""What `durably show` makes of a history: rows, and their picture."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from durably import History, RetryPolicy, step, workflow
from durably.api.commands.picture import draw
from durably.api.commands.timeline import Row, timeline
from durably.testing import TestEngine

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def history(*records: tuple[float, str, dict[str, Any]]) -> History:
    """A history of these records: seconds after the beginning, type, fields."""
    return History.from_json(
        msgspec.json.encode(
            {
                "format": "durably.history/1",
                "run": {"id": "r"},
                "records": [
                    {"seq": index + 1, "at": at(seconds), "type": kind, **fields}
                    for index, (seconds, kind, fields) in enumerate(records)
                ],
            }
        )
    )


ERROR = {"type": "ValueError", "types": ["ValueError"], "message": "no\nway"}
A = {"step": "0/a#0", "name": "a"}
BEGINNING: list[tuple[float, str, dict[str, Any]]] = [(0, "run.created", {}), (1, "run.started", {})]


def shown(rows: list[Row]) -> list[tuple[str, str, list[tuple[str, float, float | None, bool]]]]:
    """Names, outcomes and segments in seconds."""

    def second(time: datetime | None) -> float | None:
        return None if time is None else (time - BEGAN).total_seconds()

    return [
        (
            row.name,
            row.outcome,
            [(each.doing, second(each.start) or 0, second(each.end), each.ok) for each in row.segments],
        )
        for row in rows
    ]


NOTHING: dict[str, Any] = {}


def child(number: int) -> dict[str, Any]:
    return {"child": f"0/pay#{number}", "workflow": "pay", "version": 1, "input": NOTHING}


INSTANT: list[tuple[str, float, float | None, bool]] = []
QUEUED = ("queued", "", [("waiting", 0, 1, True)])


@pytest.mark.parametrize(
    ("records", "rows"),
    [
        pytest.param([], [QUEUED], id="begun"),
        pytest.param(
            [
                (1, "attempt.started", {**A, "attempt": 0, "start": 0}),
                (2, "attempt.failed", {**A, "attempt": 0, "error": ERROR, "retry_at": at(5), "max_retries": 1}),
                (5, "attempt.started", {**A, "attempt": 1, "start": 0}),
                (6, "step.succeeded", {**A, "attempt": 1, "output": 1}),
            ],
            [QUEUED, ("a", "succeeded", [("running", 1, 2, False), ("waiting", 2, 5, True), ("running", 5, 6, True)])],
            id="retried",
        ),
        pytest.param(
            [
                (1, "attempt.started", {**A, "attempt": 0, "start": 0}),
                (2, "attempt.failed", {**A, "attempt": 0, "error": ERROR, "max_retries": 0}),
                (2, "step.failed", {**A, "attempt": 0, "error": ERROR}),
            ],
            [QUEUED, ("a", "failed", [("running", 1, 2, False)])],
            id="failed for good",
        ),
        pytest.param(
            [
                (1, "step.scheduled", A),
                (3, "attempt.started", {**A, "attempt": 0, "start": 0}),
                (4, "attempt.lost", {**A, "attempt": 0, "start": 0, "reason": "crash"}),
                (7, "attempt.started", {**A, "attempt": 0, "start": 1}),
            ],
            [
                QUEUED,
                (
                    "a",
                    "running",
                    [
                        ("waiting", 1, 3, True),
                        ("running", 3, 4, False),
                        ("waiting", 4, 7, True),
                        ("running", 7, None, True),
                    ],
                ),
            ],
            id="queued, then lost",
        ),
        pytest.param(
            [
                (1, "attempt.started", {**A, "attempt": 0, "start": 0}),
                (2, "body.failed", {"attempt": 0, "error": ERROR, "retry_at": at(4), "max_retries": 4}),
                (4, "body.started", {"attempt": 1}),
                (4, "attempt.started", {**A, "attempt": 0, "start": 1}),
                (5, "cancel.requested", {"reason": "requested"}),
                (5, "step.canceled", A),
                (6, "run.canceled", NOTHING),
            ],
            [
                QUEUED,
                ("a", "canceled", [("running", 1, 2, True)]),
                ("body", "attempt 1", [("waiting", 2, 4, True)]),
                ("a", "canceled", [("running", 4, 5, True)]),
                ("cancel requested", "", INSTANT),
            ],
            id="body retried, then canceled",
        ),
        pytest.param(
            [
                (1, "timer.set", {"timer": "0/sleep#0", "delay": 60.0, "due_at": at(61)}),
                (2, "run.blocked", {"code": "c", "error": ERROR}),
                (9, "run.unblocked", {"code": "c"}),
                (61, "timer.fired", {"timer": "0/sleep#0"}),
                (62, "something.new", {"x": 1}),
            ],
            [
                QUEUED,
                ("sleep 1 min", "over", [("sleeping", 1, 61, True)]),
                ("blocked", "the code fits again", [("blocked", 2, 9, True)]),
            ],
            id="blocked while it sleeps",
        ),
        pytest.param(
            [
                (1, "event.awaited", {"wait": "0/event#0", "event": "parcel/shipped", "until": at(9)}),
                (1, "event.awaited", {"wait": "0/event#1", "event": "parcel/*"}),
                (1, "signal.awaited", {"wait": "0/signal#0", "signal": "approve", "until": at(5)}),
                (2, "signal.awaited", {"wait": "0/signal#1", "signal": "reject"}),
                (5, "timer.fired", {"timer": "0/signal#0"}),
                (6, "event.received", {"waits": ["0/event#0", "0/event#1"], "event": {"name": "parcel/shipped"}}),
                (6, "wait.canceled", {"wait": "0/signal#1"}),
                (6, "signal.awaited", {"wait": "0/signal#2", "signal": "go"}),
                (7, "signal.received", {"wait": "0/signal#2", "signal": "go", "data": 1, "sent_at": at(3)}),
                (8, "signal.awaited", {"wait": "0/signal#3", "signal": "go"}),
            ],
            [
                QUEUED,
                ("event parcel/shipped", "received", [("waiting", 1, 6, True)]),
                ("event parcel/*", "received", [("waiting", 1, 6, True)]),
                ("signal approve", "timed out", [("waiting", 1, 5, True)]),
                ("signal reject", "canceled", [("waiting", 2, 6, True)]),
                ("signal go", "received", [("waiting", 6, 7, True)]),
                ("signal go", "waiting", [("waiting", 8, None, True)]),
            ],
            id="waits",
        ),
        pytest.param(
            [
                (1, "child.started", {**child(0), "run": "r0"}),
                (1, "child.started", {**child(1), "run": "r1"}),
                (1, "child.started", {**child(2), "run": "r2"}),
                (1, "child.started", {**child(3), "run": "r3"}),
                (3, "child.succeeded", {"child": "0/pay#0", "output": 1}),
                (4, "child.failed", {"child": "0/pay#1", "error": ERROR}),
                (5, "body.failed", {"attempt": 0, "error": ERROR, "retry_at": at(6), "max_retries": 4}),
                (6, "body.started", {"attempt": 1}),
                (6, "child.cancel_requested", {"child": "0/pay#2"}),
                (7, "child.canceled", {"child": "0/pay#2"}),
                (8, "run.continued", {"continued_to": "next", "version": 1, "input": NOTHING}),
            ],
            [
                QUEUED,
                ("pay", "succeeded", [("elsewhere", 1, 3, True)]),
                ("pay", "failed", [("elsewhere", 1, 4, False)]),
                ("pay", "canceled", [("elsewhere", 1, 6, True)]),
                ("pay", "goes on", [("elsewhere", 1, 8, True)]),
                ("body", "attempt 1", [("waiting", 5, 6, True)]),
                ("continued", "", INSTANT),
            ],
            id="children of a run that goes on as another",
        ),
        pytest.param(
            [
                (1, "event.sent", {"send": "0/send#0", "events": [{"name": "a"}]}),
                (1, "event.sent", {"send": "0/send#1", "events": [{"name": "b"}, {"name": "c"}]}),
                (2, "signal.sent", {"send": "0/tell#0", "run": "r9", "signal": "go", "data": None}),
                (2, "patch.marked", {"patch": "new-prices"}),
                (3, "message.published", {"message": "0/message#0", "topic": "progress", "data": 0.5}),
                (3, "message.published", {"message": "0/message#1", "topic": "tokens", "data": "x" * 100}),
                (4, "message.published", {"message": "0/message#2", "topic": "progress", "data": 1.0}),
                (5, "cancel.requested", {"reason": "timeout"}),
                (15, "run.canceled", {"stopped": True}),
            ],
            [
                QUEUED,
                ("sent a", "", INSTANT),
                ("sent b and 1 more", "", INSTANT),
                ("signaled go", "", INSTANT),
                ("patch new-prices", "", INSTANT),
                ("published progress", "2 messages, last 1.0", INSTANT),
                ("published tokens", f'1 message, last "{"x" * 39}…', INSTANT),
                ("time limit", "", INSTANT),
                ("stopped", "", INSTANT),
            ],
            id="what takes no time",
        ),
    ],
)
def test_rows(records: list[tuple[float, str, dict[str, Any]]], rows: list[Any]) -> None:
    assert shown(timeline(history(*BEGINNING, *records))) == rows


def test_what_a_fork_has_taken_over_is_above_a_line() -> None:
    created = {"origin": "r0", "copied": {"upto": 4, "made_at": at(60)}}
    rows = timeline(
        history(
            (0, "run.created", created),
            (0, "run.started", NOTHING),
            (1, "attempt.started", {**A, "attempt": 0, "start": 0}),
            (2, "step.succeeded", {**A, "attempt": 0, "output": 1}),
            (2, "step.scheduled", {"step": "0/b#0", "name": "b"}),
            (70, "attempt.started", {"step": "0/b#0", "name": "b", "attempt": 0, "start": 0}),
        )
    )
    assert [(row.name, row.outcome, row.run) for row in rows] == [
        ("queued", "", ""),
        ("a", "succeeded", ""),
        ("fork", "58 s later, taken over up to record 4", "r0"),
        ("b", "running", ""),
    ]
    assert [(each.doing, each.start) for each in rows[3].segments] == [("waiting", at(60)), ("running", at(70))]
    assert rows[3].start == at(60)
    assert "+1 min" in lines(rows, 80, 80)[1]
    assert lines(rows, 80, 80)[1].endswith("taken over up to record 4, run r0")


def test_a_child_that_a_fork_takes_over_without_its_end_begins_with_the_fork() -> None:
    created = {"origin": "r0", "copied": {"upto": 3, "made_at": at(100_000)}}
    rows = timeline(
        history(
            (0, "run.created", created),
            (0, "run.started", NOTHING),
            (0, "child.started", {**child(0), "run": "r1"}),
            (100_002, "child.succeeded", {"child": "0/pay#0", "output": 1}),
        )
    )
    assert shown(rows)[1:] == [
        ("fork", "1 d 3 h later, taken over up to record 3", INSTANT),
        ("pay", "succeeded", [("elsewhere", 100_000, 100_002, True)]),
    ]
    assert "+1 d 3 h" in lines(rows, 100_002, 100_002)[-1]


GIVEN: list[tuple[dict[str, Any], Any]] = [
    ({"type": "step.succeeded", **A, "attempt": 0, "output": 1}, ("step", "0/a#0", "a", [])),
    (
        {"type": "step.failed", **A, "attempt": 0, "error": ERROR},
        ("step", "0/a#0", "a", ["ValueError: no\nway"]),
    ),
    ({"type": "timer.fired", "timer": "0/timer#2"}, ("timer", "0/timer#2", "sleep", [])),
    ({"type": "timer.fired", "timer": "0/1/signal#0"}, ("timer", "0/1/signal#0", "signal timed out", [])),
    (
        {"type": "event.received", "waits": ["0/event#0"], "event": {"name": "a/b"}},
        ("wait", "0/event#0", "event a/b", []),
    ),
    (
        {"type": "signal.received", "wait": "0/signal#0", "signal": "go", "data": 1, "sent_at": at(3)},
        ("wait", "0/signal#0", "signal go", []),
    ),
    ({"type": "child.succeeded", "child": "0/pay#0", "output": 1}, ("child", "0/pay#0", "pay", [])),
    ({"type": "event.sent", "send": "0/send#0", "events": [{"name": "a"}]}, ("run", "0/send#0", "sent a", [])),
    (
        {"type": "signal.sent", "send": "0/tell#0", "run": "r9", "signal": "go", "data": 1},
        ("run", "0/tell#0", "signaled go", []),
    ),
    ({"type": "patch.marked", "patch": "p"}, ("run", "", "patch p", [])),
    ({"type": "message.published", "message": "0/message#0", "topic": "t", "data": 1}, None),
]


@pytest.mark.parametrize(("given", "row"), GIVEN)
def test_what_a_run_was_given(given: dict[str, Any], row: Any) -> None:
    created = {"origin": "r0", "resumed": {"step": "0/b#0", "started_at": at(0), "seed": 1}}
    first, queued, *rows = timeline(
        history((0, "run.created", created), (0, "outcome.given", {"record": given, "happened_at": at(-9)}))
    )
    assert (first.name, first.outcome, first.run) == ("rerun", "from step 0/b#0", "r0")
    found = [(each.kind, each.key, each.name, [note.text for note in each.notes]) for each in rows]
    assert found == ([] if row is None else [row])
    assert all((each.outcome, each.start, each.end) == ("given", at(0), at(0)) for each in rows)
    assert queued.name == "queued"


def lines(rows: list[Row], end: float, now: float) -> list[str]:
    return [line.plain.rstrip() for line in draw(rows, BEGAN, at(end), at(now))]


def test_the_picture_of_a_retried_step() -> None:
    rows = timeline(
        history(
            (0, "run.created", {}),
            (0, "run.started", {}),
            (0, "attempt.started", {**A, "attempt": 0, "start": 0}),
            (8, "attempt.failed", {**A, "attempt": 0, "error": ERROR, "retry_at": at(16), "max_retries": 4}),
            (16, "attempt.started", {**A, "attempt": 1, "start": 0}),
            (24, "attempt.failed", {**A, "attempt": 1, "error": ERROR, "retry_at": at(92), "max_retries": 4}),
        )
    )
    [picture, first, second] = lines(rows, 32, 32)
    # 32 columns for 32 seconds: 8 at work, 8 of waiting, 8 at work, and the wait that is on.
    assert "━━━━━━━━┄┄┄┄┄┄┄┄━━━━━━━━┄┄┄┄┄┄┄┄" in picture
    assert "retry 2 of 4, due in 1 min" in picture
    assert "attempt 0 failed: ValueError: no ⏎ way · tried again at" in first
    assert "attempt 1 failed: ValueError: no ⏎ way · tried again at" in second


def test_the_picture_of_what_others_do() -> None:
    rows = timeline(
        history(
            (0, "run.created", {}),
            (0, "run.started", {}),
            (0, "child.started", {**child(0), "run": "r0"}),
            (8, "signal.awaited", {"wait": "0/signal#0", "signal": "approve", "until": at(92)}),
            (16, "message.published", {"message": "0/message#0", "topic": "progress", "data": 0.5}),
            (24, "message.published", {"message": "0/message#1", "topic": "progress", "data": "\x1b[2J"}),
            (24, "signal.sent", {"send": "0/tell#0", "run": "r9", "signal": "go", "data": None}),
        )
    )
    [pay, approve, progress, signaled] = lines(rows, 32, 32)
    assert "═" * 32 in pay
    assert pay.endswith("running, run r0")
    assert f"{' ' * 8}{'┄' * 24}" in approve
    assert approve.endswith("(in 1 min)")
    assert f"{' ' * 16}◆{' ' * 7}◆{' ' * 7}" in progress
    assert '2 messages, last "\\u001b[2J"' in progress
    assert signaled.endswith("run r9")


def test_what_is_short_can_be_seen_and_what_is_instant_too() -> None:
    rows = timeline(
        history(
            (0, "run.created", {}),
            (0, "run.started", {}),
            (0, "attempt.started", {**A, "attempt": 0, "start": 0}),
            (0.001, "step.succeeded", {**A, "attempt": 0, "output": 1}),
            (0.001, "timer.set", {"timer": "0/sleep#0", "delay": 604_800.0, "due_at": at(604_800.001)}),
            (604_800.001, "timer.fired", {"timer": "0/sleep#0"}),
            (604_800.001, "cancel.requested", {"reason": "requested"}),
            (604_800.001, "run.canceled", {}),
        )
    )
    [step, sleep, cancel] = lines(rows, 604_800.001, 700_000)
    assert step.count("━") == 1
    assert sleep.count("·") == 32
    assert "7 d" in sleep
    assert cancel.count("◆") == 1


def test_work_is_drawn_over_the_wait_that_shares_its_column() -> None:
    rows = timeline(
        history(
            (0, "run.created", {}),
            (0, "run.started", {}),
            (0, "attempt.started", {**A, "attempt": 0, "start": 0}),
            (0.001, "attempt.failed", {**A, "attempt": 0, "error": ERROR, "retry_at": at(32), "max_retries": 4}),
        )
    )
    assert "━" + "┄" * 31 in lines(rows, 32, 32)[0]


@step(retry=RetryPolicy(2, backoff="fixed", delay=10, jitter=0))
async def shaky() -> int:
    return 1


@workflow
async def whole() -> int:
    await asyncio.sleep(60)
    return await shaky()


@pytest.mark.anyio
async def test_a_real_history_has_a_row_for_each_thing_it_waited_for() -> None:
    async with TestEngine(workflows=[whole]) as engine:
        engine.mock(shaky, raises=[ConnectionError("one"), ConnectionError("two"), None], returns=7, takes=2)
        run = await engine.start(whole)
        assert await run.result() == 7
        rows = timeline(await run.history())
    assert [(row.name, row.outcome, row.attempts) for row in rows] == [
        ("queued", "", 0),
        ("sleep 1 min", "over", 0),
        ("shaky", "succeeded", 3),
    ]
    # 2 s for each of three attempts, 10 s before each retry
    assert rows[2].end is not None
    assert rows[2].end - rows[2].start == timedelta(seconds=26)
