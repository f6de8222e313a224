"""What is taken for a job, and what is said of what is not."""

import ssl
from typing import Any

import msgspec
import pytest

from durably.engine.jobs.checks import World, check_job
from durably.engine.jobs.flaws import Invalid
from durably.engine.jobs.model import Configuration, JobFields, Overlay

NOW_US = 1_767_225_600_000_000  # 2026-01-01
WORLD = World({"production", "staging"}.__contains__, {"retry-on-5xx"}.__contains__, NOW_US)
URL = "https://example.com/in"
ONE_OFF: dict[str, Any] = {"schedule": "2027-01-01T00:00:00Z", "environments": {"production": {}}}


def attributes(**changes: Any) -> dict[str, Any]:
    return {"name": "job", "configuration": {"url": URL}, **changes}


def request(**changes: Any) -> dict[str, Any]:
    return attributes(configuration={"url": URL, **changes})


def there(**entry: Any) -> dict[str, Any]:
    return attributes(schedule="0 2 * * *", environments={"production": entry})


def flaws(given: dict[str, Any], before: JobFields | None = None) -> dict[str, str]:
    with pytest.raises(Invalid) as refused:
        check_job(given, WORLD, before)
    return dict(refused.value.flaws)


def test_what_is_left_out_has_the_vendors_defaults() -> None:
    assert check_job(attributes(), WORLD) == JobFields(name="job", configuration=Configuration(url=URL))
    defaults = msgspec.to_builtins(Configuration(url=URL))
    assert defaults == {
        "url": URL,
        "method": "POST",
        "headers": {},
        "body": None,
        "success_status": "2xx",
        "timeout": 30,
        "tls_verify": True,
        "ca_cert": None,
    }


def test_what_the_vendors_client_sends_for_unset_fields_is_taken() -> None:
    sent = attributes(description=None, schedule=None, type="http", concurrency_policy="ALLOW")
    sent["configuration"] = msgspec.to_builtins(Configuration(url=URL))
    assert check_job(sent, WORLD).schedule is None


def test_read_only_attributes_are_ignored() -> None:
    sent = attributes(
        kind="one_off",
        version=7,
        created_at="2026-01-01T00:00:00Z",
        updated_at=None,
        deleted_at=None,
        environments={"production": {"enabled": True, "next_run_at": None}},
    )
    assert check_job(sent, WORLD).environments == {"production": Overlay(enabled=True)}


def test_status_classes_are_stored_in_lower_case() -> None:
    sent = attributes(
        configuration={"url": URL, "success_status": "2XX"},
        environments={"staging": {"success_status": "3xX"}, "production": {"enabled": True}},
    )
    fields = check_job(sent, WORLD)
    assert fields.configuration.success_status == "2xx"
    assert fields.environments["staging"].success_status == "3xx"
    assert list(fields.environments) == ["staging", "production"]


def test_headers_of_an_environment_are_split_at_the_first_dot() -> None:
    fields = check_job(there(**{"headers.X-Foo.Bar": "1", "headers.Authorization": "s3cr3t"}), WORLD)
    assert fields.environments["production"].headers == {"X-Foo.Bar": "1", "Authorization": "s3cr3t"}


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        (attributes(name=""), "/name"),
        (attributes(name="x" * 201), "/name"),
        (attributes(name=None), "/name"),
        ({"configuration": {"url": URL}}, "/name"),
        (attributes(description="x" * 2001), "/description"),
        (attributes(type="ftp"), "/type"),
        (attributes(concurrency_policy="FORBID"), "/concurrency_policy"),
        (attributes(catch_up="never"), "/catch_up"),
        (attributes(enabled=True), "/enabled"),
        (attributes(retry_on={"reasons": ["TIMEOUT"]}), "/retry_on"),
        (attributes(retry_policy="no-such"), "/retry_policy"),
        (attributes(retry_policy=3), "/retry_policy"),
        ({"name": "job"}, "/configuration"),
        (attributes(configuration=[]), "/configuration"),
        (attributes(configuration={}), "/configuration/url"),
        (request(url=""), "/configuration/url"),
        (request(url="x" * 2049), "/configuration/url"),
        (request(url="/relative"), "/configuration/url"),
        (request(url="ftp://example.com"), "/configuration/url"),
        (request(url="https://"), "/configuration/url"),
        (request(url="https://exa mple.com/"), "/configuration/url"),
        (request(url="https://example.com:99999/"), "/configuration/url"),
        (request(url="https://[::1"), "/configuration/url"),
        (request(method="HEAD"), "/configuration/method"),
        (request(method="get"), "/configuration/method"),
        (request(headers={"X-A": 1}), "/configuration/headers"),
        (request(headers={"": "1"}), "/configuration/headers/"),
        (request(headers={"X/A": "1"}), "/configuration/headers/X~1A"),
        (request(headers={"X-A": "1\r\nX-B: 2"}), "/configuration/headers/X-A"),
        (request(headers={"X-A": "1", "x-a": "2"}), "/configuration/headers/x-a"),
        (request(headers={f"X-{n}": "" for n in range(101)}), "/configuration"),
        (request(body="é" * (512 * 1024 + 1)), "/configuration/body"),
        (request(success_status="200-299"), "/configuration/success_status"),
        (request(success_status="6xx"), "/configuration/success_status"),
        (request(success_status=200), "/configuration/success_status"),
        (request(timeout=0), "/configuration/timeout"),
        (request(timeout=3601), "/configuration/timeout"),
        (request(timeout=True), "/configuration/timeout"),
        (request(tls_verify="no"), "/configuration/tls_verify"),
        (request(ca_cert="-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----"), "/configuration/ca_cert"),
        (request(ca_cert=""), "/configuration/ca_cert"),
        (request(cookies={}), "/configuration/cookies"),
        (attributes(environments=None), "/environments"),
        (attributes(environments={"pro/duction": {}}), "/environments/pro~1duction"),
        (attributes(environments={"production": None}), "/environments/production"),
        (attributes(environments={str(n): {} for n in range(101)}), "/environments"),
        (there(enabled="yes"), "/environments/production/enabled"),
        (there(url="nowhere"), "/environments/production/url"),
        (there(retry_policy="no-such"), "/environments/production/retry_policy"),
        (there(retry_policy=None), "/environments/production/retry_policy"),
        (there(schedule=None), "/environments/production/schedule"),
        (there(headers={"X-A": "1"}), "/environments/production/headers"),
        (there(configuration={"url": URL}), "/environments/production/configuration"),
        (there(**{"headers.": "1"}), "/environments/production/headers."),
        (there(**{"headers.X A": "1"}), "/environments/production/headers.X A"),
        (there(**{"headers.X-A": 1}), "/environments/production/headers.X-A"),
        (there(schedule="61 * * * *"), "/environments/production/schedule"),
        (there(schedule="now"), "/environments/production/schedule"),
        (there(timezone="Mars/Olympus"), "/environments/production/timezone"),
        (attributes(schedule="whenever"), "/schedule"),
        (attributes(schedule="0 2 * *"), "/schedule"),
        (attributes(schedule="30 2 30 2 *"), "/schedule"),
        (attributes(schedule=""), "/schedule"),
        (attributes(schedule="0 2 * * *", timezone="Mars/Olympus"), "/timezone"),
        (attributes(timezone="UTC"), "/timezone"),
        (attributes(**ONE_OFF, timezone="UTC"), "/timezone"),
        (attributes(environments={"production": {"schedule": "0 2 * * *"}}), "/environments/production/schedule"),
        (attributes(schedule="now"), "/environments"),
        (attributes(schedule="2025-12-31T23:59:59Z", environments={"production": {}}), "/schedule"),
        (attributes(schedule="2026-13-31T23:59:59Z", environments={"production": {}}), "/schedule"),
    ],
)
def test_each_mistake_is_refused_where_it_is(given: dict[str, Any], pointer: str) -> None:
    assert list(flaws(given)) == [pointer]


@pytest.mark.parametrize(
    "given",
    [
        attributes(name="x"),
        attributes(name="x" * 200),
        request(url="http://[::1]:8080/a?b#c"),
        request(url="HTTPS://EXAMPLE.COM"),
        request(timeout=3600),
        request(body="x" * (1024 * 1024)),
        request(headers={"X-A": "", "X-B": "grüße"}),
        attributes(schedule="0 2 * * *", timezone="Europe/Berlin", retry_policy="retry-on-5xx"),
        attributes(schedule="now", environments={"production": {}, "staging": {"enabled": False}}),
        attributes(**ONE_OFF),
        there(enabled=True, schedule="*/5 * * * *", timezone="Asia/Tokyo", retry_policy="retry-on-5xx"),
    ],
)
def test_what_is_within_the_limits_is_taken(given: dict[str, Any]) -> None:
    check_job(given, WORLD)


def test_all_mistakes_are_told_at_once() -> None:
    given = attributes(name=3, schedule="whenever", configuration={"url": "nowhere", "timeout": 0})
    given["environments"] = {"mars": {"url": "", "retry_policy": "no-such"}}
    assert set(flaws(given)) == {
        "/name",
        "/schedule",
        "/configuration/url",
        "/configuration/timeout",
        "/environments/mars",
        "/environments/mars/url",
        "/environments/mars/retry_policy",
    }


def test_retry_on_names_what_took_its_place() -> None:
    assert "retry_policy" in flaws(attributes(retry_on={}))["/retry_on"]


def test_there_is_no_null_override() -> None:
    for leaf in ("retry_policy", "schedule", "body", "headers.X-A"):
        refused = flaws(there(**{leaf: None}))
        assert "there is no null override" in refused[f"/environments/production/{leaf}"]


def test_a_one_off_whose_time_has_passed_can_be_written_back() -> None:
    """GET, change, PUT: the time stays what it was, and it does not run again for that."""
    passed = "2025-12-31T00:00:00Z"
    before = JobFields(name="old", configuration=Configuration(url=URL), schedule=passed)
    given = attributes(schedule=passed, environments={"production": {}})
    assert check_job(given, WORLD, before).name == "job"
    later = "2025-12-31T12:00:00Z"
    assert list(flaws({**given, "schedule": later}, before)) == ["/schedule"]


def test_a_certificate_in_pem_is_taken() -> None:
    authorities = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not authorities:
        pytest.skip("this machine trusts nobody")
    pem = ssl.DER_cert_to_PEM_cert(authorities[0])
    assert check_job(request(ca_cert=pem), WORLD).configuration.ca_cert == pem
