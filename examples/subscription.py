"""A subscription that is billed month after month, for years: each month is a run, with a history of its own.

    durably dev examples/subscription.py
    durably start subscribe '{"customer": "ada@example.com", "plan": {"name": "basic", "cents": 900}}' --run-id s-1
    durably signal s-1 change_plan '{"name": "pro", "cents": 2900}'
    durably cancel s-1

A signal to the first run finds the one it goes on as. A month takes 20 seconds here.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from durably import RetryPolicy, StepError, continue_as_new, step, wait_for_signal, workflow

MONTH = timedelta(seconds=20)  # in earnest: timedelta(days=30)
DUNNING = RetryPolicy(backoff=(1, 2, 3))  # in earnest after 1, 3 and 7 days


@dataclass
class Plan:
    name: str
    cents: int


@step(retry=DUNNING)
async def charge(customer: str, cents: int, month: int) -> None:
    print(f"charging {customer} {cents} cents for month {month}")


@step
async def send_mail(customer: str, letter: str) -> None:
    print(f"to {customer}: {letter}")


async def plan_after_a_month(plan: Plan) -> Plan:
    try:
        async with asyncio.timeout(MONTH.total_seconds()):
            while change := await wait_for_signal("change_plan", type=Plan):
                plan = change.data
    except TimeoutError:
        pass
    return plan


@workflow
async def subscribe(customer: str, plan: Plan, month: int = 1) -> str:
    try:
        await charge(customer, plan.cents, month)
        continue_as_new(customer, await plan_after_a_month(plan), month + 1)
    except asyncio.CancelledError:
        await send_mail(customer, "sorry to see you go")
        raise
    except StepError:
        await send_mail(customer, "we could not charge you, and have ended your subscription")
    return f"unpaid in month {month}"
