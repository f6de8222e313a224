"""Rows and operations for the tests of stores, and how a batch is answered."""

import asyncio
from typing import Any

from durably.store.errors import StoreFailure
from durably.store.protocol import Store
from durably.store.rows import (
    Append,
    Arrival,
    Change,
    DeliveryRow,
    DocumentRow,
    EventRow,
    InboxRow,
    Ingest,
    LogRow,
    Operation,
    Put,
    Result,
    RunRow,
    Save,
    WaitRow,
)


def answer(store: Store, *batch: Operation) -> asyncio.Future[list[Result] | StoreFailure]:
    """Submit a batch; the future has what `done` was told."""
    future: asyncio.Future[list[Result] | StoreFailure] = asyncio.get_running_loop().create_future()
    store.submit(batch, future.set_result)
    return future


async def commit(store: Store, *batch: Operation) -> list[Result]:
    outcome = await answer(store, *batch)
    assert isinstance(outcome, list), outcome
    return outcome


def row(run: int, **fields: Any) -> RunRow:
    defaults: dict[str, Any] = {
        "id": f"run-{run}",
        "workflow": "fulfil",
        "version": 1,
        "trigger": "MANUAL",
        "environment": "production",
    }
    return RunRow(run=run, **(defaults | fields))


def record(run: int, seq: int, body: bytes = b"{}") -> LogRow:
    return LogRow(run, seq, 1_000_000 + seq, body)


def group(run: int, *seqs: int, **fields: Any) -> Append:
    return Append(run, [record(run, seq) for seq in seqs], **fields)


def created(run: int, **fields: Any) -> Append:
    """The group that creates a run: its record 1."""
    return group(run, 1, created=row(run, **fields))


def event(event_id: str, digest: str = "d", received_us: int = 0, environment: str = "production") -> EventRow:
    return EventRow(event_id, "parcel/shipped", received_us, digest, b'{"n":1}', environment)


def change(phase: str | None = "queued", due_us: int | None = None, **fields: Any) -> Change:
    defaults: dict[str, Any] = {
        "status": "RUNNING",
        "tasks": 0,
        "seq": 1,
        "started_us": None,
        "finished_us": None,
    }
    return Change(phase=phase, due_us=due_us, **(defaults | fields))


def put(run: int, body: bytes = b"{}") -> Put:
    return Put(InboxRow(run, 5, body))


def wait(
    key: str = "0/event#0", topic: str = "t", since_us: int | None = None, environment: str = "production"
) -> WaitRow:
    return WaitRow(key, "parcel/shipped", ("data.order",), topic, since_us, b'{"look":"back"}', environment)


def arrival(event_id: str, *topics: str, received_us: int = 0, environment: str = "production") -> Ingest:
    row = event(event_id, received_us=received_us, environment=environment)
    return Ingest([Arrival(row, topics=topics, item=b'{"n":1}')])


async def items(store: Store, run: int) -> list[bytes]:
    return [item.body for item in await store.inbox([run])]


def document(doc_id: str = "hourly", version: int = 1, kind: str = "job", **fields: Any) -> DocumentRow:
    defaults: dict[str, Any] = {"body": b'{"v":%d}' % version, "created_us": 10, "updated_us": 10 * version}
    return DocumentRow(kind=kind, id=doc_id, version=version, **(defaults | fields))


def save(doc_id: str = "hourly", version: int = 1, kind: str = "job", **fields: Any) -> Save:
    return Save(document(doc_id, version, kind, **fields))


def delivery(message: str, attempts: int = 0, **fields: Any) -> DeliveryRow:
    defaults: dict[str, Any] = {
        "run_id": "run-1",
        "destination": "mailto:ops@example.com",
        "created_us": 5,
        "body": b'{"subject":"failed"}',
    }
    return DeliveryRow(message=message, attempts=attempts, **(defaults | fields))
