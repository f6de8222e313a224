"""A saga that is undone, and a circuit breaker around a service that is down."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from durably import NonRetriableError, RetryPolicy, StepError, current, step, workflow
from tests.programs.a_scenario import Scenario

__all__ = ["SCENARIOS"]

# -- a saga


@step
async def debit(account: str, cents: int) -> str:
    return f"debit of {account}: {cents}"


@step
async def credit(account: str, cents: int) -> str:
    if account == "closed":
        raise NonRetriableError("the account is closed")
    return f"credit of {account}: {cents}"


@step(retry=RetryPolicy(10, backoff="fixed", delay=60, jitter=0))
async def revert(booking: str) -> None:
    if booking.startswith("debit") and current().attempt < 2:
        raise ConnectionError("the bank is asleep")


@step(retries=0)
async def tell_both(payer: str, payees: list[str]) -> None: ...


@workflow
async def split_payment(payer: str, payees: list[str], cents: int) -> str:
    undo: list[Callable[[], Awaitable[None]]] = []
    try:
        taken = await debit(payer, cents)
        undo.append(partial(revert, taken))
        for payee in payees:
            given = await credit(payee, cents // len(payees))
            undo.append(partial(revert, given))
        await tell_both(payer, payees)
    except StepError as error:
        for compensate in reversed(undo):
            await compensate()
        return f"{error.step} failed: {error.message}"
    return "paid"


# -- a circuit breaker


@dataclass
class Price:
    sku: str
    cents: int
    server: str


@step(retry=RetryPolicy(2, delay=1, jitter=0, give_up_on=(LookupError,)))
async def fetch_price(sku: str) -> Price:
    """The second attempt asks another server if the first was too slow."""
    error = current().last_error
    server = "mirror" if error is not None and error.matches(TimeoutError) else "main"
    if sku.startswith("slow") and server == "main":
        raise TimeoutError("no answer")
    if sku.startswith("lost"):
        raise LookupError(sku)
    if sku.startswith("down"):
        raise ConnectionError(f"attempt {current().attempt}")
    return Price(sku, 100 * len(sku), server)


BREAKS_AFTER = 2
COOLS_DOWN_S = 300


@workflow
async def update_prices(skus: list[str]) -> dict[str, str]:
    """The server that each price came from, or why there is none."""
    found: dict[str, str] = {}
    failures = 0
    for sku in skus:
        if failures >= BREAKS_AFTER:
            await asyncio.sleep(COOLS_DOWN_S)
            failures = BREAKS_AFTER - 1  # half open: one more, and it breaks again
        try:
            found[sku] = (await fetch_price(sku)).server
            failures = 0
        except StepError as error:
            found[sku] = f"{error.type} after {error.attempts}"
            failures += not error.matches(LookupError)
    return found


SCENARIOS = [
    Scenario(
        name="a payment is made",
        workflow=split_payment,
        args=("ada", ["bob", "cleo"], 100),
        steps=[debit, credit, revert, tell_both],
        outcome="paid",
        effects={"debit": 1, "credit": 2, "tell_both": 1},
    ),
    Scenario(
        name="a payment is reverted",
        workflow=split_payment,
        args=("ada", ["bob", "closed"], 100),
        steps=[debit, credit, revert, tell_both],
        outcome="credit failed: the account is closed",
        effects={"debit": 1, "credit": 1, "revert": 2},
    ),
    Scenario(
        name="a circuit breaker opens, and closes again",
        workflow=update_prices,
        args=(["ok", "slow", "lost", "down 1", "down 2", "down 3", "ok 2", "ok 3"],),
        steps=[fetch_price],
        outcome={
            "ok": "main",
            "slow": "mirror",
            "lost": "LookupError after 1",
            "down 1": "ConnectionError after 3",
            "down 2": "ConnectionError after 3",
            "down 3": "ConnectionError after 3",
            "ok 2": "main",
            "ok 3": "main",
        },
        effects={"fetch_price": 4},
    ),
]
