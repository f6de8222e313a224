"""Programs: a tree of parts, and the workflow that runs it."""

from typing import Any

import msgspec
from msgspec import Struct

from durably import RetryPolicy, workflow
from tests.properties.machine import Machine
from tests.properties.nodes import Part

__all__ = ["Program", "perform"]


class Program(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """What a run does, and when it is canceled: seconds after its start."""

    body: Part
    cancels: tuple[float, ...] = ()

    @property
    def is_certain(self) -> bool:
        """Whether nothing in it races: whatever happens to the process, the outcome is the same."""
        return not (self.cancels or self.body.races)

    def to_json(self) -> str:
        """Its text: `Program.from_json` of that in a test of its own runs it again."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "Program":
        """The program of that text."""
        return msgspec.json.decode(text, type=cls)


@workflow(retry=RetryPolicy(1, backoff="fixed", delay=30, jitter=0))
async def perform(program: Program) -> dict[str, Any]:
    """Run a program; its value, and the trace of what it did."""
    machine = Machine()
    try:
        value = await program.body.run(machine)
    finally:
        machine.note("root ends")
    return {"value": value, "trace": machine.trace}
