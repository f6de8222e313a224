"""Events as they arrive: what is stored of each, which runs it starts, and which waits it may be for."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import Raw

from durably.engine.declare.event_content import event_content
from durably.engine.declare.events import Event
from durably.engine.declare.matching import Paths, topics
from durably.engine.declare.registry import Registry
from durably.engine.execution.inbox import EventItem, encode_item
from durably.engine.log.records import NOTHING, RunCreated, encode_record, from_us, to_us
from durably.engine.values.codec import decode_json, digest
from durably.store import Arrival, EventRow, LogRow, RunRow, Store, WaitRow
from durably.store.runtime import SECOND_US, Clock, Randomness

__all__ = ["Arrivals", "Prepared", "run_row"]

AHEAD_US = SECOND_US
"""How far ahead of ours a sender's clock may be before a `ts` in the future means that runs are to start then."""


class Prepared(NamedTuple):
    """An event that is ready to be stored, and the runs it starts."""

    event_id: str
    arrival: Arrival
    runs: list[tuple[RunRow, RunCreated]]


class Arrivals:
    """Prepares events for the store, and knows which values waits look at."""

    def __init__(self, store: Store, registry: Registry, clock: Clock, randomness: Randomness) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._randomness = randomness
        self._paths: defaultdict[str, set[Paths]] = defaultdict(set)

    async def open(self) -> None:
        """Learn which values the waits in the store look at."""
        for name, paths in await self._store.wait_paths():
            self._paths[name].add(paths)

    def expect(self, waits: Iterable[WaitRow]) -> None:
        """Waits are on their way to the store: events that arrive behind them are looked at with their paths too."""
        for wait in waits:
            self._paths[wait.event].add(wait.paths)

    def prepare(self, event: Event[Any], now_us: int, environment: str) -> Prepared:
        """What is stored of an event, which belongs to an environment. Raises `InvalidInput` over a limit."""
        content = event_content(event)
        complete = replace(event, id=event.id or self._randomness.token(), ts=event.ts or from_us(now_us))
        body = event_content(complete)
        # What the sender said, without what was filled in here: the same event sent again has the same digest.
        row = EventRow(complete.id, complete.name, now_us, digest(content), body, environment)
        runs = self._runs(complete, Raw(body), now_us, environment)
        paths = self._paths.get(complete.name)
        arrival = Arrival(
            row,
            [(run, LogRow(run.run, 1, run.created_us, encode_record(created))) for run, created in runs],
            topics(complete.name, decode_json(body), paths) if paths else (),
            encode_item(EventItem(Raw(body))) if paths else b"",
        )
        return Prepared(complete.id, arrival, runs)

    def _runs(self, event: Event[Any], body: Raw, now_us: int, environment: str) -> list[tuple[RunRow, RunCreated]]:
        """What it starts: what is registered here, in the event's environment, when the event's time has come."""
        runs: list[tuple[RunRow, RunCreated]] = []
        for registered in self._registry.matching(event.name, lambda: decode_json(bytes(body))):
            created = RunCreated(
                workflow=registered.name,
                version=registered.version,
                input=NOTHING,
                trigger="EVENT",
                test=False,
                event=body,
                environment=environment,
                timeout=registered.timeout,
                due_at=_due_at(event, now_us),
            )
            row = run_row(self._store.new_run(), self._randomness.token(), created, self._clock.now_us(), event)
            runs.append((row, created))
        return runs


def _due_at(event: Event[Any], now_us: int) -> datetime | None:
    return event.ts if to_us(event.ts) > now_us + AHEAD_US else None


def run_row(number: int, run_id: str, created: RunCreated, now_us: int, event: Event[Any] | None = None) -> RunRow:
    """A run as lists show it when it has just been created."""
    return RunRow(
        run=number,
        id=run_id,
        workflow=created.workflow,
        version=created.version,
        trigger=created.trigger,
        environment=created.environment,
        event=None if event is None else event.name,
        event_id=None if event is None else event.id,
        origin=created.origin,
        test=created.test,
        phase="queued" if created.due_at is None else "sleeping",
        due_us=None if created.due_at is None else to_us(created.due_at),
        created_us=now_us,
        job=None if created.job is None else created.job.job,
        scheduled_us=None if created.scheduled_for is None else to_us(created.scheduled_for),
    )
