"""Where messages can go: what all destinations have in common."""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal, Protocol, runtime_checkable

from durably.engine.http.client import HttpClient
from durably.engine.notifications.message import Envelope

__all__ = ["Destination", "Gone", "NotDelivered", "Rejected", "check_destinations", "destination_id"]

MAX_REASON = 300
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@runtime_checkable
class Destination(Protocol):
    """Somebody who is told of failed runs. `Email` and `Webhook` are the two there are."""

    @property
    def id(self) -> str:
        """The same in every process that is configured alike: pending messages refer to it."""
        ...

    @property
    def kind(self) -> Literal["email", "webhook"]: ...

    @property
    def address(self) -> str:
        """For people and logs: nothing secret is in it."""
        ...

    @property
    def patience(self) -> int | None:
        """After how many messages in a row that could not be delivered it is switched off; None: never."""
        ...

    async def send(self, envelope: Envelope, http: HttpClient) -> None:
        """Try once. Raises `NotDelivered`; returns within half a minute or so."""
        ...


class NotDelivered(Exception):  # noqa: N818 - it is a result as much as an error, and tells of a delivery
    """An attempt to deliver a message has failed; another one may succeed.

    `retry_after` is the least number of seconds the destination wants to be left alone.
    """

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason, retry_after)
        self.reason = _printable(reason)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.reason


class Rejected(NotDelivered):
    """The destination will never take this message."""


class Gone(Rejected):
    """The destination will never take any message."""


def _printable(text: str) -> str:
    """A reason as one line of bounded length: part of it may come from a foreign server."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= MAX_REASON else f"{line[:MAX_REASON]}…"


def destination_id(kind: str, name: str | None, address: str) -> str:
    """The id of a destination: its name, or one derived from what it is and where.

    The address cannot be read back from it: it may be secret, as those of chat services are.
    """
    if name is None:
        return f"{kind}-{blake2b(address.encode(), digest_size=8).hexdigest()}"
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"name is {name!r}; it takes 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit")
    return name


def check_destinations(notify: Sequence[object]) -> tuple[Destination, ...]:
    """What `Engine(notify=…)` was given, if all of it can be told of failures.

    Raises:
        TypeError: something in it is no destination.
        ValueError: two have the same id.
    """
    found: dict[str, Destination] = {}
    for each in notify:
        if not isinstance(each, Destination):
            raise TypeError(f"notify= takes a list of Email(…) and Webhook(…), and {each!r} is neither")
        if each.id in found:
            raise ValueError(f"notify= has two destinations with the id {each.id!r}: leave one out, or give it a name=")
        found[each.id] = each
    return tuple(found.values())
