"""Which indices the lists of runs use: what is asked for often must not read everything."""

import sqlite3
from collections.abc import Iterator
from itertools import product
from typing import Any, get_args

import pytest

from durably.store.rows import RunOrder, RunQuery
from durably.store.sqlite import migrate
from durably.store.sqlite.listing import listing, tally


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:")
    migrate.migrate(opened, "memory")
    yield opened
    opened.close()


def plan(database: sqlite3.Connection, statement: tuple[str, list[Any]]) -> list[str]:
    text, parameters = statement
    return [detail for *_, detail in database.execute(f"EXPLAIN QUERY PLAN {text}", parameters)]


IN_ORDER = [
    (RunQuery(), "runs_created"),
    (RunQuery(before=(10, 1)), "runs_created (created_us<?)"),
    (RunQuery(descending=False), "runs_created"),
    (RunQuery(created_from_us=5), "runs_created (created_us>?)"),
    (RunQuery(workflow=("w",)), "runs_workflow (workflow=?)"),
    (RunQuery(workflow=("w",), before=(10, 1)), "runs_workflow (workflow=? AND created_us<?)"),
    (RunQuery(job=()), "runs_job_created"),
    (RunQuery(job=("j",)), "runs_job (job=?)"),
    (RunQuery(job=("j",), before=(10, 1)), "runs_job (job=? AND created_us<?)"),
    (RunQuery(status=("FAILED",)), "runs_failed"),
    (RunQuery(job=("j",), status=("FAILED",)), "runs_job (job=?)"),
    (RunQuery(job=(), status=("PENDING",), order="scheduled", descending=False), "runs_pending"),
    (
        RunQuery(job=(), status=("PENDING",), order="scheduled", descending=False, scheduled_from_us=5),
        "runs_pending (scheduled_us>?)",
    ),
]


@pytest.mark.parametrize(("query", "index"), IN_ORDER)
def test_common_lists_read_what_they_show_in_its_order(
    database: sqlite3.Connection, query: RunQuery, index: str
) -> None:
    [detail] = plan(database, listing(query))
    assert detail.endswith(f"USING INDEX {index}"), detail


OF_FEW = [
    (RunQuery(status=("RUNNING",)), "runs_open"),
    (RunQuery(status=("RUNNING", "PENDING")), "runs_open"),
    (RunQuery(phase=("sleeping",)), "runs_open"),
    (RunQuery(status=("PENDING",)), "runs_pending"),
    (RunQuery(job=(), finished_from_us=5), "runs_finished (finished_us>?)"),
    (RunQuery(origin="run-1"), "runs_origin (origin=?)"),
]


@pytest.mark.parametrize(("query", "index"), OF_FEW)
def test_lists_of_few_runs_read_only_those(database: sqlite3.Connection, query: RunQuery, index: str) -> None:
    first, *_ = plan(database, listing(query))
    assert first.endswith(f"USING INDEX {index}"), first


def test_the_last_run_of_each_job_comes_from_an_index_of_those(database: sqlite3.Connection) -> None:
    details = plan(database, listing(RunQuery(job=(), latest_only=True)))
    assert any("INDEX runs_job_latest" in detail for detail in details)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (RunQuery(created_from_us=5), "runs_created (created_us>?)"),
        (RunQuery(workflow=("w",), created_from_us=5), "runs_workflow (workflow=? AND created_us>?)"),
        (RunQuery(job=(), created_from_us=5), "runs_job_created (created_us>?)"),
        (RunQuery(job=("j",), created_from_us=5), "runs_job (job=? AND created_us>?)"),
    ],
)
def test_tallies_read_what_they_count(database: sqlite3.Connection, query: RunQuery, index: str) -> None:
    first, *_ = plan(database, tally(query, 60))
    assert first.endswith(f"USING INDEX {index}"), first


def test_every_combination_is_a_valid_statement(database: sqlite3.Connection) -> None:
    """An index that is named must fit: SQLite refuses the statement otherwise."""
    for status, phase, job, latest_only, finished_from_us, order, before in product(
        [(), ("PENDING",), ("FAILED",), ("RUNNING",), ("RUNNING", "PENDING"), ("FAILED", "PENDING")],
        [(), ("queued",), ("queued", "waiting")],
        [None, (), ("a",), ("a", "b")],
        [False, True],
        [None, 5],
        get_args(RunOrder),
        [None, (5, 1), (None, 1)],
    ):
        query = RunQuery(
            status=status,
            phase=phase,
            job=job,
            latest_only=latest_only,
            finished_from_us=finished_from_us,
            order=order,
            before=before,
        )
        database.execute(*listing(query))
        database.execute(*tally(query, 60))


def test_what_users_give_is_never_part_of_a_statement() -> None:
    nasty = "x' OR 1 = 1 --"
    fields = ("status", "phase", "workflow", "trigger", "environment", "event", "job")
    for values in ((nasty,), (nasty, nasty)):
        query = RunQuery(**dict.fromkeys(fields, values), origin=nasty, before=(nasty, 1))  # type: ignore[arg-type]  # by name
        for text, parameters in (listing(query), tally(query, 1)):
            assert nasty not in text
            assert any(nasty in str(parameter) for parameter in parameters)
