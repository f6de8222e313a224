"""A pipeline: documents are fetched one after another, and read by four workers that share a queue.

    durably dev examples/documents.py
    durably start index '{"documents": ["a", "bad", "c", "d", "e", "f"]}' --wait

The queue is asyncio's, and survives kill -9: who has taken what out of it follows from the log.
"""

import asyncio

from durably import NonRetriableError, StepError, publish, step, workflow

WORKERS = 4


@step
async def fetch(document: str) -> str:
    return f"the text of {document}"


@step
async def count_words(text: str) -> int:
    await asyncio.sleep(1)
    if text.endswith("bad"):
        raise NonRetriableError("this is no text")
    return len(text.split())


@workflow
async def index(documents: list[str]) -> dict[str, int | None]:
    """How many words each document has; None for those that cannot be read."""
    fetched: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue(maxsize=WORKERS)
    words: dict[str, int | None] = {}

    async def produce() -> None:
        for document in documents:
            await fetched.put((document, await fetch(document)))  # waits while the queue is full
        for _ in range(WORKERS):
            await fetched.put(None)

    async def consume() -> None:
        while (taken := await fetched.get()) is not None:
            document, text = taken
            try:
                words[document] = await count_words(text)
            except StepError:
                words[document] = None
            await publish({"done": len(words), "of": len(documents)})

    async with asyncio.TaskGroup() as group:
        group.create_task(produce())
        for _ in range(WORKERS):
            group.create_task(consume())
    return words
