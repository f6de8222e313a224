"""First come, first served: ask three carriers at once, take the first price, and let go of the others.

    durably dev examples/quotes.py
    durably start first_quote '{"kilos": 12.5}' --wait

The fastest one is out of service, so that the second one wins. The third is canceled in the middle of its work.
"""

import asyncio
from dataclasses import dataclass

from durably import StepError, step, workflow

SECONDS = {"swift": 0.5, "steady": 1.0, "sleepy": 30.0}


@dataclass
class Quote:
    carrier: str
    cents: int


@step(retries=1, timeout=60)
async def ask(carrier: str, kilos: float) -> Quote:
    await asyncio.sleep(SECONDS[carrier])
    if carrier == "swift":
        raise ConnectionError("swift is out of service")
    return Quote(carrier, round(kilos * 99))


@workflow
async def first_quote(kilos: float) -> Quote | None:
    asked = [asyncio.create_task(ask(carrier, kilos)) for carrier in SECONDS]
    try:
        for answer in asyncio.as_completed(asked):
            try:
                return await answer
            except StepError:
                continue  # one carrier less
        return None
    finally:
        for task in asked:
            task.cancel()
