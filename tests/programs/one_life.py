"""One life of one program, in a process of its own, on SQLite: it kills itself at a commit, or lives to the end.

    python -m tests.programs.one_life STORE NOTES SCENARIO COMMIT

With COMMIT 0 it lives, and prints what the program came to and how many commits that took. NOTES is what the world
knows: lines about bodies that begin, effects, and acts from outside, written before anything else happens.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from durably import RunConflict
from durably.engine.testing import START_US, TestEngine, VirtualClock
from durably.store import Operation, SqliteStore
from durably.store.protocol import Done
from durably.store.runtime import Clock
from tests.programs.a_scenario import Act, Scenario
from tests.programs.all_scenarios import SCENARIOS
from tests.programs.kill_laboratory import World, live, outcome_of, prepare


class NotingWorld(World):
    """A world in a file: `1767225600000000 begun run:0/charge#0`. The page cache outlives the process."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        lines = path.read_text().splitlines() if path.exists() else []
        self.acts = sum(" act " in line for line in lines)
        self.clock = VirtualClock(int(lines[-1].partition(" ")[0]) if lines else START_US)
        """It goes on where the last thing was noted."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, what: str, which: str) -> None:
        os.write(self._file, f"{self.clock.now_us()} {what} {which}\n".encode())

    def begin(self, key: str) -> None:
        self.note("begun", key)

    def take_effect(self, key: str, step: str) -> None:
        self.note("effect", f"{key} {step}")

    def noting(self, act: Act) -> Act:
        """An act that is noted when who does it is told that it is durable."""

        async def noted(engine: TestEngine) -> None:
            with suppress(RunConflict):  # done again by who was not told of it, when the run has ended of the first
                await act(engine)
            self.note("act", "")

        return noted


class SuicidalStore(SqliteStore):
    """A store that takes its process with it."""

    dies_at = 0
    commits = 0

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        super().submit(batch, partial(self._committed, done))

    def _committed(self, done: Done, results: Any) -> None:
        self.commits += 1
        if self.commits == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        done(results)


class LastingEngine(TestEngine):
    """An engine whose clock goes on where that of the process before stopped."""

    def __init__(self, scenario: Scenario, clock: VirtualClock) -> None:
        super().__init__([scenario.workflow, *scenario.others])
        self._virtual = clock
        self.clock = type(self.clock)(self, clock)

    def _make_clock(self) -> Clock:
        return self._virtual


async def main(store_path: str, notes: str, name: str, dies_at: str) -> None:
    [scenario] = [each for each in SCENARIOS if each.name == name]
    world, store = NotingWorld(Path(notes)), SuicidalStore(store_path)
    store.dies_at = int(dies_at)
    engine = LastingEngine(scenario, world.clock)
    engine.use_store(store)
    prepare(engine, scenario, world)
    async with engine:
        plan = [(at, world.noting(act)) for at, act in scenario.plan]
        await live(engine, replace(scenario, plan=plan), lambda: world.acts)
        outcome = await outcome_of(engine)
        await engine.replay_finished()
        json.dump({"outcome": repr(outcome), "commits": store.commits}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
