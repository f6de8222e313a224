"""The workflows that are measured. Their steps do next to nothing: what is left is what durability costs."""

import asyncio

from durably import RetryPolicy, current, step, workflow

__all__ = ["flaky", "sequence", "sleeper", "suspending_sequence"]


@step
async def increment(number: int) -> int:
    return number + 1


@workflow
async def sequence(steps: int) -> int:
    """That many steps, one after another."""
    number = 0
    for _ in range(steps):
        number = await increment(number)
    return number


@step
async def increment_later(number: int) -> int:
    await asyncio.sleep(0)
    return number + 1


@workflow
async def suspending_sequence(steps: int) -> int:
    """The same with steps that suspend once, as those do that wait for something."""
    number = 0
    for _ in range(steps):
        number = await increment_later(number)
    return number


@workflow
async def sleeper(seconds: int) -> None:
    """A run that waits for time to pass."""
    await asyncio.sleep(seconds)


RETRY_DELAY_S = 0.5


@step(retry=RetryPolicy(2, backoff="fixed", delay=RETRY_DELAY_S, jitter=0))
async def third_time_lucky() -> int:
    attempt = current().attempt
    if attempt < 2:  # noqa: PLR2004 - the third
        raise ConnectionError("not yet")
    return attempt


@workflow
async def flaky() -> int:
    """A step that fails twice and then succeeds."""
    return await third_time_lucky()
