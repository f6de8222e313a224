"""Replay: rebuild an instance by feeding it its own history, and check that the code still does what it did."""

from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from durably.engine.body.beginning import Beginning
from durably.engine.body.instance import Instance, Runnable, Undecodable
from durably.engine.body.matching import (
    Identity,
    Kind,
    Mismatch,
    identity,
    is_of_the_engine,
    is_same_command,
    is_same_request,
    match,
    outcome_of,
)
from durably.engine.body.mismatch import damaged, misfit
from durably.engine.errors import NondeterminismError
from durably.engine.log.grammar import Group, Incarnation
from durably.engine.log.records import ENDS, Command, Input, PatchMarked

__all__ = ["Misfit", "begin", "drive", "replay", "undecodable"]

LOOK_AHEAD = 100
"""Groups that are fed to code that no longer fits, to find out whether it does later what is missing now."""


class Misfit(NamedTuple):
    """Where code and history part: the group, by its place in the incarnation, and how."""

    place: int
    found: Mismatch | Undecodable


def replay(runnable: Runnable, beginning: Beginning, incarnation: Incarnation) -> Generator[None, None, Instance]:
    """Drive a new instance through an incarnation's groups and return it.

    Yields after every group, so that a long replay can give way to others (DESIGN rule 5). Raises
    `NondeterminismError` when the code does not fit the history; the instance is then gone.
    """
    instance = begin(runnable, beginning, incarnation)
    try:
        for misfit_ in drive(instance, incarnation.groups):
            if misfit_ is not None:
                raise _error(instance, incarnation.groups, misfit_)
            yield
    except BaseException:
        instance.evict()
        raise
    instance.replaying = False
    return instance


def begin(runnable: Runnable, beginning: Beginning, incarnation: Incarnation) -> Instance:
    """An instance that has not been fed anything yet, and knows which patches its history has."""
    instance = Instance(runnable, beginning, incarnation.carry, replaying=True)
    instance.patches = instance.patches.union(_patches(incarnation.groups))
    return instance


def drive(instance: Instance, groups: Sequence[Group]) -> Iterator[Misfit | None]:
    """Feed group after group: None for each that fits. The first that does not is the last."""
    for place, group in enumerate(groups):
        if group.commands and is_of_the_engine(group.commands[-1]):
            yield None  # the engine cut off what the code did then, which may have no end
            return
        try:
            got = instance.feed(group.input, group.at_us, group.seq)
        except Undecodable as error:
            yield Misfit(place, error)
            return
        mismatch = match(group.commands, got, outcome_of(instance), instance.patches)
        if mismatch is not None:
            yield Misfit(place, mismatch)
            return
        yield None


def _patches(groups: Sequence[Group]) -> Iterator[str]:
    for group in groups:
        for command in group.commands:
            if isinstance(command, PatchMarked):
                yield command.patch


def undecodable(instance: Instance, record: Input, at_us: int, seq: int, error: Undecodable) -> NondeterminismError:
    """What to say of a stored value that the code cannot decode any more (DESIGN rule 14)."""
    return damaged(instance, Group(seq, at_us, record, []), str(error))


# -- what kind of difference it is


def _error(instance: Instance, groups: Sequence[Group], misfit_: Misfit) -> NondeterminismError:
    group, found = groups[misfit_.place], misfit_.found
    if isinstance(found, Undecodable):
        return damaged(instance, group, str(found))
    places = instance.loop.where()
    return misfit(instance, group, _diagnosed(found, instance, groups[misfit_.place + 1 :]), places)


def _diagnosed(mismatch: Mismatch, instance: Instance, later: Sequence[Group]) -> Mismatch:
    """Whether what is missing or extra was moved or renamed: what follows tells, in the history and in the code.

    The code is driven on for that, with the outcomes it waits for. It has no effects, and is thrown away afterwards.
    """
    expected, got = mismatch.expected, mismatch.got
    if mismatch.kind not in {"missing", "extra"}:
        return mismatch
    if got is not None and not _is_recorded(identity(got), later):
        return mismatch._replace(kind="extra" if expected is None else _relation(expected, got))
    if expected is None or _is_done_later(expected, instance, later) or _is_pending(got, instance):
        return mismatch._replace(kind="reordered")
    return mismatch._replace(kind="missing")


def _is_pending(command: Command | None, instance: Instance) -> bool:
    """Whether the code still waits for this, so that nobody can tell what it does next."""
    return command is not None and (identity(command)[1] in {*instance.loop.pending, *instance.loop.timers})


def _is_recorded(wanted: Identity, groups: Sequence[Group]) -> bool:
    return any(
        identity(command) == wanted for group in groups for command in group.commands if type(command) not in ENDS
    )


def _relation(expected: Command, got: Command) -> Kind:
    """What a command is to the one that the history holds in its place, and which asks for the same, or does not."""
    (_, before), (_, now) = identity(expected), identity(got)
    (task, _, name), (other_task, _, other_name) = before.rpartition("/"), now.rpartition("/")
    if not is_same_request(expected, got):
        return "extra"
    if name == other_name:
        return "moved"
    return "renamed" if task == other_task else "extra"


def _is_done_later(wanted: Command, instance: Instance, groups: Sequence[Group]) -> bool:
    """Whether the code goes on to do that when it gets the outcomes that the history holds."""
    for group in groups[:LOOK_AHEAD]:
        try:
            commands = instance.feed(group.input, group.at_us, group.seq)
        except Undecodable:
            return False
        if any(is_same_command(wanted, command) for command in commands):
            return True
    return False
