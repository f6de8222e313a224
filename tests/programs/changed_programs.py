"""A workflow as it was, and as it is since a change. Runs that are past the change go on as they began."""

import asyncio

from durably import patched, step, workflow
from tests.programs.a_scenario import Scenario

__all__ = ["AFTER", "BEFORE", "checked", "unchecked"]


@step
async def reserve(order: str) -> str:
    return f"reservation of {order}"


@step
async def check_fraud(order: str) -> bool:
    return order != "fraud"


@step
async def charge(order: str) -> None: ...


@workflow("place_order")
async def unchecked(order: str) -> str:
    await reserve(order)
    await asyncio.sleep(60)
    await charge(order)
    return "unchecked"


@workflow("place_order")
async def checked(order: str) -> str:
    await reserve(order)
    way = "unchecked"
    if patched("check for fraud"):
        way = "checked" if await check_fraud(order) else "refused"
    await asyncio.sleep(60)
    await charge(order)
    return way


BEFORE = Scenario(
    name="an order before the change",
    workflow=unchecked,
    args=("o-1",),
    steps=[reserve, check_fraud, charge],
    outcome="unchecked",
    effects={"reserve": 1, "charge": 1},
)
AFTER = Scenario(
    name="an order after the change",
    workflow=checked,
    args=("o-1",),
    steps=[reserve, check_fraud, charge],
    outcome="checked",
    effects={"reserve": 1, "check_fraud": 1, "charge": 1},
)
