"""What every store does, whatever it is made of. A new behaviour goes here first."""

import asyncio

import pytest
from msgspec.structs import replace

from durably.store.errors import StoreFailure, StoreLocked
from durably.store.protocol import Store
from durably.store.rows import (
    Append,
    Arrival,
    Conflict,
    Create,
    Existing,
    InboxRow,
    Ingest,
    LogRow,
    Missing,
    Put,
    Refused,
    Result,
    RunQuery,
    TriggerRow,
    Written,
)
from tests.store.row_makers import (
    answer,
    arrival,
    change,
    commit,
    created,
    event,
    group,
    items,
    put,
    record,
    row,
    wait,
)

pytestmark = pytest.mark.anyio

HOUR_US = 3600 * 1_000_000


# -- writing and reading back


async def test_a_run_is_read_back_as_it_was_written(store: Store) -> None:
    full = row(
        store.new_run(),
        version=3,
        trigger="EVENT",
        event="a/b",
        event_id="e1",
        origin="run-0",
        test=True,
        status="RUNNING",
        phase="executing",
        due_us=7,
        tasks=2,
        seq=2,
        created_us=1,
        started_us=2,
        finished_us=3,
        job="hourly",
        scheduled_us=4,
    )
    log = [record(full.run, 1, b'{"type":"run.created"}'), record(full.run, 2, '{"ä":"\\u0000"}'.encode())]
    assert await commit(store, Append(full.run, log, created=full)) == [None]
    assert await store.run(full.id) == full
    assert await store.run_numbered(full.run) == full
    assert await store.records([full.run]) == {full.run: log}
    assert await store.last_records([full.run]) == {full.run: log[-1]}
    assert await store.records_after(full.run, 0, 1) == log[:1]
    assert await store.records_after(full.run, 1, 9) == log[1:]
    assert await store.records_after(full.run, 2, 9) == []


async def test_what_is_not_there_is_none_or_left_out(store: Store) -> None:
    assert await store.run("nobody") is None
    assert await store.run_numbered(77) is None
    assert await store.event("nothing") is None
    assert await store.records([77]) == {}
    assert await store.last_records([77]) == {}
    assert await store.records([]) == {}
    assert await store.records_after(77, 0, 9) == []
    assert await store.inbox([77]) == []
    assert await store.runs(RunQuery()) == []


async def test_logs_of_many_runs_come_back_whole(store: Store) -> None:
    """More runs than one statement reads, interleaved, in batches of odd sizes."""
    runs = [store.new_run() for _ in range(600)]
    await commit(store, *(created(run) for run in runs))
    await commit(store, *(group(run, *range(2, 3 + run % 3)) for run in runs))
    logs = await store.records(runs)
    assert {run: [one.seq for one in log] for run, log in logs.items()} == {
        run: list(range(1, 3 + run % 3)) for run in runs
    }
    assert await store.last_records(runs) == {run: log[-1] for run, log in logs.items()}
    assert await store.run_ids([*runs, 10_000]) == {run: f"run-{run}" for run in runs}


async def test_the_last_change_of_a_batch_is_what_a_list_shows(store: Store) -> None:
    run = store.new_run()
    last = change("sleeping", 9, tasks=4, seq=3, started_us=2)
    await commit(store, created(run), group(run, 2, change=change("executing", 5)), group(run, 3, change=last))
    assert await store.run_numbered(run) == replace(row(run), **last._asdict())
    await commit(store, Append(run, [], change=change(None, status="SUCCEEDED", finished_us=8)))
    assert (await store.run_numbered(run)) == replace(row(run), phase=None, status="SUCCEEDED", finished_us=8), (
        "a change needs no record"
    )


async def test_answers_come_later_and_in_order(store: Store) -> None:
    told: list[int] = []
    last = asyncio.Event()

    def done(number: int) -> None:
        told.append(number)
        if number == 2:
            last.set()

    first, second = store.new_run(), store.new_run()
    store.submit([created(first)], lambda _: done(1))
    store.submit([created(second)], lambda _: done(2))
    assert told == []
    await last.wait()
    assert told == [1, 2]


# -- the compare-and-set


REFUSED_GROUPS = [
    ("the number is taken", [2]),
    ("it overlaps", [2, 3]),
    ("it leaves a gap", [4]),
    ("a gap inside", [3, 5]),
    ("twice the same", [3, 3]),
    ("backwards", [4, 3]),
]


@pytest.mark.parametrize(("why", "seqs"), REFUSED_GROUPS, ids=[why for why, _ in REFUSED_GROUPS])
async def test_a_group_that_does_not_follow_the_log_is_refused(store: Store, why: str, seqs: list[int]) -> None:
    run = store.new_run()
    await commit(store, created(run), group(run, 2))
    [result] = await commit(store, group(run, *seqs, change=change("executing")))
    assert isinstance(result, Refused), why
    assert [one.seq for one in (await store.records([run]))[run]] == [1, 2]
    assert await store.run_numbered(run) == row(run), "its change was refused with it"


@pytest.mark.parametrize(
    "operation",
    [group(9, 1), group(9, 2), created(1, id="other"), created(9, id="run-1")],
    ids=["record 1 of no run", "record 2 of no run", "number taken", "id taken"],
)
async def test_a_run_is_created_once_and_before_its_log(store: Store, operation: Append) -> None:
    assert store.new_run() == 1
    await commit(store, created(1))
    [result] = await commit(store, operation)
    assert isinstance(result, Refused)
    assert await store.records([1, 9]) == {1: [record(1, 1)]}
    assert await store.runs(RunQuery()) == [row(1)]


BAD_VALUES: list[tuple[str, Append]] = [
    ("65 bits", Append(2, [LogRow(2, 2, 2**63, b"{}")])),
    ("no bytes", Append(2, [LogRow(2, 2, 0, object())])),  # type: ignore[arg-type]  # what is tested
    ("lone surrogate", Append(2, [record(2, 2)], change=change("\ud800"))),
    ("taken by 65 bits", Append(2, [record(2, 2)], taken=(2**64,))),
    ("id exists", Append(2, [record(2, 2)], created=row(2))),
]


@pytest.mark.parametrize(("why", "bad"), BAD_VALUES, ids=[why for why, _ in BAD_VALUES])
async def test_only_the_operation_at_fault_and_its_successors_are_refused(store: Store, why: str, bad: Append) -> None:
    runs = [store.new_run() for _ in range(3)]
    await commit(store, *(created(run) for run in runs))
    results = await commit(
        store, group(1, 2), bad, group(3, 2), group(2, 3), put(2), group(1, 3), Ingest([Arrival(event("e"))])
    )
    assert [type(result) for result in results] == [
        type(None),
        Refused,
        type(None),
        Refused,  # follows the one at fault
        Written,  # not a group: others write to the inbox
        type(None),
        type(None),
    ], why
    logs = await store.records(runs)
    assert [len(logs[run]) for run in runs] == [3, 1, 2]
    assert await store.event("e") == event("e")


async def test_a_chain_that_was_refused_stays_refused_in_the_next_batch(store: Store) -> None:
    """The next batch was handed over before its owner could know."""
    run = store.new_run()
    await commit(store, created(run))
    first = answer(store, Append(run, [LogRow(run, 2, 2**63, b"{}")]))
    second = answer(store, group(run, 3))
    for outcome in (await first, await second):
        assert isinstance(outcome, list)
        assert isinstance(outcome[0], Refused)
    assert await commit(store, group(run, 2)) == [None], "its owner starts again from the log"


# -- events


async def test_an_event_and_its_runs_are_stored_together(store: Store) -> None:
    one, two = store.new_run(), store.new_run()
    operation = Ingest(
        [
            Arrival(
                event("a"),
                [(row(one, event_id="a"), record(one, 1)), (row(two, event_id="a"), record(two, 1))],
            ),
            Arrival(event("b")),
        ]
    )
    assert await commit(store, operation, group(one, 2)) == [None, None]
    assert await store.event("a") == event("a")
    assert await store.event("b") == event("b")
    assert await store.records([one, two]) == {one: [record(one, 1), record(one, 2)], two: [record(two, 1)]}
    assert await store.run(f"run-{two}") == row(two, event_id="a")


@pytest.mark.parametrize(
    ("again", "result"),
    [
        (Ingest([Arrival(event("a"))]), Written((0,))),
        (Ingest([Arrival(event("x")), Arrival(event("a"))]), Written((1,))),
        (Ingest([Arrival(event("x")), Arrival(event("x"))]), Written((1,))),
        (Ingest([Arrival(event("x")), Arrival(event("a", "other"))]), Conflict(1)),
        (Ingest([Arrival(event("x")), Arrival(event("x", "other"))]), Conflict(1)),
    ],
)
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two"])
async def test_an_event_id_counts_once(store: Store, again: Ingest, result: Result, together: bool) -> None:
    first = Ingest([Arrival(event("a"))])
    if together:
        assert await commit(store, first, again) == [None, result]
    else:
        assert await commit(store, first) == [None]
        assert await commit(store, again) == [result]
    has_new = again.events[0][0].id == "x" and isinstance(result, Written)
    assert await store.event("x") == (event("x") if has_new else None)


@pytest.mark.parametrize(
    ("later_us", "window_us", "result"),
    [
        (24 * HOUR_US - 1, 24 * HOUR_US, Conflict(0)),
        (24 * HOUR_US, 24 * HOUR_US, None),  # the window is over
        (HOUR_US, HOUR_US, None),
    ],
)
async def test_an_event_id_counts_for_a_window(store: Store, later_us: int, window_us: int, result: Result) -> None:
    await commit(store, Ingest([Arrival(event("a"))]))
    again = event("a", "other", later_us)
    assert await commit(store, Ingest([Arrival(again)], window_us=window_us)) == [result]
    assert await store.event("a") == (again if result is None else event("a")), "the newest one"


async def test_a_duplicate_starts_nothing_and_its_neighbour_does(store: Store) -> None:
    await commit(store, Ingest([Arrival(event("a"))]))
    old, new = store.new_run(), store.new_run()
    operation = Ingest(
        [Arrival(event("a"), [(row(old), record(old, 1))]), Arrival(event("b"), [(row(new), record(new, 1))])]
    )
    assert await commit(store, operation) == [Written((0,))]
    assert [one.run for one in await store.runs(RunQuery())] == [new]


async def test_a_conflict_stores_nothing(store: Store) -> None:
    await commit(store, Ingest([Arrival(event("a"))]))
    run = store.new_run()
    operation = Ingest([Arrival(event("b"), [(row(run), record(run, 1))]), Arrival(event("a", "other"))])
    assert await commit(store, operation) == [Conflict(1)]
    assert await store.event("b") is None
    assert await store.runs(RunQuery()) == []


async def test_an_ingest_is_refused_whole_when_a_run_id_is_taken(store: Store) -> None:
    await commit(store, created(store.new_run()))
    new, twin = store.new_run(), store.new_run()
    operation = Ingest([Arrival(event("a"), [(row(new), record(new, 1)), (row(twin, id="run-1"), record(twin, 1))])])
    [result, other] = await commit(store, operation, Ingest([Arrival(event("b"))]))
    assert isinstance(result, Refused)
    assert other is None
    assert await store.event("a") is None
    assert await store.records([new, twin]) == {}


async def test_an_id_that_was_made_here_is_not_looked_up(store: Store) -> None:
    await commit(store, Ingest([Arrival(event("a"))]))
    assert await commit(store, Ingest([Arrival(event("a", "other", 1))], unique=True)) == [None]
    assert await store.event("a") == event("a", "other", 1), "the newest one"


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two"])
async def test_an_event_id_counts_in_its_environment(store: Store, together: bool) -> None:
    here, there = event("a"), event("a", "other", environment="staging")
    operations = [Ingest([Arrival(here)]), Ingest([Arrival(there)]), Ingest([Arrival(there)])]
    if together:
        results = await commit(store, *operations)
    else:
        results = [result for operation in operations for result in await commit(store, operation)]
    assert results == [None, None, Written((0,))]
    assert await store.event("a") == here
    assert await store.event("a", "staging") == there
    assert await store.event("a", "development") is None


# -- the inbox


async def test_only_open_runs_have_an_inbox(store: Store) -> None:
    run, ended = store.new_run(), store.new_run()
    await commit(store, created(run), created(ended, phase=None))
    assert await commit(store, put(run), put(ended), put(99)) == [Written(woken=(run,)), Missing(), Missing()]
    assert await store.inbox_runs() == [run]


async def test_a_batch_is_carried_out_in_its_order(store: Store) -> None:
    run = store.new_run()
    end = group(run, 2, change=change(None))
    results = await commit(store, put(run), created(run), put(run), end, put(run))
    assert results == [Missing(), None, Written(woken=(run,)), None, Missing()]
    assert len(await store.inbox([run])) == 1


async def test_a_group_takes_what_it_consumed(store: Store) -> None:
    runs = [store.new_run(), store.new_run()]
    await commit(store, *(created(run) for run in runs))
    await commit(store, put(2, b"c"), put(1, b"a"), put(1, b"b"))
    items = await store.inbox(runs)
    assert [(one.run, one.at_us, one.body) for one in items] == [(2, 5, b"c"), (1, 5, b"a"), (1, 5, b"b")]
    assert sorted({one.item for one in items}) == [one.item for one in items]
    [refused] = await commit(store, group(1, 9, taken=(items[1].item,)))
    assert isinstance(refused, Refused)
    assert await store.inbox([1]) == items[1:], "a refused group takes nothing"
    await commit(store, group(1, 2, taken=(items[1].item, items[2].item)))
    assert await store.inbox(runs) == items[:1]
    await commit(store, Append(2, [], taken=(items[0].item,)))
    assert await store.inbox_runs() == []


async def test_an_item_number_is_never_given_twice(store: Store) -> None:
    """Its owner remembers the numbers it has seen: a repeated one would be taken for seen."""
    run = store.new_run()
    await commit(store, created(run), put(run))
    [before] = await store.inbox([run])
    await commit(store, group(run, 2, taken=(before.item,)))
    await commit(store, put(run))
    [after] = await store.inbox([run])
    assert after.item > before.item


# -- triggers


async def test_triggers_are_replaced_by_workflow_and_version(store: Store) -> None:
    first = [
        TriggerRow("a", 1, "x/*", "production"),
        TriggerRow("a", 2, "x/y", "production"),
        TriggerRow("b", 1, "x/y", "staging"),
    ]
    await store.register_triggers([("a", 1), ("a", 2), ("b", 1)], first)
    assert sorted(await store.triggers()) == first
    changed = TriggerRow("a", 2, "z", "production")
    await store.register_triggers([("a", 2), ("b", 1)], [changed])
    assert sorted(await store.triggers()) == [first[0], changed]


async def test_conditions_of_triggers_are_kept_as_they_are(store: Store) -> None:
    """What they mean is the engine's business; two on one event are two."""
    rows = [
        TriggerRow("a", 1, "x/y", "production"),
        TriggerRow("a", 1, "x/y", "production", "event.data.cents > 100"),
        TriggerRow("a", 1, "x/y", "production", "event.data.name == \"O'Hara\" || '\n' in event.name || 'ü'"),
    ]
    await store.register_triggers([("a", 1)], rows)
    assert sorted(await store.triggers()) == rows
    await store.register_triggers([("a", 1)], rows[:1])
    assert await store.triggers() == rows[:1], "without its condition it is another one"


# -- sessions


async def test_a_closed_store_keeps_everything(store: Store) -> None:
    run = store.new_run()
    await commit(store, created(run), put(run), Ingest([Arrival(event("a"))]))
    await store.close()
    assert isinstance(await answer(store, group(run, 2)), StoreFailure)
    await store.open()
    assert store.new_run() == run + 1
    assert await commit(store, group(run, 2)) == [None]
    assert len((await store.records([run]))[run]) == 2
    assert await store.inbox_runs() == [run]


async def test_closing_twice_and_opening_twice(store: Store) -> None:
    with pytest.raises(StoreLocked):
        await store.open()
    assert await commit(store, created(store.new_run())) == [None], "the first opening is not disturbed"
    await store.close()
    await store.close()
    with pytest.raises(StoreFailure):
        await store.reopen()


async def test_a_store_can_be_reopened_when_nothing_is_wrong(store: Store) -> None:
    run = store.new_run()
    await commit(store, created(run))
    await store.reopen()
    await store.reopen()
    assert await store.records([run]) == {run: [record(run, 1)]}
    assert store.new_run() == run + 1
    assert await commit(store, group(run, 2)) == [None]


# -- waits, and what a group does to other runs


async def test_an_event_is_put_into_the_inbox_of_each_run_that_waits_for_it(store: Store) -> None:
    one, two, three = store.new_run(), store.new_run(), store.new_run()
    await commit(store, created(one), created(two), created(three))
    await commit(
        store,
        group(one, 2, waits=[wait("a"), wait("b")]),
        group(two, 2, waits=[wait(topic="other")]),
        group(three, 2, waits=[wait(topic="u")]),
    )
    assert await commit(store, arrival("e", "t", "u")) == [Written(woken=(one, three))]
    assert [await items(store, run) for run in (one, two, three)] == [[b'{"n":1}'], [], [b'{"n":1}']]


async def test_a_wait_and_an_event_in_one_batch_are_taken_in_their_order(store: Store) -> None:
    one, two = store.new_run(), store.new_run()
    await commit(store, created(one), created(two), group(two, 2, waits=[wait()]))
    results = await commit(
        store,
        arrival("before", "t"),
        group(one, 2, waits=[wait()]),
        arrival("between", "t"),
        group(one, 3, unwaits=["0/event#0"]),
        group(two, 3, unwaits=["0/event#0"]),
        arrival("behind", "t"),
    )
    assert results == [Written(woken=(two,)), None, Written(woken=(one, two)), None, None, None]
    assert await commit(store, arrival("later", "t")) == [None]
    assert len(await items(store, one)) == 1
    assert len(await items(store, two)) == 2


async def test_a_known_event_wakes_nobody(store: Store) -> None:
    run = store.new_run()
    await commit(store, created(run), arrival("e"), group(run, 2, waits=[wait()]))
    assert await commit(store, arrival("e", "t")) == [Written(known=(0,))]
    assert await items(store, run) == []


@pytest.mark.parametrize(
    ("since_us", "looks_back"),
    [
        pytest.param(None, False, id="not at all"),
        pytest.param(101, False, id="not that far"),
        pytest.param(100, True, id="as far as that"),
    ],
)
@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_a_wait_looks_back_if_there_is_something_to_see(
    store: Store, since_us: int | None, looks_back: bool, in_one_batch: bool
) -> None:
    run = store.new_run()
    await commit(store, created(run))
    asked = group(run, 2, waits=[wait(since_us=since_us)])
    if in_one_batch:
        _, result = await commit(store, arrival("e", received_us=100), asked)
    else:
        await commit(store, arrival("e", received_us=100))
        [result] = await commit(store, asked)
    assert result == (Written(woken=(run,)) if looks_back else None)
    assert await items(store, run) == ([b'{"look":"back"}'] if looks_back else [])


async def test_events_are_found_by_name_and_time_a_page_at_a_time(store: Store) -> None:
    for place, received_us in enumerate((100, 300, 200, 200)):
        await commit(store, arrival(f"e{place}", received_us=received_us))
    await commit(store, Ingest([Arrival(event("x")._replace(name="other", received_us=300))]))
    seen: list[str] = []
    after = (200, 0)
    while page := await store.events_since("parcel/shipped", after, 1):
        [(number, row)] = page
        after = (row.received_us, number)
        seen.append(row.id)
    assert seen == ["e2", "e3", "e1"], "the oldest first, each once"
    assert [row.id for _, row in await store.events_since("parcel/shipped", (200, 0), 2)] == ["e2", "e3"]


async def test_a_wait_is_woken_by_events_of_its_environment_only(store: Store) -> None:
    here, there, again = store.new_run(), store.new_run(), store.new_run()
    await commit(store, created(here), created(there), created(again))
    waits = [group(here, 2, waits=[wait()]), group(there, 2, waits=[wait(environment="staging")])]
    assert (await commit(store, *waits, arrival("e", "t", environment="staging")))[-1] == Written(woken=(there,))
    assert await commit(store, arrival("f", "t", environment="staging")) == [Written(woken=(there,))]
    assert await items(store, here) == []
    look = group(again, 2, waits=[wait(since_us=0)])
    assert await commit(store, look) == [None], "nothing has arrived here"
    batch = arrival("g", environment="staging"), group(again, 3, waits=[wait("b", since_us=0)])
    assert await commit(store, *batch) == [None, None], "nor in the same batch"
    elsewhere = group(again, 4, waits=[wait("c", since_us=0, environment="staging")])
    assert await commit(store, elsewhere) == [Written(woken=(again,))]


async def test_looking_back_sees_its_environment_only(store: Store) -> None:
    await commit(store, arrival("here"), arrival("there", environment="staging"))
    assert [row.id for _, row in await store.events_since("parcel/shipped", (0, 0), 9)] == ["here"]
    found = await store.events_since("parcel/shipped", (0, 0), 9, "staging")
    assert [(row.id, row.environment) for _, row in found] == [("there", "staging")]


async def test_which_values_waits_look_at_is_known(store: Store) -> None:
    run = store.new_run()
    await commit(store, created(run), group(run, 2, waits=[wait("a"), wait("b", topic="u")]))
    assert await store.wait_paths() == [("parcel/shipped", ("data.order",))]


async def test_a_wait_that_is_registered_again_is_there_once(store: Store) -> None:
    """The next incarnation of a body asks again, under the same key."""
    run = store.new_run()
    await commit(store, created(run), group(run, 2, waits=[wait(topic="old")]))
    await commit(store, group(run, 3, unwaits=["0/event#0"]), group(run, 4, waits=[wait()]))
    assert await commit(store, arrival("e", "t"), arrival("f", "old")) == [Written(woken=(run,)), None]


async def test_a_child_is_created_with_its_parents_group(store: Store) -> None:
    parent, child = store.new_run(), store.new_run()
    start = Create(row(child, trigger="CHILD", origin=f"run-{parent}"), record(child, 1))
    await commit(store, created(parent))
    assert await commit(store, group(parent, 2, also=[start])) == [Written(also=(None,))]
    assert (await store.run(f"run-{child}")) == start.row
    assert await commit(store, group(child, 2)) == [None]


async def test_a_child_that_is_there_is_not_created_again(store: Store) -> None:
    parent, child, again = store.new_run(), store.new_run(), store.new_run()
    await commit(store, created(parent), group(parent, 2, also=[Create(row(child), record(child, 1))]))
    repeat = Create(row(again, id=f"run-{child}"), record(again, 1))
    assert await commit(store, group(parent, 3, also=[repeat])) == [Written(also=(Existing(child),))]
    assert await store.run_numbered(again) is None


async def test_who_asks_for_a_child_that_is_there_finds_it_in_the_inbox(store: Store) -> None:
    parent, child, other = store.new_run(), store.new_run(), store.new_run()
    known = InboxRow(parent, 5, b'"known"')
    first = Create(row(child), record(child, 1), known)
    await commit(store, created(parent), group(parent, 2, also=[first]))
    assert await items(store, parent) == []
    repeat = Create(row(other, id=f"run-{child}"), record(other, 1), known)
    await commit(store, group(parent, 3, also=[repeat]))
    assert await items(store, parent) == [b'"known"']


async def test_what_goes_with_a_refused_group_is_not_done(store: Store) -> None:
    parent, child = store.new_run(), store.new_run()
    await commit(store, created(parent))
    also = [Create(row(child), record(child, 1)), put(parent), arrival("e")]
    [result, _] = await commit(store, group(parent, 5, also=also), group(parent, 2))
    assert isinstance(result, Refused)
    assert await store.run_numbered(child) is None
    assert await items(store, parent) == []
    assert await store.event("e") is None


async def test_a_group_is_not_written_when_something_that_goes_with_it_cannot_be(store: Store) -> None:
    parent, child = store.new_run(), store.new_run()
    await commit(store, created(parent))
    bad = Create(row(child, workflow="\ud800"), record(child, 1))
    [result, after] = await commit(store, group(parent, 2, also=[bad]), created(store.new_run()))
    assert isinstance(result, Refused)
    assert after is None
    assert [each.seq for each in (await store.records([parent]))[parent]] == [1]


async def test_a_group_sends_events_and_tells_other_runs(store: Store) -> None:
    one, two, started = store.new_run(), store.new_run(), store.new_run()
    await commit(store, created(one), created(two), group(two, 2, waits=[wait()]))
    sent = Ingest([Arrival(event("e"), [(row(started), record(started, 1))], ["t"], b'{"n":1}')])
    tell = Put(InboxRow(0, 5, b'{"tell":1}'), to=f"run-{two}")
    nobody = Put(InboxRow(0, 5, b"{}"), to="unheard of")
    [result] = await commit(store, group(one, 2, also=[sent, tell, nobody]))
    assert result == Written(also=(Written(woken=(two,)), Written(woken=(two,)), Missing()))
    assert await items(store, two) == [b'{"n":1}', b'{"tell":1}']
    assert await store.run_numbered(started) is not None


async def test_a_run_goes_on_as_another_which_gets_its_inbox(store: Store) -> None:
    old, new = store.new_run(), store.new_run()
    await commit(store, created(old), put(old, b'"early"'))
    over = change(None, status="SUCCEEDED", continued_to=f"run-{new}")
    go_on = group(old, 2, change=over, heir=new, also=[Create(row(new, origin=f"run-{old}"), record(new, 1))])
    results = await commit(store, go_on, put(old, b'"same batch"'))
    assert results == [Written(woken=(new,), also=(None,)), Written(woken=(new,))]
    assert await commit(store, Put(InboxRow(0, 5, b'"late"'), to=f"run-{old}")) == [Written(woken=(new,))]
    assert await items(store, old) == []
    assert await items(store, new) == [b'"early"', b'"same batch"', b'"late"']
    stored = await store.run(f"run-{old}")
    assert stored is not None
    assert stored.continued_to == f"run-{new}"
