"""The smallest parts of generated programs, and what all parts have in common."""

import asyncio
from itertools import chain
from typing import Any, Literal, cast

import anyio
from msgspec import Struct

from durably import Event, StepError, current, send_event, sleep, wait_for_event, wait_for_signal
from tests.properties.machine import DRAWS, STEPS, Machine

__all__ = ["Await", "AwaitMessage", "Do", "Draw", "Node", "Send", "Set", "Sleep", "Stumble"]


class Node(Struct, frozen=True, tag=True, tag_field="do", omit_defaults=True, repr_omit_defaults=True):
    """A part of a program. Its children give the default answers to the questions below."""

    async def run(self, machine: Machine) -> Any:
        """Do it, and give a value of JSON."""
        raise NotImplementedError

    @property
    def children(self) -> "tuple[Node, ...]":
        """The parts it is made of."""
        fields = [getattr(self, name) for name in self.__struct_fields__]
        parts = chain.from_iterable(
            cast("tuple[Any, ...]", each) if isinstance(each, tuple) else (each,) for each in fields
        )
        return tuple(part for part in parts if isinstance(part, Node))

    @property
    def races(self) -> bool:
        """Whether its value may depend on what is how fast, and so may be another one after a crash."""
        return any(child.races for child in self.children)

    @property
    def raises(self) -> bool:
        """Whether it may raise."""
        return any(child.raises for child in self.children)

    @property
    def stumbles(self) -> bool:
        """Whether it looks at which attempt of the body this is. Any step that ends sets that back."""
        return any(child.stumbles for child in self.children)


class Do(Node, frozen=True):
    """Call a step that takes so many seconds and fails so many times."""

    name: str = ""
    takes: float = 0
    fails: int = 0
    step: Literal["work", "hurried", "fragile"] = "work"
    draw: Literal["", "now", "random", "uuid4"] = ""

    async def run(self, machine: Machine) -> Any:
        try:
            value = await STEPS[self.step](self.name, self.fails, self.takes, DRAWS[self.draw]())
        except (StepError, asyncio.CancelledError) as error:
            machine.note(f"{self.name} {type(error).__name__}")
            raise
        machine.note(self.name)
        return value

    @property
    def races(self) -> bool:
        return False

    @property
    def raises(self) -> bool:
        return self.fails > {"work": 2, "hurried": 1, "fragile": 0}[self.step] or (
            self.step == "hurried" and self.takes > 6
        )


class Sleep(Node, frozen=True):
    """Wait."""

    seconds: float = 0
    by: Literal["asyncio", "durably", "anyio"] = "asyncio"

    async def run(self, machine: Machine) -> Any:
        sleeps = {"asyncio": asyncio.sleep, "durably": sleep, "anyio": anyio.sleep}
        await sleeps[self.by](self.seconds)
        machine.note(f"slept {self.seconds}")


class Draw(Node, frozen=True):
    """Take the time or something random, without waiting."""

    what: Literal["now", "random", "uuid4"] = "now"

    async def run(self, machine: Machine) -> Any:  # noqa: ARG002
        return DRAWS[self.what]()

    @property
    def races(self) -> bool:
        return True


class Stumble(Node, frozen=True):
    """Raise until the body's attempt of that number: the body is run again from its log."""

    until: int = 1

    async def run(self, machine: Machine) -> Any:
        if current().attempt < self.until:
            machine.note("stumbled")
            raise ValueError(f"body attempt {current().attempt}")

    @property
    def raises(self) -> bool:
        return True

    @property
    def stumbles(self) -> bool:
        return True


class Set(Node, frozen=True):
    """Set an event, for good."""

    event: Literal["a", "b"] = "a"

    async def run(self, machine: Machine) -> Any:
        machine.event(self.event).set()


class Await(Node, frozen=True):
    """Wait for an event, which nobody may ever set."""

    event: Literal["a", "b"] = "a"
    at_most: float = 20

    async def run(self, machine: Machine) -> Any:
        try:
            return await asyncio.wait_for(machine.event(self.event).wait(), self.at_most)
        except TimeoutError:
            return f"no {self.event}"

    @property
    def races(self) -> bool:
        return True


class AwaitMessage(Node, frozen=True):
    """Wait for an event or a signal from outside, or for an event that the program itself sends.

    It may be there already, and what comes in no time races with what begins beside it. So it begins on its own.
    """

    kind: Literal["event", "signal"] = "event"
    name: Literal["a", "b"] = "a"
    at_most: float = 0
    where: Literal["", "event.data.n % 2 == 0"] = ""
    after: float = 0

    async def run(self, machine: Machine) -> Any:
        await asyncio.sleep(self.after)
        timeout = self.at_most or None
        if self.kind == "event":
            message: Any = await wait_for_event(f"app/{self.name}", where=self.where or None, timeout=timeout)
        else:
            message = await wait_for_signal(self.name, timeout=timeout)
        machine.note(f"has {self.kind} {self.name}" if message else f"no {self.kind} {self.name}")
        return message and message.data

    @property
    def races(self) -> bool:
        return True


class Send(Node, frozen=True):
    """Send an event, once."""

    name: Literal["a", "b"] = "a"
    n: int = 0

    async def run(self, machine: Machine) -> Any:  # noqa: ARG002
        return await send_event(Event(f"app/{self.name}", {"n": self.n}))
