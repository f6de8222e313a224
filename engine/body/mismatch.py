"""What is said when code does not fit a history: what differs, where, why, and what to do (DESIGN rule 13).

A section for each kind, with the ways out, is in docs/nondeterminism.md.
"""

from collections.abc import Sequence
from traceback import walk_tb
from typing import NamedTuple

import msgspec

from durably.engine.body.commands import describe, input_of, shown
from durably.engine.body.instance import Instance
from durably.engine.body.matching import Kind, Mismatch
from durably.engine.errors import DurablyError, NondeterminismError, qualified_name
from durably.engine.log.grammar import Group
from durably.engine.log.records import (
    AttemptStarted,
    ChildStarted,
    Command,
    RunStarted,
    StepScheduled,
    from_us,
    type_name,
)
from durably.engine.log.versions import ANYIO, ENGINE, PYTHON
from durably.engine.values.differences import differences

__all__ = ["BLOCKED", "damaged", "misfit", "unknown_policy"]

BLOCKED = (
    "  The run is blocked, not failed: nothing is lost, no retry is used, and no attempt starts. It goes on when "
    "fitting code is deployed. `durably replay RUN TARGET` tells beforehand whether it fits."
)
"""What happens to a run in an engine: added to the report there, and not where a history is only looked at."""

MOST_TASKS = 5
MOST_DIFFERENCES = 5

_EXPLANATION: dict[Kind, str] = {
    "missing": "the code no longer does something that the history holds",
    "extra": "the code does something that the history does not hold",
    "reordered": "the code does the same things in another order",
    "renamed": "the code calls something of another name in its place, with the same arguments",
    "moved": "the code does the same in another asyncio task, and so under another key",
    "changed arguments": "the code does the same with other arguments",
    "changed delay": "the code sets the same timer with another delay",
    "changed wait": "the code waits for something else in the same place",
    "new patch": "the code takes it for granted that this run goes the way of a patch, and it is from before it",
    "ended early": "the code has come to its end while the history goes on",
    "ended late": "the history has come to its end while the code goes on",
    "ended otherwise": "the code ends in another way than the history",
    "damaged value": "the code cannot read a value that the history holds",
}


def unknown_policy(policy_id: str) -> DurablyError:
    """What to say of a run that names a stored retry policy which was never stored."""
    return DurablyError(
        f"the run needs the stored policy {policy_id!r}, and there never was one of that id. Blocked, not failed: "
        "nothing is lost, and it goes on as soon as there is one. Create it with POST /api/v1/retry-policies, or name "
        "another one in retry= and restart"
    )


def misfit(instance: Instance, group: Group, mismatch: Mismatch, places: Sequence[str]) -> NondeterminismError:
    """What to say of a mismatch. `places` are where the asyncio tasks of the run are."""
    lines = [
        f"  expected (history): {_expected(mismatch)}",
        f"  got (code):         {_got(mismatch)}",
        *_changes(mismatch),
        *(f"  at {place}" for place in places[:MOST_TASKS]),
    ]
    if len(places) > MOST_TASKS:
        lines.append(f"  and in {len(places) - MOST_TASKS:,} more asyncio tasks")
    return _report(instance, group, mismatch, lines)


def damaged(instance: Instance, group: Group, problem: str) -> NondeterminismError:
    """What to say of a stored value that the code cannot decode any more (DESIGN rule 14)."""
    return _report(instance, group, Mismatch("damaged value", None, None), [f"  {problem}"])


def _report(instance: Instance, group: Group, mismatch: Mismatch, findings: Sequence[str]) -> NondeterminismError:
    beginning, runnable, kind = instance.beginning, instance.runnable, mismatch.kind
    where = "at" if kind == "damaged value" else "after"  # what the code does comes after what it was fed
    at = from_us(group.at_us).isoformat(timespec="seconds")
    run = f"run {beginning.run_id} of workflow {runnable.name!r} (version {runnable.version})"
    lines = [
        f"{run} does not fit its history {where} record {group.seq}, {type_name(group.input)}, of {at}",
        f"  {kind}: {_EXPLANATION[kind]}",
        *findings,
        *(f"  {line}" for line in _causes(beginning.started, runnable.code)),
        f"  {_way_out(mismatch, instance)}",
        f"  More in the documentation: nondeterminism, {kind!r}",
    ]
    return NondeterminismError("\n".join(lines), kind)


# -- expected, and got


def _expected(mismatch: Mismatch) -> str:
    if mismatch.expected is not None:
        return describe(mismatch.expected, with_input=not _is_changed(mismatch))
    return "something else" if mismatch.kind == "ended early" else "nothing more"


def _got(mismatch: Mismatch) -> str:
    if mismatch.got is not None:
        return describe(mismatch.got, with_input=not _is_changed(mismatch))
    outcome = mismatch.outcome
    if outcome is None:
        return "the body waits for something else"
    if isinstance(outcome, bytes):
        return f"the body returned {shown(outcome)}"
    return f"the body raised {qualified_name(type(outcome))}: {str(outcome)[:200]}{_place(outcome)}"


def _place(error: BaseException) -> str:
    """The innermost frame that an error came through and that is neither ours nor asyncio's."""
    for frame, line in reversed(list(walk_tb(error.__traceback__))):
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in {"asyncio", "durably"}:
            return f", in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{line})"
    return ""


def _is_changed(mismatch: Mismatch) -> bool:
    return mismatch.kind == "changed arguments"


def _changes(mismatch: Mismatch) -> list[str]:
    """What of the arguments is another: they may be long, and only that matters."""
    if mismatch.expected is None or mismatch.got is None or not _is_changed(mismatch):
        return []
    before, after = (msgspec.json.decode(input_of(each)) for each in (mismatch.expected, mismatch.got))
    found = [each.text() for each in differences(before, after)]
    if not found:
        return []
    more = [f"and {len(found) - MOST_DIFFERENCES:,} more"] if len(found) > MOST_DIFFERENCES else []
    return [f"  differs:            {'; '.join(found[:MOST_DIFFERENCES] + more)}"]


# -- why, and what to do


class _Software(NamedTuple):
    """A part that the run was begun with, and that may be another now."""

    name: str
    then: str
    now: str


def _causes(started: RunStarted, code: str) -> list[str]:
    python = _Software("Python", started.python, PYTHON)
    others = (_Software("anyio", started.anyio, ANYIO), _Software("Durably", started.engine, ENGINE))
    changed = [each for each in (python, *others) if each.then != each.now]
    lines: list[str] = []
    if _minor(python.then) != _minor(python.now):
        lines.append(_other_python(python))
    elif started.code != code:
        lines.append(f"The workflow's code has changed since the run started (fingerprint {started.code}, now {code}).")
    else:
        lines.append(
            f"The workflow's own code is unchanged (fingerprint {code}): a function it calls has changed, or it is not "
            "deterministic."
        )
    if changed:
        lines.append("Since then: " + ", ".join(f"{each.name} {each.then}, now {each.now}" for each in changed) + ".")
    return lines


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])


def _other_python(python: _Software) -> str:
    then, now = (".".join(_minor(each)) for each in (python.then, python.now))
    if "3.11" in {then, now}:
        why = (
            "Up to 3.11 asyncio.wait_for() puts what it waits for into an asyncio task of its own, so that steps in it "
            "have other keys"
        )
    else:
        why = "asyncio may do something in another order there"
    return (
        f"The run began on Python {then}, and this is {now}. {why}; every version gives other fingerprints, so they do "
        f"not tell whether the code has changed. Let the run end on {then}."
    )


def _way_out(mismatch: Mismatch, instance: Instance) -> str:
    runnable, expected = instance.runnable, mismatch.expected
    keep = f"or keep the old workflow beside the new one as version={runnable.version + 1}."
    match mismatch.kind:
        case "renamed" if (old := _declared(expected)) is not None:
            return (
                f'Give the new function the old name, `{old}`, or bring the change under `if patched("…"):` with the '
                f"old way in its `else`, {keep}"
            )
        case "damaged value":
            return f"Let the annotation take the old value as well, put the fitting code back, {keep}"
        case "new patch":
            return (
                "Put `if patched(…):` with the old way back in the place of `deprecate_patch(…)` until no such run is "
                f"open, {keep}"
            )
        case _ if instance.beginning.started.code == runnable.code:
            return (
                "Run `durably check TARGET`, and put time, randomness, a set's order, globals and the environment into "
                'steps; bring a function that has changed under `if patched("…"):` with the old way in its `else`.'
            )
        case _:
            return (
                'Put the fitting code back, or bring the change under `if patched("…"):` with the old way in its '
                f"`else`, {keep}"
            )


def _declared(command: Command | None) -> str | None:
    """What declares a step or a workflow under the name that a history holds: `@step("reserve")`."""
    match command:
        case AttemptStarted() | StepScheduled():
            return f'@step("{command.name}")'
        case ChildStarted():
            return f'@workflow("{command.workflow}")'
        case _:
            return None
