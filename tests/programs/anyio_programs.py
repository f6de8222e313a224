"""The same with anyio: a task group, a stream between producer and consumers, and a limit that is not an error."""

from anyio import create_memory_object_stream, create_task_group, move_on_after
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from durably import step, workflow
from tests.programs.a_scenario import Scenario

__all__ = ["SCENARIOS"]


@step
async def sell(ticket: str) -> str:
    return ticket.upper()


@step
async def count_till(hint: str) -> int:
    return len(hint)


@workflow
async def box_office(tickets: list[str], counters: int) -> tuple[list[str], int | None]:
    sold: list[str] = []

    async def queue_up(into: MemoryObjectSendStream[str]) -> None:
        async with into:
            for ticket in tickets:
                await into.send(ticket)

    async def serve(line: MemoryObjectReceiveStream[str]) -> None:
        async with line:
            async for ticket in line:
                answer = await sell(ticket)
                sold.append(answer)

    into, line = create_memory_object_stream[str](2)
    async with create_task_group() as group, line:
        group.start_soon(queue_up, into)
        for _ in range(counters):
            group.start_soon(serve, line.clone())

    till: int | None = None
    with move_on_after(10):
        till = await count_till("slowly")
    return sorted(sold), till


SCENARIOS = [
    Scenario(
        name="tickets are sold at three counters, and the till is not counted in time",
        workflow=box_office,
        args=(["a", "b", "c", "d", "e"], 3),
        steps=[sell, count_till],
        takes={"count_till": 60},
        outcome=(["A", "B", "C", "D", "E"], None),
        effects={"sell": 5},
    ),
]
