"""How runs begin: with their creation, in the owning process, or later; and how their bodies begin again."""

from durably.engine.body.beginning import Beginning
from durably.engine.body.instance import Instance
from durably.engine.declare.registry import Registered
from durably.engine.execution.executor import Executor
from durably.engine.execution.live import LiveRun
from durably.engine.log.grammar import Carry
from durably.engine.log.records import BodyStarted, RunCreated, RunStarted
from durably.engine.log.state import RunState
from durably.engine.log.versions import ANYIO, ENGINE, PYTHON
from durably.store import RunRow

__all__ = ["create", "create_delayed", "start", "start_again"]


def create(run: LiveRun, created: RunCreated, registered: Registered, row: RunRow, executor: Executor) -> None:
    """Create a run and start its body at once, in one commit (rule 2: n + 1 commits for `engine.start`)."""
    now_us = row.created_us
    run.state = RunState()
    started = _started(created, registered, executor)
    _new_body(run, registered, Beginning(run.id, created, now_us, started, now_us), Carry())
    # The instance is fed with the state that run.created leaves behind, so that record comes first.
    executor.activate(run, started, before=[created], created=row, now_us=now_us)


def create_delayed(run: LiveRun, created: RunCreated, registered: Registered, row: RunRow, executor: Executor) -> None:
    """Create a run whose body starts later."""
    run.state, run.registered = RunState(), registered
    executor.append(run, row.created_us, [created], created=row)


def start(run: LiveRun, registered: Registered, executor: Executor) -> None:
    """The first activation of a run that was created in an earlier commit."""
    state = run.state
    assert state is not None
    assert state.created is not None
    started, now_us = _started(state.created, registered, executor), executor.stamp(state)
    beginning = Beginning(run.id, state.created, state.created_us, started, now_us)
    _new_body(run, registered, beginning, run.carry or Carry())
    executor.activate(run, started, now_us=now_us)


def start_again(run: LiveRun, executor: Executor) -> None:
    """The next incarnation of a body whose retry is due."""
    assert run.state is not None
    assert run.registered is not None
    assert run.beginning is not None
    assert run.carry is not None
    _new_body(run, run.registered, run.beginning, run.carry)
    executor.activate(run, BodyStarted(attempt=run.state.body_attempt + 1))


def _started(created: RunCreated, registered: Registered, executor: Executor) -> RunStarted:
    seed = int(executor.randomness.token()[:12], 16) if created.resumed is None else created.resumed.seed
    return RunStarted(code=registered.code, python=PYTHON, anyio=ANYIO, engine=ENGINE, seed=seed)


def _new_body(run: LiveRun, registered: Registered, beginning: Beginning, carry: Carry) -> None:
    run.registered, run.beginning = registered, beginning
    run.instance = Instance(registered, beginning, carry)
