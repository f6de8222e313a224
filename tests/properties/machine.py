"""What the parts of a generated program share while one run of it is driven: steps, and what they are done with."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio

from durably import NonRetriableError, RetryPolicy, Step, Workflow, current, now, random, step, uuid4

__all__ = ["BRANCH", "DRAWS", "STEPS", "Machine"]

BRANCH: ContextVar[str] = ContextVar("branch", default="")
"""Which branch of which gather the code is in: every asyncio task has a context of its own."""

DRAWS: dict[str, Callable[[], str]] = {
    "": str,
    "now": lambda: now().isoformat(),
    "random": lambda: f"{random().random():.6f}",
    "uuid4": lambda: str(uuid4()),
}
"""What a program may pass to a step besides its name, by how it comes by it."""


def _perform(name: str, fails: int) -> str:
    """A step's body: fails so many times, then says which attempt it is."""
    attempt = current().attempt
    if attempt < fails:
        raise ConnectionError(f"{name} failed in attempt {attempt}")
    return f"{name} in attempt {attempt}"


@step(retry=RetryPolicy(2, backoff="fixed", delay=10, jitter=0))
async def work(name: str, fails: int, takes: float, drawn: str) -> str:  # noqa: ARG001 - how long it takes is mocked
    """A step that is retried twice."""
    return _perform(name, fails)


@step(retry=RetryPolicy(1, backoff="fixed", delay=3, jitter=0), timeout=6)
async def hurried(name: str, fails: int, takes: float, drawn: str) -> str:  # noqa: ARG001
    """A step with a time limit for each attempt."""
    return _perform(name, fails)


@step(retries=0)
async def fragile(name: str, fails: int, takes: float, drawn: str) -> str:  # noqa: ARG001
    """A step that is never retried."""
    if fails:
        raise NonRetriableError(f"{name} failed")
    return _perform(name, 0)


STEPS: dict[str, Step[[str, int, float, str], str]] = {each.name: each for each in (work, hurried, fragile)}


class Machine:
    """The locks, events and background asyncio tasks of one run, and the trace of what it did."""

    def __init__(self, child: Workflow[..., Any]) -> None:
        self.child = child
        """The workflow that does a part in a run of its own."""
        self.trace: list[str] = []
        """What ended, in the order in which the code saw it: part of the run's output, so that replay compares it."""
        self.background: list[asyncio.Task[Any]] = []
        self._locks: dict[str, Any] = {}
        self._events: dict[str, asyncio.Event] = {}

    def lock(self, kind: str) -> Any:
        """The one lock of that kind."""
        makers: dict[str, Callable[[], Any]] = {
            "lock": asyncio.Lock,
            "semaphore": lambda: asyncio.Semaphore(2),
            "condition": asyncio.Condition,
            "anyio.Lock": anyio.Lock,
            "anyio.Semaphore": lambda: anyio.Semaphore(2),
        }
        if kind not in self._locks:
            self._locks[kind] = makers[kind]()
        return self._locks[kind]

    def event(self, name: str) -> asyncio.Event:
        """The event of that name."""
        return self._events.setdefault(name, asyncio.Event())

    def note(self, what: str) -> None:
        """Add to the trace."""
        self.trace.append(f"{BRANCH.get()} {what}")
