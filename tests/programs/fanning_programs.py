"""Many things at once: a thousand under a semaphore, a batch with progress and errors, a crawler that is polite."""

import asyncio
from dataclasses import dataclass

from durably import NonRetriableError, StepError, publish, step, workflow
from tests.programs.a_scenario import Scenario

__all__ = ["SCENARIOS"]

# -- a thousand


@step
async def resize(picture: int) -> int:
    return picture % 7


@workflow
async def resize_all(pictures: int) -> int:
    at_once = asyncio.Semaphore(50)

    async def one(picture: int) -> int:
        async with at_once:
            return await resize(picture)

    return sum(await asyncio.gather(*map(one, range(pictures))))


# -- a batch


@dataclass
class Report:
    imported: int
    errors: dict[str, str]


@step(retries=0)
async def load_row(row: str) -> None:
    if "?" in row:
        raise NonRetriableError(f"what is {row}")


@workflow
async def load_rows(rows: list[str], batch: int) -> Report:
    errors: dict[str, str] = {}
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        results = await asyncio.gather(*map(load_row, part), return_exceptions=True)
        for row, result in zip(part, results, strict=True):
            if isinstance(result, StepError):
                errors[row] = result.message
            elif result is not None:
                raise result
        await publish({"rows": start + len(part), "errors": len(errors)})
    return Report(len(rows) - len(errors), errors)


# -- a crawler


LINKS = {"/": ["/a", "/b"], "/a": ["/b", "/c", "/"], "/b": ["/d"], "/c": [], "/d": ["/a", "/e"], "/e": []}


@step
async def fetch_page(url: str) -> list[str]:
    return LINKS[url]


@workflow
async def crawl(start: str, depth: int) -> list[str]:
    """The pages, in the order in which they were found."""
    found = [start]
    polite = asyncio.Semaphore(2)

    async def visit(url: str, left: int) -> None:
        async with polite:
            links = await fetch_page(url)
            await asyncio.sleep(0.5)
        fresh = [link for link in links if link not in found]
        found.extend(fresh)
        if left:
            async with asyncio.TaskGroup() as group:
                for link in fresh:
                    group.create_task(visit(link, left - 1))

    await visit(start, depth)
    return found


def takes(picture: int) -> float:
    return 1 + picture % 13 / 100


SCENARIOS = [
    *(
        Scenario(
            name=f"{pictures} pictures, fifty at a time",
            workflow=resize_all,
            args=(pictures,),
            steps=[resize],
            takes={"resize": takes},
            outcome=sum(picture % 7 for picture in range(pictures)),
            effects={"resize": pictures},
            always_kept=pictures == 1000,
        )
        for pictures in (60, 1000)
    ),
    Scenario(
        name="a batch with errors and progress",
        workflow=load_rows,
        args=(["a", "b", "c?", "d", "e?", "f", "g"], 3),
        steps=[load_row],
        outcome=Report(5, {"c?": "what is c?", "e?": "what is e?"}),
        effects={"load_row": 5},
        published=[{"rows": 3, "errors": 1}, {"rows": 6, "errors": 2}, {"rows": 7, "errors": 2}],
    ),
    Scenario(
        name="a polite crawler",
        workflow=crawl,
        args=("/", 4),
        steps=[fetch_page],
        outcome=["/", "/a", "/b", "/c", "/d", "/e"],
        effects={"fetch_page": 6},
    ),
]
