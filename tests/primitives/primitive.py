"""What a row of docs/asyncio.md is made of: a small workflow around one primitive, and what is to come of it."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from durably import Workflow, step, workflow

__all__ = ["SLOW", "UNIT", "Guarded", "Primitive", "Refused", "broken", "guarded", "primitive", "refused", "work"]

UNIT = float(os.environ.get("DURABLY_PRIMITIVES_UNIT", "1"))
"""Seconds. Workflows wait for a few of it; on a real clock it is short."""
SLOW = 1_000
"""Units that are not waited for: the other one is faster."""

HELD = os.environ.get("DURABLY_PRIMITIVES_HELD") == "1"
"""Whether steps never end: in a process that is there to be killed while they run."""

Body = Callable[[], Coroutine[Any, Any, Any]]


@step
async def work(name: str, takes: float = 1) -> str:
    """Work that takes so many units, and then gives its name."""
    await (asyncio.Event().wait() if HELD else asyncio.sleep(takes * UNIT))
    return name


@step(retries=0)
async def broken(takes: float = 1) -> str:
    """Work that fails after so many units."""
    await (asyncio.Event().wait() if HELD else asyncio.sleep(takes * UNIT))
    raise ValueError("broken")


class Primitive(NamedTuple):
    """One that works."""

    name: str
    workflow: Workflow[[], Any]
    gives: Any
    waits: str | None
    """What is in the log while it waits: `timer 3`, with the delay in units, or `step`. None: it does not wait."""
    across_3_11: bool
    """Whether 3.11 and later Pythons replay each other's histories. Else they block, and say why."""
    since: tuple[int, int]


class Refused(NamedTuple):
    """One that is refused, by an error that names the call."""

    name: str
    workflow: Workflow[[], Any]
    names: str
    """What the error says of the call."""
    instead: str
    """What it says to do. Empty: it is asyncio's own error, or anyio's."""


class Guarded(NamedTuple):
    """One that goes around asyncio, so that only the guard of development and tests can stop it."""

    name: str
    workflow: Workflow[[], Any]
    since: tuple[int, int]
    """The first Python that tells the guard of it."""


PRIMITIVES: list[Primitive] = []
REFUSED: list[Refused] = []
GUARDED: list[Guarded] = []


def primitive(
    name: str,
    *,
    gives: Any,
    waits: str | None = "step",
    across_3_11: bool = True,
    since: tuple[int, int] = (3, 11),
) -> Callable[[Body], Body]:
    """Add a workflow to the table."""

    def add(body: Body) -> Body:
        PRIMITIVES.append(Primitive(name, workflow(body.__name__)(body), gives, waits, across_3_11, since))
        return body

    return add


def refused(name: str, names: str, *, instead: str = "put the call in a step") -> Callable[[Body], Body]:
    """Add a workflow that fails."""

    def add(body: Body) -> Body:
        REFUSED.append(Refused(name, workflow(body.__name__)(body), names, instead))
        return body

    return add


def guarded(name: str, *, since: tuple[int, int] = (3, 11)) -> Callable[[Body], Body]:
    """Add a workflow that fails where the guard is installed."""

    def add(body: Body) -> Body:
        GUARDED.append(Guarded(name, workflow(body.__name__)(body), since))
        return body

    return add
