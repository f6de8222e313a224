import msgspec
import pytest

from durably import Failure, GiveUp, Retry
from durably.engine.policies.model import MAX_DELAY_S, PolicyFields, to_retry_policy

LEAST = {"name": "p", "max_retries": 3, "backoff": "fixed", "delay_seconds": 5}


def fields(**changed: object) -> PolicyFields:
    return msgspec.convert({**LEAST, **changed}, PolicyFields)


def flaws(**changed: object) -> list[str]:
    return [name for name, _ in fields(**changed).flaws()]


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "x" * 200},
        {"max_retries": 0},
        {"max_retries": 10},
        {"delay_seconds": 1},
        {"delay_seconds": MAX_DELAY_S},
        {"retry_statuses": ["100", "599", "1xx", "5XX", "4xX"]},
        {"retry_statuses": [], "retry_statuses_except": ["501"]},
        {"backoff": "exponential", "max_delay_seconds": 1},
        {"max_delay_seconds": None},
    ],
)
def test_what_is_allowed(changed: dict[str, object]) -> None:
    assert fields(**changed).flaws() == []


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": 5}, "name"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": 11}, "max_retries"),
        ({"max_retries": True}, "max_retries"),
        ({"max_retries": 2.5}, "max_retries"),
        ({"backoff": "linear"}, "backoff"),
        ({"delay_seconds": 0}, "delay_seconds"),
        ({"delay_seconds": 2**70}, "delay_seconds"),
        ({"max_delay_seconds": 0}, "max_delay_seconds"),
        ({"retry_on_timeout": "yes"}, "retry_on_timeout"),
        ({"retry_statuses": ["6xx"]}, "retry_statuses"),
        ({"retry_statuses": ["0xx"]}, "retry_statuses"),
        ({"retry_statuses": ["42"]}, "retry_statuses"),
        ({"retry_statuses": ["5x"]}, "retry_statuses"),
        ({"retry_statuses": ["600"]}, "retry_statuses"),
        ({"retry_statuses": ["5xx\n"]}, "retry_statuses"),
        ({"retry_statuses": [503]}, "retry_statuses"),
        ({"retry_statuses": "5xx"}, "retry_statuses"),
        ({"retry_statuses_except": ["xx5"]}, "retry_statuses_except"),
        ({"retries": 5}, "retries"),
    ],
)
def test_what_is_refused_says_where(changed: dict[str, object], place: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=place):
        fields(**changed)


@pytest.mark.parametrize("name", LEAST)
def test_required_fields(name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"missing required field `{name}`"):
        msgspec.convert({key: value for key, value in LEAST.items() if key != name}, PolicyFields)


def test_a_ceiling_is_for_exponential_backoff_only() -> None:
    assert flaws(max_delay_seconds=60) == ["max_delay_seconds"]


def test_the_match_rule_of_former_days_is_refused_and_its_successors_are_named() -> None:
    [(name, message)] = fields(retry_on={"statuses": [503], "reasons": ["TIMEOUT"]}).flaws()
    assert name == "retry_on"
    for successor in ("retry_on_timeout", "retry_on_connection_error", "retry_statuses", "retry_statuses_except"):
        assert successor in message
    assert flaws(retry_on=None) == ["retry_on"]


def test_all_flaws_are_told_at_once() -> None:
    assert flaws(retry_on={}, max_delay_seconds=60) == ["retry_on", "max_delay_seconds"]


def test_class_tokens_are_stored_in_lower_case() -> None:
    stored = fields(retry_statuses=["5XX", "429"], retry_statuses_except=["4xX"]).normalized()
    assert (stored.retry_statuses, stored.retry_statuses_except) == (["5xx", "429"], ["4xx"])


# -- what it means


def waits(**changed: object) -> list[float]:
    policy = to_retry_policy(fields(retry_on_timeout=True, **changed))
    verdicts = [policy.decide(attempt, Failure("timeout")) for attempt in range(policy.max_retries + 1)]
    assert isinstance(verdicts.pop(), GiveUp)
    assert all(isinstance(each, Retry) and each.jitter == 0 for each in verdicts)
    return [each.delay for each in verdicts if isinstance(each, Retry)]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, [5, 5, 5]),
        ({"max_retries": 0}, []),
        ({"backoff": "exponential", "delay_seconds": 2, "max_retries": 5}, [2, 4, 8, 16, 32]),
        ({"backoff": "exponential", "delay_seconds": 2, "max_retries": 5, "max_delay_seconds": 10}, [2, 4, 8, 10, 10]),
        ({"backoff": "exponential", "delay_seconds": 30, "max_retries": 2, "max_delay_seconds": 10}, [10, 10]),
        ({"backoff": "exponential", "delay_seconds": MAX_DELAY_S, "max_retries": 2}, [MAX_DELAY_S, MAX_DELAY_S]),
    ],
)
def test_the_waits_are_exact(changed: dict[str, object], expected: list[float]) -> None:
    assert waits(**changed) == expected


NOTHING: set[str] = set()


@pytest.mark.parametrize(
    ("changed", "retried"),
    [
        ({}, NOTHING),
        ({"retry_on_timeout": True}, {"timeout"}),
        ({"retry_on_connection_error": True}, {"connection"}),
        ({"retry_statuses": ["5xx"]}, {"503", "501"}),
        ({"retry_statuses": ["5xx"], "retry_statuses_except": ["501"]}, {"503"}),
        ({"retry_statuses": ["503", "429"], "retry_statuses_except": ["5xx"]}, {"429"}),
        ({"retry_statuses_except": ["4xx"]}, NOTHING),
        ({"retry_statuses": ["1xx", "3xx", "4xx", "5xx"]}, {"503", "501", "429"}),
    ],
)
def test_a_policy_retries_exactly_the_failures_that_it_opts_into(changed: dict[str, object], retried: set[str]) -> None:
    policy = to_retry_policy(fields(**changed))
    failures = {
        "timeout": Failure("timeout"),
        "connection": Failure("connection"),
        **{str(status): Failure("status", status=status) for status in (204, 429, 501, 503)},
        "error": Failure("error", type="ValueError"),
    }
    assert {name for name, each in failures.items() if isinstance(policy.decide(0, each), Retry)} == retried
