"""What a job is, and what it comes to in an environment."""

import pytest

from durably.engine.jobs.model import (
    Cadence,
    Configuration,
    JobFields,
    Kind,
    Overlay,
    cadence,
    configuration,
    instant_us,
    is_enabled,
    kind_of,
    retry_policy,
)

BASE = Configuration(url="https://example.com/in", headers={"Authorization": "base", "X-Trace": "1"}, timeout=10)


def job(schedule: str | None = "0 2 * * *", **environments: Overlay) -> JobFields:
    return JobFields(
        name="job",
        schedule=schedule,
        timezone="Europe/Berlin",
        configuration=BASE,
        retry_policy="retry-on-5xx",
        environments=environments,
    )


@pytest.mark.parametrize(
    ("schedule", "kind"),
    [
        (None, "manual"),
        ("now", "one_off"),
        ("2026-01-31T09:30:00Z", "one_off"),
        ("2026-01-31 09:30:00+02:00", "one_off"),
        ("2026-01-31T09:30", "one_off"),
        ("0 2 * * *", "recurring"),
        ("*/5 * * * MON-FRI", "recurring"),
        ("whenever", "recurring"),  # and no cron expression, which the checks say
    ],
)
def test_the_schedule_tells_the_kind(schedule: str | None, kind: Kind) -> None:
    assert kind_of(schedule) == kind


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        ("1970-01-01T01:00:00Z", 3600),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T01:00", 3600),  # UTC
        ("1970-01-01 00:00:01.5", 1.5),
    ],
)
def test_a_time_without_an_offset_is_utc(schedule: str, seconds: float) -> None:
    assert instant_us(schedule) == seconds * 1_000_000


@pytest.mark.parametrize(
    "schedule",
    ["2026-02-30T00:00:00Z", "2026-01-31T25:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"],
)
def test_a_time_that_is_none_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match="write it as 2026-01-31T09:30:00Z"):
        instant_us(schedule)


def test_an_entry_overrides_what_it_has_and_inherits_the_rest() -> None:
    fields = job(staging=Overlay(enabled=True, url="http://staging", timeout=3, tls_verify=False, body=""))
    there = configuration(fields, "staging")
    assert there == Configuration(
        url="http://staging", headers=BASE.headers, timeout=3, tls_verify=False, body="", method="POST"
    )
    assert configuration(fields, "production") == BASE


def test_headers_are_overridden_one_by_one_whatever_their_case() -> None:
    fields = job(staging=Overlay(headers={"authorization": "staging", "X-New.Dotted": "2"}))
    assert configuration(fields, "staging").headers == {
        "X-Trace": "1",
        "authorization": "staging",
        "X-New.Dotted": "2",
    }


def test_schedule_and_time_zone_are_inherited_one_by_one() -> None:
    fields = job(
        inherits=Overlay(),
        rarely=Overlay(schedule="0 3 * * 1"),
        elsewhere=Overlay(timezone="America/New_York"),
    )
    assert cadence(fields, "inherits") == Cadence("0 2 * * *", "Europe/Berlin")
    assert cadence(fields, "rarely") == Cadence("0 3 * * 1", "Europe/Berlin")
    assert cadence(fields, "elsewhere") == Cadence("0 2 * * *", "America/New_York")


def test_an_omitted_policy_inherits_the_jobs_own() -> None:
    fields = job(production=Overlay(enabled=True), staging=Overlay(enabled=True, retry_policy="no-retries"))
    assert retry_policy(fields, "production") == "retry-on-5xx"
    assert retry_policy(fields, "staging") == "no-retries"


def test_no_policy_anywhere_is_none() -> None:
    fields = JobFields(name="job", configuration=BASE, environments={"production": Overlay(enabled=True)})
    assert retry_policy(fields, "production") is None


@pytest.mark.parametrize(
    ("schedule", "entry", "enabled"),
    [
        ("0 2 * * *", Overlay(enabled=True), True),
        ("0 2 * * *", Overlay(enabled=False), False),
        ("0 2 * * *", Overlay(), False),  # the base is disabled everywhere
        ("0 2 * * *", None, False),
        (None, Overlay(enabled=True), True),
        (None, Overlay(), False),
        ("now", Overlay(), True),  # its environments are those it names
        ("now", Overlay(enabled=False), True),
        ("now", None, False),
    ],
)
def test_where_a_job_runs(schedule: str | None, entry: Overlay | None, enabled: bool) -> None:
    fields = job(schedule) if entry is None else job(schedule, production=entry)
    assert is_enabled(fields, "production") is enabled


def test_an_entry_is_written_flat() -> None:
    overlay = Overlay(enabled=True, timezone="UTC", headers={"X-A": "1", "X.B": "2"})
    assert overlay.flat() == {"enabled": True, "timezone": "UTC", "headers.X-A": "1", "headers.X.B": "2"}
