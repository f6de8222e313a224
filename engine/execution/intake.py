"""Ways in: events and started runs, checked, made durable in one commit, and only then acknowledged (DESIGN rule 1)."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec import Raw

from durably.engine.declare.events import Event
from durably.engine.declare.registry import Registered
from durably.engine.errors import EventConflict, InvalidInput, RunConflict, StoreError
from durably.engine.execution.arrivals import Prepared, run_row
from durably.engine.execution.beginnings import create, create_delayed
from durably.engine.execution.core import Core
from durably.engine.execution.journal import settle
from durably.engine.log.limits import MAX_EVENTS
from durably.engine.log.records import RunCreated, decode_record
from durably.store import Conflict, Ingest, Refused, Result, Written
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
        await self.admit()
        if run_id is not None:
            known = await self._known(run_id, created)
            if known is not None:
                return known, run_id
            if core.runs.by_id(run_id) is not None:  # started by another call while this one asked the store
                return await self.start(registered, created, run_id)
        row = run_row(core.store.new_run(), run_id or core.randomness.token(), created, core.clock.now_us())
        run = core.runs.add(row.run, row.id)
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        run.stored = stored
        if created.due_at is None:
            create(run, created, registered, row, core.executor)
        else:
            create_delayed(run, created, registered, row, core.executor)
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
        if existing.environment != created.environment:
            raise RunConflict(f"run id {run_id!r} is that of a run of another environment. Take another run_id.")
        if _request(existing) != _request(created):
            raise RunConflict(
                f"run {run_id!r} exists and is another one: workflow {existing.workflow!r} with "
                f"{bytes(_payload(existing)).decode()[:200]}. Take another run_id for another run."
            )
        return row.run

    async def admit(self) -> None:
        """Wait until there is room for something new. Raises `StoreError` when nothing can be taken just now."""
        if self._core.draining:
            raise StoreError("the engine is stopping and takes nothing new; try again when it is back")
        self._core.journal.check_writable()
        await self._core.journal.committer.wait_for_room()

    # -- events

    async def send(self, events: Sequence[Event[Any]], environment: str | None = None) -> list[str]:
        """Store events and the runs they start; their ids. All of them or none.

        They belong to `environment`, by default the engine's own: so do the runs that they start, only runs that do
        are woken by them, and their ids count there.

        An id that was seen in the last 24 h with the same content is acknowledged again and starts nothing; with other
        content it is an `EventConflict`. Over a limit: `InvalidInput`. A full queue: waits.
        """
        if len(events) > MAX_EVENTS:
            raise InvalidInput(f"{len(events):,} events at once are more than {MAX_EVENTS:,}; send them in parts")
        await self.admit()
        now_us = self._core.clock.now_us()
        environment = environment or self._core.settings.environment
        prepared = [self._prepare(index, event, now_us, environment) for index, event in enumerate(events)]
        operation = Ingest(
            [each.arrival for each in prepared],
            unique=not any(event.id for event in events),
            window_us=DEDUPLICATION_US,
        )
        result = await self._store(operation, prepared)
        if isinstance(result, Conflict):
            event_id = prepared[result.place].event_id
            raise EventConflict(
                f"event {event_id!r} was sent before with other content; an id stands for one event: take a new one"
            )
        return [each.event_id for each in prepared]

    async def _store(self, operation: Ingest, prepared: Sequence[Prepared]) -> Result:
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        operation.after = partial(self._stored, answer, prepared)
        self._core.journal.add(operation)
        result = await answer
        if isinstance(result, Refused):
            raise StoreError(f"the events were refused by the store: {result.reason}")
        return result

    def _stored(
        self, answer: "asyncio.Future[Result]", prepared: Sequence[Prepared], result: Result | StoreError
    ) -> bool:
        """Tell the sender, and go on with what the events started and woke: later, and whether or not he is there."""
        waited_for = settle(answer, result)
        if result is None or isinstance(result, Written):
            known = result.known if result is not None else ()
            for index, each in enumerate(prepared):
                if index not in known:
                    for row, created in each.runs:
                        self._core.begin(row, created)
            self._core.look(result.woken if result is not None else ())
        return waited_for

    def _prepare(self, index: int, event: Event[Any], now_us: int, environment: str) -> Prepared:
        try:
            return self._core.arrivals.prepare(event, now_us, environment)
        except InvalidInput as error:
            raise InvalidInput(f"event {index}: {error}") from error


def _request(created: RunCreated) -> tuple[str, bytes]:
    return created.workflow, bytes(_payload(created))


def _payload(created: RunCreated) -> Raw:
    """What the run was started with: arguments, or an event."""
    return created.input if bytes(created.event) == b"null" else created.event
