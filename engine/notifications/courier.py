"""One attempt to deliver a message: its row is read, it is sent, and what came of it is recorded."""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial

import structlog

from durably.engine.errors import qualified_name
from durably.engine.execution.background import Background
from durably.engine.execution.documents import Documents
from durably.engine.execution.journal import Journal, settle
from durably.engine.http.client import HttpClient
from durably.engine.log.records import from_us
from durably.engine.notifications.deliveries import after_attempt, message_id
from durably.engine.notifications.destination import Destination, Gone, NotDelivered, Rejected
from durably.engine.notifications.message import Envelope, encode_test
from durably.engine.notifications.standing import (
    GOOD,
    Standing,
    StandingChange,
    Standings,
    delivered,
    given_up,
    switched_on,
)
from durably.store import DeliveryRow, Notify, Result, Store
from durably.store.runtime import Clock

__all__ = ["Courier"]

log = structlog.get_logger("durably")


class Courier:
    """Knows the destinations, how they stand, and how to get one message to one of them."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        documents: Documents,
        clock: Clock,
        background: Background,
        *,
        http: HttpClient,
        destinations: Iterable[Destination],
    ) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock
        self._background = background
        self._http = http
        self.destinations: Mapping[str, Destination] = {each.id: each for each in destinations}
        self._standings = Standings(documents, clock)

    async def open(self) -> None:
        """Read how destinations stand."""
        await self._standings.load()

    def standing(self, destination: Destination) -> Standing:
        """How that destination stands."""
        return self._standings.of(destination.id)

    async def switch_on(self, destination: Destination) -> None:
        """Send it messages again. Raises `StoreError`."""
        if self.standing(destination) != GOOD:
            await self._standings.change(destination.id, switched_on)
            log.warning("destination.switched_on", destination=destination.id)

    async def test(self, destination: Destination) -> tuple[str, NotDelivered | None]:
        """Send a message that tells of no failure, whether it is switched off or not.

        Gives the message's id, and why it was not delivered. Nothing is recorded, and nothing tried again.
        """
        now_us = self._clock.now_us()
        message = message_id(f"test {now_us}", destination.id)
        return message, await self._send(destination, message, encode_test(destination.id, now_us))

    async def deliver(self, run_id: str, message: str) -> int | None:
        """Make the attempt that is due. When the next one is; None: there is none, or no such message any more.

        Raises `StoreError` and `DocumentConflict` when it could not be recorded: the message's row tells at the next
        look. Everything that can go wrong at the destination is a failed attempt.
        """
        row = await self._read(run_id, message)
        if row is None or row.due_us is None or row.due_us > self._clock.now_us():
            return None if row is None else row.due_us
        destination = self.destinations.get(row.destination)
        refusal = self._refusal(destination)
        if destination is None or refusal is not None:
            return await self._record(after_attempt(row, refusal, self._clock.now_us()))
        failure = await self._send(destination, row.message, row.body)
        now_us = self._clock.now_us()
        after = after_attempt(row, failure, now_us)
        return await self._record(after, self._change(destination, after, failure, now_us))

    async def _read(self, run_id: str, message: str) -> DeliveryRow | None:
        rows = await self._background.read(partial(self._store.deliveries, [run_id]))
        return next((row for row in rows if row.message == message), None)

    def _refusal(self, destination: Destination | None) -> NotDelivered | None:
        """Why nothing is sent there. Who is not configured may be so again before the attempts are used up."""
        if destination is None:
            return NotDelivered("there is no such destination now: it has left Engine(notify=…), or has another id")
        standing = self.standing(destination)
        if standing.off_at is not None:
            return Rejected(f"not sent: the destination is switched off since {standing.off_at:%Y-%m-%d %H:%M} UTC")
        return None

    async def _send(self, destination: Destination, message: str, body: bytes) -> NotDelivered | None:
        try:
            await destination.send(Envelope(message, body, self._clock.wall_us()), self._http)
        except NotDelivered as failure:
            return failure
        except Exception as error:  # noqa: BLE001 - whatever goes wrong there, no run and no other message is to feel it
            return NotDelivered(f"{qualified_name(type(error))}: {error}")
        return None

    def _change(
        self, destination: Destination, after: DeliveryRow, failure: NotDelivered | None, now_us: int
    ) -> StandingChange | None:
        """What an attempt changes in how its destination stands."""
        if failure is None:
            return delivered if self.standing(destination).failures else None
        if after.due_us is not None:
            return None
        patience = 1 if isinstance(failure, Gone) else destination.patience
        return given_up(str(failure), patience, now_us)

    async def _record(self, row: DeliveryRow, change: StandingChange | None = None) -> int | None:
        if change is None:
            self._journal.check_writable()
            answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            self._journal.add(Notify(row, after=partial(settle, answer)))
            await answer
        else:
            was_on = self._standings.of(row.destination).off_at is None
            standing = await self._standings.change(row.destination, change, Notify(row))
            if was_on and standing.off_at is not None:
                log.critical("destination.switched_off", destination=row.destination, reason=standing.reason)
        _tell(row)
        return row.due_us


def _tell(row: DeliveryRow) -> None:
    about = {"destination": row.destination, "run": row.run_id, "message": row.message, "attempts": row.attempts}
    if row.status == "DELIVERED":
        log.info("notification.delivered", **about)
    elif row.due_us is None:
        log.error("notification.given_up", **about, reason=row.error)
    else:
        log.warning("notification.not_delivered", **about, reason=row.error, retry_at=from_us(row.due_us).isoformat())
