"""What the code of a workflow may call besides its steps and asyncio (CONTRACT section 2)."""

import asyncio
import random as stdlib_random
import sys
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any, NoReturn, ParamSpec, TypeVar, cast, overload
from uuid import UUID

from msgspec import Raw
from typing_extensions import TypeVarTuple, Unpack

from durably.engine.body.calls import ContinueAsNew, EventWait, SignalWait, place_of
from durably.engine.body.child import ChildRun
from durably.engine.body.context import running_step
from durably.engine.body.instance import Instance
from durably.engine.declare.definitions import Step, Workflow, step
from durably.engine.declare.events import Event, Signal
from durably.engine.declare.matching import Match
from durably.engine.declare.where import Where
from durably.engine.errors import DurablyError, InvalidInput
from durably.engine.handle import Run
from durably.engine.log.limits import MAX_EVENTS
from durably.engine.log.records import NOTHING, from_us, to_us
from durably.engine.loop.as_completed import as_completed
from durably.engine.loop.run_loop import RunLoop
from durably.engine.retries.retry import RetryPolicy
from durably.engine.values.codec import decoder_for, encode
from durably.engine.values.durations import Duration, to_seconds
from durably.engine.values.durations import to_us as duration_us
from durably.engine.values.names import check_name
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

P = ParamSpec("P")
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
    timeout: Duration | None = None,
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
    timeout: Duration | None = None,
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


# -- waiting and talking


@overload
async def wait_for_event(
    name: str,
    *,
    match: Mapping[str, Any] | str | None = None,
    where: str | None = None,
    vars: Mapping[str, Any] | None = None,
    timeout: None = None,
    lookback: timedelta | None = None,
) -> Event[Any]: ...
@overload
async def wait_for_event(
    name: str,
    *,
    match: Mapping[str, Any] | str | None = None,
    where: str | None = None,
    vars: Mapping[str, Any] | None = None,
    timeout: Duration | None,
    lookback: timedelta | None = None,
) -> Event[Any] | None: ...
async def wait_for_event(
    name: str,
    *,
    match: Mapping[str, Any] | str | None = None,
    where: str | None = None,
    vars: Mapping[str, Any] | None = None,  # noqa: A002 - the contract's name
    timeout: Duration | None = None,
    lookback: timedelta | None = None,
) -> Event[Any] | None:
    """Wait for an event that matches; None when `timeout` passes first.

    - `match`: the values that the event must have, by dotted path: `{"data.order_id": order_id}`; or one path, where
      the event must have what the event has that started the run
    - `where`: a condition in CEL over `event`, `trigger`, the event that started the run, and `vars`
    - `timeout`: in seconds or as a `timedelta`
    - `lookback`: how far back an event counts that has arrived before the wait. By default since the run was created,
      so that none is missed that comes while the run is busy; `timedelta(0)` for none

    One event wakes every wait it matches. No run is given the same event twice.

    Raises `ValueError` or `TypeError` when `match` or `where` cannot work.
    """
    instance = _instance("wait_for_event")
    own = instance.beginning.event_fields
    call = EventWait(
        event=Event(name).name,  # which checks it
        match=Match.of(match, own),
        where=None if where is None else Where(where).expression,
        vars=Raw(encode(dict(vars))) if vars else NOTHING,
        timeout_us=None if timeout is None else duration_us(timeout, "timeout"),
        since_us=instance.beginning.since_us
        if lookback is None
        else instance.loop.now_us - duration_us(lookback, "lookback"),
    )
    received: Event[Any] | None = await instance.loop.call("event", call)
    return received


@overload
async def wait_for_signal(name: str, *, timeout: None = None) -> Signal[Any]: ...
@overload
async def wait_for_signal(name: str, *, timeout: Duration | None) -> Signal[Any] | None: ...
@overload
async def wait_for_signal(name: str, *, type: type[T], timeout: None = None) -> Signal[T]: ...
@overload
async def wait_for_signal(name: str, *, type: type[T], timeout: Duration | None) -> Signal[T] | None: ...
async def wait_for_signal(
    name: str,
    *,
    type: type[Any] | None = None,  # noqa: A002 - the contract's name
    timeout: Duration | None = None,
) -> Signal[Any] | None:
    """Wait for a signal to this run; None when `timeout` passes first.

    A signal wakes one wait, first come first served, and is kept when none waits. Its `data` comes back as `type`;
    what does not fit raises `NonRetriableError` here.
    """
    instance = _instance("wait_for_signal")
    timeout_us = None if timeout is None else duration_us(timeout, "timeout")
    call = SignalWait(check_name(name, "a signal's name"), decoder_for(Any if type is None else type), timeout_us)
    received: Signal[Any] | None = await instance.loop.call("signal", call)
    return received


async def send_event(*events: Event[Any]) -> list[str]:
    """Send events, once, whatever the number of replays and retries: their ids.

    They are stored, and the runs they trigger created, in the commit of what the workflow does here. Raises
    `InvalidInput` over a limit.
    """
    if len(events) > MAX_EVENTS:
        raise InvalidInput(f"{len(events):,} events at once are more than {MAX_EVENTS:,}; send them in parts")
    return _instance("send_event").send(events)


async def start_child(workflow: Workflow[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Run[T]:
    """Start a child run and go on without waiting for it: a handle whose `result()` waits.

    Options of the child are given as in `start_child(ship.options(run_id=…), order)`.
    """
    instance = _instance("start_child")
    line = place_of(sys._getframe(1))  # pyright: ignore[reportPrivateUsage]  # documented: who awaits this
    return ChildRun(instance, instance.start_child(workflow, args, kwargs, line))


async def signal_run(run_id: str, name: str, data: Any = None) -> None:
    """Send a signal to another run, once. To a run that has ended, or is unknown, it goes unheard."""
    _instance("signal_run").signal(check_name(run_id, "run_id"), check_name(name, "a signal's name"), data)


async def publish(data: Any, topic: str = "progress") -> None:
    """Tell those who follow the run with `Run.stream()`.

    In a workflow's body: once, whatever the number of replays and retries. In the body of an async step: while it runs,
    and again by each attempt that comes to it.
    """
    check_name(topic, "a topic")
    step = running_step()
    if step is None:
        _instance("publish").publish(topic, data)
    else:
        await step.publish(topic, Raw(encode(data)))


# -- changed code, and long runs


def patched(id: str) -> bool:  # noqa: A002 - the contract's name
    """Whether the run takes the new way of a changed workflow.

    A run that comes here for the first time does, and it is recorded; a run that was here before the change goes on
    the old way, on every replay:

        if patched("charge-before-reserve"):
            …  # new
        else:
            …  # as it was

    When no run from before the change is open any more, put `deprecate_patch` in its place, and later nothing.
    """
    return _instance("patched").patched(check_name(id, "a patch's id"))


def deprecate_patch(id: str) -> None:  # noqa: A002 - the contract's name
    """Say that no run from before the change is left: one that is would be blocked, and say so."""
    _instance("deprecate_patch").mark_patch(check_name(id, "a patch's id"))


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """End this run and go on in a new one of the newest version, with these arguments and an empty history.

    This run SUCCEEDED; who waits for its result, its parent, and signals that it has not looked at yet follow.
    """
    instance = _instance("continue_as_new")
    raise ContinueAsNew(instance.runnable.signature.bind_input(args, kwargs))
