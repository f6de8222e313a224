"""The event loop that a run's code lives on (DESIGN rules 5, 6, 7).

A `RunLoop` belongs to one instance of a run. It waits for nothing: its owner prepares one outcome
(`resolve`, `reject`, `fire`, `cancel_root`) and calls `drive`, which runs the code until nothing is ready
and returns the *commands* that the code has given meanwhile: steps it called, timers it set, those of
either it took back. What a command means is the owner's affair. Equal outcomes give equal commands, in
every process.
"""

from collections.abc import AsyncGenerator, Coroutine
from contextvars import Context
from functools import partial
from typing import Any

from durably.engine.loop.asyncio_side import AsyncioSide, is_unfinished
from durably.engine.loop.budget import MAX_CALLBACKS, CpuBudget, Spin
from durably.engine.loop.closing import Evicted, close_generator, close_task, dropped_quietly, is_stubborn
from durably.engine.loop.handles import (
    Canceled,
    Command,
    CommandFuture,
    Handle,
    RunTask,
    Said,
    TimerHandle,
    only_anyio_retries,
    sort_canceled,
    tidy,
)
from durably.engine.loop.running import enter, is_running, leave
from durably.engine.loop.whereabouts import stack, whereabouts

__all__ = ["Canceled", "Command", "CommandFuture", "Evicted", "RunLoop", "RunTask", "Spin", "TimerHandle"]

MAX_REFUSALS = 100


class RunLoop(AsyncioSide):
    """The loop of one instance.

    `salt` tells the hashes of its tasks from those on other loops. It must be the same whenever the run is
    rebuilt, so it comes from the run's id, but not by `hash(str)`. `now_us` is engine time, set by the
    owner before each outcome.
    """

    __slots__ = ("_refusals", "_sweep", "evicted", "owner", "root")

    def __init__(self, salt: int, now_us: int) -> None:
        super().__init__(salt, now_us)
        self.owner: Any = None
        self.root: RunTask | None = None
        self.evicted = False
        self._sweep: list[RunTask] = []
        self._refusals = 0

    def call(self, name: str, command: Any, key: str | None = None) -> CommandFuture:
        """Give a command, for the code that runs: the future of its outcome.

        Its identity is `<path of the asyncio task>/<name>#<how many-th>`; with `key`, `<path>/<key>`, or
        `key` itself if that begins with `/`. Raises `ValueError` if that was in use before, `Evicted` if
        the loop is evicted.
        """
        if self.evicted:
            return self._refuse(name, command)
        identity = self.next_key(name) if key is None else self.identities.chosen(self.path(), key)
        future = self._command_future(identity, command)
        self.pending[identity] = future
        self.commands.append(future)
        return future

    def say(self, key: str, what: Any) -> None:
        """Give a command that has no outcome, for the code that runs."""
        self.commands.append(Said(key, what))

    # -- outcomes

    def start(self, coro: Coroutine[Any, Any, Any], context: Context) -> None:
        """Make `coro` the root asyncio task. Its first step is part of the next `drive`."""
        if self.root is not None or self.evicted:
            coro.close()
            raise RuntimeError("a RunLoop runs one body in its life: make another loop")
        self.root = self._new_task(coro, "0", None, context)

    def resolve(self, key: str, result: Any) -> bool:
        """Give a command its result. False: nobody waits for it any more, and nothing happened."""
        future = self.pending.pop(key, None)
        if future is None:
            return False
        future.set_result(result)
        return True

    def reject(self, key: str, exc: BaseException) -> bool:
        """Give a command its error. False: nobody waits for it any more, and nothing happened."""
        future = self.pending.pop(key, None)
        if future is None:
            return False
        future.set_exception(exc)
        return True

    def fire(self, key: str) -> bool:
        """Let a timer be due, and the time no earlier. False: it was canceled, and nothing happened."""
        timer = self.timers.pop(key, None)
        if timer is None:
            return False
        self.now_us = max(self.now_us, timer.due_us)
        self._reached_s = max(self._reached_s, timer.when())
        self._ready.append(timer)
        return True

    def cancel_root(self, msg: str | None = None) -> bool:
        """Cancel the root asyncio task. False: there is none, or it is done."""
        return self.root is not None and self.root.cancel(msg)

    # -- activation

    def drive(self, cpu: CpuBudget | None = None, *, max_callbacks: int = MAX_CALLBACKS) -> list[Command]:
        """Run the code until nothing is ready; return the commands it has given, and forget them.

        When the root is done the other asyncio tasks are canceled in the order of their creation and driven
        to their end, then async generators that were left half-way are closed, as `asyncio.run` does
        (DESIGN rule 15).

        What the code raises stays in its asyncio task, `SystemExit` and `KeyboardInterrupt` too. Raises
        `Spin` after `max_callbacks` callbacks or when `cpu` is used up; all that can be done then is `evict`.
        """
        if cpu is not None:
            cpu.begin()
        outside = enter(self, self._generator_started, _forget)
        try:
            ran = self._run_ready(0, max_callbacks, cpu)
            while self.root is not None and self.root.done() and self._wind_down(self.root):
                ran = self._run_ready(ran, max_callbacks, cpu)
        finally:
            leave(outside)
        commands, self.commands = self.commands, []
        self.turn += 1
        if self._untidy:
            self._untidy = False
            commands = tidy(commands)
        return commands

    def _run_ready(self, ran: int, most: int, cpu: CpuBudget | None) -> int:
        """Run callbacks until none is ready. Takes and returns how many this activation has run."""
        while batch := self._ready:
            ran += len(batch)
            if ran > most:
                raise Spin(_spin(batch, most))
            if cpu is not None and ran >= cpu.next_look:
                cpu.look(ran, partial(_last, batch))
            self._ready = []
            for place in range(len(batch)):  # and no name for each: an error's traceback holds this frame
                before = len(self._ready)
                batch[place].run()
                if len(self._ready) > before + 1:
                    self._ready[before:] = sort_canceled(self._ready[before:])
            if self._ready and only_anyio_retries(batch) and only_anyio_retries(self._ready):
                break  # they cancel tasks that do not wake up: no use in going on until something happens
        return ran

    def _wind_down(self, root: RunTask) -> bool:
        """The root is done, and nothing is ready: do what comes next. False: nothing, now."""
        if self._sweep and not all(task.done() for task in self._sweep):
            return False  # cleaning up, which may take steps
        # What those have created in their last moments is swept next.
        self._sweep = [task for task in self._tasks if not task.done()]
        for task in self._sweep:
            task.cancel()
        if not self._sweep and self._generators:
            closing = self._close_generators(self._generators)
            self._generators = []
            self._sweep = [self.create_task(closing, context=root.context)]
        return bool(self._sweep)

    async def _close_generators(self, generators: list[AsyncGenerator[Any, Any]]) -> None:
        for generator in filter(is_unfinished, generators):
            try:
                await generator.aclose()
            except BaseException as error:  # noqa: BLE001 - as in asyncio.run, the others are closed
                self.call_exception_handler({"message": f"in closing {generator}", "exception": error})

    # -- what became of it

    @property
    def ended(self) -> bool:
        """Whether the root and all other asyncio tasks are done: `outcome` is final."""
        return self.root is not None and self.root.done() and all(task.done() for task in self._tasks)

    def outcome(self) -> Any:
        """What the root returned. Raises what it raised, which may be any `BaseException`."""
        if self.root is None:
            raise RuntimeError("nothing was started on this loop, or it has been evicted")
        return self.root.result()

    def alive(self) -> list[RunTask]:
        """The asyncio tasks that are not done, in the order of creation."""
        return [task for task in self._tasks if not task.done()]

    def where(self) -> list[str]:
        """`path: function (file:line)` for each of them."""
        return [_where(task) for task in self.alive()]

    # -- eviction

    def evict(self) -> None:
        """Throw the instance away, in any state, and let its code do nothing more (DESIGN rule 6).

        All coroutines are closed: their `finally` blocks run, but no `except Exception`, nor `except
        CancelledError`. A step called there raises `Evicted`. A timer set there never fires, an asyncio
        task created there never starts, and a wait ends as the one before did. Nothing is left for the
        garbage collector.
        """
        if is_running(self):
            raise RuntimeError("a loop cannot be evicted by the code that runs on it")
        self.evicted = True
        if self.ended and not (self.pending or self.timers or self._ready):
            self._clear()  # nothing is left to be closed
            return
        outside = enter(self, self._generator_started, _forget)
        try:
            tasks = self._close_all()
            self._clear()
            if any(map(is_stubborn, tasks)):
                with dropped_quietly():
                    tasks.clear()
                self._close_all()
                self._clear()
        finally:
            leave(outside)

    def is_closed(self) -> bool:
        return self.evicted

    def _refuse(self, name: str, command: Any) -> CommandFuture:
        self._refusals += 1
        if self._refusals <= MAX_REFUSALS:
            raise Evicted(f"{name} was called by a run's code that is being thrown away")
        # Code that swallows even this, in a loop. A wait that never ends gets us out of there.
        return self._command_future(f"!/{name}", command)

    def _command_future(self, key: str, command: Any) -> CommandFuture:
        future = CommandFuture(loop=self)
        future.key = key
        future.command = command
        future.order = self.next_order()
        future.turn = self.turn
        return future

    def _close_all(self) -> list[RunTask]:
        """Close all coroutines, those of the youngest asyncio tasks first. Returns the tasks."""
        context = Context() if self.root is None else self.root.context
        tasks: list[RunTask] = []
        while self._tasks or self._generators:
            if not self._tasks:
                context.run(close_generator, self._generators.pop())
            elif not (task := self._tasks.pop()).done():
                close_task(task)
                tasks.append(task)
        return tasks

    def _clear(self) -> None:
        """Let go of everything, and let asyncio and anyio do so, who hold what they think is alive."""
        for future in list(self.pending.values()):
            future.cancel()
        for timer in list(self.timers.values()):
            timer.cancel()
        while batch := [handle for handle in self._ready if handle.is_bookkeeping]:
            self._ready = []
            for handle in batch:
                handle.run()
        self._ready = []
        self._tasks = []
        self._sweep = []
        self.commands = []
        self.root = self.owner = None


def _forget(_: AsyncGenerator[Any, Any]) -> None:
    """The finalizer of our async generators: without one, Python runs their code when it collects them."""


def _where(task: RunTask) -> str:
    return f"{task.path}: {whereabouts(task.get_coro())}"


def _last(batch: list[Handle]) -> str:
    """The asyncio task that is about to be stepped, and where it is."""
    task = next((handle.task for handle in reversed(batch) if handle.task is not None), None)
    if task is None:
        return f"{batch[-1].name}, a callback"
    return f"asyncio task {task.path}: {stack(task.get_coro())}"


def _spin(batch: list[Handle], most: int) -> str:
    return (
        f"the workflow ran {most:,} callbacks without waiting for a step, a timer or an event, the last in "
        f"{_last(batch)}. Where it loops around asyncio.sleep(0), let it wait for an asyncio.Event or a longer sleep"
    )
