"""What the store keeps of a message to one destination: pending, tried again, delivered or given up."""

from collections.abc import Iterable
from hashlib import blake2b
from math import ceil

from msgspec import structs

from durably.engine.notifications.destination import Destination, NotDelivered, Rejected
from durably.engine.notifications.failure import RunFailure
from durably.engine.notifications.message import encode_failure
from durably.store import DeliveryRow
from durably.store.runtime import SECOND_US

__all__ = ["ATTEMPTS", "after_attempt", "deliveries", "message_id", "wait_us"]

FIRST_WAIT_US = 5 * SECOND_US
LONGEST_WAIT_US = 3600 * SECOND_US
ATTEMPTS = 33
"""Waits of 5, 10, 20, … 2560 s and then of an hour: a message is given up 23 h 25 min after its first attempt."""


def deliveries(failure: RunFailure, destinations: Iterable[Destination], now_us: int) -> list[DeliveryRow]:
    """What is recorded of a failure in the commit that ends the run: one delivery for each destination."""
    body = encode_failure(failure, now_us)
    return [
        DeliveryRow(
            message=message_id(failure.run_id, destination.id),
            run_id=failure.run_id,
            destination=destination.id,
            created_us=now_us,
            due_us=now_us,
            body=body,
        )
        for destination in destinations
    ]


def message_id(run_id: str, destination: str) -> str:
    """The id of the one message about a run to a destination: receivers know by it what they have had already."""
    both = f"{run_id}\0{destination}".encode()
    return f"msg_{blake2b(both, digest_size=16).hexdigest()}"


def wait_us(attempts: int) -> int | None:
    """How long to wait after so many attempts that failed, from the end of the last; None: there is no other one."""
    if attempts >= ATTEMPTS:
        return None
    doublings = min(attempts - 1, LONGEST_WAIT_US.bit_length())
    return min(FIRST_WAIT_US << doublings, LONGEST_WAIT_US)


def after_attempt(row: DeliveryRow, failure: NotDelivered | None, now_us: int) -> DeliveryRow:
    """The delivery after one more attempt, which succeeded or ended with `failure` at `now_us`."""
    attempts = row.attempts + 1
    if failure is None:
        return structs.replace(row, status="DELIVERED", attempts=attempts, due_us=None, error=None)
    wait = None if isinstance(failure, Rejected) else wait_us(attempts)
    if wait is None:
        return structs.replace(row, status="FAILED", attempts=attempts, due_us=None, error=str(failure))
    due_us = now_us + max(wait, ceil(failure.retry_after * SECOND_US))
    return structs.replace(row, attempts=attempts, due_us=due_us, error=str(failure))
