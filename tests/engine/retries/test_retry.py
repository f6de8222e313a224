import copy
import pickle
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably.engine.errors import RetryAfterError, qualified_names
from durably.engine.retries.retry import Failure, GiveUp, Retry, RetryPolicy

ERROR = Failure("error", type="ValueError", types=("ValueError", "Exception", "BaseException"))
TIMEOUT = Failure("timeout", type="TimeoutError", types=qualified_names(TimeoutError))
CONNECTION = Failure("connection", type="ConnectionRefusedError", types=qualified_names(ConnectionRefusedError))


def waits(policy: RetryPolicy, failure: Failure = ERROR) -> list[tuple[float, float]]:
    """Wait and jitter after attempt 0, 1, 2, … until the policy gives up."""
    found: list[tuple[float, float]] = []
    while isinstance(retry := policy.decide(len(found), failure), Retry):
        found.append((retry.delay, retry.jitter))
    return found


def is_retried(policy: RetryPolicy, failure: Failure) -> bool:
    return isinstance(policy.decide(0, failure), Retry)


def status(code: int) -> Failure:
    return Failure("status", status=code, type="httpx.HTTPStatusError", types=("httpx.HTTPStatusError",))


class TestWaits:
    def test_auto_retry(self) -> None:
        # "1st retry: around 10 seconds after initial attempt", and so on to "around 80 seconds"
        assert waits(RetryPolicy.AUTO_RETRY) == [(10, 1), (20, 2), (30, 3), (50, 5), (80, 8)]

    def test_inngest(self) -> None:
        # pkg/backoff: table[min(attempt, 9)] plus 0 to 30 s
        assert waits(RetryPolicy.INNGEST) == [(15, 30), (30, 30), (60, 30), (120, 30)]
        longest = [15, 30, 60, 120, 300, 600, 1200, 2400, 3600, 7200, 7200, 7200]
        assert waits(RetryPolicy.INNGEST.with_retries(12)) == [(wait, 30) for wait in longest]

    def test_default(self) -> None:
        # 1 s doubling, plus up to 25 %
        assert waits(RetryPolicy.DEFAULT) == [(1, 0.25), (2, 0.5), (4, 1), (8, 2)]
        # 2**8 = 256, and 512 is over the 300
        assert [wait for wait, _ in waits(RetryPolicy.DEFAULT.with_retries(11))][7:] == [128, 256, 300, 300]

    def test_never(self) -> None:
        assert waits(RetryPolicy.NEVER) == []

    def test_the_seed_s_policy_on_5xx(self) -> None:
        # "exponential doubles the wait each time, capped at max_delay_seconds"
        policy = RetryPolicy(5, backoff="exponential", delay=2, max_delay=10, jitter=0)
        assert waits(policy) == [(2, 0), (4, 0), (8, 0), (10, 0), (10, 0)]

    def test_fixed(self) -> None:
        # "fixed waits delay_seconds before every retry"; max_delay is 300 and does not apply
        assert waits(RetryPolicy(3, backoff="fixed", delay=600, jitter=0)) == [(600, 0)] * 3

    def test_a_first_delay_over_the_ceiling(self) -> None:
        assert waits(RetryPolicy(2, delay=600, jitter=0)) == [(300, 0), (300, 0)]

    def test_a_tuple_gives_the_number_of_retries_and_repeats_its_last_delay(self) -> None:
        assert waits(RetryPolicy(backoff=(5, timedelta(hours=1)), jitter=0)) == [(5, 0), (3600, 0)]
        assert waits(RetryPolicy(4, backoff=(5, 7), jitter=0)) == [(5, 0), (7, 0), (7, 0), (7, 0)]
        assert waits(RetryPolicy(1, backoff=(5, 7), jitter=0)) == [(5, 0)]

    def test_jitter_is_a_fraction_or_a_duration(self) -> None:
        assert waits(RetryPolicy(backoff=(8,), jitter=0.5)) == [(8, 4)]
        assert waits(RetryPolicy(backoff=(8,), jitter=timedelta(milliseconds=300))) == [(8, 0.3)]

    def test_ten_thousand_retries_do_not_overflow(self) -> None:
        policy = RetryPolicy(20_000, delay=1e9, max_delay=timedelta(days=1000), jitter=0)
        assert policy.decide(10_000, ERROR) == Retry(86_400_000)

    @pytest.mark.parametrize("retries", [0, 1, 4, 10])
    def test_n_retries_are_n_plus_one_attempts(self, retries: int) -> None:
        policy = RetryPolicy(retries)
        assert [isinstance(policy.decide(n, ERROR), Retry) for n in range(retries + 2)] == [True] * retries + [
            False
        ] * 2

    @given(st.integers(0, 50), st.floats(0, 1000), st.floats(0, 1000), st.floats(0, 1))
    def test_a_wait_never_falls_and_keeps_its_bounds(self, n: int, delay: float, top: float, jitter: float) -> None:
        policy = RetryPolicy(100, delay=delay, max_delay=top, jitter=jitter)
        this, following = policy.decide(n, ERROR), policy.decide(n + 1, ERROR)
        assert isinstance(this, Retry)
        assert isinstance(following, Retry)
        assert min(delay, top) <= this.delay <= following.delay <= top
        assert this.jitter == this.delay * jitter


class TestRetryAfter:
    def test_it_replaces_the_wait_without_jitter(self) -> None:
        failure = Failure("status", status=429, retry_after=17.0)
        assert waits(RetryPolicy.DEFAULT, failure) == [(17, 0)] * 4  # and uses up an attempt each time

    def test_it_adds_no_attempt(self) -> None:
        assert isinstance(RetryPolicy.NEVER.decide(0, Failure("error", retry_after=1.0)), GiveUp)

    def test_a_status_that_is_not_retried_is_not_retried_because_of_it(self) -> None:
        policy = RetryPolicy(retry_statuses=["5xx"])
        assert not is_retried(policy, Failure("status", status=429, retry_after=17.0))

    def test_who_raises_it_asks_for_a_retry_whatever_retry_on_says(self) -> None:
        name = "durably.RetryAfterError"
        asked = Failure("error", type=name, types=qualified_names(RetryAfterError), retry_after=5.0)
        assert is_retried(RetryPolicy(retry_on=[KeyError]), asked)
        assert not is_retried(RetryPolicy(give_up_on=[RetryAfterError]), asked)


class TestWhatIsRetried:
    @pytest.mark.parametrize("failure", [ERROR, TIMEOUT, CONNECTION, status(404), status(503), Failure("error")])
    def test_every_kind_is_unless_a_field_says_otherwise(self, failure: Failure) -> None:
        assert is_retried(RetryPolicy(), failure)

    @pytest.mark.parametrize(
        ("policy", "refused", "reason"),
        [
            (RetryPolicy(retry_on_timeout=False), TIMEOUT, "retry_on_timeout is False"),
            (RetryPolicy(retry_on_connection_error=False), CONNECTION, "retry_on_connection_error is False"),
            (RetryPolicy(retry_statuses=()), status(503), "status 503 is not in retry_statuses"),
            (RetryPolicy(retry_on=()), ERROR, "ValueError is not in retry_on"),
        ],
    )
    def test_each_field_governs_its_own_kind(self, policy: RetryPolicy, refused: Failure, reason: str) -> None:
        assert policy.decide(0, refused) == GiveUp(reason)
        for other in {ERROR, TIMEOUT, CONNECTION, status(503)} - {refused}:
            assert is_retried(policy, other)

    def test_true_is_what_left_out_is(self) -> None:
        assert is_retried(RetryPolicy(retry_on_timeout=True), TIMEOUT)
        assert is_retried(RetryPolicy(retry_on_connection_error=True), CONNECTION)

    @pytest.mark.parametrize(
        ("allow", "deny", "code", "retried"),
        [
            # the seed's table: in retry_statuses and not in retry_statuses_except; both; neither; allow empty
            (["429", "5xx"], [], 503, True),
            (["429", "5xx"], [], 429, True),
            (["5xx"], ["501"], 501, False),
            (["429", "5xx"], [], 404, False),
            ([], [], 503, False),
            # except wins either way round
            (["503"], ["5xx"], 503, False),
            (["503"], ["503"], 503, False),
            (["5xx"], ["501"], 502, True),  # "retries every server error except 501"
            (["5xx"], ["404"], 503, True),  # "an element that does not overlap … has no effect"
            (["5XX"], ["501"], 501, False),  # "class tokens are case-insensitive"
            # left out, all are retried, less those excepted
            (None, ["4xx"], 404, False),
            (None, ["4xx"], 503, True),
            (None, ["4xx"], 302, True),
        ],
    )
    def test_statuses(self, allow: list[str] | None, deny: list[str], code: int, retried: bool) -> None:
        policy = RetryPolicy(retry_statuses=allow, retry_statuses_except=deny)
        assert is_retried(policy, status(code)) is retried

    def test_the_four_rows_of_the_seed_for_every_status_there_is(self) -> None:
        for code in range(100, 600):
            exact, group = str(code), f"{code // 100}xx"
            other = "599" if code != 599 else "598"
            for hit in ([exact], [group], [other, group]):
                for miss in ([], [other] if other not in hit else []):
                    assert is_retried(RetryPolicy(retry_statuses=hit, retry_statuses_except=miss), status(code))
                assert not is_retried(RetryPolicy(retry_statuses=hit, retry_statuses_except=[exact]), status(code))
                assert not is_retried(RetryPolicy(retry_statuses=hit, retry_statuses_except=[group]), status(code))
            assert not is_retried(RetryPolicy(retry_statuses=[other]), status(code))

    def test_retry_on_takes_classes_and_names_and_what_inherits(self) -> None:
        key_error = Failure("error", type="KeyError", types=qualified_names(KeyError))
        mine = Failure("error", type="shop.Declined", types=("shop.Declined", "Exception"))
        for policy in (RetryPolicy(retry_on=[LookupError]), RetryPolicy(retry_on=["LookupError"])):
            assert is_retried(policy, key_error)
            assert not is_retried(policy, mine)
        assert is_retried(RetryPolicy(retry_on=["Declined"]), mine)
        assert is_retried(RetryPolicy(retry_on=["shop.Declined"]), mine)

    def test_a_failure_of_which_only_the_type_is_known(self) -> None:
        assert not is_retried(RetryPolicy(give_up_on=["Declined"]), Failure("error", type="shop.Declined"))

    def test_give_up_on_wins_over_all_others_for_every_kind(self) -> None:
        policy = RetryPolicy(
            retry_on_timeout=True,
            retry_on=[Exception],
            retry_statuses=["5xx"],
            give_up_on=[ValueError, TimeoutError, "httpx.HTTPStatusError"],
        )
        assert policy.decide(0, ERROR) == GiveUp("ValueError is in give_up_on")
        assert policy.decide(0, TIMEOUT) == GiveUp("TimeoutError is in give_up_on")
        assert policy.decide(0, status(503)) == GiveUp("httpx.HTTPStatusError is in give_up_on")
        assert is_retried(policy, CONNECTION)

    def test_the_last_attempt_says_so(self) -> None:
        reason = "no retry is left: attempt 4 failed and max_retries is 4"
        assert RetryPolicy().decide(4, ERROR) == GiveUp(reason)


class TestAsAValue:
    def test_it_compares_by_what_it_means(self) -> None:
        one = RetryPolicy(backoff=[10, timedelta(seconds=20)], delay=timedelta(seconds=1), retry_statuses=["5XX"])
        two = RetryPolicy(2, backoff=(10.0, 20.0), delay=1, retry_statuses=("5xx",))
        assert one == two
        assert hash(one) == hash(two)
        assert one != two.with_retries(3)

    def test_what_is_kept(self) -> None:
        policy = RetryPolicy(delay=timedelta(seconds=2), retry_statuses=["5XX", "429"], retry_on=[KeyError, "Declined"])
        assert (policy.max_retries, policy.delay, policy.max_delay) == (4, 2.0, 300.0)
        assert policy.retry_statuses == ("5xx", "429")
        assert policy.retry_on == (KeyError, "Declined")

    def test_it_cannot_be_changed(self) -> None:
        with pytest.raises(FrozenInstanceError):
            RetryPolicy.DEFAULT.max_retries = 9  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue] - this is the test

    def test_it_survives_pickle_and_copy(self) -> None:
        policy = RetryPolicy(backoff=(1, 2), retry_on=[KeyError])
        assert pickle.loads(pickle.dumps(policy)) == policy  # noqa: S301 - our own bytes
        assert copy.deepcopy(policy) == policy

    def test_with_retries_changes_nothing_else(self) -> None:
        policy = RetryPolicy(backoff=(1, 2), jitter=timedelta(seconds=3), retry_statuses=["429"], give_up_on=[KeyError])
        more = policy.with_retries(9)
        assert more.max_retries == 9
        assert more.with_retries(2) == policy


class TestRefused:
    @pytest.mark.parametrize(
        ("fields", "error", "message"),
        [
            ({"max_retries": -1}, ValueError, "max_retries is -1; it must be 0"),
            ({"max_retries": 1.5}, TypeError, "max_retries is 1.5; it must be an int"),
            ({"max_retries": True}, TypeError, "max_retries is True; it must be an int"),
            (
                {"backoff": "linear"},
                ValueError,
                "backoff is 'linear'; it must be 'fixed', 'exponential', or a tuple",
            ),
            ({"backoff": ()}, ValueError, r"backoff is \(\); it must be 'fixed'"),
            ({"backoff": 5}, TypeError, "backoff is 5; it must be 'fixed'"),
            ({"backoff": (1, -2)}, ValueError, r"backoff\[1\] is -2; it must be from 0"),
            ({"backoff": ("1",)}, TypeError, r"backoff\[0\] is '1', a str; give a number of seconds"),
            ({"delay": -1}, ValueError, "delay is -1; it must be from 0"),
            ({"delay": "1"}, TypeError, "delay is '1', a str; give a number of seconds"),
            ({"max_delay": float("nan")}, ValueError, "max_delay is nan; it must be from 0"),
            ({"jitter": 30}, ValueError, "jitter is 30; it must be a fraction .* or a timedelta"),
            ({"jitter": -0.1}, ValueError, "jitter is -0.1; it must be a fraction"),
            ({"jitter": float("nan")}, ValueError, "jitter is nan; it must be a fraction"),
            ({"jitter": timedelta(seconds=-1)}, ValueError, "jitter is .*; it must be from 0"),
            ({"jitter": "10%"}, TypeError, "jitter is '10%'; it must be a fraction"),
            ({"retry_on_timeout": 1}, TypeError, "retry_on_timeout is 1; it must be True, False"),
            (
                {"retry_on_connection_error": "no"},
                TypeError,
                "retry_on_connection_error is 'no'; it must be True",
            ),
            ({"retry_statuses": "5xx"}, TypeError, "retry_statuses is '5xx'; it must be a tuple of codes"),
            ({"retry_statuses": [429]}, TypeError, "retry_statuses has 429, which is no str"),
            ({"retry_statuses": ["6xx"]}, ValueError, "retry_statuses has '6xx'; .*'100' to '599'"),
            ({"retry_statuses": ["42"]}, ValueError, "retry_statuses has '42'"),
            ({"retry_statuses": ["099"]}, ValueError, "retry_statuses has '099'"),
            ({"retry_statuses": ["600"]}, ValueError, "retry_statuses has '600'"),
            ({"retry_statuses": ["5x"]}, ValueError, "retry_statuses has '5x'"),
            ({"retry_statuses": ["500-599"]}, ValueError, "retry_statuses has '500-599'"),
            ({"retry_statuses": ["429 "]}, ValueError, "retry_statuses has '429 '"),
            ({"retry_statuses": ["4٢9"]}, ValueError, "retry_statuses has"),
            ({"retry_statuses_except": ["0xx"]}, ValueError, "retry_statuses_except has '0xx'"),
            ({"retry_statuses_except": None}, TypeError, "retry_statuses_except is None"),
            (
                {"retry_on": ValueError},
                TypeError,
                "retry_on is <class 'ValueError'>; it must be a tuple of exception",
            ),
            (
                {"retry_on": "ValueError"},
                TypeError,
                "retry_on is 'ValueError'; it must be a tuple of exception",
            ),
            ({"retry_on": [int]}, TypeError, "retry_on has <class 'int'>; it must be a tuple of exception"),
            ({"give_up_on": [""]}, TypeError, "give_up_on has ''; it must be a tuple of exception"),
            ({"give_up_on": [ValueError()]}, TypeError, r"give_up_on has ValueError\(\); it must be a tuple"),
        ],
    )
    def test_the_error_names_field_value_and_what_is_allowed(
        self, fields: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=f"^{message}"):
            RetryPolicy(**fields)

    def test_retries(self) -> None:
        with pytest.raises(ValueError, match=r"^retries is -1; it must be 0"):
            RetryPolicy.DEFAULT.with_retries(-1)

    def test_an_attempt_below_zero(self) -> None:
        with pytest.raises(ValueError, match=r"^attempt is -1; attempts are counted from 0"):
            RetryPolicy.DEFAULT.decide(-1, ERROR)

    def test_failures(self) -> None:
        with pytest.raises(ValueError, match=r"^kind is 'http'; it must be one of timeout, connection, status, error"):
            Failure("http")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - this is the test
        with pytest.raises(ValueError, match=r"^kind is 'status' and status is None"):
            Failure("status")
