"""What every store forgets, and what it keeps."""

import pytest

from durably.store.protocol import Store
from durably.store.rows import Create, Forget, Forgotten, Notify, Reschedule, RunQuery, UsageRow
from tests.store.row_makers import (
    arrival,
    change,
    commit,
    created,
    delivery,
    group,
    items,
    put,
    record,
    row,
    save,
    wait,
)

pytestmark = pytest.mark.anyio


async def ended(store: Store, run: int, finished_us: int, created_us: int = 0) -> None:
    over = change(None, status="SUCCEEDED", finished_us=finished_us, seq=2)
    await commit(store, created(run, created_us=created_us), put(run), group(run, 2, waits=[wait()], change=over))


async def test_runs_that_ended_long_ago_are_forgotten_with_everything_about_them(store: Store) -> None:
    old, young, still_open = store.new_run(), store.new_run(), store.new_run()
    await ended(store, old, 99)
    await ended(store, young, 100)
    await commit(
        store, created(still_open, origin=f"run-{old}"), Notify(delivery("m")), Notify(delivery("n", run_id="x"))
    )
    assert await commit(store, Forget(100, 10)) == [Forgotten(1, 0)]
    assert await store.run(f"run-{old}") is None
    assert await store.run_numbered(old) is None
    assert await store.records([old]) == {}
    assert await items(store, old) == []
    assert await store.deliveries(["run-1", "x"]) == [delivery("n", run_id="x")]
    assert [each.run for each in await store.runs(RunQuery())] == [still_open, young]
    assert len(await items(store, young)) == 1
    result, *_ = await commit(store, arrival("e", "t"))
    assert [*result.woken] == [young], "its waits went too"  # type: ignore[union-attr]
    assert await commit(store, Forget(100, 10)) == [Forgotten(0, 0)]


async def test_what_is_not_about_runs_is_kept(store: Store) -> None:
    run = store.new_run()
    used = UsageRow(0, "production", "fulfil", 1, 1)
    over = change(None, finished_us=5)
    await commit(store, created(run), save(), Reschedule("a", 1), group(run, 2, change=over, used=used))
    assert await commit(store, Forget(10**15, 10)) == [Forgotten(1, 0)]
    assert len(await store.documents("job")) == 1
    assert await store.positions() == {"a": 1}
    assert await store.usage(0, 1) == [used]


async def test_it_forgets_a_little_at_a_time_and_the_oldest_first(store: Store) -> None:
    for finished_us in (30, 10, 40, 20, 50):
        await ended(store, store.new_run(), finished_us)
        await commit(store, arrival(f"e{finished_us}", received_us=finished_us))
    assert await commit(store, Forget(50, 3)) == [Forgotten(3, 3)]
    assert [each.finished_us for each in await store.runs(RunQuery())] == [50, 40]
    left = await store.events_since("parcel/shipped", (0, 0), 9)
    assert [each.received_us for _, each in left] == [40, 50]
    assert await commit(store, Forget(50, 3), Forget(50, 3)) == [Forgotten(1, 1), Forgotten(0, 0)]
    assert await store.event("e40") is None
    assert await store.event("e50") is not None


async def test_an_event_stays_while_a_run_is_open_that_was_created_before_it(store: Store) -> None:
    waiting, later = store.new_run(), store.new_run()
    await commit(store, created(waiting, created_us=20), created(later, created_us=25))
    await commit(store, *(arrival(f"e{at_us}", received_us=at_us) for at_us in (10, 20, 21, 30)))
    assert await commit(store, Forget(100, 9)) == [Forgotten(0, 1)]
    await commit(store, group(waiting, 2, change=change(None, finished_us=90)))
    assert await commit(store, Forget(50, 9)) == [Forgotten(0, 2)], "the other one is younger"
    assert [each.id for _, each in await store.events_since("parcel/shipped", (0, 0), 9)] == ["e30"]


async def test_an_event_id_may_be_used_again_when_it_is_forgotten(store: Store) -> None:
    await commit(store, arrival("e", received_us=10))
    assert await commit(store, Forget(11, 9), arrival("e", received_us=10)) == [Forgotten(0, 1), None]


async def test_what_happens_in_the_same_batch_before_it_is_seen(store: Store) -> None:
    run = store.new_run()
    over = change(None, finished_us=5)
    results = await commit(store, created(run), group(run, 2, change=over), arrival("e"), Forget(10, 9), put(run))
    assert results[3] == Forgotten(1, 1)
    assert await store.records([run]) == {}
    assert await store.inbox_runs() == []


async def test_a_forgotten_runs_number_and_log_do_not_come_back(store: Store) -> None:
    run = store.new_run()
    await ended(store, run, 5)
    await commit(store, Forget(10, 9))
    assert "Refused" in repr(await commit(store, group(run, 3))), "there is no such log"
    await store.close()
    await store.open()
    assert store.new_run() == run + 1
    again = Create(row(run + 1, id=f"run-{run}"), record(run + 1, 1))
    assert await commit(store, again) == [None], "its id is free"


async def test_no_number_comes_back_however_often_runs_are_forgotten(store: Store) -> None:
    """The newest may be forgotten first, and then older ones."""
    runs = [store.new_run() for _ in range(3)]
    for run, finished_us in zip(runs, (50, 30, 10), strict=True):
        await ended(store, run, finished_us)
    for before_us in (20, 40):
        assert await commit(store, Forget(before_us, 9)) == [Forgotten(1, 0)]
    await store.close()
    await store.open()
    assert store.new_run() > runs[-1]


async def test_a_run_that_went_on_as_one_that_is_forgotten_has_no_inbox(store: Store) -> None:
    old, heir = store.new_run(), store.new_run()
    over = change(None, finished_us=500, continued_to=f"run-{heir}")
    await commit(store, created(old), group(old, 2, change=over, also=[Create(row(heir), record(heir, 1))]))
    await commit(store, group(heir, 2, change=change(None, finished_us=5)))
    assert await commit(store, Forget(10, 9)) == [Forgotten(1, 0)]
    assert "Missing" in repr(await commit(store, put(old)))
