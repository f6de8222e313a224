"""A history fed to code up to a record, and held there: what `durably replay --until` and `--pdb` look at."""

from collections.abc import Generator
from types import TracebackType
from typing import Self

from durably.engine.body.instance import Instance, Runnable
from durably.engine.body.parked import ParkedTask, asked_at, parked
from durably.engine.body.replay import Misfit, begin, drive, replay
from durably.engine.body.replayer import beginning_of
from durably.engine.errors import NondeterminismError
from durably.engine.log.grammar import Group, Incarnation, Log
from durably.engine.log.records import type_name

__all__ = ["Playback"]


class Playback:
    """The workflow's code as it was when the record `until` had been fed; None: the last one.

    An input and the commands behind it are one activation, so that code never stands between them: `until` in the
    middle of a group means its end. Where code and history do not fit before, it stands there, and `misfit` says why.
    Use it as a context manager: the code is alive until its end.
    """

    def __init__(self, runnable: Runnable, run_id: str, log: Log, until: int | None = None) -> None:
        """Raises `LookupError` when the body had not begun by then."""
        begun = [each for each in log.incarnations if until is None or each.groups[0].seq <= until]
        if not begun:
            raise LookupError(f"the body of run {run_id} had not begun by record {until}")
        whole = begun[-1]
        self._groups = [group for group in whole.groups if until is None or group.seq <= until]
        incarnation = Incarnation(self._groups, whole.carry)
        beginning = beginning_of(run_id, log)
        self.instance = begin(runnable, beginning, incarnation)
        self.misfit: NondeterminismError | None = None
        self.group: Group = self._groups[0]
        """The last group that was fed."""
        found = self._feed()
        if found is not None:  # told by another replay, because finding the words drives the code on
            self.misfit = _error(replay(runnable, beginning, whole))

    def _feed(self) -> Misfit | None:
        for place, found in enumerate(drive(self.instance, self._groups)):
            self.group = self._groups[place]
            if found is not None:
                return found
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.instance.evict()

    @property
    def at(self) -> str:
        """The record that was fed last: `record 4, step.succeeded`."""
        return f"record {self.group.seq}, {type_name(self.group.input)}"

    def tasks(self) -> list[ParkedTask]:
        """Where its asyncio tasks are. None is left when the body has ended."""
        return parked(self.instance, asked_at(self._groups))


def _error(steps: Generator[None, None, Instance]) -> NondeterminismError:
    try:
        for _ in steps:
            pass
    except NondeterminismError as error:
        return error
    return NondeterminismError(
        "the code does something else each time it replays this history: it is not deterministic. Time, randomness, a "
        "set's order, globals and the environment belong in steps; `durably check TARGET` finds many of them."
    )
