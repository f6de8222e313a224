"""How every store lists and counts runs."""

from itertools import product
from typing import Any

import pytest

from durably.store.protocol import OpenRun, Store
from durably.store.rows import RunOrder, RunQuery, RunRow
from tests.store.row_makers import commit, group, row

pytestmark = pytest.mark.anyio


@pytest.fixture
async def listed(store: Store) -> Store:
    runs = [
        row(1, status="SUCCEEDED", phase=None, created_us=10),
        row(2, status="RUNNING", phase="sleeping", workflow="other", created_us=20, due_us=500),
        row(3, status="RUNNING", phase="waiting", trigger="EVENT", event="a/b", created_us=30),
        row(4, status="PENDING", environment="staging", created_us=40, due_us=300),
        row(5, status="RUNNING", phase="retrying", origin="run-1", created_us=50, due_us=300),
        row(6, status="FAILED", phase=None, created_us=60, due_us=100),
    ]
    for one in runs:
        assert store.new_run() == one.run
    await commit(store, *(group(one.run, 1, created=one) for one in runs))
    return store


@pytest.mark.parametrize(
    ("query", "runs"),
    [
        (RunQuery(), [6, 5, 4, 3, 2, 1]),
        (RunQuery(limit=2), [6, 5]),
        (RunQuery(limit=2, before=(50, 5)), [4, 3]),
        (RunQuery(before=(10, 1)), []),
        (RunQuery(status=("RUNNING",)), [5, 3, 2]),
        (RunQuery(status=("PENDING", "FAILED")), [6, 4]),
        (RunQuery(phase=("sleeping", "waiting")), [3, 2]),
        (RunQuery(workflow=("other",)), [2]),
        (RunQuery(trigger=("EVENT",)), [3]),
        (RunQuery(environment=("staging",)), [4]),
        (RunQuery(event=("a/b",)), [3]),
        (RunQuery(origin="run-1"), [5]),
        (RunQuery(origin=None), [6, 4, 3, 2, 1]),
        (RunQuery(created_from_us=20, created_until_us=40), [3, 2]),
        (RunQuery(status=("RUNNING",), workflow=("fulfil",), limit=1), [5]),
        (RunQuery(status=("x' OR 1 = 1 --",)), []),
    ],
)
async def test_runs_are_listed_newest_first(listed: Store, query: RunQuery, runs: list[int]) -> None:
    assert [one.run for one in await listed.runs(query)] == runs


async def test_open_runs_come_by_number(listed: Store) -> None:
    assert await listed.open_runs(0, 2) == [OpenRun(2, "sleeping", 500), OpenRun(3, "waiting", None)]
    assert [one.run for one in await listed.open_runs(3, 10)] == [4, 5]


async def test_due_runs_come_soonest_first(listed: Store) -> None:
    assert await listed.due_runs(501, (0, 0), 10) == [(300, 4), (300, 5), (500, 2)]
    assert await listed.due_runs(501, (300, 4), 1) == [(300, 5)], "pages go on within one instant"
    assert await listed.due_runs(500, (0, 0), 10) == [(300, 4), (300, 5)], "before, not at"


# -- runs of jobs


def job_run(run: int, job: str, **fields: Any) -> RunRow:
    return row(run, **({"workflow": "durably.job", "job": job, "trigger": "SCHEDULE"} | fields))


JOB_RUNS = [
    job_run(1, "a", status="SUCCEEDED", phase=None, created_us=10, started_us=11, finished_us=15, scheduled_us=10),
    job_run(2, "a", status="FAILED", phase=None, created_us=20, started_us=22, finished_us=21, scheduled_us=20),
    job_run(3, "b", status="RUNNING", phase="executing", created_us=20, started_us=21),
    job_run(4, "b", status="FAILED", phase=None, created_us=40, started_us=41, finished_us=60, scheduled_us=None),
    job_run(5, "a", status="PENDING", created_us=50, scheduled_us=900),
    job_run(6, "b", status="PENDING", created_us=60, scheduled_us=800, environment="staging"),
    job_run(7, "b", status="SUCCEEDED", phase=None, created_us=70, finished_us=75, environment="staging"),
    row(8, status="FAILED", phase=None, created_us=80, started_us=81, finished_us=85),
    row(9, status="PENDING", created_us=90),
]


@pytest.fixture
async def jobs(store: Store) -> Store:
    for one in JOB_RUNS:
        assert store.new_run() == one.run
    await commit(store, *(group(one.run, 1, created=one) for one in JOB_RUNS))
    return store


async def test_a_runs_job_is_read_back(jobs: Store) -> None:
    assert [await jobs.run_numbered(one.run) for one in JOB_RUNS] == JOB_RUNS


@pytest.mark.parametrize(
    ("query", "runs"),
    [
        (RunQuery(), [9, 8]),
        (RunQuery(job=()), [7, 6, 5, 4, 3, 2, 1]),
        (RunQuery(job=("a",)), [5, 2, 1]),
        (RunQuery(job=("a", "b")), [7, 6, 5, 4, 3, 2, 1]),
        (RunQuery(job=("x' OR 1 = 1 --",)), []),
        (RunQuery(job=(), status=("PENDING",)), [6, 5]),
        (RunQuery(job=(), status=("PENDING", "RUNNING")), [6, 5, 3]),
        (RunQuery(job=(), status=("FAILED",)), [4, 2]),
        (RunQuery(job=("b",), status=("FAILED",)), [4]),
        (RunQuery(status=("FAILED",)), [8]),
        (RunQuery(job=(), environment=("staging",)), [7, 6]),
        (RunQuery(job=(), started_from_us=22, started_until_us=41), [2]),
        (RunQuery(job=(), finished_from_us=15, finished_until_us=60), [2, 1]),
        (RunQuery(job=(), finished_until_us=100), [7, 4, 2, 1]),
        (RunQuery(job=(), scheduled_from_us=20), [6, 5, 2]),
        (RunQuery(job=(), scheduled_until_us=20), [1]),
        (RunQuery(job=(), created_from_us=20, created_until_us=50, started_from_us=21, finished_from_us=1), [4, 2]),
        (RunQuery(job=(), latest_only=True), [7, 4, 2]),
        (RunQuery(job=(), latest_only=True, status=("SUCCEEDED",)), [7, 1]),
        (RunQuery(job=(), latest_only=True, created_until_us=20), [1]),
        (RunQuery(job=("b",), latest_only=True), [7, 4]),
        (RunQuery(job=(), latest_only=True, status=("PENDING",)), []),
        (RunQuery(job=(), latest_only=True, limit=1, before=(70, 7)), [4]),
        (RunQuery(latest_only=True), [8]),
    ],
)
async def test_runs_of_jobs_are_listed_apart(jobs: Store, query: RunQuery, runs: list[int]) -> None:
    assert [one.run for one in await jobs.runs(query)] == runs


ORDERS: list[tuple[RunOrder, list[int], list[int]]] = [
    ("created", [1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1]),
    ("started", [1, 3, 2, 4, 5, 6, 7], [4, 2, 3, 1, 7, 6, 5]),
    ("finished", [1, 2, 4, 7, 3, 5, 6], [7, 4, 2, 1, 6, 5, 3]),
    ("scheduled", [1, 2, 6, 5, 3, 4, 7], [5, 6, 2, 1, 7, 4, 3]),
    ("duration", [2, 1, 7, 4, 3, 5, 6], [4, 7, 1, 2, 6, 5, 3]),
    ("status", [2, 4, 5, 6, 3, 1, 7], [7, 1, 3, 6, 5, 4, 2]),
    ("job", [1, 2, 5, 3, 4, 6, 7], [7, 6, 4, 3, 5, 2, 1]),
]
"""Runs of jobs, ascending and descending. Those without a value are last either way."""


def value(one: RunRow, order: RunOrder) -> int | str | None:
    """What a run is listed by."""
    if order == "duration":
        return None if one.finished_us is None else one.finished_us - one.created_us
    found: int | str | None = getattr(one, order if order in {"status", "job"} else f"{order}_us")
    return found


@pytest.mark.parametrize(("order", "ascending", "descending"), ORDERS, ids=[order for order, *_ in ORDERS])
async def test_every_order_is_kept_from_page_to_page(
    jobs: Store, order: RunOrder, ascending: list[int], descending: list[int]
) -> None:
    for size, (is_descending, expected) in product((1, 2, 3, 7), ((False, ascending), (True, descending))):
        seen: list[int] = []
        last: tuple[int | str | None, int] | None = None
        while page := await jobs.runs(RunQuery(job=(), order=order, descending=is_descending, before=last, limit=size)):
            assert len(page) <= size
            seen += [one.run for one in page]
            last = value(page[-1], order), page[-1].run
        assert seen == expected, size


STATUSES = [(), ("PENDING",), ("FAILED",), ("RUNNING", "PENDING"), ("FAILED", "RUNNING")]
NARROWER: list[dict[str, Any]] = [{}, {"job": ("a",)}, {"phase": ("queued",)}, {"finished_from_us": 20}, {"job": None}]


async def test_what_fits_does_not_depend_on_the_order(jobs: Store) -> None:
    """Whatever index a store takes, the same runs fit."""
    for statuses, narrower, latest_only in product(STATUSES, NARROWER, (False, True)):
        fields: dict[str, Any] = {"job": (), "status": statuses, "latest_only": latest_only} | narrower
        fitting = [one.run for one in JOB_RUNS if _fits(one, fields)]
        for (order, *_), descending in product(ORDERS, (False, True)):
            found = await jobs.runs(RunQuery(**fields, order=order, descending=descending))
            assert sorted(one.run for one in found) == fitting, fields
        assert sum(count for *_, count in await jobs.tally(RunQuery(**fields), 0)) == len(fitting)


def _fits(one: RunRow, fields: dict[str, Any]) -> bool:
    """The same decision, said slowly."""
    if fields["latest_only"]:
        others = [run for run in JOB_RUNS if _fits(run, fields | {"latest_only": False}) and run.phase is None]
        if one != max((run for run in others if _place(run) == _place(one)), key=lambda run: run.run, default=None):
            return False
    wanted = fields["job"]
    return (
        (one.job is None if wanted is None else one.job is not None and (not wanted or one.job in wanted))
        and (not fields["status"] or one.status in fields["status"])
        and one.phase in fields.get("phase", (one.phase,))
        and ("finished_from_us" not in fields or (one.finished_us or 0) >= fields["finished_from_us"])
    )


def _place(one: RunRow) -> tuple[str | None, str]:
    return one.job, one.environment


# -- counting


@pytest.mark.parametrize(
    ("query", "bucket_us", "counts"),
    [
        (RunQuery(), 0, [(0, "FAILED", 1), (0, "PENDING", 1)]),
        (RunQuery(job=()), 0, [(0, "FAILED", 2), (0, "PENDING", 2), (0, "RUNNING", 1), (0, "SUCCEEDED", 2)]),
        (
            RunQuery(job=()),
            25,
            [
                (0, "FAILED", 1),
                (0, "RUNNING", 1),
                (0, "SUCCEEDED", 1),
                (25, "FAILED", 1),
                (50, "PENDING", 2),
                (50, "SUCCEEDED", 1),
            ],
        ),
        (RunQuery(job=("a",), created_from_us=20), 10, [(20, "FAILED", 1), (50, "PENDING", 1)]),
        (RunQuery(job=(), latest_only=True), 0, [(0, "FAILED", 2), (0, "SUCCEEDED", 1)]),
        (RunQuery(job=(), limit=1, order="job", before=("b", 1)), 100, [(0, "FAILED", 2)]),
        (RunQuery(job=("nobody's",)), 10, []),
    ],
)
async def test_runs_are_counted_by_bucket_and_status(
    jobs: Store, query: RunQuery, bucket_us: int, counts: list[tuple[int, str, int]]
) -> None:
    found = await jobs.tally(query, bucket_us)
    assert found[: len(counts)] == counts
    assert query.limit == 1 or found == counts, "pages have nothing to do with it"
