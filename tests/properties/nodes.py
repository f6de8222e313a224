"""Generated programs as data: what each part is, what it does when it is run, and whether its outcome is certain.

A program is a tree of plain values, so that one that fails prints readable and can be run again from its JSON. All
that its code does is a function of the outcomes it sees; that is what makes it a workflow.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Literal, TypeAlias

import anyio

from durably import ChildError, StepError, as_completed, patched, start_child
from tests.properties.leaves import Await, AwaitMessage, Do, Draw, Node, Send, Set, Sleep, Stumble
from tests.properties.machine import BRANCH, Machine

__all__ = ["Part"]


class Patched(Node, frozen=True):
    """Take the new way of a changed workflow."""

    part: "Part"

    async def run(self, machine: Machine) -> Any:
        return await self.part.run(machine) if patched("new way") else "old way"


class Child(Node, frozen=True):
    """Let a child run do it. It may take no time; see above."""

    part: "Part"
    by: Literal["call", "start"] = "call"
    after: float = 0

    async def run(self, machine: Machine) -> Any:
        await asyncio.sleep(self.after)
        try:
            if self.by == "call":
                return await machine.child(self.part)
            child = await start_child(machine.child, self.part)
            machine.note("child started")
            return await child.result()
        except ChildError as error:
            machine.note(f"child {error.status}")
            return error.status

    @property
    def raises(self) -> bool:
        return False

    @property
    def stumbles(self) -> bool:
        return False  # its body's attempts are its own


# -- one after another


class Sequence(Node, frozen=True):
    """One part after another."""

    parts: "tuple[Part, ...]" = ()

    async def run(self, machine: Machine) -> Any:
        return [await part.run(machine) for part in self.parts]


class Finally(Node, frozen=True):
    """`try … finally`, with steps in the finally."""

    part: "Part"
    cleanup: "Part"

    async def run(self, machine: Machine) -> Any:
        try:
            return await self.part.run(machine)
        finally:
            machine.note("cleaning up")
            await self.cleanup.run(machine)


class Rescue(Node, frozen=True):
    """`except StepError`, or any error."""

    part: "Part"
    otherwise: "Part"
    errors: Literal["StepError", "Exception"] = "StepError"

    async def run(self, machine: Machine) -> Any:
        try:
            return await self.part.run(machine)
        except {"StepError": StepError, "Exception": Exception}[self.errors] as error:
            machine.note(f"rescued from {type(error).__name__}")
            return [type(error).__name__, await self.otherwise.run(machine)]

    @property
    def raises(self) -> bool:
        return self.otherwise.raises or (self.part.raises and self.errors == "StepError")


class Compensate(Node, frozen=True):
    """`except CancelledError`, with steps to undo what was done; it may swallow the cancel."""

    part: "Part"
    undo: "Part"
    swallow: bool = False

    async def run(self, machine: Machine) -> Any:
        try:
            return await self.part.run(machine)
        except asyncio.CancelledError:
            undone = await self.undo.run(machine)
            machine.note("undone")
            if self.swallow:
                return ["undone", undone]
            raise


class Guarded(Node, frozen=True):
    """Hold a lock meanwhile."""

    part: "Part"
    by: Literal["lock", "semaphore", "condition", "anyio.Lock", "anyio.Semaphore"] = "semaphore"

    async def run(self, machine: Machine) -> Any:
        async with machine.lock(self.by):
            machine.note(f"holds {self.by}")
            return await self.part.run(machine)

    @property
    def races(self) -> bool:
        return True  # in itself and nested it waits for ever, or until something else gives way


class Generated(Node, frozen=True):
    """Take some of what an async generator gives; what is left is closed at once, or when the run ends."""

    parts: "tuple[Part, ...]" = ()
    take: int = 1
    closing: bool = True

    async def run(self, machine: Machine) -> Any:
        async def generate() -> AsyncGenerator[Any]:
            try:
                for part in self.parts:
                    yield await part.run(machine)
            finally:
                machine.note("generator ended")

        taken: list[Any] = []
        generator = generate()
        if self.closing:
            async with aclosing(generator):
                async for value in generator:
                    taken.append(value)
                    if len(taken) == self.take:
                        break
            return taken
        async for value in generator:
            taken.append(value)
            if len(taken) == self.take:
                break
        return taken


# -- at once


async def _branch(machine: Machine, number: int, part: Node) -> Any:
    BRANCH.set(f"{BRANCH.get()}/{number}")
    return await part.run(machine)


class Concurrent(Node, frozen=True):
    """Parts at once. Where one raises, it depends on time what the others have done."""

    parts: "tuple[Part, ...]" = ()

    def branches(self, machine: Machine) -> list[Any]:
        """The parts as coroutines."""
        return [_branch(machine, number, part) for number, part in enumerate(self.parts)]

    @property
    def races(self) -> bool:
        return any(part.races or part.raises or part.stumbles for part in self.parts)


class Gather(Concurrent, frozen=True):
    """`asyncio.gather`, with or without `return_exceptions`."""

    collect: bool = False

    async def run(self, machine: Machine) -> Any:
        if not self.collect:
            return await asyncio.gather(*self.branches(machine))
        results = await asyncio.gather(*self.branches(machine), return_exceptions=True)
        return [type(each).__name__ if isinstance(each, BaseException) else each for each in results]

    @property
    def races(self) -> bool:
        return any(part.races or part.stumbles or (part.raises and not self.collect) for part in self.parts)


class Group(Concurrent, frozen=True):
    """`asyncio.TaskGroup`."""

    async def run(self, machine: Machine) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(branch) for branch in self.branches(machine)]
        return [task.result() for task in tasks]


class Crew(Concurrent, frozen=True):
    """A task group of anyio's."""

    async def run(self, machine: Machine) -> Any:
        results: dict[str, Any] = {}

        async def keep(number: int, part: Node) -> None:
            results[str(number)] = await _branch(machine, number, part)

        async with anyio.create_task_group() as group:
            for number, part in enumerate(self.parts):
                group.start_soon(keep, number, part)
        return dict(sorted(results.items()))


class Pipe(Node, frozen=True):
    """One puts what the parts give into a queue, others take it out and handle it."""

    parts: "tuple[Part, ...]"
    handler: "Part"
    workers: int = 1
    size: int = 0

    async def run(self, machine: Machine) -> Any:
        queue: asyncio.Queue[Any] = asyncio.Queue(self.size)
        handled: list[Any] = []

        async def produce() -> None:
            for part in self.parts:
                await queue.put([await part.run(machine)])
            for _ in range(self.workers):
                await queue.put(None)

        async def consume() -> None:
            while (item := await queue.get()) is not None:
                handled.append([*item, await self.handler.run(machine)])

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            for _ in range(self.workers):
                group.create_task(consume())
        return handled

    @property
    def races(self) -> bool:
        return self.workers > 1 or any(child.races or child.raises or child.stumbles for child in self.children)


# -- against each other, and against time


class Racing(Node, frozen=True):
    """Parts whose value depends on what is faster."""

    @property
    def races(self) -> bool:
        return True


class Race(Racing, frozen=True):
    """The first that ends; the others are canceled, and waited for or not."""

    parts: "tuple[Part, ...]" = ()
    by: Literal["wait", "wait_gathered", "as_completed"] = "wait"
    reap: bool = True

    async def run(self, machine: Machine) -> Any:
        tasks = [asyncio.create_task(_branch(machine, number, part)) for number, part in enumerate(self.parts)]
        try:
            return await self._first(machine, tasks)
        finally:
            for task in tasks:
                task.cancel()
            if self.reap:
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _first(self, machine: Machine, tasks: list[asyncio.Task[Any]]) -> Any:
        if self.by == "as_completed":
            return await next(iter(asyncio.as_completed(tasks)))
        gathers = self.by == "wait_gathered"
        waited: list[asyncio.Future[Any]] = [asyncio.gather(task) if gathers else task for task in tasks]
        done, pending = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        for loser in pending:  # in the order of the set, which has to be the same everywhere
            machine.note(f"loser {waited.index(loser)}")
            loser.cancel()
        return [await each for each in done]


class AsTheyCome(Racing, frozen=True):
    """The first results of coroutines, in the order in which they come; the others go on and are not looked at."""

    parts: "tuple[Part, ...]" = ()
    take: int = 1

    async def run(self, machine: Machine) -> Any:
        values: list[Any] = []
        async for value in as_completed(_branch(machine, number, part) for number, part in enumerate(self.parts)):
            values.append(value)
            if len(values) == self.take:
                break
        return values


class Limit(Racing, frozen=True):
    """A time limit."""

    part: "Part"
    seconds: float = 0
    by: Literal["timeout", "wait_for", "fail_after", "move_on_after"] = "timeout"

    async def run(self, machine: Machine) -> Any:
        try:
            match self.by:
                case "timeout":
                    async with asyncio.timeout(self.seconds):
                        return await self.part.run(machine)
                case "wait_for":
                    return await asyncio.wait_for(self.part.run(machine), self.seconds)
                case "fail_after":
                    with anyio.fail_after(self.seconds):
                        return await self.part.run(machine)
                case "move_on_after":
                    with anyio.move_on_after(self.seconds):
                        return await self.part.run(machine)
        except TimeoutError:
            machine.note("too late")
        return "too late"


class Shielded(Racing, frozen=True):
    """Lose patience with what goes on behind a shield, and wait for it after all."""

    part: "Part"
    seconds: float = 0

    async def run(self, machine: Machine) -> Any:
        task = asyncio.create_task(self.part.run(machine))
        try:
            async with asyncio.timeout(self.seconds):
                return await asyncio.shield(task)
        except TimeoutError:
            machine.note("impatient")
            return await task


class Stopped(Racing, frozen=True):
    """Start something, cancel it after a while, see what became of it."""

    part: "Part"
    seconds: float = 0

    async def run(self, machine: Machine) -> Any:
        task = asyncio.create_task(self.part.run(machine))
        await asyncio.sleep(self.seconds)
        task.cancel("stopped")
        with suppress(asyncio.CancelledError):
            return await task
        return "stopped"


class Background(Racing, frozen=True):
    """Start something and never look at it again."""

    part: "Part"

    async def run(self, machine: Machine) -> Any:
        machine.background.append(asyncio.create_task(self.part.run(machine)))


Part: TypeAlias = (
    Do
    | Sleep
    | Draw
    | Stumble
    | Set
    | Await
    | AwaitMessage
    | Send
    | Patched
    | Child
    | Sequence
    | Finally
    | Rescue
    | Compensate
    | Guarded
    | Generated
    | Gather
    | Group
    | Crew
    | Pipe
    | Race
    | AsTheyCome
    | Limit
    | Shielded
    | Stopped
    | Background
)
"""Any part, as it is read from JSON."""
