"""The steps of a history: which there are, where each was called, and how it ended."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from msgspec import Raw, Struct

from durably.engine.errors import InvalidInput
from durably.engine.log.grammar import Entry, parse
from durably.engine.log.records import (
    NOTHING,
    AttemptStarted,
    OutcomeGiven,
    Published,
    StepCanceled,
    StepFailed,
    StepScheduled,
    StepSucceeded,
)

__all__ = ["KnownStep", "Outcome", "find_step", "known_steps", "sender_of"]

Outcome: TypeAlias = StepSucceeded | StepFailed


class KnownStep(Struct):
    """What a history says of a step."""

    key: str
    name: str
    called: int | None = None
    """The input whose group called it, the last one if there are several; None if its outcome was given."""
    ended: int | None = None
    """Where it ended, or None if it had no end since: the record, or the input whose group canceled it."""
    end: Outcome | StepCanceled | None = None
    input: Raw = NOTHING


def known_steps(entries: Sequence[Entry]) -> dict[str, KnownStep]:
    """All steps of a history, by key."""
    steps = {
        entry.record.record.step: KnownStep(
            entry.record.record.step, entry.record.record.name, None, entry.seq, entry.record.record
        )
        for entry in entries
        if isinstance(entry.record, OutcomeGiven) and isinstance(entry.record.record, Outcome)
    }
    for incarnation in parse(entries).incarnations:
        for group in incarnation.groups:
            if isinstance(group.input, Outcome):
                step = steps[group.input.step]
                step.ended, step.end = group.seq, group.input
            for command in group.commands:
                if isinstance(command, AttemptStarted | StepScheduled):
                    steps[command.step] = KnownStep(command.step, command.name, group.seq, input=command.input)
                elif isinstance(command, StepCanceled):
                    step = steps[command.step]
                    step.ended, step.end = group.seq, command
    return steps


def sender_of(message: Published) -> str:
    """The step that has published a message, by key, or the path of the body's asyncio task that has."""
    return message.message.rpartition("/message#")[0]


def find_step(steps: Mapping[str, KnownStep], wanted: str) -> KnownStep:
    """The step of that key, or the only one of that name. `InvalidInput` if there is none, or more than one."""
    if wanted in steps:
        return steps[wanted]
    named = [step for step in steps.values() if step.name == wanted]
    if len(named) == 1:
        return named[0]
    if named:
        raise InvalidInput(
            f"{len(named)} steps of the run are called {wanted!r}: say which, by its key: {_some(s.key for s in named)}"
        )
    raise InvalidInput(f"the run's history has no step {wanted!r}; it has {_some(steps) or 'none'}")


def _some(keys: Iterable[str], most: int = 10) -> str:
    listed = list(keys)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
