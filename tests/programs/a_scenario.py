"""A program with all that happens to it: how it is started, what the world does to it and when, and what must come out.

Programs are what users write; a scenario says nothing of kills, since they must make no difference.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from durably import Duration, Event, Run, Step, Workflow
from durably.engine.testing import TestEngine

__all__ = ["CANCELED", "Act", "Scenario", "cancel", "first_run", "send", "tell"]

Act = Callable[[TestEngine], Awaitable[object]]
"""What somebody outside does."""
CANCELED = "canceled"
"""What comes of a run that is canceled."""


def send(name: str, **data: Any) -> Act:
    """An event, with an id, so that a sender who has heard nothing can send it again."""
    event = Event(name, data, id=f"{name} {data}")
    return lambda engine: engine.send(event)


async def first_run(engine: TestEngine) -> Run[Any]:
    """The run that a scenario begins with."""
    *_, oldest = await engine.list_runs(limit=10_000)
    return await engine.get_run(oldest.id)


def tell(name: str, data: Any = None) -> Act:
    """A signal to the run."""

    async def act(engine: TestEngine) -> None:
        await (await first_run(engine)).signal(name, data)

    return act


async def cancel(engine: TestEngine) -> None:
    """A cancel request."""
    await (await first_run(engine)).cancel()


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One program's life, without kills."""

    name: str
    workflow: Workflow[..., Any]
    args: tuple[Any, ...] | None = ()
    """What it is started with; None when an event of the plan starts it."""
    others: Sequence[Workflow[..., Any]] = ()
    """Workflows that run beside it: its children, what its events start."""
    steps: Sequence[Step[..., Any]]
    """All steps that are called."""
    fakes: Mapping[str, Callable[..., Any]] = field(default_factory=dict[str, Callable[..., Any]])
    """What is called in the place of a step's body, by name of the step; by default the body."""
    takes: Mapping[str, Duration | Callable[..., Duration]] = field(default_factory=dict[str, Any])
    """How long a step lasts; by default a second."""
    plan: Sequence[tuple[float, Act]] = ()
    """When, in seconds from the start, somebody outside does what."""
    outcome: Any
    """What the run gives, or `CANCELED`, or the type of the error it fails with."""
    effects: Mapping[str, int]
    """How many calls of each step succeed."""
    published: Sequence[Any] = ()
    """What the runs tell those who follow, in order."""
    runs: int = 1
    """How many runs there are in the end: children count, and what a run goes on as."""
    races: bool = False
    """What comes of it depends on how long steps take: two crashes in a row change that, since the steps that are
    suspected of them start one at a time (DESIGN rule 12)."""
    always_kept: bool = False
    """Its instance is never evicted, because it waits so often that to replay it each time takes minutes."""

    def __str__(self) -> str:
        return self.name
