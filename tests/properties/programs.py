"""Programs: a tree of parts and what comes from outside, and the workflows that carry them out."""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from durably import RetryPolicy, workflow
from tests.properties.machine import Machine
from tests.properties.nodes import Part

__all__ = ["WORKFLOWS", "Message", "Program", "perform"]

RETRY = RetryPolicy(1, backoff="fixed", delay=30, jitter=0)


class Message(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """What comes from outside, so many seconds after the run's start."""

    at: float
    what: Literal["cancel", "event", "signal"] = "cancel"
    name: Literal["a", "b"] = "a"


class Program(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """What a run does, and what is done to it."""

    body: Part
    messages: tuple[Message, ...] = ()

    @property
    def is_certain(self) -> bool:
        """Whether nothing in it races: whatever happens to the process, the outcome is the same."""
        return not (self.messages or self.body.races)

    def to_json(self) -> str:
        """Its text: `Program.from_json` of that in a test of its own runs it again."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "Program":
        """The program of that text."""
        return msgspec.json.decode(text, type=cls)


@workflow(retry=RETRY)
async def perform(program: Program) -> dict[str, Any]:
    """Run a program; its value, and the trace of what it did."""
    machine = Machine(perform_part)
    try:
        value = await program.body.run(machine)
    finally:
        machine.note("root ends")
    return {"value": value, "trace": machine.trace}


@workflow(retry=RETRY)
async def perform_part(part: Part) -> Any:
    """Run a part of a program as a child."""
    return await part.run(Machine(perform_part))


WORKFLOWS = (perform, perform_part)
