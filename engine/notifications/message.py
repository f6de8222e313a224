"""What a destination is sent, in the form of Standard Webhooks: a type, a time and the data."""

from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct, structs

from durably.engine.errors import ErrorInfo
from durably.engine.log.records import from_us
from durably.engine.notifications.failure import RunFailure

__all__ = ["Envelope", "Message", "encode_failure", "encode_test"]

MessageType: TypeAlias = Literal["run.failed", "destination.test"]
MAX_BODY = 256 * 1024
"""Bytes. Receivers have limits of their own; who has the run's id can read the rest."""


class Message(Struct, frozen=True):
    """One message. `type` tells a real one from a test, whose data are made up."""

    type: MessageType
    timestamp: datetime
    """When it happened."""
    data: RunFailure


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


class Envelope(NamedTuple):
    """A message for one attempt to deliver it: its bytes as they were recorded, and its id, the same every time."""

    id: str
    body: bytes
    wall_us: int
    """What the clock on the wall says, for those who compare it with theirs."""

    def open(self) -> Message:
        """What is in it."""
        return _decode(self.body)


def encode_failure(failure: RunFailure, now_us: int) -> bytes:
    """The message that a run has failed. Over 256 KiB the input, the traceback and the causes are left out."""
    body = _encode(Message("run.failed", from_us(now_us), failure))
    if len(body) <= MAX_BODY:
        return body
    error = structs.replace(failure.error, traceback="", cause=None, group=())
    return _encode(Message("run.failed", from_us(now_us), structs.replace(failure, input=None, error=error)))


def encode_test(destination: str, now_us: int) -> bytes:
    """A message that shows that `destination` gets messages, and what they look like."""
    text = f"this is a test of {destination}: nothing has failed"
    error = ErrorInfo(type="durably.Test", types=("durably.Test",), message=text)
    return _encode(Message("destination.test", from_us(now_us), RunFailure("test", "test", error, {})))
