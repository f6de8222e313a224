"""What every store does with documents, schedules, deliveries and usage, and with operations that belong together."""

import pytest
from msgspec.structs import replace

from durably.store.protocol import Store
from durably.store.rows import (
    Append,
    Arrival,
    Create,
    InboxRow,
    Ingest,
    Notify,
    Operation,
    Put,
    Refused,
    Reschedule,
    Result,
    Save,
    Together,
    UsageRow,
    Written,
)
from tests.store.row_makers import (
    commit,
    created,
    delivery,
    document,
    event,
    group,
    items,
    put,
    record,
    row,
    save,
)

pytestmark = pytest.mark.anyio


# -- documents


@pytest.mark.parametrize("kind", ["job", "key"], ids=["sealed", "shared"])
async def test_a_document_is_read_back_in_its_newest_version(store: Store, kind: str) -> None:
    assert await store.documents(kind) == []
    assert await commit(store, save("a", kind=kind), save("b", kind=kind), save("c", kind="other")) == [None] * 3
    assert await commit(store, save("a", 2, kind)) == [None]
    assert await store.documents(kind) == [document("a", 2, kind), document("b", 1, kind)], "the oldest first"
    assert await store.documents("other") == [document("c", kind="other")]


async def test_a_deleted_document_stays_as_it_was(store: Store) -> None:
    gone = document(version=2, deleted_us=20)
    assert await commit(store, save(), Save(gone)) == [None, None]
    [refused] = await commit(store, save(version=3))
    assert isinstance(refused, Refused)
    assert "deleted" in refused.reason
    again = document(body=b'{"again":true}')
    assert await commit(store, Save(again)) == [None], "its id can be used again"
    assert await commit(store, save(version=2)) == [None]
    assert await store.documents("job") == [gone, document(version=2)]


OUT_OF_TURN: list[tuple[str, list[Save], Save, str]] = [
    ("there is one", [save()], save(), "exists already"),
    ("there is none", [], save(version=2), "there is no job 'hourly'"),
    ("changed meanwhile", [save(), save(version=2)], save(version=2), "has version 2"),
    ("a version left out", [save()], save(version=3), "has version 1"),
    ("of another kind", [save(kind="key")], save(version=2), "there is no job"),
    ("a value that cannot be stored", [], save(updated_us=2**63), ""),
]


@pytest.mark.parametrize("in_one_batch", [True, False])
@pytest.mark.parametrize(
    ("before", "late", "reason"), [case[1:] for case in OUT_OF_TURN], ids=[why for why, *_ in OUT_OF_TURN]
)
async def test_only_the_next_version_is_saved(
    store: Store, before: list[Save], late: Save, reason: str, in_one_batch: bool
) -> None:
    """A refused one between others leaves the others written."""
    run = store.new_run()
    others: list[Operation] = [created(run), group(run, 2), put(run), save("another")]
    batch = [*others[:2], late, *others[2:]]
    if in_one_batch:
        results = (await commit(store, *before, *batch))[len(before) :]
    else:
        await commit(store, *before)
        results = await commit(store, *batch)
    refused = results.pop(2)
    assert isinstance(refused, Refused)
    assert reason in refused.reason
    assert results == [None, None, Written(woken=(run,)), None]
    assert len((await store.records([run]))[run]) == 2
    stored = [*await store.documents("job"), *await store.documents("key")]
    expected = {(each.row.kind, each.row.id): each.row for each in before}
    assert sorted(stored, key=lambda each: each.id) == [document("another"), *expected.values()]


# -- schedules


async def test_a_schedule_has_one_position(store: Store) -> None:
    assert await store.positions() == {}
    assert await commit(store, Reschedule("b", 5), Reschedule("a", 7), Reschedule("gone", 1)) == [None] * 3
    assert await commit(store, Reschedule("a", 8), Reschedule("gone", None), Reschedule("never", None)) == [None] * 3
    assert await store.positions() == {"a": 8, "b": 5}
    await commit(store, Reschedule("a", None), Reschedule("a", 9), Reschedule("b", 1), Reschedule("b", None))
    assert await store.positions() == {"a": 9}, "in their order"


# -- deliveries


async def test_a_delivery_goes_forward_only(store: Store) -> None:
    first, second = delivery("m", due_us=10), delivery("m", 1, due_us=20, error="550 no such user")
    done = replace(second, attempts=2, status="DELIVERED", due_us=None, error=None)
    assert await commit(store, Notify(first), Notify(delivery("m", due_us=99))) == [None, None]
    assert await store.deliveries(["run-1"]) == [first], "a repeat changes nothing"
    assert await commit(store, Notify(second), Notify(first)) == [None, None]
    assert await store.deliveries(["run-1"]) == [second]
    await commit(store, Notify(done))
    await commit(store, Notify(second))
    assert await store.deliveries(["run-1"]) == [done]
    assert await store.due_deliveries(9) == []


async def test_deliveries_come_when_they_are_due_or_by_their_runs(store: Store) -> None:
    rows = [
        delivery("late", due_us=30, created_us=3),
        delivery("soon", due_us=10, created_us=2, run_id="run-2"),
        delivery("never", status="FAILED", created_us=1, run_id="run-2"),
        delivery("also", due_us=10, created_us=4, run_id="run-3"),
    ]
    late, soon, never, also = rows
    await commit(store, *map(Notify, rows))
    assert await store.due_deliveries(9) == [soon, also, late]
    assert await store.due_deliveries(1) == [soon]
    assert await store.deliveries(["run-3", "run-2", "nobody's"]) == [never, soon, also], "the oldest first"
    assert await store.deliveries([]) == []
    assert await store.deliveries([f"run-{number}" for number in range(1000)]) == [never, soon, late, also]


# -- usage


async def test_what_is_used_adds_up_by_day_environment_and_workflow(store: Store) -> None:
    run = store.new_run()
    used = [
        UsageRow(20_000, "production", "fulfil", 1, 1),
        UsageRow(20_000, "staging", "fulfil", 0, 1),
        UsageRow(20_001, "production", "bill", 1, 0),
        UsageRow(20_000, "production", "fulfil", 0, 2),
        UsageRow(20_000, "production", "fulfil", 3, 4),
    ]
    first, *others = (
        group(run, seq, created=row(run) if seq == 1 else None, used=each) for seq, each in enumerate(used, 1)
    )
    await commit(store, first)
    await commit(store, *others)
    totals = [UsageRow(20_000, "production", "fulfil", 4, 7), *used[1:3]]
    assert await store.usage(20_000, 20_002) == totals
    assert await store.usage(20_000, 20_001) == totals[:2]
    assert await store.usage(20_001, 20_001) == []


async def test_a_refused_group_uses_nothing(store: Store) -> None:
    run = store.new_run()
    one = UsageRow(20_000, "production", "fulfil", 0, 1)
    await commit(store, created(run), group(run, 2, used=one))
    results = await commit(store, group(run, 2, used=one), group(run, 3, used=one), group(run, 9, used=one))
    assert [type(result) for result in results] == [Refused, type(None), Refused]
    assert await store.usage(0, 30_000) == [one._replace(tasks=2)]
    bad = Append(run, [record(run, 4)], used=one, taken=(2**64,))
    await commit(store, bad, group(run, 4, used=one))
    assert await store.usage(0, 30_000) == [one._replace(tasks=3)]


# -- together


async def test_operations_together_are_carried_out_in_their_order(store: Store) -> None:
    run, child = store.new_run(), store.new_run()
    both = Together(
        [
            created(run),
            save(),
            save(version=2),
            Create(row(child), record(child, 1)),
            Reschedule("hourly", 7),
            put(run),
            Notify(delivery("m")),
        ]
    )
    assert await commit(store, both) == [Written(also=(None, None, None, None, None, Written(woken=(run,)), None))]
    assert await store.documents("job") == [document(version=2)]
    assert await store.run_numbered(child) == row(child)
    assert await store.positions() == {"hourly": 7}
    assert await store.deliveries(["run-1"]) == [delivery("m")]
    assert await commit(store, group(run, 2), group(child, 2)) == [None, None]


REFUSED: list[tuple[str, Operation]] = [
    ("a document out of turn", save("taken")),
    ("a group out of turn", group(1, 5)),
    ("a number that is taken", Create(row(1, id="new"), record(1, 1))),
    ("a value that cannot be stored", Notify(delivery("bad", due_us=2**63))),
    ("others together", Together([save("inner"), save("taken")])),
]


def around(refused: Operation, run: int) -> list[Operation]:
    """Operations of every kind, with one between them that is refused."""
    return [
        created(run),
        save("a"),
        save("old", 2),
        Reschedule("hourly", None),
        Notify(delivery("m", 1)),
        Ingest([Arrival(event("e"))]),
        put(1),
        refused,
        Reschedule("late", 1),
    ]


@pytest.mark.parametrize("wrapped", ["together", "with a group"])
@pytest.mark.parametrize(("why", "refused"), REFUSED, ids=[why for why, _ in REFUSED])
async def test_when_one_is_refused_none_is_carried_out(
    store: Store, why: str, refused: Operation, wrapped: str
) -> None:
    kept, run = store.new_run(), store.new_run()
    await commit(store, created(kept), save("taken"), save("old"), Reschedule("hourly", 5), Notify(delivery("m")))
    operations = around(refused, run)
    whole: Operation = Together(operations) if wrapped == "together" else group(kept, 2, waits=(), also=operations)
    results = await commit(store, save("before"), whole, save("behind"), Reschedule("behind", 2))
    assert isinstance(results.pop(1), Refused), why
    assert results == [None, None, None], "only what belongs together falls together"
    assert {each.id: each.version for each in await store.documents("job")} == {
        "taken": 1,
        "old": 1,
        "before": 1,
        "behind": 1,
    }
    assert await store.positions() == {"hourly": 5, "behind": 2}
    assert await store.deliveries(["run-1"]) == [delivery("m")]
    assert await store.run_numbered(run) is None
    assert await store.records([kept, run]) == {kept: [record(kept, 1)]}
    assert await store.event("e") is None
    assert await items(store, kept) == []
    assert await commit(store, group(kept, 2)) == [None], "its log goes on where it ended"


async def test_what_was_refused_together_works_afterwards(store: Store) -> None:
    """No trace is left in what a store remembers besides its tables."""
    run = store.new_run()
    bad = Together([created(run), group(run, 2), Ingest([Arrival(event("e"))]), save(version=9)])
    good = Together([created(run), group(run, 2), Ingest([Arrival(event("e"))]), save()])
    refused, written = await commit(store, bad, good)
    assert isinstance(refused, Refused)
    assert written == Written(also=(None,) * 4)


@pytest.mark.parametrize("depth", [1, 2])
async def test_who_is_woken_within_is_told(store: Store, depth: int) -> None:
    run = store.new_run()
    await commit(store, created(run))
    operation: Operation = Put(InboxRow(0, 5, b"{}"), to=f"run-{run}")
    expected: Result = Written(woken=(run,))
    for _ in range(depth):
        operation, expected = Together([operation]), Written(also=(expected,))
    assert await commit(store, operation) == [expected]


async def test_a_group_saves_notifies_and_reschedules(store: Store) -> None:
    run = store.new_run()
    also: list[Operation] = [save(), Notify(delivery("m")), Reschedule("hourly", 7)]
    assert await commit(store, created(run), group(run, 2, also=also)) == [None, Written(also=(None,) * 3)]
    assert await store.documents("job") == [document()]
    assert await store.deliveries(["run-1"]) == [delivery("m")]
    assert await store.positions() == {"hourly": 7}
