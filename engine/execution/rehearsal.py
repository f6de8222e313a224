"""Would the runs that are open go on with this code? A replay of each, which changes nothing (DESIGN rule 13)."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from durably.engine.body.replay import replay
from durably.engine.body.replayer import unknown_workflow
from durably.engine.declare.definitions import Step, Workflow
from durably.engine.declare.registry import Registered, Registry
from durably.engine.errors import DurablyError, NondeterminismError
from durably.engine.execution.loader import Loaded, read_log
from durably.engine.retries.retry import RetryPolicy
from durably.store import LogRow

__all__ = ["Rehearsal", "Verdict"]


class Verdict(NamedTuple):
    """Whether a run would go on. `kind` and `message` say why it would block, and are empty if it would not."""

    run: str
    workflow: str
    version: int
    kind: str = ""
    message: str = ""

    @property
    def fits(self) -> bool:
        """Whether it would go on."""
        return not self.kind


class Rehearsal:
    """Loads runs as an engine with these workflows would, and lets go of them: no step runs, nothing is written."""

    def __init__(self, workflows: Iterable[Workflow[..., Any] | Step[..., Any]]) -> None:
        self._registry = Registry(workflows, RetryPolicy.DEFAULT)

    def try_run(self, run_id: str, rows: Sequence[LogRow]) -> Verdict:
        """What an engine would come to that loads the run with this log."""
        try:
            loaded = read_log(run_id, rows)
        except DurablyError as error:
            return Verdict(run_id, "", 0, "bad history", f"run {run_id}: {error}")
        created = loaded.state.created
        assert created is not None, "read_log() refuses a log without a beginning"
        name, version = created.workflow, created.version
        if loaded.state.ended:
            return Verdict(run_id, name, version)  # since it was listed
        try:
            registered = self._registry.get(name, version)
            if registered is None:
                raise unknown_workflow(name, version, self._registry)
            _replay(registered, loaded)
        except NondeterminismError as error:
            return Verdict(run_id, name, version, error.kind, str(error))
        return Verdict(run_id, name, version)


def _replay(registered: Registered, loaded: Loaded) -> None:
    if loaded.incarnation is None or loaded.beginning is None:
        return  # not begun, or waiting for its body's retry: it begins from the top
    steps = replay(registered, loaded.beginning, loaded.incarnation)
    try:
        while True:
            next(steps)
    except StopIteration as done:
        done.value.evict()
