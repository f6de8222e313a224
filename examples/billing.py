"""Invoices for all customers, at two every night: ordinary asyncio, twenty at a time, and yet durable.

    durably dev examples/billing.py
    durably start billing --wait

Killed in the middle of the night, it goes on with the customers that are left. After nights in which nothing ran there
is one run for the last of them; `catch_up="all"` would give one for each. The jitter keeps it from calling at the very
second at which everybody else does.
"""

import asyncio

from durably import Cron, current, now, step, workflow


@step
async def customers() -> list[str]:
    return [f"c-{number}" for number in range(1, 101)]


@step
async def invoice(customer: str, day: str) -> int:
    print(f"{customer} gets the invoice of {day}, key {current().idempotency_key}")
    return 900


@workflow(cron=Cron("0 2 * * *", timezone="Europe/Berlin", jitter=60))
async def billing() -> int:
    at_once = asyncio.Semaphore(20)
    night = current().scheduled_for or now()  # started by hand it has no time
    day = f"{night:%Y-%m-%d}"

    async def one(customer: str) -> int:
        async with at_once:
            return await invoice(customer, day)

    return sum(await asyncio.gather(*(one(customer) for customer in await customers())))
