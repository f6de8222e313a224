"""The second seed, "Retries" of Inngest, sentence by sentence: each test quotes the one it proves.

Sentences that only point to other pages, and the TypeScript around them, are left out.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from durably import (
    Event,
    History,
    NonRetriableError,
    RetryAfterError,
    RetryPolicy,
    RunFailed,
    StepError,
    current,
    run_step,
    step,
    workflow,
)
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)


class Failing:
    """Something outside that fails a number of times, and counts who asked."""

    def __init__(self, failures: int = 10**9) -> None:
        self.failures = failures
        self.attempts: list[int] = []
        """`current().attempt` at each call."""

    def call(self, error: Callable[[], Exception] = lambda: ConnectionError("down")) -> str:
        self.attempts.append(current().attempt)
        if len(self.attempts) <= self.failures:
            raise error()
        return "done"


def waits(history: History) -> list[float]:
    """Seconds from the end of each failed attempt, of steps and of the body, to when the next one is due."""
    failed = [each for each in history if each.type in {"attempt.failed", "body.failed"} and each.retry_at]
    return [(datetime.fromisoformat(each.retry_at) - each.at) / SECOND for each in failed]


async def failure_of(engine: TestEngine, started: Any, *args: Any) -> RunFailed:
    with pytest.raises(RunFailed) as failed:
        await (await engine.start(started, *args)).result()
    return failed.value


# -- "Retries"


async def test_a_step_is_retried_up_to_4_times_by_default() -> None:
    """By default, in *addition* to the **initial attempt**, Inngest will retry a function or a step up to
    4 times…"""
    database = Failing()

    @step
    async def write() -> str:
        return database.call()

    @workflow
    async def record() -> str:
        return await write()

    async with TestEngine(workflows=[record]) as engine:
        await failure_of(engine, record)
    assert database.attempts == [0, 1, 2, 3, 4]


async def test_a_function_is_retried_up_to_4_times_by_default() -> None:
    """This means that for a function with a default configuration, it will be attempted 5 times in total."""
    body = Failing()

    @workflow
    async def record() -> str:
        return body.call()

    async with TestEngine(workflows=[record]) as engine:
        await failure_of(engine, record)
    assert body.attempts == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("failures", [0, 1, 4])
async def test_it_is_retried_until_it_succeeds(failures: int) -> None:
    """…will retry a function or a step up to 4 times until it succeeds."""
    database = Failing(failures)

    @step
    async def write() -> str:
        return database.call()

    @workflow
    async def record() -> str:
        return await write()

    async with TestEngine(workflows=[record]) as engine:
        run = await engine.start(record)
        assert await run.result() == "done"
    assert database.attempts == list(range(failures + 1))


async def test_the_click_recorder_retries_its_database_write() -> None:
    """For the function below, if the database write fails then it'll be retried up to 4 times until it
    succeeds."""
    database = Failing(4)
    clicks: list[Any] = []

    @step("click-recorder", on="app/button.clicked")
    async def record_click(event: Event) -> None:
        database.call()
        clicks.append(event.data)

    async with TestEngine(workflows=[record_click]) as engine:
        await engine.send(Event("app/button.clicked", {"button": "buy"}))
        await engine.settle()
        [info] = await engine.list_runs()
    assert (info.status, info.tasks) == ("SUCCEEDED", 1)
    assert database.attempts == [0, 1, 2, 3, 4]
    assert clicks == [{"button": "buy"}]


@pytest.mark.parametrize("retries", [1, 10])
async def test_the_number_of_retries_is_configured_per_function(retries: int) -> None:
    """You can configure the number of `retries` by specifying it in your function configuration."""
    database = Failing()

    @step
    async def write() -> str:
        return database.call()

    @workflow(retries=retries)
    async def record() -> str:
        return await write()

    async with TestEngine(workflows=[record]) as engine:
        await failure_of(engine, record)
    assert database.attempts == list(range(retries + 1))


@pytest.mark.parametrize("where", ["step", "body"])
async def test_zero_disables_retries(where: str) -> None:
    """Setting the value to `0` will disable retries."""
    outside = Failing()

    @step
    async def write() -> str:
        return outside.call()

    @workflow(retries=0)
    async def record() -> str:
        return await write() if where == "step" else outside.call()

    async with TestEngine(workflows=[record]) as engine:
        run = await engine.start(record)
        with pytest.raises(RunFailed):
            await run.result()
        assert waits(await run.history()) == []
    assert outside.attempts == [0]


async def test_ten_retries_of_a_triggered_step() -> None:
    """retries : 10 , // choose how many retries you'd like"""
    database = Failing(10)

    @step("click-recorder", on="app/button.clicked", retries=10)
    async def record_click(_event: Event) -> None:
        database.call()

    async with TestEngine(workflows=[record_click]) as engine:
        await engine.send(Event("app/button.clicked"))
        await engine.settle()
        assert [info.status for info in await engine.list_runs()] == ["SUCCEEDED"]
    assert database.attempts == list(range(11))


# -- "attempt"


async def test_behaviour_can_depend_on_the_attempt() -> None:
    """You can customize the behavior of your function based on the number of retries using the `attempt`
    argument."""

    @step
    async def fetch() -> str:
        if current().attempt < 2:
            raise ConnectionError("the primary is down")
        return "from the replica" if current().attempt == 2 else "never"

    @workflow
    async def sync() -> str:
        return await fetch()

    async with TestEngine(workflows=[sync]) as engine:
        assert await (await engine.start(sync)).result() == "from the replica"


@pytest.mark.parametrize("where", ["step", "body"])
async def test_attempt_is_zero_indexed(where: str) -> None:
    """`attempt` is … zero-indexed, meaning the first attempt is `0`, the second is `1`, and so on."""
    outside = Failing(2)

    @step
    async def write() -> str:
        return outside.call()

    @workflow
    async def record() -> str:
        return await write() if where == "step" else outside.call()

    async with TestEngine(workflows=[record]) as engine:
        await (await engine.start(record)).result()
    assert outside.attempts == [0, 1, 2]


async def test_attempt_is_incremented_by_errors_and_reset_by_steps() -> None:
    """The `attempt` is incremented every time the function throws an error and is retried, and is reset
    when steps complete."""
    seen: list[tuple[str, int]] = []
    budget = {"before": 2, "after": 2}

    def may_fail(place: str) -> None:
        seen.append((place, current().attempt))
        if budget[place]:
            budget[place] -= 1
            raise ConnectionError(place)

    @step
    async def write() -> None: ...

    @workflow(retries=2)
    async def record() -> None:
        may_fail("before")
        await write()
        may_fail("after")

    # Kept in memory, so that replay does not execute the body once more.
    async with TestEngine(workflows=[record], max_parked=10) as engine:
        await (await engine.start(record)).result()
    # Two retries before the step and two behind it, although two are allowed: the step's end sets the count
    # back. The body's beginning is executed again with every retry, so it sees the later attempts as well.
    assert [attempt for place, attempt in seen if place == "after"] == [0, 1, 2]
    assert [attempt for place, attempt in seen if place == "before"] == [0, 1, 2, 1, 2]


async def test_each_step_has_attempt_numbers_of_its_own() -> None:
    """This allows you to handle attempt numbers differently in each step."""
    first, second = Failing(3), Failing(1)

    @step
    async def get_data() -> str:
        return first.call()

    @step
    async def save_data() -> str:
        return second.call()

    @workflow
    async def sync() -> None:
        await get_data()
        await save_data()

    async with TestEngine(workflows=[sync]) as engine:
        await (await engine.start(sync)).result()
    assert first.attempts == [0, 1, 2, 3]
    assert second.attempts == [0, 1]


async def test_the_default_schedule_of_the_seed_is_a_preset() -> None:
    """Retries will be performed with backoff according to the default schedule."""

    @step(retry=RetryPolicy.INNGEST)
    async def write() -> None:
        raise ConnectionError

    @workflow
    async def record() -> None:
        await write()

    async with TestEngine(workflows=[record]) as engine:
        run = await engine.start(record)
        with pytest.raises(RunFailed):
            await run.result()
        found = waits(await run.history())
    # The table that the sentence links to: 15 s, 30 s, 1 min, 2 min, … plus up to 30 s of jitter.
    assert len(found) == 4
    for wait, base in zip(found, (15, 30, 60, 120), strict=True):
        assert base <= wait <= base + 30


# -- "Steps and Retries"


class Systems:
    """The seed's `sync-systems`, with two services that fail."""

    def __init__(self, get_failures: int, save_failures: int) -> None:
        self.source, self.target = Failing(get_failures), Failing(save_failures)
        self.rows: list[str] = []

        @workflow("sync-systems", on="auto/sync.request")
        async def sync(_event: Event) -> None:
            data = await run_step("get-data", self.get_data)
            await run_step("save-data", self.save_data, data)

        self.sync = sync

    async def get_data(self) -> str:
        return self.source.call()

    async def save_data(self, data: str) -> None:
        self.target.call()
        self.rows.append(data)

    async def run(self) -> tuple[str, int]:
        async with TestEngine(workflows=[self.sync]) as engine:
            await engine.send(Event("auto/sync.request"))
            await engine.settle()
            [info] = await engine.list_runs()
            return info.status, info.tasks


async def test_each_step_is_executed_and_retried_on_its_own() -> None:
    """A function can be broken down into multiple steps, where each step is individually executed and
    retried."""
    systems = Systems(2, 3)
    assert await systems.run() == ("SUCCEEDED", 2)
    assert (len(systems.source.attempts), len(systems.target.attempts)) == (3, 4)


async def test_both_steps_have_their_own_set_of_retries() -> None:
    """Here, both the "get-data" and "save-data" steps have their own set of retries."""
    systems = Systems(4, 4)  # eight failures in one run, and each step is allowed four
    assert await systems.run() == ("SUCCEEDED", 2)
    assert systems.rows == ["done"]


async def test_a_failing_step_is_retried_alone() -> None:
    """If the "save-data" step has a failure, it's retried, alone, in a separate request."""
    systems = Systems(0, 2)
    assert await systems.run() == ("SUCCEEDED", 2)
    assert systems.source.attempts == [0]
    assert systems.target.attempts == [0, 1, 2]


async def test_the_first_step_can_be_retried_up_to_4_times() -> None:
    """// Can be retried up to 4 times"""
    systems = Systems(5, 0)
    assert await systems.run() == ("FAILED", 1)
    assert systems.source.attempts == [0, 1, 2, 3, 4]
    assert systems.target.attempts == []


async def test_the_second_step_can_also_be_retried_up_to_4_times() -> None:
    """// Can also be retried up to 4 times"""
    systems = Systems(0, 5)
    assert await systems.run() == ("FAILED", 2)
    assert systems.target.attempts == [0, 1, 2, 3, 4]


async def test_a_retry_count_of_4_means_5_attempts_of_each_step() -> None:
    """You can configure the number of `retries` for each function. This excludes the initial attempt. A
    retry count of `4` means that each step will be attempted up to 5 times."""
    first, second = Failing(4), Failing()

    @step
    async def get_data() -> str:
        return first.call()

    @step
    async def save_data() -> str:
        return second.call()

    @workflow(retries=4)
    async def sync() -> None:
        await get_data()
        await save_data()

    async with TestEngine(workflows=[sync], default_retry=RetryPolicy.NEVER) as engine:
        await failure_of(engine, sync)
    assert (len(first.attempts), len(second.attempts)) == (5, 5)


# -- "Preventing retries with Non-retriable errors"


@pytest.mark.parametrize("where", ["step", "body"])
async def test_a_non_retriable_error_bypasses_the_remaining_retries(where: str) -> None:
    """You can throw a non-retriable error from a step or a function, which will bypass any remaining
    retries and fail the step or function it was thrown from."""
    outside = Failing()

    def fail() -> Exception:
        return NonRetriableError("no such table") if current().attempt == 1 else ConnectionError()

    @step
    async def write() -> str:
        return outside.call(fail)

    @workflow
    async def record() -> str:
        return await write() if where == "step" else outside.call(fail)

    async with TestEngine(workflows=[record]) as engine:
        failed = await failure_of(engine, record)
    assert outside.attempts == [0, 1]
    assert "no such table" in failed.error.message


async def test_a_step_failed_by_a_non_retriable_error_can_be_caught() -> None:
    """…and fail the step … it was thrown from" - the step, and not the function around it."""

    @step
    async def find_user() -> str:
        raise NonRetriableError("gone")

    @workflow
    async def digest() -> str:
        try:
            return await find_user()
        except StepError as error:
            return "nobody" if error.matches(NonRetriableError) else "another error"

    async with TestEngine(workflows=[digest]) as engine:
        assert await (await engine.start(digest)).result() == "nobody"


class UserNotFoundError(Exception):
    """What the seed's database says."""


async def weekly_digest(error: Exception | None) -> tuple[str, str | None, list[str], int]:
    """The seed's `user-weekly-digest`, with a database that answers or raises: status, error, mails,
    look-ups."""
    mails: list[str] = []
    database = Failing(0 if error is None else 10**9)

    @step("get-user-email")
    async def get_user_email(user: str) -> str:
        database.call(lambda: error or ValueError())
        return f"{user}@example.com"

    @step("send-digest")
    async def send_digest(to: str) -> None:
        mails.append(to)

    @workflow("user-weekly-digest", on="user/weekly.digest.requested")
    async def digest(event: Event) -> None:
        try:
            email = await get_user_email(event.data["userId"])
        except StepError as failed:
            if failed.matches(UserNotFoundError):
                raise NonRetriableError("User no longer exists; stopping") from failed
            raise
        await send_digest(email)

    async with TestEngine(workflows=[digest], default_retry=RetryPolicy(2)) as engine:
        await engine.send(Event("user/weekly.digest.requested", {"userId": "ann"}))
        await engine.settle()
        [info] = await engine.list_runs()
    return info.status, info.error.message if info.error else None, mails, len(database.attempts)


async def test_a_permanent_error_stops_all_execution() -> None:
    """This is useful for when you know an error is permanent and want to stop all execution."""
    status, error, _, _ = await weekly_digest(UserNotFoundError("ann"))
    assert (status, error) == ("FAILED", "User no longer exists; stopping")


async def test_a_user_who_does_not_exist_gets_no_mail() -> None:
    """In this example, the user doesn't exist, so there's no need to continue to email them."""
    assert (await weekly_digest(UserNotFoundError("ann")))[2] == []
    assert (await weekly_digest(None))[2] == ["ann@example.com"]


async def test_another_error_is_thrown_on_after_the_steps_retries() -> None:
    """throw err;"""
    status, error, mails, lookups = await weekly_digest(ConnectionError("down"))
    assert (status, mails, lookups) == ("FAILED", [], 3)
    assert error is not None
    assert "down" in error


# -- a function that goes on, and one that is executed again


async def test_a_failed_step_can_be_caught_and_the_function_goes_on() -> None:
    """.catch((err) => { … })"""
    primary = Failing()

    @step
    async def charge() -> str:
        return primary.call()

    @step
    async def invoice() -> str:
        return "by invoice"

    @workflow
    async def pay() -> str:
        try:
            return await charge()
        except StepError as error:
            return f"{error.step}: {error.type} in {error.attempts} attempts, {await invoice()}"

    async with TestEngine(workflows=[pay]) as engine:
        run = await engine.start(pay)
        assert await run.result() == "charge: ConnectionError in 5 attempts, by invoice"
        assert (await run.info()).tasks == 2
    assert len(primary.attempts) == 5


async def test_a_function_that_is_retried_does_not_repeat_its_finished_steps() -> None:
    """The `attempt` is incremented every time the function throws an error and is retried… (its steps are
    not)"""
    calls: list[str] = []
    body = Failing(2)

    @step
    async def get_data(n: int) -> int:
        calls.append(f"get {n}")
        return n * 10

    @step
    async def refuse() -> None:
        calls.append("refuse")
        raise NonRetriableError("never")

    @workflow
    async def sync() -> list[int]:
        got = [await get_data(1)]
        try:
            await refuse()
        except StepError:
            got.append(-1)
        got.append(await get_data(2))
        body.call()
        return got

    async with TestEngine(workflows=[sync], max_parked=10) as engine:
        run = await engine.start(sync)
        assert await run.result() == [10, -1, 20]
        assert (await run.info()).tasks == 3
    assert calls == ["get 1", "refuse", "get 2"]
    assert body.attempts == [0, 1, 2]


# -- "Customizing retry times"


@pytest.mark.parametrize("where", ["step", "body"])
async def test_retries_back_off_exponentially_with_some_jitter(where: str) -> None:
    """Retries are executed with exponential back-off with some jitter…"""
    outside = Failing()

    @step
    async def write() -> str:
        return outside.call()

    @workflow
    async def record() -> str:
        return await write() if where == "step" else outside.call()

    found: list[list[float]] = []
    async with TestEngine(workflows=[record]) as engine:
        for _ in range(3):
            run = await engine.start(record)
            with pytest.raises(RunFailed):
                await run.result()
            found.append(waits(await run.history()))
    # The default: 1 s, doubling, plus up to 25 %. Never less than the stated wait.
    for each in found:
        assert len(each) == 4
        assert all(base <= wait <= base * 1.25 for wait, base in zip(each, (1, 2, 4, 8), strict=True))
    assert len({wait for each in found for wait in each}) == 12  # no two alike


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""The test's clock begins at midnight of that day."""

RETRY_AFTER = [
    pytest.param(90, 90, id="seconds"),
    pytest.param(2.5, 2.5, id="fraction of a second"),
    pytest.param(timedelta(minutes=3), 180, id="timedelta"),
    pytest.param(NOON, 12 * 3600, id="datetime"),
    pytest.param(NOON.replace(tzinfo=None), 12 * 3600, id="naive datetime"),
    pytest.param("120", 120, id="header in seconds"),
    pytest.param(format_datetime(NOON, usegmt=True), 12 * 3600, id="header with an HTTP date"),
    pytest.param("2026-01-01T12:00:00Z", 12 * 3600, id="ISO date"),
    pytest.param(0, 1, id="zero is a second"),
    pytest.param(NOON - timedelta(days=2), 1, id="the past is a second"),
    pytest.param(timedelta(days=30), 24 * 3600, id="a month is a day"),
]


@pytest.mark.parametrize(("retry_after", "seconds"), RETRY_AFTER)
@pytest.mark.parametrize("where", ["step", "body"])
async def test_the_time_of_the_retry_can_be_given(where: str, retry_after: Any, seconds: float) -> None:
    """…but it's also possible to specify exactly when you'd like a step or function to be retried."""
    outside = Failing(1)

    def rate_limit() -> Exception:
        return RetryAfterError("Hit Twilio rate limit", retry_after)

    @step
    async def send() -> str:
        return outside.call(rate_limit)

    @workflow
    async def welcome() -> str:
        return await send() if where == "step" else outside.call(rate_limit)

    async with TestEngine(workflows=[welcome]) as engine:
        before = engine.clock.now()
        run = await engine.start(welcome)
        assert await run.result() == "done"
        assert waits(await run.history()) == [seconds]  # exactly: no jitter
        assert (engine.clock.now() - before) / SECOND == seconds
    assert outside.attempts == [0, 1]


@pytest.mark.parametrize("where", ["step", "body"])
async def test_a_given_time_uses_up_an_attempt(where: str) -> None:
    """will retry a function or a step up to 4 times - however the time of the retries was found."""
    outside = Failing()

    def rate_limit() -> Exception:
        return RetryAfterError("Hit Twilio rate limit", 60)

    @step
    async def send() -> str:
        return outside.call(rate_limit)

    @workflow
    async def welcome() -> str:
        return await send() if where == "step" else outside.call(rate_limit)

    async with TestEngine(workflows=[welcome]) as engine:
        failed = await failure_of(engine, welcome)
    assert outside.attempts == [0, 1, 2, 3, 4]
    assert "Hit Twilio rate limit" in str(failed)


async def test_a_rate_limited_service_is_asked_again_when_it_said() -> None:
    """In this example, an external API provided `Retry-After` header with information on when requests
    can be made again, so you can tell Inngest to retry your function then."""
    asked: list[datetime] = []

    @step("send-message")
    async def send_message(phone: str) -> str:
        asked.append(engine.clock.now())
        if len(asked) == 1:
            raise RetryAfterError("Hit Twilio rate limit", "30")
        return f"welcomed {phone}"

    @workflow("send-welcome-notification", on="app/user.created")
    async def welcome(event: Event) -> str:
        return await send_message(event.data["phoneNumber"])

    async with TestEngine(workflows=[welcome]) as engine:
        await engine.send(Event("app/user.created", {"phoneNumber": "555"}))
        await engine.settle()
        [info] = await engine.list_runs()
    assert (info.status, info.output) == ("SUCCEEDED", "welcomed 555")
    assert asked[1] - asked[0] == timedelta(seconds=30)
