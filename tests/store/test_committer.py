"""Group commit: what is handed over when, and in which order its results are told."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from durably.store.committer import Committer
from durably.store.errors import StoreFailure, UnknownOutcome
from durably.store.memory import MemoryStore
from durably.store.protocol import Done
from durably.store.rows import (
    Append,
    Arrival,
    EventRow,
    InboxRow,
    Ingest,
    LogRow,
    Operation,
    Put,
    Refused,
    Result,
    RunRow,
)

pytestmark = pytest.mark.anyio


class ScriptedStore(MemoryStore):
    """Keeps what it is handed; the test says when, and with which outcome, it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Sequence[Operation]] = []
        self._done: Done | None = None

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        assert self._done is None, "one batch at a time"
        self.batches.append(batch)
        self._done = done

    def answer(self, outcome: StoreFailure | None = None, results: list[Result] | None = None) -> None:
        done, self._done = self._done, None
        assert done is not None, "nothing is under way"
        committed: list[Result] = [None] * len(self.batches[-1])
        done(outcome or results or committed)


class Scene:
    """A committer on a scripted store, and what it told."""

    def __init__(
        self, cap_rows: int = 8, max_queued: int = 32, committed: Callable[[Operation], None] | None = None
    ) -> None:
        self.store = ScriptedStore()
        self.told: list[int] = []
        self.results: list[Result] = []
        self.failures: list[tuple[list[int], StoreFailure]] = []
        self.time_us = 0
        self.cost_us = 0
        self._committed = committed
        self.committer = Committer(
            self.store,
            committed=self._on_committed,
            failed=lambda operations, failure: self.failures.append((numbers(operations), failure)),
            elapsed_us=lambda: self.time_us,
            cap_rows=cap_rows,
            max_queued=max_queued,
        )

    def _on_committed(self, operation: Operation, result: Result) -> None:
        self.time_us += self.cost_us
        self.told += numbers([operation])
        self.results.append(result)
        if self._committed is not None:
            self._committed(operation)

    def add(self, *operations: int) -> None:
        for number in operations:
            self.committer.add(op(number))

    @property
    def handed(self) -> list[list[int]]:
        return [numbers(batch) for batch in self.store.batches]


def op(number: int, rows: int = 1) -> Append:
    return Append(number, [LogRow(number, seq, 0, b"") for seq in range(rows)])


def numbers(operations: Sequence[Operation]) -> list[int]:
    return [operation.run for operation in operations if isinstance(operation, Append)]


async def turn() -> None:
    """One turn of the loop: what was due runs."""
    await asyncio.sleep(0)


# -- what becomes one commit


async def test_what_is_added_in_one_turn_is_one_commit() -> None:
    scene = Scene()
    scene.add(1, 2, 3)
    assert scene.handed == []
    await turn()
    assert scene.handed == [[1, 2, 3]]


async def test_what_was_queued_while_a_commit_ran_is_the_next_one() -> None:
    scene = Scene()
    scene.add(1)
    await turn()
    for number in (2, 3, 4):
        scene.add(number)
        await turn()
    assert scene.handed == [[1]]
    scene.store.answer()
    assert scene.handed == [[1], [2, 3, 4]]
    scene.store.answer()
    assert (scene.committer.commits, scene.committer.rows) == (2, 4)
    assert scene.committer.idle


async def test_the_next_batch_is_handed_over_before_the_results_are_told() -> None:
    def seen(_: Operation) -> None:
        handed_when_told.append(len(scene.store.batches))

    handed_when_told: list[int] = []
    scene = Scene(committed=seen)
    scene.add(1)
    await turn()
    scene.add(2)
    scene.store.answer()
    assert handed_when_told == [2]


async def test_one_run_alone_waits_for_one_commit_a_step() -> None:
    """Each result leads to the next group at once: n groups are n commits and no turn of the loop is lost."""

    def go_on(operation: Operation) -> None:
        assert isinstance(operation, Append)
        if operation.run < 10:
            scene.add(operation.run + 1)

    scene = Scene(committed=go_on)
    scene.add(1)
    await turn()
    for _ in range(10):
        scene.store.answer()
    assert scene.handed == [[number] for number in range(1, 11)]
    assert scene.committer.commits == 10


async def test_a_thousand_runs_share_their_commits() -> None:
    """1,000 runs of 5 steps, groups of 2 rows, cap 256: 10,000 rows in 40 commits (10,000 / 256 = 39.06)."""
    remaining = dict.fromkeys(range(1000), 5)

    def go_on(operation: Operation) -> None:
        assert isinstance(operation, Append)
        remaining[operation.run] -= 1
        if remaining[operation.run]:
            scene.committer.add(op(operation.run, rows=2))

    scene = Scene(cap_rows=256, max_queued=4096, committed=go_on)
    for run in remaining:
        scene.committer.add(op(run, rows=2))
    while not scene.committer.idle:
        scene.store.answer()
    assert scene.committer.rows == 10_000
    assert scene.committer.commits == 40


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([1] * 8, [[1] * 8]),
        ([1] * 9, [[1] * 8, [1]]),
        ([5, 5, 5], [[5], [5], [5]]),  # never split, never over the cap
        ([3, 5, 3], [[3, 5], [3]]),
        ([1, 20, 1], [[1], [20], [1]]),  # longer than the cap: alone
        ([0] * 9, [[0] * 8, [0]]),  # counts as one
    ],
)
async def test_batches_are_cut_at_the_cap_and_between_operations(sizes: list[int], batches: list[list[int]]) -> None:
    scene = Scene(cap_rows=8, max_queued=1000)
    for number, rows in enumerate(sizes):
        scene.committer.add(op(number, rows))
    await turn()
    while not scene.committer.idle:
        scene.store.answer()
    handed = [
        [len(operation.records) for operation in batch if isinstance(operation, Append)]
        for batch in scene.store.batches
    ]
    assert handed == batches


async def test_rows_of_every_kind_of_operation_are_counted() -> None:
    scene = Scene(cap_rows=100)
    run = RunRow(run=1, id="1", workflow="w", version=1, trigger="EVENT", environment="production")
    event = EventRow("e", "n", 0, "", b"")
    scene.committer.add(op(1, rows=3))
    scene.committer.add(Put(InboxRow(1, 0, b"")))
    scene.committer.add(Ingest([Arrival(event, [(run, LogRow(1, 1, 0, b"")), (run, LogRow(2, 1, 0, b""))])]))
    scene.committer.add(Ingest([Arrival(event, [])]))
    assert scene.committer.rows_queued == 3 + 1 + 2 + 1
    await turn()
    assert scene.committer.rows_queued == 0
    scene.store.answer()
    assert scene.committer.rows == 7


async def test_a_full_batch_does_not_wait_for_the_end_of_the_slice() -> None:
    """Telling the first result adds eight operations: an idle writer gets them before the second is told."""

    def flood(operation: Operation) -> None:
        handed_when_told.append(len(scene.store.batches))
        if numbers([operation]) == [1]:
            scene.add(*range(10, 18))

    handed_when_told: list[int] = []
    scene = Scene(cap_rows=8, committed=flood)
    scene.add(1, 2)
    await turn()
    scene.store.answer()
    assert handed_when_told == [1, 2]


# -- telling


async def test_results_are_told_in_the_order_of_commits() -> None:
    scene = Scene()
    scene.add(1, 2)
    await turn()
    scene.add(3)
    refused = Refused("why")
    scene.store.answer(results=[None, refused])
    scene.store.answer()
    assert scene.told == [1, 2, 3]
    assert scene.results == [None, refused, None]


async def test_results_are_told_in_slices() -> None:
    """100 µs a result and 2 ms a slice, the clock read every 16: 32 results a turn of the loop."""
    scene = Scene(cap_rows=100, max_queued=1000)
    scene.cost_us = 100
    scene.add(*range(80))
    await turn()
    scene.store.answer()
    assert len(scene.told) == 32
    await turn()
    assert len(scene.told) == 64
    assert not scene.committer.idle
    await turn()
    assert scene.told == list(range(80))
    assert scene.committer.idle


async def test_commits_go_on_between_slices_and_order_is_kept() -> None:
    scene = Scene(cap_rows=100, max_queued=1000)
    scene.cost_us = 100
    scene.add(*range(40))
    await turn()
    scene.add(40, 41)
    scene.store.answer()
    scene.store.answer()  # the second commit returns while the first one's results are still told
    assert len(scene.told) == 32
    await turn()
    assert scene.told == list(range(42))


async def test_a_mistake_in_telling_does_not_stop_the_others() -> None:
    def stumble(operation: Operation) -> None:
        if numbers([operation]) == [1]:
            raise ZeroDivisionError

    scene = Scene(committed=stumble)
    scene.add(1, 2)
    await turn()
    with pytest.raises(ZeroDivisionError):
        scene.store.answer()
    await turn()
    assert scene.told == [1, 2]
    assert scene.committer.idle


# -- failure


async def test_a_failure_takes_everything_behind_it_in_order_and_holds_back_the_rest() -> None:
    scene = Scene(cap_rows=2)
    scene.add(1, 2, 3, 4, 5)
    await turn()
    failure = UnknownOutcome("?")
    scene.store.answer(failure)
    assert scene.failures == [([1, 2, 3, 4, 5], failure)]
    assert scene.committer.idle
    assert scene.committer.rows_queued == 0
    assert scene.committer.commits == 0

    scene.add(6, 7, 8)
    await turn()
    assert scene.handed == [[1, 2]], "nothing is handed over"
    scene.committer.resume()
    while not scene.committer.idle:
        scene.store.answer()
    assert scene.handed == [[1, 2], [6, 7], [8]]
    assert scene.told == [6, 7, 8]


async def test_a_failure_is_told_after_the_results_before_it() -> None:
    """What those results add belongs to it: they may be runs of the failed batch."""

    def go_on(operation: Operation) -> None:
        if numbers([operation]) == [79]:
            scene.add(99)

    scene = Scene(cap_rows=100, max_queued=1000, committed=go_on)
    scene.cost_us = 100
    scene.add(*range(80))
    await turn()
    scene.add(80)
    scene.store.answer()
    scene.add(81)
    scene.store.answer(UnknownOutcome("?"))
    for told in (32, 64):
        assert len(scene.told) == told
        assert scene.failures == []
        assert not scene.committer.idle
        await turn()
    assert scene.told == list(range(80))
    assert [operations for operations, _ in scene.failures] == [[80, 81, 99]]


async def test_resuming_from_within_the_failure() -> None:
    store = ScriptedStore()
    told: list[Operation] = []

    def failed(operations: list[Operation], _: StoreFailure) -> None:
        committer.add(operations[0])
        committer.resume()

    committer = Committer(store, committed=lambda one, _: told.append(one), failed=failed, elapsed_us=int)
    committer.add(op(1))
    await turn()
    store.answer(UnknownOutcome("?"))
    store.answer()
    assert numbers(told) == [1]
    assert committer.idle


# -- the bound


async def test_the_queue_is_bounded_and_pushes_back() -> None:
    scene = Scene(cap_rows=4, max_queued=8)
    scene.add(*range(4))  # a full batch: handed over at once
    scene.add(*range(4, 11))
    assert (scene.committer.rows_queued, scene.committer.full) == (7, False)
    await scene.committer.wait_for_room()
    scene.add(11)
    assert scene.committer.full

    async def add_when_there_is_room(number: int) -> None:
        await scene.committer.wait_for_room()
        scene.add(number)

    waiting = [asyncio.create_task(add_when_there_is_room(number)) for number in range(100, 106)]
    await turn()
    assert scene.committer.rows_queued == 8
    scene.store.answer()
    for _ in range(3):
        await turn()
    assert scene.committer.rows_queued == 8, "four found room, and the bound holds"
    while not all(task.done() for task in waiting):
        scene.store.answer()
        await turn()
    await asyncio.gather(*waiting)
    while not scene.committer.idle:
        scene.store.answer()
    assert sorted(scene.told) == [*range(12), *range(100, 106)]


async def test_a_failure_makes_room() -> None:
    scene = Scene(cap_rows=4, max_queued=4)
    scene.add(*range(10))
    waiting = asyncio.create_task(scene.committer.wait_for_room())
    await turn()
    assert not waiting.done()
    scene.store.answer(UnknownOutcome("?"))
    await waiting


async def test_draining_waits_until_everything_has_been_told() -> None:
    scene = Scene(cap_rows=2)
    await scene.committer.drain()
    scene.add(1, 2, 3)
    draining = asyncio.create_task(scene.committer.drain())
    await turn()
    scene.store.answer()
    await turn()
    assert not draining.done()
    scene.store.answer()
    await draining
    assert scene.told == [1, 2, 3]
