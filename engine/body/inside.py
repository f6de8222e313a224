"""What the code of a workflow may call besides its steps and asyncio (CONTRACT section 2)."""

import asyncio
import random as stdlib_random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeVar, cast, overload
from uuid import UUID

from typing_extensions import TypeVarTuple, Unpack

from durably.engine.body.instance import Instance
from durably.engine.declare.definitions import Step, Workflow, step
from durably.engine.declare.events import Event, Signal
from durably.engine.errors import DurablyError, NotBuilt
from durably.engine.handle import Run
from durably.engine.log.records import from_us, to_us
from durably.engine.loop.run_loop import RunLoop
from durably.engine.retries.retry import RetryPolicy
from durably.engine.values.durations import Duration, to_seconds
from durably.store.runtime import SECOND_US

__all__ = [
    "as_completed",
    "continue_as_new",
    "deprecate_patch",
    "now",
    "patched",
    "publish",
    "random",
    "run_step",
    "send_event",
    "signal_run",
    "sleep",
    "sleep_until",
    "start_child",
    "uuid4",
    "wait_for_event",
    "wait_for_signal",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def _instance(name: str) -> Instance:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    if not isinstance(loop, RunLoop):
        raise DurablyError(f"durably.{name}() belongs in the body of a workflow; here no workflow is running")
    instance: Instance = loop.owner
    return instance


@overload
async def run_step(
    name: str,
    fn: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]],
    /,
    *args: *Ts,
    retry: RetryPolicy | str | None = None,
    retries: int | None = None,
    timeout: Duration | None = None,  # noqa: ASYNC109 - of each attempt, not of the call
    type: Any = None,
) -> T: ...
@overload
async def run_step(
    name: str,
    fn: Callable[[Unpack[Ts]], T],
    /,
    *args: *Ts,
    retry: RetryPolicy | str | None = None,
    retries: int | None = None,
    timeout: Duration | None = None,  # noqa: ASYNC109 - of each attempt, not of the call
    type: Any = None,
) -> T: ...
async def run_step(*given: Any, **options: Any) -> Any:  # type: ignore[misc]  # mypy: *Any does not take *Ts
    """Call any function as a step, without declaring it: `await run_step("charge", stripe.charge, order)`.

    `retry`, `retries` and `timeout` are as for `@step`. The result comes back as `type`, or as the function is
    annotated to return.
    """
    name, fn, *args = given
    returns = options.pop("type", None)
    declared = cast("Step[..., Any]", step(name, **options)(fn))
    return await (declared if returns is None else declared.returning(returns))(*args)


async def sleep(duration: Duration) -> None:
    """Wait for that long, across crashes and deploys. The same as `asyncio.sleep`, and takes a `timedelta` too."""
    await asyncio.sleep(to_seconds(duration))


async def sleep_until(when: datetime) -> None:
    """Wait until then; a time that has passed is no wait."""
    instance = _instance("sleep_until")
    if when.tzinfo is None:
        raise ValueError(f"sleep_until({when}) has no time zone; use datetime.now(UTC) or durably.now()")
    await asyncio.sleep(max(0, to_us(when) - instance.loop.now_us) / SECOND_US)


def now() -> datetime:
    """The time of the last thing that happened to this run: the same on every replay."""
    return from_us(_instance("now").loop.now_us)


def random() -> stdlib_random.Random:
    """Randomness that every replay repeats: `durably.random().choice(…)`."""
    return _instance("random").random()


def uuid4() -> UUID:
    """A random UUID that every replay repeats."""
    return UUID(int=random().getrandbits(128), version=4)


# -- of the contract, and not built yet


async def wait_for_event(
    name: str,
    *,
    match: Mapping[str, Any] | str | None = None,
    where: str | None = None,
    vars: Mapping[str, Any] | None = None,  # noqa: A002 - the contract's name
    timeout: Duration | None = None,  # noqa: ASYNC109 - durable, and part of the contract
    lookback: timedelta | None = None,
) -> Event[Any] | None:
    """Wait for an event that matches; None when `timeout` passes first."""
    raise NotBuilt("wait_for_event()")


async def wait_for_signal(
    name: str,
    *,
    type: type[T] | None = None,  # noqa: A002 - the contract's name
    timeout: Duration | None = None,  # noqa: ASYNC109
) -> Signal[T] | None:
    """Wait for a signal to this run; None when `timeout` passes first."""
    raise NotBuilt("wait_for_signal()")


async def send_event(*events: Event[Any]) -> list[str]:
    """Send events, once, whatever the number of replays."""
    raise NotBuilt("send_event()")


async def start_child(workflow: Workflow[..., T], /, *args: Any, **kwargs: Any) -> Run[T]:
    """Start a child run and go on without waiting for it."""
    raise NotBuilt("start_child()")


async def signal_run(run_id: str, name: str, data: Any = None) -> None:
    """Send a signal to another run."""
    raise NotBuilt("signal_run()")


async def publish(data: Any, topic: str = "progress") -> None:
    """Tell whoever reads the run's stream."""
    raise NotBuilt("publish()")


def patched(id: str) -> bool:  # noqa: A002 - the contract's name
    """Whether this run began with the change of that id."""
    raise NotBuilt("patched()")


def deprecate_patch(id: str) -> None:  # noqa: A002 - the contract's name
    """Say that no run from before the change is left."""
    raise NotBuilt("deprecate_patch()")


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """End this run and go on in a new one with an empty history."""
    raise NotBuilt("continue_as_new()")


def as_completed(aws: Iterable[Awaitable[T]]) -> AsyncIterator[T]:
    """Results in the order in which they come."""
    raise NotBuilt("as_completed()")
