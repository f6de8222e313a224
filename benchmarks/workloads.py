"""The workflows that are measured. Their steps do nothing: what is left is what durability costs."""

import asyncio

from durably import step, workflow

__all__ = ["sequence", "suspending_sequence"]


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
    await asyncio.sleep(0)  # as a step that really does something
    return number + 1


@workflow
async def suspending_sequence(steps: int) -> int:
    """The same with steps that suspend once, as those that do something do."""
    number = 0
    for _ in range(steps):
        number = await increment_later(number)
    return number
