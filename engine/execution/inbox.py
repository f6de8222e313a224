"""What others want a run to see, until its owner puts it in the run's log (DESIGN rule 9)."""

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw, Struct

from durably.engine.declare.matching import Match
from durably.engine.declare.where import Where
from durably.engine.errors import InvalidInput
from durably.engine.execution.outcomes import Outcome
from durably.engine.log.records import (
    AttemptFailed,
    ChildCanceled,
    ChildFailed,
    ChildSucceeded,
    EventAwaited,
    EventReceived,
    Input,
    SignalAwaited,
    SignalReceived,
    StepFailed,
    StepSucceeded,
    from_us,
)
from durably.engine.log.state import RunState, event_id
from durably.engine.values.codec import MAX_EVENT, decode_json, encode

__all__ = [
    "CancelItem",
    "ChildItem",
    "EventItem",
    "Item",
    "LookBackItem",
    "OutcomeItem",
    "SignalItem",
    "awaited_by",
    "claim",
    "decode_item",
    "encode_item",
    "is_had",
    "signal_data",
]


class CancelItem(Struct, tag="cancel", tag_field="type", frozen=True):
    """Somebody asked for the run to be canceled."""


class OutcomeItem(Struct, tag="outcome", tag_field="type", frozen=True):
    """An attempt ended while its run was blocked; fed when fitting code is there (DESIGN rule 13)."""

    step: str
    attempt: int
    start: int
    records: tuple[AttemptFailed | StepSucceeded | StepFailed, ...]

    def outcome(self, item: int) -> Outcome:
        """The outcome, as it would have been fed; `item` is where it lies."""
        return Outcome(self.step, self.attempt, self.start, self.records, (item,))


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


Item = CancelItem | OutcomeItem | EventItem | LookBackItem | SignalItem | ChildItem

encode_item = msgspec.json.Encoder().encode
decode_item = msgspec.json.Decoder[Item](Item).decode


def signal_data(data: Any) -> Raw:
    """The data of a signal as it is sent. Raises `InvalidInput` when it cannot be encoded or is too large."""
    raw = encode(data)
    if len(raw) > MAX_EVENT:
        raise InvalidInput(
            f"the signal's data takes {len(raw):,} bytes, more than {MAX_EVENT:,}; "
            "store it elsewhere and send where it is"
        )
    return Raw(raw)


def claim(item: EventItem | SignalItem | ChildItem, state: RunState, pending: Collection[str]) -> Input | bool:
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
            child = item.outcome.child
            if child not in state.children:
                return True  # the next incarnation may ask for it
            return item.outcome if child in pending else False


def is_had(event: Raw, state: RunState) -> bool:
    """Whether the run has had this event: as what triggered it, or before."""
    identity = event_id(event)
    return identity in state.events or (state.created is not None and event_id(state.created.event) == identity)


def awaited_by(event: Raw, state: RunState) -> tuple[str, ...]:
    """The keys of the run's waits that are for this event: one event wakes all it matches (DESIGN section 3)."""
    fields = decode_json(bytes(event))
    trigger = None if state.created is None else decode_json(bytes(state.created.event))
    return tuple(
        key
        for key, wait in state.waits.items()
        if isinstance(wait, EventAwaited) and wait.event == fields["name"] and _is_for(wait, fields, trigger)
    )


def _is_for(wait: EventAwaited, event: dict[str, Any], trigger: dict[str, Any] | None) -> bool:
    if not Match.of(decode_json(bytes(wait.match)), trigger).holds(event):
        return False
    return wait.where is None or Where(wait.where).holds(event, trigger, decode_json(bytes(wait.vars)) or {})
