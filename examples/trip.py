"""A trip: flight, hotel and car are booked at once. When one cannot be had, none is: what runs is canceled, and what
is booked is given back.

    durably dev examples/trip.py
    durably start book_trip '{"city": "Oslo", "days": 3}' --wait
    durably start book_trip '{"city": "Atlantis", "days": 3}' --wait

`durably cancel RUN` gives back what is booked, too.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from durably import NonRetriableError, StepError, current, step, workflow

SECONDS = {"hotel": 1.0, "car": 2.0, "flight": 5.0}


@step
async def book(service: str, city: str, days: int) -> str:
    await asyncio.sleep(SECONDS[service])
    if (service, city) == ("car", "Atlantis"):
        raise NonRetriableError("there are no roads")
    print(f"booked a {service} for {days} days in {city}")
    return f"{service}-{city}"


@step(retries=20)
async def give_back(service: str, city: str, booked: str | None) -> None:
    """An attempt that was canceled may have booked; so this asks the service for it where no number is known."""
    print(f"giving back the {service} in {city}: {booked or 'if there is one'}")


def is_complete(bookings: Mapping[str, str]) -> bool:
    return len(bookings) == len(SECONDS)


@workflow
async def book_trip(city: str, days: int) -> dict[str, str] | None:
    bookings: dict[str, str] = {}

    async def hold(service: str) -> None:
        bookings[service] = await book(service, city, days)

    def undo(service: str) -> Coroutine[Any, Any, None]:
        return give_back(service, city, bookings.get(service))

    try:
        async with asyncio.TaskGroup() as group:
            for service in SECONDS:
                group.create_task(hold(service))
    except* StepError as failed:
        current().logger.warning("no trip to %s: %s", city, failed.exceptions[0])
    finally:  # after a cancel, too
        if not is_complete(bookings):
            await asyncio.gather(*map(undo, SECONDS))
    return bookings if is_complete(bookings) else None
