"""`durably.testing`: an engine in memory, on a clock that jumps, with steps that answer as a test says.

Retries wait, sleeps sleep and events arrive as they would, only that an hour takes no time: while a test awaits a
result, the clock jumps to the next timer whenever nothing else can happen.
"""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from heapq import heappop, heappush
from itertools import count
from operator import itemgetter
from types import TracebackType
from typing import Any, NamedTuple, ParamSpec, Self, TypeAlias, TypeVar

from durably.engine.body.replayer import Replayer
from durably.engine.declare.definitions import Step, Workflow
from durably.engine.engine import Engine
from durably.engine.execution.attempt import Attempt, Perform
from durably.engine.execution.intake import Intake
from durably.engine.handle import Run
from durably.engine.lint.lint import refuse_findings
from durably.engine.log.records import from_us
from durably.engine.notifications.destination import Destination
from durably.engine.retries.retry import RetryPolicy
from durably.engine.values.durations import Duration, to_us
from durably.store import MemoryStore, Store
from durably.store.runtime import Clock, Randomness, SystemClock, Timer, seeded

__all__ = ["StepCalled", "StepMock", "TestClock", "TestEngine", "VirtualClock"]

P = ParamSpec("P")
T = TypeVar("T")
START_US = 1_767_225_600_000_000
"""Where a test's clock starts: midnight of 1 January 2026, UTC."""
TURNS = 5
"""Turns of the loop in which a body that has just been woken comes to its end, the engine hears of it, and a test of
the result."""


class VirtualTimer:
    """A callback that waits on a `VirtualClock`."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


Timers: TypeAlias = list[tuple[int, int, VirtualTimer]]
"""A heap: when it is due, and which one was set earlier."""


def _pending(timers: Timers) -> Timers:
    """Without canceled ones at the front."""
    while timers and timers[0][2].callback is None:
        heappop(timers)
    return timers


class VirtualClock:
    """A `Clock` that stands still until it is told to jump."""

    def __init__(self, now_us: int = START_US) -> None:
        self._now_us = now_us
        self._timers: Timers = []
        self._wall_timers: Timers = []
        self._order = count()
        self._real = SystemClock()

    def now_us(self) -> int:
        return self._now_us

    def wall_us(self) -> int:
        return self._now_us

    def elapsed_us(self) -> int:
        return self._real.elapsed_us()

    def cpu_us(self) -> int:
        return self._real.cpu_us()

    def call_at(self, due_us: int, callback: Callable[[], None]) -> Timer:
        return self._wait(self._timers, due_us, callback)

    def call_at_wall(self, due_us: int, callback: Callable[[], None]) -> Timer:
        return self._wait(self._wall_timers, due_us, callback)

    def _wait(self, timers: Timers, due_us: int, callback: Callable[[], None]) -> Timer:
        timer = VirtualTimer(callback)
        heappush(timers, (due_us, next(self._order), timer))
        return timer

    def next_us(self) -> int | None:
        """When the next callback is due."""
        first = self._first()
        return first[0][0] if first else None

    def has_timers(self) -> bool:
        """Whether anything waits for time to pass. Schedules do not: they would without end."""
        return bool(_pending(self._timers))

    def jump(self, to_us: int) -> None:
        """Make it that late, and call what is due by then, in order."""
        self._now_us = max(self._now_us, to_us)
        while (first := self._first()) and first[0][0] <= self._now_us:
            _, _, timer = heappop(first)
            if timer.callback is not None:
                timer.callback()

    def _first(self) -> Timers:
        """Of the two queues the one whose first callback is due earlier; an empty one if both are empty."""
        return min(filter(_pending, (self._timers, self._wall_timers)), key=itemgetter(0), default=self._timers)

    def after(self, duration_us: int) -> "asyncio.Future[None]":
        """Done when that much time has passed on this clock. Cancel it when nobody waits for that any more."""
        passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_at(self._now_us + duration_us, partial(_pass, passed))
        passed.add_done_callback(lambda _: timer.cancel())
        return passed


def _pass(passed: "asyncio.Future[None]") -> None:
    if not passed.done():
        passed.set_result(None)


class SeededRandomness:
    """Ids and jitter that are the same in every run of a test."""

    def __init__(self, seed: int = 0) -> None:
        self._random = seeded(seed)

    def token(self) -> str:
        return f"{self._random.getrandbits(128):032x}"

    def uniform(self, most: float) -> float:
        return self._random.uniform(0, most)


class StepCalled(NamedTuple):
    """One call that a mock answered."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class StepMock:
    """Answers in the place of a step's body. `calls` are the attempts it answered, in order."""

    def __init__(self, answer: Callable[..., Any], takes: Duration | Callable[..., Duration]) -> None:
        self._answer = answer
        self._takes = takes
        self.calls: list[StepCalled] = []

    def takes_us(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
        """How long this call lasts on the test's clock."""
        return to_us(self._takes(*args, **kwargs) if callable(self._takes) else self._takes)

    async def answer(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the step gives, or raises."""
        given = self._answer(*args, **kwargs)
        return await given if inspect.isawaitable(given) else given


def _scripted(returns: Any, raises: BaseException | Sequence[BaseException | None] | None) -> Callable[..., Any]:
    errors = iter(raises) if isinstance(raises, Iterable) else None

    def answer(*_args: Any, **_kwargs: Any) -> Any:
        error = raises if isinstance(raises, BaseException) else next(errors, None) if errors else None
        if error is not None:
            raise error
        return returns

    return answer


class TestClock:
    """The test's hand on the clock."""

    def __init__(self, engine: "TestEngine", clock: VirtualClock) -> None:
        self._engine = engine
        self._clock = clock

    def now(self) -> datetime:
        """The time it is for the engine."""
        return from_us(self._clock.now_us())

    async def advance(self, duration: Duration) -> None:
        """Let that much time pass: through due timers in their order, without waiting for running bodies."""
        end_us = self._clock.now_us() + to_us(duration)
        await self._engine.quiesce()
        while (next_us := self._clock.next_us()) is not None and next_us <= end_us:
            self._clock.jump(next_us)
            await self._engine.quiesce()
        self._clock.jump(end_us)
        await self._engine.quiesce()


class TestEngine(Engine):
    """An `Engine` on `memory://` with a virtual clock: `async with TestEngine(workflows=[…]) as engine`.

    The clock jumps to the next timer only while the test awaits `Run.result()`, `settle()` or `clock.advance()`, and
    only when no activation is ready, no commit or call is under way and no step body runs. With `auto=False` only
    `clock.advance()` moves it. Time inside step bodies is real; a mocked step lasts `takes` on the virtual clock.
    By default every wait evicts the run, so that each test also tests replay; `max_parked` changes that.
    """

    __test__ = False  # for pytest: not a class of tests
    replay_on_exit = False
    """Replay every finished run when the engine is left. The pytest plugin switches it on."""
    lint_on_start = False
    """Refuse to start with workflows in which the lint finds something. The pytest plugin switches it on."""

    def __init__(
        self,
        workflows: Sequence[Workflow[..., Any] | Step[..., Any]] = (),
        resources: Mapping[type[Any], Any] | None = None,
        *,
        auto: bool = True,
        default_retry: RetryPolicy = RetryPolicy.DEFAULT,
        max_steps: int = 10_000,
        max_parked: int = 0,
        max_lost: int = 3,
        drain_timeout: Duration = 30,
        notify: Sequence[Destination] = (),
        http_allow: Sequence[str] = (),
        quota: int | None = None,
        retention: Duration | None = None,
    ) -> None:
        @asynccontextmanager
        async def lifespan() -> AsyncGenerator[Mapping[type[Any], Any] | None]:
            yield resources

        super().__init__(
            "memory://",
            workflows,
            lifespan=lifespan,
            default_retry=default_retry,
            max_steps=max_steps,
            max_parked=max_parked,
            max_lost=max_lost,
            drain_timeout=drain_timeout,
            notify=notify,
            http_allow=http_allow,
            quota=quota,
            retention=retention,
        )
        self._auto = auto
        self._store: Store = MemoryStore()
        self._virtual = VirtualClock()
        self._randomness = SeededRandomness()
        self._mocks: dict[str, StepMock] = {}
        self._asleep: set[asyncio.Future[None]] = set()
        self.clock = TestClock(self, self._virtual)

    def use_store(self, store: Store) -> None:
        """Run on this store instead of `memory://`: a file, or one that fails."""
        self._store = store

    # -- the parts that differ

    def _open_store(self) -> Store:
        return self._store

    def _make_clock(self) -> Clock:
        return self._virtual

    def _make_randomness(self) -> Randomness:
        return self._randomness

    def _make_perform(self) -> Perform:
        return self._perform

    async def __aenter__(self) -> Self:
        if self.lint_on_start:
            refuse_findings(self.workflows)
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self.replay_on_exit and error is None:
                await self.replay_finished()
        finally:
            await super().__aexit__(kind, error, traceback)

    # -- steps

    def mock(
        self,
        step: Step[P, T],
        *,
        returns: Any = None,
        raises: BaseException | Sequence[BaseException | None] | None = None,
        side_effect: Callable[..., Any] | None = None,
        takes: Duration | Callable[..., Duration] = 0,
    ) -> StepMock:
        """Answer calls of `step` from here on.

        `raises` is one exception for every call, or one for each in turn, None for none. `side_effect` is called with
        the step's arguments instead. `takes` is how long a call lasts, or a function of the arguments that tells.
        """
        mock = self._mocks[step.name] = StepMock(side_effect or _scripted(returns, raises), takes)
        return mock

    async def _perform(self, attempt: Attempt) -> Any:
        mock = self._mocks.get(attempt.call.step.name)
        if mock is None:
            return await self.core.executor.attempts.run_body(attempt)
        args, kwargs = attempt.call.arguments.decode()
        mock.calls.append(StepCalled(args, kwargs))
        takes_us, timeout = mock.takes_us(args, kwargs), attempt.call.step.timeout
        if timeout is not None and takes_us > to_us(timeout):
            await self._sleep(to_us(timeout))
            raise TimeoutError
        await self._sleep(takes_us)
        return await mock.answer(args, kwargs)

    async def _sleep(self, duration_us: int) -> None:
        if duration_us:
            passed = self._virtual.after(duration_us)
            self._asleep.add(passed)
            self.core.executor.attempts.note_change()
            try:
                await passed
            finally:
                self._asleep.discard(passed)

    # -- time

    async def wait(self, what: Awaitable[T]) -> T:
        """Wait, and let the clock jump while nothing else can happen."""
        task = asyncio.ensure_future(what)
        try:
            while not task.done():
                await self._let_pass(task)
            return task.result()
        finally:
            task.cancel()

    async def settle(self) -> None:
        """Wait until nothing more happens: no body runs, and no timer is left unless `auto=False`.

        Schedules are never done, so they alone do not move the clock: `clock.advance()` does. What they start on the
        way to a timer starts in its time.
        """
        while self._busy() or (self._auto and self._virtual.has_timers()):
            await self._let_pass(None)

    async def quiesce(self) -> None:
        """Wait until the engine has nothing to do just now. Bodies may run, timers may be pending."""
        quiet = 0
        while quiet < TURNS:
            await asyncio.sleep(0)
            quiet = quiet + 1 if self.core.idle else 0

    def _busy(self) -> bool:
        return not self.core.idle or self._awake()

    def _awake(self) -> bool:
        """Whether a body runs that does not wait for the clock."""
        return self.core.executor.attempts.running > sum(not passed.done() for passed in self._asleep)

    async def _let_pass(self, until: "asyncio.Future[Any] | None") -> None:
        """One turn: let the engine work, wait for a body, or let the clock jump."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
            if not self.core.idle or (until is not None and until.done()):
                return
        if self._awake():
            change = self.core.executor.attempts.change()
            await asyncio.wait({change} if until is None else {change, until}, return_when="FIRST_COMPLETED")
        elif self._auto and self._virtual.has_timers() and (next_us := self._virtual.next_us()) is not None:
            self._virtual.jump(next_us)
        elif until is not None:
            # Only the outside can make it go on: another task of the test, or nobody.
            await asyncio.wait({until}, timeout=0.001)

    async def restart(self) -> None:
        """Die as by `kill -9`, and start again on the same store. Handles stay good."""
        await self.core.abandon()
        core = self._make_core()
        await core.open()
        self._core, self._intake = core, Intake(core)
        self._exits.push_async_callback(core.close)

    async def replay_finished(self) -> None:
        """Replay every run that has ended with the code at hand. Raises `NondeterminismError`."""
        replayer = Replayer(self.workflows)
        for info in await self.list_runs(status=("SUCCEEDED", "FAILED", "CANCELED"), limit=10_000):
            run: Run[Any] = await self.get_run(info.id)
            replayer.replay(await run.history())
