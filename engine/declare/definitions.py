"""How users declare steps and workflows: `@step` and `@workflow` (CONTRACT section 1)."""

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import cached_property, partial, update_wrapper
from typing import (
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    Unpack,
    cast,
    final,
    overload,
)

import anyio.to_thread

from durably.engine.declare.options import (
    On,
    OnLost,
    Options,
    Schedule,
    check_key,
    check_on_lost,
    check_retry,
    check_version,
    name_of,
    refuse_unbuilt,
    to_crons,
    to_triggers,
)
from durably.engine.declare.signature import Signature
from durably.engine.errors import DurablyError
from durably.engine.loop.run_loop import RunLoop
from durably.engine.retries.retry import RetryPolicy
from durably.engine.values.codec import Decode, decoder_for
from durably.engine.values.durations import Duration, to_seconds
from durably.engine.values.names import check_name

__all__ = ["Definition", "OnFailure", "Step", "Workflow", "step", "workflow"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")  # invariant: a covariant one makes mypy turn gathered results into Any
S = TypeVar("S")

OnFailure: TypeAlias = "Step[..., Any] | Workflow[..., Any] | None"
"""What is run when a run has failed, if anything: it takes a `RunFailure`."""


def _check_on_failure(on_failure: object, name: str) -> OnFailure:
    if on_failure is None or isinstance(on_failure, Step | Workflow):
        return cast("OnFailure", on_failure)  # isinstance leaves its parameters unknown
    raise TypeError(
        f"on_failure of {name!r} is {on_failure!r}; it must be a step or a workflow that takes a RunFailure"
    )


class Definition(ABC, Generic[P, R]):
    """What steps and workflows have in common: a function, and the name and rules it runs under."""

    def __init__(self, fn: Callable[P, Any], name: str, *, live_arguments: bool, **options: Unpack[Options]) -> None:
        update_wrapper(self, fn, updated=())
        timeout = options.get("timeout")
        self.fn = fn
        """The undecorated function."""
        self.name = name
        self.version = check_version(options.get("version", 1))
        self.triggers = to_triggers(options.get("on"))
        self.crons = to_crons(options.get("cron"))
        self.retries = options.get("retries")
        self.retry = check_retry(options.get("retry"), self.retries)
        self.timeout = None if timeout is None else to_seconds(timeout, "timeout")
        """In seconds: of one attempt of a step, of a whole run of a workflow."""
        self.on_failure: OnFailure = _check_on_failure(options.get("on_failure"), name)
        """What is run when a run of it has failed for good."""
        self.signature = Signature(
            fn, name, live=live_arguments, triggered=bool(self.triggers), scheduled=bool(self.crons)
        )

    @abstractmethod
    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @cached_property
    def decode_result(self) -> Decode:
        """From the JSON of a result to what the function is annotated to return."""
        return self.signature.decode_result

    def policy(self, default: RetryPolicy, inherited: RetryPolicy | str | None = None) -> RetryPolicy | str:
        """The retry policy that holds, or the id of a stored one.

        `default` is the engine's, and `retries=n` is that one with n. `inherited` is what holds where this says
        nothing: a workflow's policy for its steps.
        """
        if self.retry is not None:
            return self.retry
        if self.retries is not None:
            return default.with_retries(self.retries)
        return inherited or default

    def _with(self, **changes: Any) -> Self:
        copy = object.__new__(type(self))
        vars(copy).update(vars(self), **changes)
        return copy

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self.name!r}>"


# -- steps


@final
class Step(Definition[P, R]):
    """A named piece of work with effects, made by `@step`.

    Calling it gives a coroutine, and nothing happens until that is awaited. In a workflow it is then a
    durable step. Elsewhere it is just the body; inside another step it is part of that one's attempt.
    """

    def __init__(
        self,
        fn: Callable[P, Any],
        name: str | None = None,
        *,
        on_lost: OnLost = "retry",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(fn, name_of(fn, name, "step"), live_arguments=True, **options)
        self.is_async = inspect.iscoroutinefunction(fn)
        """Whether the body runs on the event loop; else it runs in a worker thread."""
        self.on_lost: OnLost = check_on_lost(on_lost)
        self.key: str | None = None
        """What replaces name and count in the step's identity (DESIGN rule 7)."""
        self.receiver: object = None
        """The object that a method was taken from."""

    def options(
        self,
        *,
        retries: int | None = None,
        retry: RetryPolicy | str | None = None,
        timeout: Duration | None = None,
        key: str | None = None,
    ) -> "Step[P, R]":
        """This step with other options for one call, as in `await charge.options(retries=0)(order)`.

        `key` replaces name and count in the step's identity and must be unique in its asyncio task. One that
        begins with `/` is the whole identity, unique in the run.
        """
        changes: dict[str, Any] = {}
        if retry is not None or retries is not None:
            changes.update(retry=check_retry(retry, retries), retries=retries)
        if timeout is not None:
            changes.update(timeout=to_seconds(timeout, "timeout"))
        if key is not None:
            changes.update(key=check_key(key))
        return self._with(**changes)

    def returning(self, annotation: Any) -> "Step[P, Any]":
        """This step with another annotation for its result, as `run_step(type=…)` asks for."""
        return self._with(decode_result=decoder_for(annotation))

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        given = args if self.receiver is None else (self.receiver, *args)
        loop = asyncio.get_running_loop()
        if not isinstance(loop, RunLoop):  # elsewhere than in a run's code, which lives on a loop of its own (rule 5)
            return await self.run(given, kwargs)
        result: R = await loop.owner.call_step(self, given, kwargs)  # finds the caller's line two frames up
        return result

    async def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        """Just the body."""
        result: R
        if self.is_async:
            result = await self.fn(*args, **kwargs)
        else:
            result = await anyio.to_thread.run_sync(partial(self.fn, *args, **kwargs))
        return result

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...
    @overload
    def __get__(self: "Step[Concatenate[S, Q], R]", obj: S, owner: type) -> "Step[Q, R]": ...
    @overload
    def __get__(self, obj: object, owner: type) -> Self: ...  # to pyright, a static method
    def __get__(self, obj: Any, owner: type) -> Any:
        """The step of an object when it is declared as a method."""
        if obj is None:
            return self
        return self._with(receiver=obj, signature=self.signature.of_method)


class _StepDecorator(Protocol):
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
@overload
def step(fn: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    name: str | None = None,
    /,
    *,
    retries: int | None = None,
    retry: RetryPolicy | str | None = None,
    timeout: Duration | None = None,
    on_lost: OnLost = "retry",
    on: On | None = None,
    cron: Schedule | None = None,
    on_failure: OnFailure = None,
    version: int = 1,
    concurrency: object = None,
) -> _StepDecorator: ...
def step(
    target: Any = None,
    /,
    *,
    retries: int | None = None,
    retry: RetryPolicy | str | None = None,
    timeout: Duration | None = None,
    on_lost: OnLost = "retry",
    on: On | None = None,
    cron: Schedule | None = None,
    on_failure: OnFailure = None,
    version: int = 1,
    concurrency: object = None,
) -> Any:
    """Declare a step: a function whose result is recorded, and that is retried on its own.

    Bare or with arguments, on async and sync functions, methods and static methods. Sync bodies run in a
    worker thread. The body gets a decoded copy of its arguments, except of those that cannot be encoded, and
    the workflow a decoded copy of the result.

    - `name`: the function's by default. Histories know the step by it: renaming is a change of the workflow
    - `retries`, `retry`: how often, or the `RetryPolicy`; by default that of the workflow or the engine
    - `timeout`: of one attempt, in seconds or as a `timedelta`
    - `on_lost="fail"`: the step fails, and is not started again, if its process dies while it runs
    - `on`, `cron`: events and schedules that start it as a run of its own; `version` is that of the run
    - `on_failure`: a step or a workflow that is run when such a run has failed for good, with a `RunFailure`

    Raises:
        TypeError, ValueError: an option or an annotation cannot work.
        NotBuilt: an option of the contract that is not built yet.
    """
    refuse_unbuilt("step", concurrency=concurrency)
    declare = partial(
        Step[..., Any],
        on_lost=on_lost,
        on=on,
        cron=cron,
        retries=retries,
        retry=retry,
        timeout=timeout,
        on_failure=on_failure,
        version=version,
    )
    return partial(declare, name=target) if target is None or isinstance(target, str) else declare(target)


# -- workflows


@final
class Workflow(Definition[P, R]):
    """A deterministic `async def` that orchestrates steps, made by `@workflow`.

    An engine starts runs of it; `fn` is the function itself, to be tested on its own.
    """

    fn: Callable[P, Coroutine[Any, Any, R]]

    def __init__(
        self, fn: Callable[P, Coroutine[Any, Any, R]], name: str | None = None, **options: Unpack[Options]
    ) -> None:
        name = name_of(fn, name, "workflow")
        if not inspect.iscoroutinefunction(fn):
            raise TypeError(f"workflow {name}() is no coroutine function: write `async def`, or use @step")
        super().__init__(fn, name, live_arguments=False, **options)
        self.run_id: str | None = None
        self.test = False
        self.environment: str | None = None
        self.delay: float | None = None
        """Seconds from the creation of a run to its start."""

    def options(
        self,
        *,
        run_id: str | None = None,
        test: bool = False,
        timeout: Duration | None = None,
        delay: Duration | None = None,
        environment: str | None = None,
    ) -> "Workflow[P, R]":
        """This workflow with options for one run: its id, test mode, another timeout or environment, a later start."""
        if run_id is not None:
            check_name(run_id, "run_id")
        return self._with(
            run_id=run_id,
            test=test,
            timeout=self.timeout if timeout is None else to_seconds(timeout, "timeout"),
            environment=environment,
            delay=None if delay is None else to_seconds(delay, "delay"),
        )

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        if isinstance(loop, RunLoop):
            result: R = await loop.owner.call_child(self, args, kwargs)  # finds the caller's line two frames up
            return result
        fn = self.fn.__name__
        raise DurablyError(
            f"workflow {self.name!r} was called where no run is active: start a run with "
            f"`await engine.start({fn}, …)`, or call `{fn}.fn(…)` for the body alone"
        )


class _WorkflowDecorator(Protocol):
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...


@overload
def workflow(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
@overload
def workflow(
    name: str | None = None,
    /,
    *,
    on: On | None = None,
    cron: Schedule | None = None,
    retries: int | None = None,
    retry: RetryPolicy | str | None = None,
    version: int = 1,
    timeout: Duration | None = None,
    on_failure: OnFailure = None,
    concurrency: object = None,
    throttle: object = None,
    rate_limit: object = None,
    debounce: object = None,
    batch: object = None,
    priority: object = None,
    singleton: object = None,
    idempotency: object = None,
    cancel_on: object = None,
) -> _WorkflowDecorator: ...
def workflow(
    target: Any = None,
    /,
    *,
    on: On | None = None,
    cron: Schedule | None = None,
    retries: int | None = None,
    retry: RetryPolicy | str | None = None,
    version: int = 1,
    timeout: Duration | None = None,
    on_failure: OnFailure = None,
    concurrency: object = None,
    throttle: object = None,
    rate_limit: object = None,
    debounce: object = None,
    batch: object = None,
    priority: object = None,
    singleton: object = None,
    idempotency: object = None,
    cancel_on: object = None,
) -> Any:
    """Declare a workflow: an `async def` that orchestrates steps, and goes on where it was after a crash.

    It must do the same whenever it is given the same results: effects belong into steps.

    - `name`: the function's by default. Runs find their code by name and `version`
    - `on`: events that start a run, each with the event as input
    - `cron`: schedules that start a run. A parameter that takes an `Event` gets one called `durably/schedule`; all
      others need defaults
    - `retries`, `retry`: how often the body is retried, or the `RetryPolicy`; by default that of the engine
    - `timeout`: of the whole run, in seconds or as a `timedelta`. It arrives as a cancel does, so
      compensation runs to its end; then the run is FAILED
    - `on_failure`: a step or a workflow that is run, once, when the run has failed for good, with a `RunFailure`

    Raises:
        TypeError, ValueError: an option or an annotation cannot work.
        NotBuilt: an option of the contract that is not built yet.
    """
    refuse_unbuilt("workflow", concurrency=concurrency)
    refuse_unbuilt("workflow", throttle=throttle, rate_limit=rate_limit, debounce=debounce, batch=batch)
    refuse_unbuilt("workflow", priority=priority, singleton=singleton, idempotency=idempotency)
    refuse_unbuilt("workflow", cancel_on=cancel_on)
    declare = partial(
        Workflow[..., Any],
        on=on,
        cron=cron,
        retries=retries,
        retry=retry,
        timeout=timeout,
        on_failure=on_failure,
        version=version,
    )
    return partial(declare, name=target) if target is None or isinstance(target, str) else declare(target)
