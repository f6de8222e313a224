"""Runs that start others: three deep, with a failure on the way up, and map and reduce."""

import asyncio
from collections import Counter
from typing import Any

from durably import ChildError, NonRetriableError, Workflow, publish, start_child, step, workflow
from tests.programs.a_scenario import CANCELED, Scenario, cancel

__all__ = ["SCENARIOS"]

# -- three deep


@step
async def count_stock(shop: str) -> int:
    if shop == "burnt down":
        raise NonRetriableError("there is nothing left")
    return len(shop)


@step
async def write_off(shop: str) -> None: ...


@workflow
async def stock_of_shop(shop: str) -> int:
    try:
        await asyncio.sleep(60)
        return await count_stock(shop)
    except asyncio.CancelledError:
        await write_off(shop)
        raise


@workflow
async def stock_of_city(shops: list[str]) -> int:
    return sum(await asyncio.gather(*map(stock_of_shop, shops)))


@workflow
async def stock_of_country(cities: dict[str, list[str]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for city, shops in cities.items():
        try:
            found[city] = await stock_of_city(shops)
        except ChildError as error:
            found[city] = -1
            await publish({"city": city, "status": error.status})
    return found


# -- map and reduce


@step
async def words_of(text: str) -> dict[str, int]:
    return Counter(text.split())


@workflow
async def count_words(text: str) -> dict[str, int]:
    return await words_of(text)


@workflow
async def add_up(counts: list[dict[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for each in counts:
        total.update(each)
    return total


@workflow
async def count_all_words(texts: list[str]) -> dict[str, int]:
    mappers = [await start_child(count_words.options(run_id=f"map-{n}"), text) for n, text in enumerate(texts)]
    return await add_up(await asyncio.gather(*(mapper.result() for mapper in mappers)))


def counting_takes(shop: str) -> int:
    return 1 + len(shop)


FAMILY: list[Workflow[..., Any]] = [stock_of_city, stock_of_shop]
CITIES = {"oslo": ["north", "south"], "rome": ["burnt down", "open"], "york": ["old"]}

SCENARIOS = [
    Scenario(
        name="children three deep, one of whom fails",
        workflow=stock_of_country,
        args=(CITIES,),
        others=FAMILY,
        steps=[count_stock, write_off],
        takes={"count_stock": counting_takes},
        outcome={"oslo": 10, "rome": -1, "york": 3},
        effects={"count_stock": 4},
        published=[{"city": "rome", "status": "FAILED"}],
        runs=1 + 3 + 5,
        races=True,
    ),
    Scenario(
        name="children three deep, canceled from above",
        workflow=stock_of_country,
        args=({"oslo": ["north", "south"]},),
        others=FAMILY,
        steps=[count_stock, write_off],
        plan=[(30, cancel)],
        outcome=CANCELED,
        effects={"write_off": 2},
        runs=1 + 1 + 2,
    ),
    Scenario(
        name="map and reduce",
        workflow=count_all_words,
        args=(["a b a", "b", "c a"],),
        others=[count_words, add_up],
        steps=[words_of],
        outcome={"a": 3, "b": 2, "c": 1},
        effects={"words_of": 3},
        runs=1 + 3 + 1,
    ),
]
