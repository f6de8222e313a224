"""What others want a run to see, until its owner puts it in the run's log (DESIGN rule 9)."""

from collections.abc import Collection
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import Any

import msgspec
from msgspec import Raw, Struct

from durably.engine.declare.matching import Match
from durably.engine.declare.where import Where
from durably.engine.execution.outcomes import Outcome
from durably.engine.log.records import (
    AttemptFailed,
    ChildCanceled,
    ChildFailed,
    ChildSucceeded,
    Continued,
    EventAwaited,
    EventReceived,
    Input,
    Published,
    RunCreated,
    SignalAwaited,
    SignalReceived,
    StepFailed,
    StepSucceeded,
    from_us,
    to_us,
)
from durably.engine.log.state import RunState, event_id
from durably.engine.values.codec import decode_json

__all__ = [
    "CancelItem",
    "ChildItem",
    "Conditions",
    "EventItem",
    "Item",
    "Kept",
    "KnownChildItem",
    "LookBackItem",
    "OutcomeItem",
    "SignalItem",
    "awaited_by",
    "claim",
    "continued",
    "decode_item",
    "encode_item",
    "is_had",
]


class CancelItem(Struct, tag="cancel", tag_field="type", frozen=True, omit_defaults=True):
    """Somebody asked for the run to be canceled. A parent asks its child, and not a stranger that has the id."""

    parent: str | None = None
    child: str = ""

    def is_for(self, created: RunCreated) -> bool:
        """Whether the run is the one that is meant."""
        return self.parent is None or (self.parent, self.child) == (created.parent, created.child)


class OutcomeItem(Struct, tag="outcome", tag_field="type", frozen=True):
    """An attempt ended while its run was blocked; fed when fitting code is there (DESIGN rule 13)."""

    step: str
    attempt: int
    start: int
    records: tuple[AttemptFailed | StepSucceeded | StepFailed, ...]
    messages: tuple[Published, ...] = ()

    def outcome(self, *items: int) -> Outcome:
        """The outcome, as it would have been fed; `items` are where it lies."""
        return Outcome(self.step, self.attempt, self.start, self.records, self.messages, items)


class EventItem(Struct, tag="event", tag_field="type", frozen=True):
    """An event that one of the run's waits may be for: name and values match, its condition has not been looked at."""

    event: Raw


class LookBackItem(Struct, tag="look_back", tag_field="type", frozen=True):
    """A wait was registered, and events of its name have arrived before: it may be for one of them."""

    wait: str


class SignalItem(Struct, tag="signal", tag_field="type", frozen=True):
    """A signal, kept until the run waits for it."""

    name: str
    data: Raw
    sent_us: int


class ChildItem(Struct, tag="child", tag_field="type", frozen=True):
    """A child has ended."""

    outcome: ChildSucceeded | ChildFailed | ChildCanceled
    parent: str
    """The run that started it: one that this run goes on from may have had another child under the same key."""


class KnownChildItem(Struct, tag="known_child", tag_field="type", frozen=True):
    """A child was asked for under the id of a run that was there already: this run's own child, or another's run."""

    child: str


Kept = EventItem | SignalItem | ChildItem
"""What may lie in the inbox until the run's body is there for it."""
Item = CancelItem | OutcomeItem | EventItem | LookBackItem | SignalItem | ChildItem | KnownChildItem

encode_item = msgspec.json.Encoder().encode
decode_item = msgspec.json.Decoder[Item](Item).decode


def claim(item: Kept, run_id: str, state: RunState, pending: Collection[str]) -> Input | bool:
    """What an item is to a run: an input, something to keep until it is one (True), or nothing any more (False).

    `pending` are the keys of what the body waits for.
    """
    match item:
        case EventItem():
            waits = () if is_had(item.event, state) else awaited_by(item.event, state)
            return EventReceived(waits=waits, event=item.event) if waits else False
        case SignalItem():
            for key, wait in state.waits.items():  # in the order in which they asked
                if isinstance(wait, SignalAwaited) and wait.signal == item.name:
                    return SignalReceived(wait=key, signal=item.name, data=item.data, sent_at=from_us(item.sent_us))
            return True
        case ChildItem():
            key = item.outcome.child
            child = state.children.get(key)
            if child is None or item.parent != run_id:
                return False
            # One that this incarnation of the body has not asked for yet has its outcome kept.
            return item.outcome if key in pending else not child.canceled


def is_had(event: Raw, state: RunState) -> bool:
    """Whether the run has had this event: as what triggered it, or before."""
    identity = event_id(event)
    return identity in state.events or (state.created is not None and event_id(state.created.event) == identity)


MAX_HAD = 10_000
"""Events that a run knows of from those it goes on from. What came before the oldest of more is not looked at again."""


def continued(state: RunState) -> Continued:
    """What the run that goes on from this one has to know: the events that are for it, and those that are not."""
    created = state.created
    assert created is not None
    since_us = state.created_us if created.continued is None else to_us(created.continued.since)
    had = {event_id(created.event): state.created_us, **state.events}
    had.pop("", None)
    in_order = sorted(had.items(), key=itemgetter(1))
    for _, at_us in in_order[:-MAX_HAD]:
        since_us = max(since_us, at_us + 1)
    return Continued(since=from_us(since_us), had={event: from_us(at_us) for event, at_us in in_order[-MAX_HAD:]})


def awaited_by(event: Raw, state: RunState) -> tuple[str, ...]:
    """The keys of the run's waits that are for this event: one event wakes all it matches (DESIGN section 3)."""
    fields, conditions = decode_json(bytes(event)), Conditions(state)
    return tuple(
        key
        for key, wait in state.waits.items()
        if isinstance(wait, EventAwaited) and wait.event == fields["name"] and conditions.hold(wait, fields)
    )


class Conditions:
    """What a run's waits ask of events of their name. What it takes to tell is made once for many events."""

    def __init__(self, state: RunState) -> None:
        self._created = state.created

    def hold(self, wait: EventAwaited, event: dict[str, Any]) -> bool:
        """Whether a wait is for an event of its name, as decoded from JSON."""
        if not matched(bytes(wait.match)).holds(event):
            return False
        return wait.where is None or Where(wait.where).holds(event, self._trigger, decode_json(bytes(wait.vars)) or {})

    @cached_property
    def _trigger(self) -> dict[str, Any] | None:
        return None if self._created is None else decode_json(bytes(self._created.event))


@lru_cache(maxsize=4096)
def matched(required: bytes) -> Match:
    """What a wait in a log asks for: values by path, those of the run's own event among them."""
    return Match.of(decode_json(required), None)
