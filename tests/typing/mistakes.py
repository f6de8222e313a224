"""Users' mistakes, of which both type checkers must find each: checked by test_typing.py, never run."""

from dataclasses import dataclass

from durably import Client, ClientRun, SyncClient
from durably.engine.declare.definitions import Step, step, workflow
from durably.engine.declare.events import Event


@step
async def charge(order_id: str, cents: int) -> int:
    return cents


@step
def refund(payment: int, *, note: str = "") -> bool:
    return bool(payment)


@workflow
async def fulfil(order_id: str) -> bool:
    paid: str = await charge(order_id, 1)  # mistake
    await charge(order_id, "1")  # mistake
    await charge(order_id)  # mistake
    await charge(order_id, 1, cent=1)  # mistake
    await charge.options(retries="3")(order_id, 1)  # mistake
    await refund(1, "note")  # mistake
    charge(order_id, 1)  # mistake
    return bool(paid)


class Shop:
    @step
    async def stock(self, sku: str) -> int:
        return len(sku)


async def look(shop: Shop) -> None:
    await shop.stock(1)  # mistake
    await fulfil(1)  # mistake
    await fulfil.fn()  # mistake
    of_text: Step[[str], int] = charge  # mistake
    of_bool: Step[[str, int], bool] = charge  # mistake
    assert of_text.name != of_bool.name


def not_async() -> int:
    return 1


workflow(not_async)  # mistake
step(on_lost="ignore")  # mistake
workflow(retry=3)  # mistake


async def start(client: Client, sync: SyncClient) -> None:
    await client.start(fulfil, 1)  # mistake
    await client.start(fulfil)  # mistake
    run: ClientRun[int] = await client.start(fulfil, "o-1")  # mistake
    await run.signal(1)  # mistake
    client.list_runs(stauts="FAILED")  # mistake
    sync.start(fulfil, 1)  # mistake
    sync.send("order/placed")  # mistake
    sync.start(fulfil, "o-1").cancel(1)  # mistake


@dataclass
class Order:
    id: str


def read(event: Event[Order]) -> None:
    event.data.cents  # mistake
    event.name = "other"  # mistake
    event = Event("order/placed", {"id": "o"})  # mistake
