"""Events as they arrive: what is stored, what they start, and which waits they may be for."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from durably import Event, InvalidInput, RetryPolicy, workflow
from durably.engine.declare.registry import Registry
from durably.engine.execution.arrivals import Arrivals
from durably.engine.execution.inbox import EventItem, decode_item
from durably.engine.execution.outbox import wait_row
from durably.engine.log.records import EventAwaited, decode_record, to_us
from durably.engine.testing import SeededRandomness, VirtualClock
from durably.store import Append, LogRow, MemoryStore, RunRow, WaitRow

pytestmark = pytest.mark.anyio


@workflow("makes", on="made", version=1)
async def old(event: Event) -> None: ...


@workflow("makes", on="made", version=2, timeout=5)
async def makes(event: Event) -> None: ...


@workflow(on=["made", "made/*"])
async def notes(event: Event) -> None: ...


def arrivals(store: MemoryStore | None = None) -> Arrivals:
    registry = Registry([old, makes, notes], RetryPolicy.DEFAULT)
    return Arrivals(store or MemoryStore(), registry, VirtualClock(), SeededRandomness())


def wait(**match: Any) -> WaitRow:
    return wait_row(EventAwaited(wait="0/event#0", event="made", match=Raw(msgspec.json.encode(match))), "staging")


def test_an_event_starts_one_run_of_each_workflow_and_the_newest_version() -> None:
    prepared = arrivals().prepare(Event("made", {"n": 1}), 5, "staging")
    assert sorted((row.workflow, row.version, row.environment) for row, _ in prepared.runs) == [
        ("makes", 2, "staging"),
        ("notes", 1, "staging"),
    ]
    assert {created.environment for _, created in prepared.runs} == {prepared.arrival.event.environment} == {"staging"}
    assert {created.timeout for _, created in prepared.runs} == {5, None}
    assert {(row.event, row.event_id, row.trigger) for row, _ in prepared.runs} == {
        ("made", prepared.event_id, "EVENT")
    }
    for (row, created), (stored, record) in zip(prepared.runs, prepared.arrival.runs, strict=True):
        assert (stored, record.run, record.seq) == (row, row.run, 1)
        assert decode_record(record.body) == created


def test_what_was_left_out_is_filled_in_and_does_not_count_in_the_digest() -> None:
    some = arrivals()
    one, two = (
        some.prepare(Event("made", {"n": 1}, id="e"), 5, "staging"),
        some.prepare(Event("made", {"n": 1}, id="e"), 9, "staging"),
    )
    assert one.arrival.event.digest == two.arrival.event.digest
    assert (one.arrival.event.received_us, two.arrival.event.received_us) == (5, 9)
    assert b'"ts":"1970-01-01T00:00:00.000005Z"' in one.arrival.event.body
    assert some.prepare(Event("made"), 5, "staging").event_id != some.prepare(Event("made"), 5, "staging").event_id


@pytest.mark.parametrize(("ahead_s", "due"), [(-3600, False), (0, False), (1, False), (1.000001, True), (3600, True)])
def test_runs_of_an_event_with_a_time_in_the_future_start_then(ahead_s: float, due: bool) -> None:
    """A second is what the sender's clock may be ahead of ours."""
    now = datetime(2026, 1, 31, tzinfo=UTC)
    at = now + timedelta(seconds=ahead_s)
    prepared = arrivals().prepare(Event("made", ts=at), to_us(now), "staging")
    assert {created.due_at for _, created in prepared.runs} == {at if due else None}
    assert {row.due_us for row, _ in prepared.runs} == {to_us(at) if due else None}


def test_without_waits_nothing_is_prepared_for_them() -> None:
    prepared = arrivals().prepare(Event("made"), 5, "staging")
    assert (prepared.arrival.topics, prepared.arrival.item) == ((), b"")


def test_an_event_has_the_topics_of_the_waits_it_may_be_for() -> None:
    some = arrivals()
    any_, one, two = wait(), wait(**{"data.n": 1}), wait(**{"data.n": 2})
    some.expect([any_, one, two, one])
    arrival = some.prepare(Event("made", {"n": 1}), 5, "staging").arrival
    assert set(arrival.topics) == {any_.topic, one.topic}
    item = decode_item(arrival.item)
    assert isinstance(item, EventItem)
    assert bytes(item.event) == arrival.event.body
    assert some.prepare(Event("other", {"n": 1}), 5, "staging").arrival.topics == ()


async def test_waits_that_are_in_the_store_are_known_from_the_start() -> None:
    store = MemoryStore()
    await store.open()
    row = RunRow(run=store.new_run(), id="r", workflow="w", version=1, trigger="MANUAL", environment="production")
    store.submit([Append(1, [LogRow(1, 1, 1, b"{}")], row, waits=[wait(**{"data.n": 1})])], lambda _: None)
    await asyncio.sleep(0)
    some = arrivals(store)
    await some.open()
    assert list(some.prepare(Event("made", {"n": 1}), 5, "staging").arrival.topics) == [wait(**{"data.n": 1}).topic]


def test_an_event_over_a_limit_is_refused() -> None:
    with pytest.raises(InvalidInput, match="more than 524,288"):
        arrivals().prepare(Event("made", {"x": "y" * 600_000}), 5, "staging")
