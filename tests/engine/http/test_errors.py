import pickle

import pytest

from durably.engine.errors import DurablyError, NonRetriableError
from durably.engine.http.errors import (
    AddressRefused,
    ConnectionFailed,
    InvalidRequest,
    RequestTimeout,
    ResponseTooLarge,
    UnexpectedStatus,
    Unreachable,
)
from durably.engine.http.messages import Request, Response
from durably.engine.retries.failures import classify, describe, judge
from durably.engine.retries.retry import Failure, GiveUp, Retry, RetryPolicy

NOW_US = 1_795_337_377_000_000
ASKED = Request(method="POST", url="https://h/p?key=k3y", headers={"Authorization": "Bearer 0123456789"})


def unexpected(status: int = 503, **options: object) -> UnexpectedStatus:
    return UnexpectedStatus(ASKED, Response.of(status, **options))  # type: ignore[arg-type]  # one of each type


class TestKinds:
    def test_a_timeout_is_one(self) -> None:
        error = RequestTimeout("too late")
        assert isinstance(error, TimeoutError | DurablyError)
        assert classify(error, NOW_US).kind == "timeout"

    @pytest.mark.parametrize("reason", ["dns", "refused", "tls", "transport"])
    def test_a_failed_connection_is_one(self, reason: Unreachable) -> None:
        error = ConnectionFailed("no way", reason)
        assert isinstance(error, ConnectionError | DurablyError)
        assert classify(error, NOW_US).kind == "connection"
        assert describe(error).message == str(error) == "no way"
        assert pickle.loads(pickle.dumps(error)).reason == reason  # noqa: S301 - our own

    def test_a_status_is_one_with_its_retry_after(self) -> None:
        failure = classify(unexpected(headers={"Retry-After": "7"}), NOW_US)
        assert (failure.kind, failure.status, failure.retry_after) == ("status", 503, 7)
        assert judge(unexpected(headers={"Retry-After": "7"}), NOW_US, RetryPolicy.DEFAULT, 0) == Retry(7)

    def test_another_success_than_the_wanted_one_is_a_status_too(self) -> None:
        error = unexpected(200)
        assert classify(error, NOW_US).status == 200
        assert isinstance(judge(error, NOW_US, RetryPolicy(retry_statuses=("5xx",)), 0), GiveUp)
        assert isinstance(judge(error, NOW_US, RetryPolicy(retry_statuses=("2xx",)), 0), Retry)

    @pytest.mark.parametrize("kind", [AddressRefused, InvalidRequest, ResponseTooLarge])
    def test_some_are_never_retried(self, kind: type[NonRetriableError]) -> None:
        assert isinstance(judge(kind("no"), NOW_US, RetryPolicy.DEFAULT, 0), GiveUp)
        assert classify(kind("no"), NOW_US) == Failure(
            "error",
            type=f"durably.{kind.__name__}",
            types=(
                f"durably.{kind.__name__}",
                "durably.NonRetriableError",
                "durably.DurablyError",
                "Exception",
                "BaseException",
            ),
        )


class TestUnexpectedStatus:
    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (unexpected(503), "POST https://h/p answered 503 Service Unavailable, which is not in 2xx"),
            (unexpected(799), "POST https://h/p answered 799, which is not in 2xx"),
            (
                unexpected(422, body='{"error":\n  "no   amount"}'),
                'POST https://h/p answered 422 Unprocessable Entity, which is not in 2xx: {"error": "no amount"}',
            ),
            (
                unexpected(400, body="a" * 500),
                f"POST https://h/p answered 400 Bad Request, which is not in 2xx: {'a' * 300}",
            ),
            (
                UnexpectedStatus(ASKED, Response(302, url="https://other/q", redirects=("https://h/p", "https://h/q"))),
                "POST https://other/q answered 302 Found, which is not in 2xx, after 2 redirects",
            ),
        ],
    )
    def test_it_says_what_was_answered(self, error: UnexpectedStatus, message: str) -> None:
        # Python 3.13 calls 422 "Unprocessable Content", as RFC 9110 does
        assert str(error).replace("Unprocessable Content", "Unprocessable Entity") == message

    def test_an_answer_that_repeats_secrets_does_not_spread_them(self) -> None:
        error = unexpected(401, body="no: Bearer 0123456789, 0123456789 for key=k3y")
        assert str(error).endswith(": no: ***, *** for key=***")
        assert "0123456789" not in repr(error)
        assert "k3y" not in repr(error)

    def test_its_status_is_recorded(self) -> None:
        assert describe(unexpected(503)).status == 503
        assert describe(RequestTimeout("late")).status is None
