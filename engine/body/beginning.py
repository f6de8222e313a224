"""What a run begins with: its request, and its first start."""

from collections.abc import Mapping
from typing import Any

from durably.engine.body.calls import decode_event
from durably.engine.declare.events import Event
from durably.engine.log.ids import derived_id
from durably.engine.log.records import RunCreated, RunStarted, to_us
from durably.engine.values.codec import decode_json

__all__ = ["Beginning"]


class Beginning:
    """What every incarnation of a run begins with: the first one's start."""

    __slots__ = ("_event", "created", "created_us", "run_id", "started", "started_us")

    def __init__(self, run_id: str, created: RunCreated, created_us: int, started: RunStarted, started_us: int) -> None:
        self.run_id = run_id
        self.created = created
        self.created_us = created_us
        self.started = started
        self.started_us = started_us if created.resumed is None else to_us(created.resumed.started_at)
        self._event: Event[Any] | None = None

    def made_id(self, key: str) -> str:
        """The id of what the run makes under that key, or of what the run made that it takes over from."""
        return self.created.ids.get(key) or derived_id(self.run_id, key)

    @property
    def event(self) -> Event[Any] | None:
        """The event that triggered the run."""
        if self._event is None and bytes(self.created.event) != b"null":
            self._event = decode_event(self.created.event)
        return self._event

    @property
    def since_us(self) -> int:
        """Since when events are for this run: its creation, or that of the run it goes on from."""
        continued = self.created.continued
        return self.created_us if continued is None else to_us(continued.since)

    @property
    def event_fields(self) -> Mapping[str, Any] | None:
        """That event as JSON has it, for conditions on other events."""
        fields: Mapping[str, Any] | None = decode_json(bytes(self.created.event))
        return fields
