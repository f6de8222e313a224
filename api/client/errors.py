"""What can go wrong between a client and a server, and which exception a server's refusal becomes."""

from contextlib import suppress

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from durably.engine.errors import (
    DurablyError,
    EventConflict,
    InvalidInput,
    NondeterminismError,
    NotBuilt,
    RunConflict,
    StoreError,
)

__all__ = ["Away", "NoAnswer", "NoServer", "Refused", "Unavailable", "foreign", "refusal"]


class Away(DurablyError):  # noqa: N818 - named as the errors of the contract are
    """What passes: the same request may be answered a little later."""


class NoServer(Away):
    """Nothing answers at the address: nothing was asked of anybody."""


class NoAnswer(Away):
    """The connection broke, or the time was over, before an answer came: nobody knows whether it was done."""


class Refused(DurablyError):  # noqa: N818 - as above
    """The server said no, and why, with a `status` of HTTP for which there is no exception of its own."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status

    def __str__(self) -> str:
        return str(self.args[1])


class Unavailable(Away, StoreError):  # noqa: N818 - as above
    """The server cannot do it just now. `retry_after` is what it said of when to ask again."""

    def __init__(self, status: int, detail: str, retry_after: str | None) -> None:
        super().__init__(status, detail, retry_after)
        self.status = status
        self.retry_after = retry_after

    def __str__(self) -> str:
        return str(self.args[1])


class _Meta(Struct):
    kind: str = ""


class _Error(Struct):
    detail: str
    code: str = ""
    meta: _Meta = field(default_factory=_Meta)


class _Errors(Struct):
    errors: list[_Error]


class _EventRefusal(Struct):
    error: str


BETWEEN = (502, 503, 504)
"""Statuses of a proxy that has no server behind it, or gave up waiting for it."""


def refusal(  # noqa: PLR0911 - one answer for each kind of refusal
    url: str, status: int, content: bytes, retry_after: str | None = None
) -> DurablyError:
    """The exception that the engine would have raised for what the server at `url` has answered.

    The other way round than `durably.api.errors.REFUSALS`.
    """
    said = _said(content)
    if said is None:
        why = f"it answered {status}"
        return _no_server_behind(url, why) if status in BETWEEN else foreign(url, why)
    match status, said.code:
        case ((429 | 503), _):
            return Unavailable(status, said.detail, retry_after)
        case 501, _:
            return NotBuilt(said.detail.partition(" is part of ")[0])
        case 409, "conflict":
            return RunConflict(said.detail)
        case 409, "nondeterminism":
            return NondeterminismError(said.detail, said.meta.kind)
        case 409, "":
            return EventConflict(said.detail)
        case 400, "refused":  # a `DurablyError` that has no code of its own
            return Refused(status, said.detail)
        case ((400 | 413), _):
            return InvalidInput(said.detail)
        case _:
            return Refused(status, said.detail)


def foreign(url: str, why: str) -> DurablyError:
    """Somebody answers there, but not as we do."""
    return DurablyError(f"{url} does not answer as a Durably server of this version does: {why}")


def _no_server_behind(url: str, why: str) -> NoAnswer:
    return NoAnswer(f"what is between here and {url} got no answer ({why}): whether it was done is not known")


def _said(content: bytes) -> _Error | None:
    """What a refusal says; of events, whose shape has no codes (CONTRACT section 5), the code is empty."""
    with suppress(msgspec.DecodeError, ValueError):
        first, *more = msgspec.json.decode(content, type=_Errors).errors
        return replace(first, detail="; ".join(error.detail for error in (first, *more)))
    with suppress(msgspec.DecodeError):
        return _Error(msgspec.json.decode(content, type=_EventRefusal).error)
    return None
