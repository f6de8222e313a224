"""What durability costs, in counts that do not depend on the machine (DESIGN rules 2, 3, 4 and 10)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from durably import Engine, Event, RetryPolicy, Run, current, step, workflow
from durably.engine.log.records import INPUTS
from durably.store import Append, Operation, SqliteStore, Store
from durably.store.protocol import Done
from durably.store.runtime import Clock, SystemClock

pytestmark = pytest.mark.anyio

INPUT_TYPES = {kind.__struct_config__.tag for kind in INPUTS}


@step
async def increment(number: int) -> int:
    return number + 1


@workflow
async def in_sequence(steps: int) -> int:
    number = 0
    for _ in range(steps):
        number = await increment(number)
    return number


@workflow(on="count/wanted")
async def when_wanted(event: Event[dict[str, int]]) -> int:
    return await in_sequence.fn(event.data["steps"])


@workflow
async def gathered(steps: int) -> int:
    return sum(await asyncio.gather(*(increment(number) for number in range(steps))))


@workflow
async def with_a_sleep() -> int:
    await asyncio.sleep(0.001)
    return await increment(0)


@step(retry=RetryPolicy(2, backoff="fixed", delay=0, jitter=0))
async def third_time_lucky() -> int:
    if current().attempt < 2:
        raise ConnectionError("not yet")
    return current().attempt


@workflow
async def with_retries() -> int:
    return await third_time_lucky()


class CountingStore(SqliteStore):
    """Counts the writes of what lists show."""

    changes = 0

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        self.changes += sum(isinstance(each, Append) and each.change is not None for each in batch)
        super().submit(batch, done)

    @property
    def wal_bytes(self) -> int:
        return self.path.with_name(self.path.name + "-wal").stat().st_size


class TimelessClock(SystemClock):
    """No time passes while the process computes, so that no batch ends early because a machine is slow."""

    def elapsed_us(self) -> int:
        return 0


class CountingEngine(Engine):
    """On a real file, with batches that are the same on every machine."""

    def __init__(self, path: Path) -> None:
        self.store = CountingStore(path)
        super().__init__(workflows=[in_sequence, when_wanted, gathered, with_a_sleep, with_retries])

    def _open_store(self) -> Store:
        return self.store

    def _make_clock(self) -> Clock:
        return TimelessClock()

    @property
    def commits(self) -> int:
        return self.core.journal.committer.commits

    @property
    def rows(self) -> int:
        return self.core.journal.committer.rows


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[CountingEngine]:
    async with CountingEngine(tmp_path / "counts.db") as engine:
        yield engine


async def triggered(engine: CountingEngine) -> Run[Any]:
    """The one run that an event started."""
    [info] = await engine.list_runs(trigger="EVENT")
    run: Run[Any] = await engine.get_run(info.id)
    return run


# -- commits (rule 2)


@pytest.mark.parametrize("steps", [0, 1, 2, 10])
async def test_n_sequential_steps_of_a_started_run_take_n_plus_1_commits(engine: CountingEngine, steps: int) -> None:
    # The first is run.created, run.started and the first attempt.started; the others one for each step's end.
    await (await engine.start(in_sequence, steps)).result(timeout=10)
    assert engine.commits == steps + 1


@pytest.mark.parametrize("steps", [0, 1, 2, 10])
async def test_n_sequential_steps_of_a_triggered_run_take_n_plus_2_commits(engine: CountingEngine, steps: int) -> None:
    # The event and run.created are acknowledged before the body starts.
    await engine.send(Event("count/wanted", {"steps": steps}))
    await (await triggered(engine)).result(timeout=10)
    assert engine.commits == steps + 2


async def test_gathered_steps_share_their_commits(engine: CountingEngine) -> None:
    # One for the start of the ten, one for their ends, which are all told before the next is handed over.
    await (await engine.start(gathered, 10)).result(timeout=10)
    assert engine.commits == 2


async def test_a_retry_takes_a_commit_for_the_failure_and_one_for_the_next_start(
    engine: CountingEngine,
) -> None:
    run = await engine.start(with_retries)
    assert await run.result(timeout=10) == 2
    # 2 for a step at its first attempt, and 2 for each of the two retries.
    assert engine.commits == 2 + 2 * 2
    types = (await run.history()).types()
    assert types.count("attempt.failed") == 2
    assert types.count("attempt.started") == 3
    assert len(types) == 3 + 2 * 2 + 2


# -- group commit (rule 3)


async def test_concurrent_runs_share_their_commits(engine: CountingEngine) -> None:
    runs, steps = 100, 5
    handles = await asyncio.gather(*(engine.start(in_sequence, steps) for _ in range(runs)))
    await asyncio.gather(*(handle.result(timeout=10) for handle in handles))
    assert engine.rows == runs * (3 + 2 * steps)
    assert engine.rows / engine.commits >= 0.8 * runs


async def test_the_wal_grows_by_less_than_500_bytes_a_record(engine: CountingEngine) -> None:
    # 1,300 records of 100 runs at once: 415 bytes each. A table clustered by run would dirty a page for each.
    before, runs = engine.store.wal_bytes, 100
    handles = await asyncio.gather(*(engine.start(in_sequence, 5) for _ in range(runs)))
    await asyncio.gather(*(handle.result(timeout=10) for handle in handles))
    assert (engine.store.wal_bytes - before) / engine.rows < 500


# -- activations (rule 4)


@pytest.mark.parametrize(("steps", "how"), [(5, in_sequence), (5, gathered)])
async def test_each_outcome_is_one_activation(engine: CountingEngine, steps: int, how: Any) -> None:
    run = await engine.start(how, steps)
    await run.result(timeout=10)
    types = (await run.history()).types()
    assert sum(each in INPUT_TYPES for each in types) == 1 + steps
    # run.created, one input for each activation, one command for each step, and the end.
    assert len(types) == 1 + (1 + steps) + steps + 1


# -- projections (rule 10)


@pytest.mark.parametrize(
    ("how", "arguments", "changes"),
    [
        (in_sequence, (10,), 2),  # executing, ended; nothing between
        (with_a_sleep, (), 3),  # sleeping until, executing, ended
        (with_retries, (), 6),  # executing, retrying, executing, retrying, executing, ended
    ],
)
async def test_what_lists_show_is_written_when_status_phase_or_due_time_change(
    engine: CountingEngine, how: Any, arguments: tuple[int, ...], changes: int
) -> None:
    await (await engine.start(how, *arguments)).result(timeout=10)
    assert engine.store.changes == changes
