"""Ways in: events and started runs, checked, made durable in one commit, and only then acknowledged (DESIGN rule 1)."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from msgspec import Raw

from durably.engine.declare.events import Event
from durably.engine.declare.registry import Registered
from durably.engine.errors import EventConflict, InvalidInput, RunConflict, StoreError
from durably.engine.execution.core import Core
from durably.engine.execution.journal import settle
from durably.engine.log.limits import MAX_EVENTS
from durably.engine.log.records import NOTHING, RunCreated, decode_record, encode_record, from_us
from durably.engine.values.codec import MAX_EVENT, check_depth, decode_json, digest, encode
from durably.store import (
    Arrival,
    Conflict,
    EventRow,
    Ingest,
    LogRow,
    Refused,
    Result,
    RunRow,
    Written,
)
from durably.store.runtime import SECOND_US

__all__ = ["Intake"]

DEDUPLICATION_US = 24 * 3600 * SECOND_US
"""How long an event's id is remembered (DESIGN section 5)."""


class Intake:
    """Takes in what starts runs."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @property
    def full(self) -> bool:
        """Whether the queue is at its bound: HTTP answers 503, `send` and `start` wait."""
        return self._core.journal.committer.full

    # -- runs

    async def start(self, registered: Registered, created: RunCreated, run_id: str | None = None) -> tuple[int, str]:
        """Create a run and start it: its number and its id.

        A known `run_id` with the same workflow and input gives the run that exists; `RunConflict` otherwise.
        """
        core = self._core
        self._check_open()
        await core.journal.committer.wait_for_room()
        if run_id is not None:
            known = await self._known(run_id, created)
            if known is not None:
                return known, run_id
            if core.runs.by_id(run_id) is not None:  # started by another call while this one asked the store
                return await self.start(registered, created, run_id)
        row = self._row(run_id or core.randomness.token(), created)
        run = core.runs.add(row.run, row.id)
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        run.stored = stored
        core.executor.create(run, created, registered, row)
        await stored
        return row.run, row.id

    async def _known(self, run_id: str, created: RunCreated) -> int | None:
        core = self._core
        live = core.runs.by_id(run_id)
        if live is not None and live.stored is not None:
            await asyncio.shield(live.stored)
        row = await core.store.run(run_id)
        if row is None:
            return None
        [first, *_] = (await core.store.records([row.run]))[row.run]
        existing = decode_record(first.body)
        assert isinstance(existing, RunCreated)
        if (existing.workflow, bytes(existing.input)) != (created.workflow, bytes(created.input)):
            raise RunConflict(
                f"run {run_id!r} exists and is another one: workflow {existing.workflow!r} with "
                f"{bytes(existing.input).decode()[:200]}. Take another run_id for another run."
            )
        return row.run

    def _row(self, run_id: str, created: RunCreated, event: Event[Any] | None = None) -> RunRow:
        core = self._core
        return RunRow(
            run=core.store.new_run(),
            id=run_id,
            workflow=created.workflow,
            version=created.version,
            trigger=created.trigger,
            environment=created.environment,
            event=None if event is None else event.name,
            event_id=None if event is None else event.id,
            origin=created.origin,
            test=created.test,
            created_us=core.clock.now_us(),
        )

    def _check_open(self) -> None:
        if self._core.draining:
            raise StoreError("the engine is stopping and takes nothing new; try again when it is back")
        self._core.journal.check_writable()

    # -- events

    async def send(self, events: Sequence[Event[Any]]) -> list[str]:
        """Store events and the runs they start; their ids. All of them or none.

        An id that was seen in the last 24 h with the same content is acknowledged again and starts nothing; with other
        content it is an `EventConflict`. Over a limit: `InvalidInput`. A full queue: waits.
        """
        if len(events) > MAX_EVENTS:
            raise InvalidInput(f"{len(events):,} events at once are more than {MAX_EVENTS:,}; send them in parts")
        self._check_open()
        await self._core.journal.committer.wait_for_room()
        now_us = self._core.clock.now_us()
        prepared = [self._prepare(index, event, now_us) for index, event in enumerate(events)]
        operation = Ingest(
            [Arrival(row, [(run, log) for run, _, log in runs]) for _, row, runs in prepared],
            unique=not any(event.id for event in events),
            window_us=DEDUPLICATION_US,
        )
        result = await self._store(operation)
        if isinstance(result, Conflict):
            event_id = prepared[result.place][0].id
            raise EventConflict(
                f"event {event_id!r} was sent before with other content; an id stands for one event: take a new one"
            )
        known: set[int] = set(result.known) if isinstance(result, Written) else set()
        for index, (_, _, runs) in enumerate(prepared):
            if index not in known:
                for row, created, _ in runs:
                    self._core.begin(row, created)
        return [str(event.id) for event, _, _ in prepared]

    async def _store(self, operation: Ingest) -> Result:
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        operation.after = partial(settle, answer)
        self._core.journal.add(operation)
        result = await answer
        if isinstance(result, Refused):
            raise StoreError(f"the events were refused by the store: {result.reason}")
        return result

    def _prepare(
        self, index: int, event: Event[Any], now_us: int
    ) -> tuple[Event[Any], EventRow, list[tuple[RunRow, RunCreated, LogRow]]]:
        content = _content(event)
        if len(content) > MAX_EVENT:
            raise InvalidInput(
                f"event {index} ({event.name!r}) takes {len(content):,} bytes, more than {MAX_EVENT:,}; "
                "store the data elsewhere and send where it is"
            )
        check_depth(content)
        complete = replace(
            event,
            id=event.id or self._core.randomness.token(),
            ts=event.ts or from_us(now_us),
        )
        body = _content(complete)
        # What the sender said, without what was filled in here: the same event sent again has the same digest.
        row = EventRow(str(complete.id), complete.name, now_us, digest(content), body)
        runs: list[tuple[RunRow, RunCreated, LogRow]] = []
        for registered in self._core.registry.matching(complete.name, partial(decode_json, body)):
            created = RunCreated(
                workflow=registered.name,
                version=registered.version,
                input=NOTHING,
                trigger="EVENT",
                test=False,
                event=Raw(body),
                environment=self._core.settings.environment,
            )
            run = self._row(self._core.randomness.token(), created, complete)
            runs.append((run, created, LogRow(run.run, 1, run.created_us, encode_record(created))))
        return complete, row, runs


def _content(event: Event[Any]) -> bytes:
    """The event as JSON, without what its sender left out."""
    fields = {"name": event.name, "data": event.data, "id": event.id, "ts": event.ts, "user": event.user, "v": event.v}
    return encode({name: value for name, value in fields.items() if value is not None})
