"""Programs that wait: for a job, a parcel, a code that somebody enters, and for eight o'clock in Oslo."""

import asyncio
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from durably import Step, current, now, sleep_until, step, wait_for_event, workflow
from tests.programs.a_scenario import Scenario, send

__all__ = ["SCENARIOS"]

# -- polling


@step
async def state_of(job: str) -> str:
    raise NotImplementedError


@step
async def give_up(job: str) -> None: ...


@workflow
async def wait_for_job(job: str, patience_s: float) -> str:
    try:
        async with asyncio.timeout(patience_s):
            pause = 1.0
            while (state := await state_of(job)) == "running":
                await asyncio.sleep(pause)
                pause = min(2 * pause, 60)
            return state
    except TimeoutError:
        await give_up(job)
        return "given up"


def state_now(_job: str) -> str:
    """Finished when it is asked for the sixth time."""
    asked_before = int(current().idempotency_key.rpartition("#")[2])
    return "running" if asked_before < 5 else "finished"


def never_finished(_job: str) -> str:
    return "running"


# -- an order


@step
async def charge(order: str) -> str:
    return f"payment for {order}"


@step
async def refund(payment: str) -> None: ...


@step
async def thank(order: str, carrier: str) -> None: ...


@workflow
async def fulfil(order: str) -> str:
    payment = await charge(order)
    shipped = await wait_for_event("parcel/shipped", match={"data.order": order}, timeout=timedelta(days=14))
    if shipped is None:
        await refund(payment)
        return "refunded"
    await thank(order, shipped.data["carrier"])
    return "shipped"


# -- a second factor


@step
async def send_code(user: str, reminder: int) -> None: ...


@workflow
async def confirm(user: str, code: str) -> str:
    for reminder in range(3):
        await send_code(user, reminder)
        while entered := await wait_for_event("code/entered", match={"data.user": user}, timeout=300):
            if entered.data["code"] == code:
                return f"confirmed after {reminder} reminders"
    return "locked"


# -- a report every morning


@step
async def write_report(day: str) -> None: ...


@workflow
async def morning_reports(first: datetime, zone: str, days: int) -> list[datetime]:
    written: list[datetime] = []
    day = first.astimezone(ZoneInfo(zone)).date()
    for _ in range(days):
        await sleep_until(datetime.combine(day, time(8), ZoneInfo(zone)))
        written.append(now())
        await write_report(day.isoformat())
        day += timedelta(days=1)
    return written


DAY_S = 86_400.0
POLLING: list[Step[..., Any]] = [state_of, give_up]
ORDER: list[Step[..., Any]] = [charge, refund, thank]


def at_utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}:00+00:00")


SCENARIOS = [
    Scenario(
        name="a job is polled until it is finished",
        workflow=wait_for_job,
        args=("j-1", 600),
        steps=POLLING,
        fakes={"state_of": state_now},
        outcome="finished",
        effects={"state_of": 6},
    ),
    Scenario(
        name="a job takes too long",
        workflow=wait_for_job,
        args=("j-1", 12.5),
        steps=POLLING,
        fakes={"state_of": never_finished},
        takes={"state_of": 0.25},
        outcome="given up",
        effects={"state_of": 4, "give_up": 1},
    ),
    Scenario(
        name="an order is shipped, and another one too",
        workflow=fulfil,
        args=("o-1",),
        steps=ORDER,
        plan=[
            (DAY_S, send("parcel/shipped", order="o-2", carrier="slug")),
            (2 * DAY_S, send("parcel/shipped", order="o-1", carrier="swift")),
        ],
        outcome="shipped",
        effects={"charge": 1, "thank": 1},
    ),
    Scenario(
        name="the news of a parcel is faster than the payment",
        workflow=fulfil,
        args=("o-1",),
        steps=ORDER,
        plan=[(0.5, send("parcel/shipped", order="o-1", carrier="swift"))],
        outcome="shipped",
        effects={"charge": 1, "thank": 1},
    ),
    Scenario(
        name="an order is not shipped for two weeks",
        workflow=fulfil,
        args=("o-1",),
        steps=ORDER,
        plan=[(DAY_S, send("parcel/shipped", order="o-2", carrier="slug"))],
        outcome="refunded",
        effects={"charge": 1, "refund": 1},
    ),
    Scenario(
        name="a code is entered after a reminder, and wrong at first",
        workflow=confirm,
        args=("ada", "1234"),
        steps=[send_code],
        plan=[
            (400, send("code/entered", user="ada", code="4321")),
            (410, send("code/entered", user="bob", code="1234")),
            (420, send("code/entered", user="ada", code="1234")),
        ],
        outcome="confirmed after 1 reminders",
        effects={"send_code": 2},
    ),
    Scenario(
        name="a code is never entered",
        workflow=confirm,
        args=("ada", "1234"),
        steps=[send_code],
        outcome="locked",
        effects={"send_code": 3},
    ),
    Scenario(
        name="a report every morning, before and after the clocks go forward",
        workflow=morning_reports,
        args=(at_utc("2026-03-28T00:30"), "Europe/Oslo", 3),
        steps=[write_report],
        outcome=[at_utc("2026-03-28T07:00"), at_utc("2026-03-29T06:00"), at_utc("2026-03-30T06:00")],
        effects={"write_report": 3},
    ),
]
