"""What a workflow may ask for and wait for, each with the records that stand for it in the log.

A call is held by the future that the code awaits. `record` is the command when it is asked for, `taken_back` the one
when the code no longer wants it, and `value` what the code gets from an outcome.
"""

from collections.abc import Iterable
from functools import reduce
from types import CodeType, FrameType
from typing import Any, Protocol, runtime_checkable

from msgspec import Raw, Struct

from durably.engine.declare.definitions import Step, Workflow
from durably.engine.declare.events import Event, Signal
from durably.engine.declare.matching import Match
from durably.engine.declare.signature import Arguments
from durably.engine.errors import NonRetriableError
from durably.engine.log.grammar import Carry
from durably.engine.log.records import (
    NOTHING,
    AttemptStarted,
    ChildCancelRequested,
    ChildStarted,
    Command,
    EventAwaited,
    SignalAwaited,
    SignalReceived,
    StepCanceled,
    WaitCanceled,
    from_us,
    to_us,
)
from durably.engine.loop.handles import Handle
from durably.engine.values.codec import Decode, decoder_for, encode
from durably.store.runtime import SECOND_US

__all__ = [
    "Asked",
    "Call",
    "ChildCall",
    "ContinueAsNew",
    "EventWait",
    "SignalWait",
    "StepCall",
    "decode_event",
    "place_of",
]

decode_event = decoder_for(Event)
_LOOP_CODE = Handle.run.__code__

_places: dict[tuple[int, int], tuple[CodeType, str]] = {}
"""By code object and position in it: `f_lineno` alone takes 2 µs. The code is held, so that its id stays its own."""


def place_of(frame: FrameType) -> str:
    """A line of the user's, as records name it. A step that is handed to gather is awaited by nobody's line."""
    code = frame.f_code
    position = id(code), frame.f_lasti
    known = _places.get(position)
    if known is None:
        place = "" if code is _LOOP_CODE else f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
        known = _places[position] = code, place
    return known[1]


class Asked(Protocol):
    """Where and when something is asked for: what a record needs to know of the instance."""

    @property
    def carry(self) -> Carry: ...

    def made_id(self, key: str) -> str:
        """The id of what the run makes under that key."""
        ...

    def deadline_us(self, key: str, delay_us: int) -> int:
        """When a delay is over that is asked for now; what was under way when a body failed keeps its time."""
        ...

    @property
    def now_us(self) -> int: ...


@runtime_checkable
class Call(Protocol):
    """Something a workflow waits for."""

    def record(self, key: str, asked: Asked) -> Command: ...

    def taken_back(self, key: str) -> Command: ...


class StepCall(Struct, frozen=True):
    """A step."""

    step: Step[..., Any]
    arguments: Arguments
    line: str

    def override(self, changes: Iterable[Raw]) -> "StepCall":
        """The same call with some of its arguments replaced, once or more than once."""
        return StepCall(self.step, reduce(Arguments.override, changes, self.arguments), self.line)

    def record(self, key: str, asked: Asked) -> AttemptStarted:
        starts = asked.carry.starts
        return AttemptStarted(
            step=key,
            name=self.step.name,
            attempt=0,
            start=starts.get((key, 0), 0) if starts else 0,
            input=Raw(self.arguments.raw),
            digest=self.arguments.digest,
            line=self.line,
        )

    def taken_back(self, key: str) -> StepCanceled:
        return StepCanceled(step=key, name=self.step.name)


class EventWait(Struct, frozen=True):
    """An event of a name, with values that match and a condition that holds."""

    event: str
    match: Match
    where: str | None
    vars: Raw
    timeout_us: int | None
    since_us: int
    """Events that have arrived since then count."""

    def record(self, key: str, asked: Asked) -> EventAwaited:
        before = asked.carry.deadlines.get(key)
        since_us = self.since_us
        if isinstance(before, EventAwaited) and before.since is not None:
            since_us = min(since_us, to_us(before.since))  # it waited already when the body failed
        return EventAwaited(
            wait=key,
            event=self.event,
            match=Raw(encode(self.match.required)) if self.match.paths else NOTHING,
            where=self.where,
            vars=self.vars,
            timeout=_seconds(self.timeout_us),
            until=None if self.timeout_us is None else from_us(asked.deadline_us(key, self.timeout_us)),
            since=from_us(since_us),
        )

    def taken_back(self, key: str) -> WaitCanceled:
        return WaitCanceled(wait=key)


class SignalWait(Struct, frozen=True):
    """A signal of a name, to this run."""

    signal: str
    decode: Decode
    timeout_us: int | None

    def record(self, key: str, asked: Asked) -> SignalAwaited:
        until = None if self.timeout_us is None else from_us(asked.deadline_us(key, self.timeout_us))
        return SignalAwaited(wait=key, signal=self.signal, timeout=_seconds(self.timeout_us), until=until)

    def taken_back(self, key: str) -> WaitCanceled:
        return WaitCanceled(wait=key)

    def value(self, received: SignalReceived) -> Signal[Any]:
        """The signal. Raises `NonRetriableError` when its sender sent something else than is waited for."""
        try:
            data = self.decode(received.data)
        except ValueError as error:
            raise NonRetriableError(
                f"signal {self.signal!r} of {received.sent_at:%Y-%m-%d %H:%M:%S} UTC does not fit the type that "
                f"wait_for_signal() asks for: {error}"
            ) from None
        return Signal(received.signal, data, received.sent_at)


class ChildCall(Struct, frozen=True):
    """A child run."""

    workflow: Workflow[..., Any]
    arguments: Arguments
    line: str

    def record(self, key: str, asked: Asked) -> ChildStarted:
        workflow = self.workflow
        return ChildStarted(
            child=key,
            run=workflow.run_id or asked.made_id(key),
            workflow=workflow.name,
            version=workflow.version,
            input=Raw(self.arguments.raw),
            digest=self.arguments.digest,
            line=self.line,
            timeout=workflow.timeout,
            delay=workflow.delay or 0,
        )

    def taken_back(self, key: str) -> ChildCancelRequested:
        return ChildCancelRequested(child=key)


class ContinueAsNew(BaseException):
    """Ends a body that goes on in a new run. Not an `Exception`: no `except Exception` is to stop it."""

    def __init__(self, arguments: Arguments) -> None:
        super().__init__("continue_as_new() ends the body; let it pass")
        self.arguments = arguments


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / SECOND_US
