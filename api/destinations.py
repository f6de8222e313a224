"""`/api/v1/destinations`: who is told of failed runs, and switching a webhook on again."""

from datetime import datetime
from typing import Literal

from aiohttp import web
from msgspec import Struct

from durably import Engine
from durably.api.availability import refuse_work
from durably.api.errors import Problem
from durably.api.jsonapi import Resource, document, numbered
from durably.api.operations import Kind, Many, One, Operation
from durably.api.queries import BY_NUMBER, ListQuery
from durably.engine.notifications.deliverer import Deliverer
from durably.engine.notifications.destination import Destination

__all__ = ["Destinations"]

PATH = "/api/v1/destinations"


class DestinationAttributes(Struct, frozen=True, kw_only=True):
    """A destination, which is configured in `Engine(notify=…)` and cannot be changed here."""

    kind: Literal["email", "webhook"]
    address: str
    """Where it is: of a webhook only the host, of a mail nothing of the server."""
    enabled: bool
    disabled_at: datetime | None
    """Since when it is switched off, as it failed too often."""
    failures: int
    """Messages in a row that could not be delivered."""
    reason: str | None
    """Why the last of them could not."""
    pending: int
    """Messages on their way to it."""


class TestAttributes(Struct, frozen=True, kw_only=True):
    """What became of a message that was sent as a test."""

    destination: str
    delivered: bool
    error: str | None
    """Why it was not."""


DESTINATION = Kind("destination", DestinationAttributes)
TEST = Kind("destination_test", TestAttributes)


class Destinations:
    """Destinations, as resources of type `destination`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def _deliverer(self) -> Deliverer:
        return self._engine.core.deliverer

    def operations(self) -> list[Operation]:
        one = PATH + "/{id}"
        return [
            Operation(
                "GET", PATH, self.list, "Destinations", "read", query=BY_NUMBER, answers={200: Many(DESTINATION)}
            ),
            Operation("GET", one, self.read, "A destination", "read", answers={200: One(DESTINATION)}),
            Operation(
                "POST",
                f"{one}/actions/enable",
                self.enable,
                "Switch a destination on again",
                "write",
                answers={200: One(DESTINATION)},
            ),
            Operation(
                "POST", f"{one}/actions/test", self.test, "Send a test message", "write", answers={200: One(TEST)}
            ),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """All of them, in the order of `Engine(notify=…)`."""
        page = ListQuery(request).page()
        found = list(self._deliverer.courier.destinations.values())
        return numbered(request, found, page, self._resource)

    async def read(self, request: web.Request) -> web.Response:
        """One of them."""
        return document(self._resource(self._find(request)))

    async def enable(self, request: web.Request) -> web.Response:
        """Send it messages again. One that is on stays on; what came while it was off is not sent any more."""
        refuse_work(self._engine)
        destination = self._find(request)
        await self._deliverer.courier.switch_on(destination)
        return document(self._resource(destination))

    async def test(self, request: web.Request) -> web.Response:
        """Send it a message that tells of no failure, also while it is switched off, and say what became of it."""
        destination = self._find(request)
        message, failure = await self._deliverer.courier.test(destination)
        error = None if failure is None else str(failure)
        attributes = TestAttributes(destination=destination.id, delivered=failure is None, error=error)
        return document(TEST.resource(message, attributes))

    def _find(self, request: web.Request) -> Destination:
        wanted = request.match_info["id"]
        known = self._deliverer.courier.destinations
        if wanted not in known:
            ids = ", ".join(known) or "none"
            raise Problem(404, "not_found", f"there is no destination {wanted[:100]!r}; Engine(notify=…) has {ids}")
        return known[wanted]

    def _resource(self, destination: Destination) -> Resource:
        standing = self._deliverer.courier.standing(destination)
        attributes = DestinationAttributes(
            kind=destination.kind,
            address=destination.address,
            enabled=standing.off_at is None,
            disabled_at=standing.off_at,
            failures=standing.failures,
            reason=standing.reason,
            pending=self._deliverer.pending(destination.id),
        )
        return DESTINATION.resource(destination.id, attributes)
