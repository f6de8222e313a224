"""`durably.replay.Replayer`: does this code still do what that history says?"""

from collections.abc import Iterable
from typing import Any

from durably.engine.body.instance import Beginning
from durably.engine.body.replay import replay
from durably.engine.declare.definitions import Step, Workflow
from durably.engine.declare.registry import Registry
from durably.engine.errors import NondeterminismError
from durably.engine.log.grammar import parse
from durably.engine.log.history import History
from durably.engine.log.records import RunStarted
from durably.engine.retries.retry import RetryPolicy

__all__ = ["Replayer"]


class Replayer:
    """Replays histories with the code at hand. No step body runs, and nothing is stored."""

    def __init__(self, workflows: Iterable[Workflow[..., Any] | Step[..., Any]]) -> None:
        self._registry = Registry(workflows, RetryPolicy.DEFAULT)

    def replay(self, history: History) -> None:
        """Drive every incarnation of the body through its records.

        A history of a failed run, or of one that has not ended, is a good one. Raises `NondeterminismError` when the
        code does something else than the history says, and `BadHistory` when the history is none.
        """
        log = parse(history.entries())
        name, version = log.created.workflow, log.created.version
        registered = self._registry.get(name, version)
        if registered is None:
            known = ", ".join(f"{each.name} version {each.version}" for each in self._registry.all()) or "none"
            raise NondeterminismError(
                f"the history is of workflow {name!r} version {version}, which is not among those given: {known}"
            )
        if not log.incarnations:
            return
        first = log.incarnations[0].groups[0]
        assert isinstance(first.input, RunStarted)
        beginning = Beginning(str(history.run.get("id", "")), log.created, first.input, first.at_us)
        for incarnation in log.incarnations:
            steps = replay(registered, beginning, incarnation)
            while True:
                try:
                    next(steps)
                except StopIteration as done:
                    done.value.evict()
                    break
