"""The schedules of workflows that are declared with `cron=`, and the runs they start."""

from functools import partial
from math import ceil
from typing import Any

from msgspec import Raw

from durably.engine.declare.event_content import event_content
from durably.engine.declare.events import Cron, Event
from durably.engine.declare.registry import Registered
from durably.engine.execution.arrivals import run_row
from durably.engine.log.records import NOTHING, RunCreated, from_us
from durably.engine.schedules.schedules import Schedule
from durably.engine.values.durations import to_us
from durably.store import RunRow, Store
from durably.store.runtime import Clock, Randomness

__all__ = ["SCHEDULE_EVENT", "CronRuns", "owner_of"]

SCHEDULE_EVENT = "durably/schedule"
"""The name of the event that a workflow gets from its schedule, if it takes an event."""


def owner_of(workflow: str) -> str:
    """Whose schedules a workflow's are: those of all its versions, of which the newest one has a say."""
    return f"workflow/{workflow}"


class CronRuns:
    """Makes the runs of cron workflows, in the engine's environment."""

    def __init__(self, store: Store, clock: Clock, randomness: Randomness, environment: str) -> None:
        self._store = store
        self._clock = clock
        self._randomness = randomness
        self._environment = environment

    def schedules(self, registered: Registered) -> list[Schedule]:
        """What a workflow is declared with. Raises `InvalidInput` when a default of its cannot be an input."""
        crons = registered.definition.crons
        if not crons:
            return []
        takes_event = registered.signature.takes_event
        defaults = NOTHING if takes_event else Raw(registered.signature.bind_input((), {}).raw)
        return [
            Schedule(cron.key, cron.timetable, partial(self._fire, registered, cron, defaults), cron.catch_up)
            for cron in crons
        ]

    def _fire(
        self, registered: Registered, cron: Cron, defaults: Raw, run_id: str, scheduled_us: int
    ) -> tuple[RunRow, RunCreated]:
        now_us = self._clock.now_us()
        jitter_us = ceil(self._randomness.uniform(to_us(cron.jitter)))
        event = _event(cron, run_id, scheduled_us) if registered.signature.takes_event else None
        created = RunCreated(
            workflow=registered.name,
            version=registered.version,
            input=defaults,
            trigger="SCHEDULE",
            event=NOTHING if event is None else Raw(event_content(event)),
            environment=self._environment,
            test=False,
            timeout=registered.timeout,
            due_at=from_us(now_us + jitter_us) if jitter_us else None,
            scheduled_for=from_us(scheduled_us),
        )
        return run_row(self._store.new_run(), run_id, created, now_us), created


def _event(cron: Cron, run_id: str, scheduled_us: int) -> Event[Any]:
    scheduled_for = from_us(scheduled_us)
    data = {"cron": cron.expr, "timezone": cron.timezone, "scheduled_for": scheduled_for}
    return Event(SCHEDULE_EVENT, data, id=run_id, ts=scheduled_for)
