"""An order: reserve all items at once, charge, wait for the packing, ship; undo it all if a step gives up.

curl -d '{"name": "shop/order.placed", "data": {"id": "o-1", "items": {"apple": 3, "pear": 1}, "cents": 450,
    "address": "1 Main St"}}' http://127.0.0.1:8484/e/any

The steps call shop.py over HTTP. It opens late (connection refused), is busy (503 with a `Retry-After`), and
fails for good on an order to "nowhere", which is then refunded and released.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import ClientSession

from durably import Event, RetryPolicy, StepError, current, step, workflow

SHOP = os.environ.get("SHOP_URL", "http://127.0.0.1:8485")
PACKING_S = 2
BUSY = RetryPolicy(6, delay=0.5, retry_statuses=("429", "5xx"))  # any other answer of the shop is final


@dataclass
class Order:
    id: str
    items: dict[str, int]
    cents: int
    address: str


@step(retry=BUSY)
async def reserve(sku: str, quantity: int) -> str:
    return await create("reservations", {"sku": sku, "quantity": quantity})


@step(retry=BUSY)
async def charge(order_id: str, cents: int) -> str:
    return await create("payments", {"order": order_id, "cents": cents})


@step(retry=BUSY.with_retries(2))
async def ship(order_id: str, address: str) -> str:
    return await create("parcels", {"order": order_id, "address": address})


@step(retry=BUSY)
async def undo(book: str, entry: str) -> None:
    session = current().resource(ClientSession)
    async with session.delete(f"{SHOP}/{book}/{entry}", raise_for_status=True):
        pass


async def create(book: str, asked_for: dict[str, str | int]) -> str:
    """A part of the step that calls it, whose key lets the shop recognise what it was asked before."""
    session = current().resource(ClientSession)
    headers = {"Idempotency-Key": current().idempotency_key}
    url = f"{SHOP}/{book}"
    async with session.post(url, json=asked_for, headers=headers, raise_for_status=True) as answer:
        created: dict[str, str] = await answer.json()
        return created["id"]


@workflow(on="shop/order.placed")
async def fulfil(event: Event[Order]) -> str:
    """The parcel's number, or why there is none."""
    order = event.data
    done: list[Callable[[], Awaitable[None]]] = []

    async def hold(sku: str, quantity: int) -> None:
        reservation = await reserve(sku, quantity)
        done.append(lambda: undo("reservations", reservation))

    try:
        held = await asyncio.gather(*(hold(*item) for item in order.items.items()), return_exceptions=True)
        for failed in filter(None, held):
            raise failed  # only now, when all the others are held and can be released
        payment = await charge(order.id, order.cents)
        done.append(lambda: undo("payments", payment))
        await asyncio.sleep(PACKING_S)
        return await ship(order.id, order.address)
    except StepError as error:
        current().logger.warning("%s gave up, undoing order %s", error.step, order.id)
        for compensate in reversed(done):
            await compensate()
        return f"canceled: {error.step} failed"
