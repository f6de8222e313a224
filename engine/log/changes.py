"""What a fork has otherwise than the run it is made from: outcomes and arguments of steps (CONTRACT section 3)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec
from msgspec import Raw, Struct

from durably.engine.errors import ErrorInfo, InvalidInput
from durably.engine.log.grammar import Entry
from durably.engine.log.records import StepFailed, StepSucceeded
from durably.engine.log.steps import KnownStep, Outcome, find_step, known_steps
from durably.engine.retries.failures import describe
from durably.engine.values.codec import Unencodable, encode, encode_result

__all__ = ["Changes", "changes"]


class Changes(Struct, frozen=True):
    """What a fork has otherwise, by step key."""

    outcomes: dict[str, Outcome]
    args: dict[str, Raw]


def changes(entries: Sequence[Entry], patch: Mapping[str, object], args: Mapping[str, Mapping[str, object]]) -> Changes:
    """Find out what `patch` and `args` mean, both by a step's key, or its name if only one step has it.

    An outcome is a result, or an exception that the step fails with, or the record of one. A step that the history does
    not have is called by its key.

    Raises:
        InvalidInput: a step or a parameter is not there, or a value cannot be encoded.
    """
    steps = known_steps(entries)
    outcomes = {step.key: _outcome(step, value) for step, value in _by_step(steps, patch)}
    arguments = {step.key: _arguments(step, given) for step, given in _by_step(steps, args)}
    both = sorted(outcomes.keys() & arguments.keys())
    if both:
        raise InvalidInput(f"step {both[0]} has both an outcome and arguments: with an outcome it does not run")
    return Changes(outcomes, arguments)


def _by_step(steps: Mapping[str, KnownStep], given: Mapping[str, Any]) -> Iterator[tuple[KnownStep, Any]]:
    seen: set[str] = set()
    for wanted, value in given.items():
        is_key = "/" in wanted and not any(step.name == wanted for step in steps.values())
        if is_key and wanted not in steps:
            step = KnownStep(wanted, wanted.rpartition("/")[2].partition("#")[0])
        else:
            step = find_step(steps, wanted)
        if step.key in seen:
            raise InvalidInput(f"step {step.key} is given twice, once by its name and once by its key")
        seen.add(step.key)
        yield step, value


def _outcome(step: KnownStep, value: object) -> Outcome:
    error = describe(value) if isinstance(value, BaseException) else value
    if isinstance(error, ErrorInfo):
        return StepFailed(step=step.key, name=step.name, attempt=0, error=error)
    try:
        return StepSucceeded(step=step.key, name=step.name, attempt=0, output=Raw(encode_result(value)))
    except Unencodable as error:
        raise InvalidInput(f"the outcome of step {step.key}: {error}") from None


def _arguments(step: KnownStep, given: object) -> Raw:
    if not isinstance(given, Mapping):
        raise InvalidInput(f"the arguments of step {step.key} must be an object by parameter name, not {given!r}")
    arguments = cast("Mapping[str, object]", given)
    known = msgspec.json.decode(step.input)
    for name in arguments:
        if known is not None and name not in known:
            raise InvalidInput(f"step {step.key} has no parameter {name!r}; it has {', '.join(known) or 'none'}")
    try:
        return Raw(encode(dict(arguments)))
    except Unencodable as error:
        raise InvalidInput(f"the arguments of step {step.key}: {error}") from None
