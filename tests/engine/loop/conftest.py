"""Loops to try, and workflows simulated on them in virtual time."""

import heapq
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextvars import Context
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakSet

import pytest

from durably.engine.loop.run_loop import Canceled, Command, CommandFuture, RunLoop, TimerHandle

START_US = 1_800_000_000_000_000


# -- one loop


@pytest.fixture
def started() -> Iterator[Callable[..., RunLoop]]:
    """`started(body, salt=7)`: a loop with `body(loop)` as its root, not driven; evicted after the test."""
    loops: WeakSet[RunLoop] = WeakSet()

    def start(body: Callable[[RunLoop], Coroutine[Any, Any, Any]], salt: int = 7) -> RunLoop:
        loop = RunLoop(salt, START_US)
        loop.start(body(loop), Context())
        loops.add(loop)
        return loop

    yield start
    for loop in loops:
        loop.evict()


def keys_of(commands: Iterable[Command]) -> list[str]:
    """The keys of commands, with a minus before those that are taken back."""
    return [f"-{each.what.key}" if isinstance(each, Canceled) else each.key for each in commands]


@pytest.fixture
def keys() -> Callable[[Iterable[Command]], list[str]]:
    return keys_of


# -- a workflow in virtual time


class Work(NamedTuple):
    """What a simulated step does: it takes so many seconds, then gives a value or raises an error."""

    takes: float
    gives: Any


class Outcome(NamedTuple):
    """One input: a step's end, or a timer that is due."""

    kind: str
    key: str
    gives: Any
    at_us: int


class Simulation(NamedTuple):
    """How a workflow ended, and its commands as text, a list for each activation."""

    result: Any
    error: BaseException | None
    commands: list[list[str]]


def launch(workflow: Callable[..., Awaitable[Any]], salt: int = 7) -> RunLoop:
    """A loop with `workflow(step)` as its root, where `await step(name, takes, gives)` is simulated."""
    loop = RunLoop(salt, START_US)

    async def step(name: str, takes: float = 1, gives: Any = None) -> Any:
        return await loop.call(name, Work(takes, gives))

    async def body() -> Any:
        return await workflow(step)

    loop.start(body(), Context())
    return loop


def feed(loop: RunLoop, outcome: Outcome) -> list[Command]:
    """Bring one outcome and drive. One that nobody waits for any more is an error of the replayed code."""
    loop.now_us = outcome.at_us
    match outcome:
        case Outcome("timer", key):
            awaited = loop.fire(key)
        case Outcome(_, key, BaseException() as error):
            awaited = loop.reject(key, error)
        case Outcome(_, key, gives):
            awaited = loop.resolve(key, gives)
    assert awaited, f"nobody waits for {outcome.key}"
    return loop.drive()


def describe(command: Command) -> str:
    """A command as text, without what differs from process to process."""
    match command:
        case CommandFuture():
            return f"call {command.key}"
        case Canceled():
            return f"cancel {command.what.key}"
        case TimerHandle():
            return f"timer {command.key} {command.delay_us}"
        case _:
            return f"said {command.key}"


def outcomes_of(loop: RunLoop, commands: list[Command]) -> list[Outcome]:
    """What will become of the commands just given."""
    found: list[Outcome] = []
    for command in commands:
        if isinstance(command, CommandFuture):
            work: Work = command.command
            found.append(Outcome("step", command.key, work.gives, loop.now_us + round(work.takes * 1_000_000)))
        elif isinstance(command, TimerHandle):
            found.append(Outcome("timer", command.key, None, command.due_us))
    return found


def run(loop: RunLoop) -> tuple[list[Outcome], list[list[str]]]:
    """Drive a loop to its end, each outcome when its time has come. Returns what went in and came out."""
    due: list[tuple[int, int, Outcome]] = []
    number = itertools.count()
    history: list[Outcome] = []
    commands = loop.drive()
    given = [[describe(command) for command in commands]]
    while not loop.ended:
        for outcome in outcomes_of(loop, commands):
            heapq.heappush(due, (outcome.at_us, next(number), outcome))
        *_, outcome = heapq.heappop(due)
        if outcome.key in loop.pending or outcome.key in loop.timers:
            history.append(outcome)
            commands = feed(loop, outcome)
            given.append([describe(command) for command in commands])
        else:
            commands = []  # it was taken back
    return history, given


def simulate(workflow: Callable[..., Awaitable[Any]], salt: int = 7) -> Simulation:
    """Run a workflow in virtual time. Then replay it on a second loop, which must give the same commands."""
    first, second = launch(workflow, salt), launch(workflow, salt)
    history, commands = run(first)
    replayed = [second.drive(), *(feed(second, outcome) for outcome in history)]
    assert [[describe(command) for command in group] for group in replayed] == commands
    assert second.ended
    second.evict()
    try:
        return Simulation(first.outcome(), None, commands)
    except BaseException as error:  # noqa: BLE001 - whatever a body may raise
        return Simulation(None, error, commands)
    finally:
        first.evict()


@pytest.fixture(name="launch")
def launch_fixture() -> Callable[..., RunLoop]:
    return launch


@pytest.fixture(name="simulate")
def simulate_fixture() -> Callable[..., Simulation]:
    return simulate


# -- in other processes


ELSEWHERE = """
import json, random, runpy, sys
holes = [bytearray(random.randrange(16, 512)) for _ in range(random.randrange(1, 20_000))]
random.shuffle(holes)
del holes[::2]  # so that objects lie elsewhere in each process
simulate = runpy.run_path(sys.argv[1])["simulate"]
workflows = runpy.run_path(sys.argv[2])["WORKFLOWS"]
runs = {name: simulate(workflow) for name, (workflow, _) in workflows.items()}
json.dump({name: [repr(run.result), repr(run.error), run.commands] for name, run in runs.items()}, sys.stdout)
"""


def simulate_elsewhere(test_file: str) -> list[dict[str, Any]]:
    """What the `WORKFLOWS` of a test file do in three processes with other hashes and addresses."""
    found: list[dict[str, Any]] = []
    for seed in ("1", "22", "333"):
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, __file__, test_file],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3] / "src")},
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    return found


@pytest.fixture
def elsewhere() -> Callable[[str], list[dict[str, Any]]]:
    return simulate_elsewhere
