"""`durably.SyncClient`: the engine's methods for code without an event loop.

There is one client, the async one. Here it lives on an event loop in a thread of its own, and is driven from where the
code is: each method waits for the method of that name.
"""

from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar, overload

from anyio.from_thread import BlockingPortal, start_blocking_portal

from durably.api.client.client import RETRY, Client
from durably.api.client.handle import ClientRun
from durably.engine.declare.definitions import Step, Workflow
from durably.engine.errors import DurablyError
from durably.engine.execution.follow import Message
from durably.engine.retries.retry import RetryPolicy
from durably.engine.values.durations import Duration

__all__ = ["SyncClient", "SyncRun"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def _waiting(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """The method that waits for this one."""

    @wraps(method)
    def wait(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        waited: T = self._loop.wait(method(self._inner, *args, **kwargs))
        return waited

    return wait


class _Loop:
    """The event loop, while there is one."""

    def __init__(self) -> None:
        self.portal: BlockingPortal | None = None

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of it. Who stops waiting, with Ctrl-C say, cancels it."""
        if self.portal is None:
            work.close()
            raise DurablyError("the client is not open: use it inside `with client:`")
        future: Future[T] = self.portal.start_task_soon(lambda: work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


class SyncRun(Generic[R]):
    """One run, as `ClientRun` has it, each method waiting for its answer."""

    __slots__ = ("_inner", "_loop")

    def __init__(self, loop: _Loop, inner: ClientRun[R]) -> None:
        self._loop = loop
        self._inner = inner

    @property
    def id(self) -> str:
        """The run's id."""
        return self._inner.id

    def result(self, timeout: Duration | None = None) -> R:
        """Wait for the run's end and return what it returned, as `ClientRun.result` does."""
        return self._loop.wait(self._inner.result(timeout))

    status = _waiting(ClientRun[Any].status)
    info = _waiting(ClientRun[Any].info)
    history = _waiting(ClientRun[Any].history)
    cancel = _waiting(ClientRun[Any].cancel)
    signal = _waiting(ClientRun[Any].signal)

    def rerun(
        self,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the contract's name
        version: Literal["current", "original"] | int = "current",
        from_step: str | None = None,
        run_id: str | None = None,
    ) -> "SyncRun[R]":
        """A new run with the same input, or with another, as `Run.rerun` makes it."""
        again = self._inner.rerun(input=input, version=version, from_step=from_step, run_id=run_id)
        return SyncRun(self._loop, self._loop.wait(again))

    def fork(
        self,
        *,
        at: int | str | None = None,
        patch: Mapping[str, Any] | None = None,
        args: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> "SyncRun[R]":
        """A new run that takes over this one's history up to a point, as `Run.fork` makes it."""
        return SyncRun(self._loop, self._loop.wait(self._inner.fork(at=at, patch=patch, args=args)))

    def stream(self, *, topic: str | None = None, after: int = 0) -> Generator[Message]:
        """What the run publishes, as it happens, as `ClientRun.stream` gives it."""
        messages = self._inner.stream(topic=topic, after=after)
        try:
            while (message := self._loop.wait(anext(messages, None))) is not None:
                yield message
        finally:
            if self._loop.portal is not None:
                self._loop.wait(messages.aclose())

    def __repr__(self) -> str:
        return repr(self._inner)


class SyncClient:
    """`Client` for code without an event loop: `with SyncClient("http://127.0.0.1:8484") as client`.

    Takes the same arguments and raises the same errors. It may be used by several threads at once; in an `async def` it
    would hold up the event loop: use `Client` there.
    """

    def __init__(self, url: str, api_key: str | None = None, *, retry: RetryPolicy = RETRY) -> None:
        self._loop = _Loop()
        self._inner = Client(url, api_key, retry=retry)
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            portal = exits.enter_context(start_blocking_portal("asyncio", name="durably-client"))
            exits.enter_context(portal.wrap_async_context_manager(self._inner))
            self._loop.portal = portal
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.portal = None
        self._exits.__exit__(kind, error, traceback)

    @overload
    def start(self, workflow: Workflow[P, T] | Step[P, T], /, *args: P.args, **kwargs: P.kwargs) -> SyncRun[T]: ...
    @overload
    def start(
        self, workflow: Workflow[..., T] | Step[..., T], /, *args: Any, run_id: str, **kwargs: Any
    ) -> SyncRun[T]: ...
    @overload
    def start(self, workflow: str, /, *args: Any, run_id: str | None = None, **kwargs: Any) -> SyncRun[Any]: ...
    def start(self, workflow: Any, /, *args: Any, **kwargs: Any) -> SyncRun[Any]:
        """Start a run, as `Client.start` does."""
        return SyncRun(self._loop, self._loop.wait(self._inner.start(workflow, *args, **kwargs)))

    @overload
    def get_run(self, id: str) -> SyncRun[Any]: ...
    @overload
    def get_run(self, id: str, workflow: Workflow[..., T] | Step[..., T]) -> SyncRun[T]: ...
    def get_run(self, id: str, workflow: Any = None) -> SyncRun[Any]:  # noqa: A002 - the contract's name
        """The run with this id, as `Client.get_run` finds it."""
        return SyncRun(self._loop, self._loop.wait(self._inner.get_run(id, workflow)))

    list_runs = _waiting(Client.list_runs)
    send = _waiting(Client.send)
