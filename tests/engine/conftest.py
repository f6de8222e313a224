"""Running workflows on a `RunLoop` with virtual time, for the tests of the loop."""

import heapq
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextvars import Context
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from durably.engine.loop import Canceled, Command, CommandFuture, RunLoop

START_US = 1_800_000_000_000_000


class Work(NamedTuple):
    """What a simulated step does: it takes that many seconds, then gives a value or raises an error."""

    name: str
    takes: float
    gives: Any


class StepFunction(Protocol):
    """A step, to the simulated workflow. Like a real one a coroutine, so that `gather` makes a task of it."""

    def __call__(self, name: str, takes: float = 1, gives: Any = None) -> "Awaitable[Any]": ...


Workflow = Callable[[StepFunction], Awaitable[Any]]


class Simulation(NamedTuple):
    """How a workflow ended, and its commands, a list for each activation."""

    result: Any
    error: BaseException | None
    commands: list[list[str]]
    seconds: float

    def outcome(self) -> Any:
        """The result, or the error's type: what does not differ from process to process."""
        return self.result if self.error is None else type(self.error).__name__


class Outcome(NamedTuple):
    """One input: the result of a step, or a timer (`gives` is None) that is due."""

    kind: str
    key: str
    gives: Any
    at_us: int


def launch(workflow: Workflow, salt: int = 7) -> RunLoop:
    """A loop with that workflow as its root, not yet driven."""
    loop = RunLoop(salt, START_US)

    async def step(name: str, takes: float = 1, gives: Any = None) -> Any:
        return await loop.call(name, Work(name, takes, gives))

    async def body() -> Any:
        return await workflow(step)

    loop.start(body(), Context())
    return loop


def feed(loop: RunLoop, outcome: Outcome) -> list[Command]:
    """Bring one outcome and drive."""
    loop.now_us = outcome.at_us
    match outcome:
        case Outcome("timer", key):
            assert loop.fire(key)
        case Outcome("step", key, BaseException() as error):
            assert loop.reject(key, error)
        case Outcome(_, key, gives):
            assert loop.resolve(key, gives)
    return loop.drive()


def describe(command: Command) -> str:
    """A command as text, without what differs from process to process."""
    match command:
        case CommandFuture():
            return f"call {command.key}"
        case Canceled():
            return f"cancel {command.what.key}"
        case _:
            return f"timer {command.key} {command.delay_us}"


def simulate(workflow: Workflow, salt: int = 7) -> Simulation:
    """Run `workflow` to its end in virtual time, then replay it on a second loop: its commands must be the same."""
    loop = launch(workflow, salt)
    due: list[tuple[int, int, Outcome]] = []
    history: list[Outcome] = []
    commands: list[list[str]] = []

    def take(given: list[Command]) -> None:
        commands.append([describe(command) for command in given])
        for command in given:
            if isinstance(command, CommandFuture):
                work: Work = command.command
                at_us = loop.now_us + round(work.takes * 1e6)
                heapq.heappush(due, (at_us, len(due), Outcome("step", command.key, work.gives, at_us)))
            elif not isinstance(command, Canceled):
                at_us = command.due_us
                heapq.heappush(due, (at_us, len(due), Outcome("timer", command.key, None, at_us)))

    take(loop.drive())
    while not loop.ended:
        _, _, outcome = heapq.heappop(due)
        if outcome.key in loop.pending or outcome.key in loop.timers:
            history.append(outcome)
            take(feed(loop, outcome))
    replay(workflow, salt, history, commands)
    result, error = _outcome(loop)
    seconds = (loop.now_us - START_US) / 1e6
    loop.evict()
    return Simulation(result, error, commands, seconds)


def replay(workflow: Workflow, salt: int, history: list[Outcome], commands: list[list[str]]) -> None:
    """Feed a history to another loop and compare."""
    loop = launch(workflow, salt)
    given = [[describe(command) for command in loop.drive()]]
    given += [[describe(command) for command in feed(loop, outcome)] for outcome in history]
    assert given == commands
    assert loop.ended
    loop.evict()


def _outcome(loop: RunLoop) -> tuple[Any, BaseException | None]:
    try:
        return loop.outcome(), None
    except BaseException as error:  # noqa: BLE001 - whatever a body may raise
        return None, error


class Simulate(Protocol):
    def __call__(self, workflow: Workflow, salt: int = 7) -> Simulation: ...


@pytest.fixture(name="simulate")
def _simulate() -> Simulate:
    return simulate


@pytest.fixture(name="launch")
def _launch() -> Callable[[Workflow], RunLoop]:
    return launch


ELSEWHERE = """
import json, random, runpy, sys
junk = [bytearray(random.randrange(16, 512)) for _ in range(random.randrange(1, 20_000))]
random.shuffle(junk)
del junk[::2]  # holes, so that objects lie elsewhere in each process
simulate = runpy.run_path(sys.argv[1])["simulate"]
workflows = runpy.run_path(sys.argv[2])["WORKFLOWS"]
runs = {name: simulate(workflow) for name, (workflow, _) in workflows.items()}
json.dump({name: [repr(run.outcome()), run.commands] for name, run in runs.items()}, sys.stdout)
"""


@pytest.fixture
def elsewhere() -> Callable[[str], list[dict[str, Any]]]:
    """The outcomes and commands of a test file's `WORKFLOWS`, from three processes with other hashes and addresses."""

    def run(test_file: str) -> list[dict[str, Any]]:
        source = str(Path(__file__).parents[2] / "src")
        found: list[dict[str, Any]] = []
        for seed in ("1", "22", "333"):
            done = subprocess.run(
                [sys.executable, "-c", ELSEWHERE, __file__, test_file],
                env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": source},
                capture_output=True,
                check=False,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            found.append(json.loads(done.stdout))
        return found

    return run
