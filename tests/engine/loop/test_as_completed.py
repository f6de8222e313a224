"""`durably.as_completed`: results as they come, by two ways of iterating, in an order that a replay repeats."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from durably.engine.loop.as_completed import as_completed


async def async_for(step: Any) -> list[int]:
    return [value async for value in as_completed(step("s", 5 - number, number) for number in range(4))]


async def plain_for(step: Any) -> list[int]:
    return [await next_one for next_one in as_completed(step("s", 5 - number, number) for number in range(4))]


async def all_at_once(step: Any) -> list[int]:
    """Several in one activation, whose order a set of coroutines would decide; each then calls a step."""

    async def one(number: int) -> int:
        await gate.wait()
        return number

    gate = asyncio.Event()
    results = as_completed([one(number) for number in range(20)])
    await step("open")
    gate.set()
    seen: list[int] = []
    async for value in results:
        await step(f"after-{value}")
        seen.append(value)
    return seen


async def tasks_and_coroutines(step: Any) -> list[int]:
    task = asyncio.create_task(step("s", 1, 1))
    return [value async for value in as_completed([step("s", 2, 2), task, task])]


async def an_error_in_its_place(step: Any) -> list[str]:
    results = as_completed([step("a", 3, "a"), step("b", 2, ValueError("no b")), step("c", 1, "c")])
    seen: list[str] = []
    for next_one in results:
        try:
            seen.append(await next_one)
        except ValueError as error:
            seen.append(str(error))
    return seen


async def an_error_ends_nothing(step: Any) -> list[str]:
    results = as_completed([step("a", 3, "a"), step("b", 2, ValueError("no b")), step("c", 1, "c")])
    seen: list[str] = []
    try:
        seen.extend([await anext(results), await anext(results)])
    except ValueError as error:
        seen.append(str(error))
    return [*seen, *[value async for value in results]]


async def left_early(step: Any) -> list[Any]:
    tasks = [asyncio.create_task(step("s", 3 - number, number)) for number in range(3)]
    first = await anext(as_completed(tasks))
    return [first, [task.cancelled() for task in tasks], await asyncio.gather(*tasks)]


async def a_time_limit_loses_nothing(step: Any) -> list[Any]:
    results, seen = as_completed([step("a", 9, "a"), step("b", 1, "b")]), list[str]()
    try:
        async with asyncio.timeout(5):
            async for value in results:
                seen.append(value)
    except TimeoutError:
        seen.append("late")
    async for value in results:
        seen.append(value)
    return seen


async def of_nothing(_: Any) -> list[Any]:
    nothing: list[Coroutine[Any, Any, int]] = []
    return [[value async for value in as_completed(nothing)], list(as_completed(nothing))]


WORKFLOWS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "async for": (async_for, [3, 2, 1, 0]),
    "for": (plain_for, [3, 2, 1, 0]),
    "all at once": (all_at_once, list(range(20))),
    "tasks and coroutines": (tasks_and_coroutines, [1, 2]),
    "an error in its place": (an_error_in_its_place, ["c", "no b", "a"]),
    "an error ends nothing": (an_error_ends_nothing, ["no b", "a"]),
    "left early": (left_early, [2, [False, False, False], [0, 1, 2]]),
    "a time limit loses nothing": (a_time_limit_loses_nothing, ["b", "late", "a"]),
    "of nothing": (of_nothing, [[], []]),
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_results_come_in_their_order(name: str, simulate: Any) -> None:
    workflow, expected = WORKFLOWS[name]
    run = simulate(workflow)
    if run.error is not None:
        raise run.error
    assert run.result == expected


def test_every_process_gives_the_same_commands(elsewhere: Any) -> None:
    first, *others = elsewhere(__file__)
    assert first.keys() == WORKFLOWS.keys()
    assert all(other == first for other in others)


def test_what_is_left_is_canceled_when_the_body_ends(simulate: Any) -> None:
    async def workflow(step: Any) -> Any:
        async for value in as_completed([step("slow", 100), step("fast", 1, "first")]):
            return value
        return None

    run = simulate(workflow)
    assert run.result == "first"
    assert run.commands == [["call 0/0/slow#0", "call 0/1/fast#0"], ["cancel 0/0/slow#0"]]
