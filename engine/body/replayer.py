"""`durably.replay.Replayer`: does this code still do what that history says?"""

from collections.abc import Iterable
from typing import Any

from durably.engine.body.beginning import Beginning
from durably.engine.body.matching import Kind
from durably.engine.body.replay import replay
from durably.engine.declare.definitions import Step, Workflow
from durably.engine.declare.registry import Registered, Registry
from durably.engine.errors import NondeterminismError
from durably.engine.log.grammar import Incarnation, Log, parse
from durably.engine.log.history import History
from durably.engine.log.records import RunStarted
from durably.engine.retries.retry import RetryPolicy

__all__ = ["Replayer", "beginning_of", "unknown_workflow"]


class Replayer:
    """Replays histories with the code at hand. No step body runs, and nothing is stored."""

    def __init__(self, workflows: Iterable[Workflow[..., Any] | Step[..., Any]]) -> None:
        self._registry = Registry(workflows, RetryPolicy.DEFAULT)

    def replay(self, history: History) -> None:
        """Drive the incarnations of the body through their records.

        All of them, if this is the code that the run began with; else only the one that an engine would drive: the last
        one, unless its body has failed and begins again in any case. What a fork has taken over of incarnations that
        were past then is not driven: it may have got other outcomes since.

        A history of a failed run, or of one that has not ended, is a good one. Raises `NondeterminismError` when the
        code does something else than the history says, and `BadHistory` when the history is none.
        """
        log = parse(history.entries())
        registered = self.workflow_of(log)
        if not log.incarnations:
            return
        beginning = beginning_of(str(history.run.get("id", "")), log)
        for incarnation in _judged(log, other_code=beginning.started.code != registered.code):
            steps = replay(registered, beginning, incarnation)
            while True:
                try:
                    next(steps)
                except StopIteration as done:
                    done.value.evict()
                    break

    def workflow_of(self, log: Log) -> Registered:
        """The workflow that the log is of. Raises `NondeterminismError` if it is not among those given."""
        name, version = log.created.workflow, log.created.version
        registered = self._registry.get(name, version)
        if registered is None:
            raise unknown_workflow(name, version, self._registry)
        return registered


def _judged(log: Log, *, other_code: bool) -> list[Incarnation]:
    """The incarnations that the code has to fit."""
    if other_code:
        return [each for each in log.incarnations[-1:] if not each.is_retried]
    copied = log.created.copied
    return [each for each in log.incarnations if copied is None or each.groups[-1].seq >= copied.upto]


def unknown_workflow(name: str, version: int, registry: Registry) -> NondeterminismError:
    """What to say of a run whose workflow is not there."""
    kind: Kind = "unknown workflow"
    known = ", ".join(f"{each.name} version {each.version}" for each in registry.all()) or "none"
    message = (
        f"the history is of workflow {name!r} version {version}, which is not among those given: {known}. "
        "Keep it registered until its last run has ended. More in the documentation: nondeterminism, 'unknown workflow'"
    )
    return NondeterminismError(message, kind)


def beginning_of(run_id: str, log: Log) -> Beginning:
    """What every incarnation of a run that has begun begins with."""
    first = log.incarnations[0].groups[0]
    assert isinstance(first.input, RunStarted)
    return Beginning(run_id, log.created, log.created_us, first.input, first.at_us)
