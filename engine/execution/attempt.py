"""Running attempts: one asyncio task of the engine's loop for each, whatever becomes of the workflow's instance."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from msgspec import Raw, Struct

from durably.engine.body.beginning import Beginning
from durably.engine.body.calls import StepCall
from durably.engine.body.context import StepContext, enter
from durably.engine.errors import StepError
from durably.engine.log.records import Published
from durably.engine.retries.retry import RetryPolicy

if TYPE_CHECKING:
    from durably.engine.execution.live import LiveRun

__all__ = ["Attempt", "Attempts", "Ended", "Perform"]


class Attempt(Struct, eq=False):
    """One start of one attempt of a step."""

    run: "LiveRun"
    key: str
    call: StepCall
    beginning: Beginning
    number: int
    start: int
    seq: int = 0
    last_error: StepError | None = None
    interrupted: bool = False
    messages: int = 0
    """How many it has published."""
    unsaid: list[Published] = []
    """Those that wait for the run to be loaded before they go into the log; or they go there with the outcome."""
    task: asyncio.Task[Any] | None = None

    @property
    def policy(self) -> RetryPolicy:
        """The retry policy as it stands: a stored one may change while the attempt runs."""
        assert self.run.registered is not None
        return self.run.registered.step_policy(self.call.step)


Perform = Callable[[Attempt], Awaitable[Any]]
"""Carries out an attempt's body. The engine's runs the step's function; a test's may answer in its place."""

Publish = Callable[[Attempt, str, Raw], Awaitable[None]]
"""Puts a message of a running attempt into the log."""

Ended = Callable[[Attempt, Any, BaseException | None], None]
"""Told how a body ended: with its value, or with what it raised."""


class Attempts:
    """Starts the bodies of attempts, interrupts them, and tells how they ended.

    `ended` is called with the attempt and either its value (error None) or the exception it raised.
    """

    def __init__(
        self,
        *,
        max_threads: int,
        resources: Mapping[type[Any], Any],
        ended: Ended,
        publish: Publish,
        perform: Perform | None = None,
    ) -> None:
        self._publish = publish
        self._threads = anyio.CapacityLimiter(max_threads)
        self.resources = resources
        self._ended = ended
        self._perform = perform or self.run_body
        self._loop = asyncio.get_running_loop()
        self._context: Context = copy_context()
        self._running: set[Attempt] = set()
        self._changed: asyncio.Future[None] | None = None

    @property
    def running(self) -> int:
        """How many bodies run at this moment."""
        return len(self._running)

    def change(self) -> asyncio.Future[None]:
        """Done as soon as one of the running bodies has ended, or begun to wait. Not to be canceled."""
        if self._changed is None:
            self._changed = self._loop.create_future()
        return self._changed

    def note_change(self) -> None:
        """Wake who waits for a change."""
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None

    def launch(self, attempt: Attempt) -> None:
        """Start the body. Its `attempt.started` is on stable storage (DESIGN rule 1)."""
        body = self._body(attempt)
        self._running.add(attempt)
        context = self._context.copy()
        task: asyncio.Task[tuple[Any, BaseException | None]]
        # An eager task runs at once until it first suspends: 17 µs a step less.
        if sys.version_info >= (3, 12):
            task = asyncio.Task(body, loop=self._loop, context=context, eager_start=True)
        else:
            task = self._loop.create_task(body, context=context)
        if task.done():
            self._finish(attempt, task)
        else:
            attempt.task = task
            task.add_done_callback(partial(self._finish, attempt))

    def interrupt(self, attempt: Attempt) -> None:
        """Cancel the body: nobody wants its result any more. A thread cannot be interrupted and runs on."""
        attempt.interrupted = True
        if attempt.task is not None:
            attempt.task.cancel()

    async def _body(self, attempt: Attempt) -> tuple[Any, BaseException | None]:
        # Errors are handed on as values: a SystemExit out of a step must not end the engine's loop.
        enter(StepContext(attempt, self.resources, self._publish))
        try:
            return await self._perform(attempt), None
        except asyncio.CancelledError as error:
            if attempt.interrupted:
                raise
            return None, error
        except BaseException as error:  # noqa: BLE001 - whatever a body raises is the attempt's outcome
            return None, error

    async def run_body(self, attempt: Attempt) -> Any:
        """Call the step's function with a decoded copy of the arguments, within the step's timeout."""
        step = attempt.call.step
        args, kwargs = attempt.call.arguments.decode()
        if step.is_async and step.timeout is None:
            return await step.fn(*args, **kwargs)  # most are so, and a limit that is none costs 2 µs
        async with asyncio.timeout(step.timeout):
            if step.is_async:
                return await step.fn(*args, **kwargs)
            return await anyio.to_thread.run_sync(
                partial(step.fn, *args, **kwargs), abandon_on_cancel=True, limiter=self._threads
            )

    def _finish(self, attempt: Attempt, task: asyncio.Task[tuple[Any, BaseException | None]]) -> None:
        self._running.discard(attempt)
        self.note_change()
        value, error = (None, None) if task.cancelled() else task.result()
        self._ended(attempt, value, error)

    def abandon(self) -> None:
        """Cancel all bodies and take no notice of how they end."""
        self._ended = _take_no_notice
        for attempt in list(self._running):
            self.interrupt(attempt)

    async def drain(self, seconds: float) -> list[Attempt]:
        """Give running bodies that long to end, then interrupt the others and return them."""
        tasks = [attempt.task for attempt in self._running if attempt.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        left = list(self._running)
        for attempt in left:
            self.interrupt(attempt)
        return left


def _take_no_notice(attempt: Attempt, value: Any, error: BaseException | None) -> None:
    del attempt, value, error
