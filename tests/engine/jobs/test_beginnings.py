"""Where a job that is run by hand runs, and how its runs begin."""

import pytest

from durably.engine.jobs.beginnings import (
    JobConflict,
    begin_again,
    begin_by_hand,
    begin_on_schedule,
    environment_for,
)
from durably.engine.jobs.model import Configuration, Job, JobFields, Overlay
from durably.engine.log.records import to_us
from durably.store import DocumentRow

ROW = DocumentRow(kind="job", id="job", body=b"", version=3, created_us=5, updated_us=9)
JOB = Job(
    ROW,
    JobFields(
        name="job",
        schedule="0 2 * * *",
        configuration=Configuration(url="https://example.com"),
        environments={"production": Overlay(enabled=True), "staging": Overlay()},
    ),
)


@pytest.mark.parametrize(
    ("enabled", "asked", "implied", "found"),
    [
        (["production"], None, None, "production"),
        (["production"], "production", "staging", "production"),
        (["production", "staging"], "staging", None, "staging"),
        (["production", "staging"], None, "staging", "staging"),
        (["production"], None, "staging", "production"),
    ],
)
def test_the_environment_is_the_one_that_is_meant(
    enabled: list[str], asked: str | None, implied: str | None, found: str
) -> None:
    assert environment_for(JOB, enabled, asked, implied) == found


@pytest.mark.parametrize(
    ("enabled", "asked", "implied"),
    [
        ([], None, None),
        ([], "production", None),
        (["production"], "staging", None),
        (["production", "staging"], None, None),
        (["production", "staging"], None, "development"),
    ],
)
def test_elsewhere_it_is_refused(enabled: list[str], asked: str | None, implied: str | None) -> None:
    with pytest.raises(JobConflict):
        environment_for(JOB, enabled, asked, implied)


def test_runs_by_hand_have_no_time() -> None:
    manual, again = begin_by_hand(JOB, "staging"), begin_again(JOB, "staging", "source")
    assert (manual.trigger, manual.environment, manual.scheduled_for) == ("MANUAL", "staging", None)
    assert (again.trigger, again.scheduled_for, again.origin) == ("RERUN", None, "source")
    assert manual.job is not None
    assert again.job is not None
    assert (manual.job.version, manual.job.rerun_of, again.job.rerun_of) == (3, None, "source")
    assert bytes(manual.input) == b'{"job":"job","born_us":5}'


def test_a_scheduled_run_knows_its_time() -> None:
    created = begin_on_schedule(JOB, "production", 12_000_000)
    assert created is not None
    assert created.scheduled_for is not None
    assert (created.trigger, to_us(created.scheduled_for), created.due_at) == ("SCHEDULE", 12_000_000, None)


def test_where_it_is_not_enabled_no_time_starts_it() -> None:
    assert begin_on_schedule(JOB, "staging", 0) is None
