"""Users' code, as in CONTRACT section 1, with the types it must have. Checked by test_typing.py, not run."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_type

from durably.engine.body.context import current
from durably.engine.declare.definitions import Step, Workflow, step, workflow
from durably.engine.declare.events import Event, Signal, Trigger
from durably.engine.errors import StepError
from durably.engine.retries.retry import RetryPolicy

# -- steps


@step
async def reserve(sku: str) -> str:
    return sku


@step
async def release(reservation: str) -> None: ...


@step(retries=10, timeout=timedelta(minutes=1), on_lost="fail")
async def charge(order_id: str, cents: int) -> int:
    return cents


@step("refund-payment", retry=RetryPolicy.AUTO_RETRY)
def refund(payment: int, *, note: str = "") -> bool:
    return bool(payment)


@step()
def invoice(customer: str) -> int:
    return len(customer)


@step
async def customers() -> list[str]:
    return []


@step(on="app/button.clicked", retries=10)
async def record_click(event: Event) -> None:
    current().logger.info("%s", event.data["id"])


async def call_steps() -> None:
    assert_type(await reserve("s"), str)
    assert_type(await charge("o", cents=1), int)
    assert_type(await refund(1, note="x"), bool)
    assert_type(await invoice("c"), int)
    assert_type(await charge.options(retries=0, timeout=1.5, key="k")("o", 1), int)
    assert_type(await asyncio.gather(charge("o", 1), refund(1)), tuple[int, bool])
    assert_type(await asyncio.wait_for(invoice("c"), 1), int)
    await record_click(Event("app/button.clicked"))


def look_at_steps() -> None:
    assert_type(charge.name, str)
    assert_type(charge.version, int)
    of_sku: Step[[str], str] = reserve
    assert of_sku.name


class Shop:
    @step
    async def stock(self, sku: str) -> int:
        return len(sku)

    @step(retries=1)
    def price(self, sku: str, discount: float = 0) -> float:
        return discount

    @staticmethod
    @step
    async def currency(country: str) -> str:
        return country


async def call_methods(shop: Shop) -> None:
    assert_type(await shop.stock("s"), int)
    assert_type(await shop.price("s", discount=0.1), float)
    assert_type(await shop.stock.options(retries=0)("s"), int)
    assert_type(await Shop.stock(shop, "s"), int)
    assert_type(await Shop.currency("CH"), str)


# -- workflows


@workflow(on="app/user.created")
async def onboard(event: Event) -> str:
    account = await reserve(event.data["email"])
    await asyncio.sleep(7 * 86_400)
    await release(event.data["email"])
    return account


@workflow
async def fulfil(order_id: str, sku: str, cents: int) -> bool:
    undo: list[Callable[[], Awaitable[object]]] = []
    try:
        reservation = await reserve(sku)
        undo.append(lambda: release(reservation))
        payment = await charge(order_id, cents)
        undo.append(lambda: refund(payment))
        return True
    except StepError as error:
        current().logger.warning("%s failed", error.step)
    for compensate in reversed(undo):
        await compensate()
    return False


@workflow(version=2, timeout=timedelta(hours=1), retries=0)
async def billing() -> int:
    at_once = asyncio.Semaphore(20)

    async def one(customer: str) -> int:
        async with at_once:
            return await invoice(customer)

    invoices = await asyncio.gather(*(one(each) for each in await customers()))
    assert_type(invoices, list[int])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(invoice("c"))
    assert_type(task.result(), int)
    return sum(invoices)


async def look_at_workflows() -> None:
    assert_type(fulfil.name, str)
    assert_type(await fulfil("o", "s", 1), bool)
    assert_type(await fulfil.fn("o", "s", 1), bool)
    assert_type(await fulfil.options(run_id="r", test=True)("o", "s", 1), bool)
    of_nothing: Workflow[[], int] = billing
    assert_type(await asyncio.gather(of_nothing(), fulfil("o", "s", 1)), tuple[int, bool])


# -- events


@dataclass
class Order:
    id: str


@workflow(on=["order/placed", Trigger("order/retried.*")])
async def placed(event: Event[Order]) -> str:
    assert_type(event.data, Order)
    assert_type(event.data.id, str)
    assert_type(event.id, str)
    assert_type(event.ts, datetime)
    return event.data.id


def look_at_events(signal: Signal[Order], untyped: Event) -> None:
    assert_type(Event("order/placed", Order("o")), Event[Order])
    assert_type(Event("order/placed", {"id": "o"}).data, dict[str, str])
    assert_type(untyped.data, Any)
    assert_type(signal.data, Order)
    assert_type(signal.at, datetime)


# -- passing them on


async def start(definition: Workflow[[str], int] | Step[[str], int]) -> int:
    return await definition("x")


def coroutine_of(definition: Step[[str], str]) -> Coroutine[Any, Any, str]:
    return definition("x")
