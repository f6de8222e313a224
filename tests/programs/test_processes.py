"""Three of the programs in processes on SQLite that are killed by SIGKILL at commits drawn by lot."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.programs.a_scenario import Scenario
from tests.programs.all_scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]
KILLS = 4
NAMES = (
    "an agent's refund is approved after two days",
    "an order is shipped, and another one too",
    "children three deep, one of whom fails",
)


class Note(NamedTuple):
    """What the world knows."""

    what: str
    key: str
    step: str


class Case:
    """A store, the world around it, and processes one after another."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        folder.mkdir()
        self.folder, self.scenario = folder, scenario

    def live(self, dies_at: int = 0) -> subprocess.CompletedProcess[str]:
        """One process, until it dies or the program has ended."""
        arguments = [str(self.folder / "app.db"), str(self.folder / "notes"), self.scenario.name, str(dies_at)]
        command = [sys.executable, "-W", "error", "-m", "tests.programs.one_life", *arguments]
        env = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONHASHSEED": "random"}
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    def notes(self) -> list[Note]:
        """All that was noted of steps."""
        path = self.folder / "notes"
        lines = [line.split(" ", 3)[1:] for line in path.read_text().splitlines()] if path.exists() else []
        return [Note(what, key, rest[0] if rest else "") for what, key, *rest in lines if what != "act"]

    def log(self) -> list[tuple[str, int, Any]]:
        """Every record: the run's id, its place in the run, and what it says."""
        with closing(sqlite3.connect(self.folder / "app.db")) as database:
            rows = database.execute("SELECT runs.id, log.seq, body FROM log JOIN runs USING (run)")
            return [(run, seq, json.loads(body)) for run, seq, body in rows]


def come_to(life: subprocess.CompletedProcess[str]) -> Any:
    """What a process that lived to the end said in its last line, below what steps printed."""
    return json.loads(life.stdout.splitlines()[-1])


def effects(case: Case) -> Counter[str]:
    """How many calls of each step had an effect."""
    return Counter({note.key: note.step for note in case.notes() if note.what == "effect"}.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_program_survives_sigkill_at_any_commit(name: str, tmp_path: Path) -> None:
    [scenario] = [each for each in SCENARIOS if each.name == name]
    straight = Case(tmp_path / "straight", scenario)
    lived = straight.live()
    assert lived.returncode == 0, lived.stderr
    told = come_to(lived)
    assert (told["outcome"], effects(straight)) == (repr(scenario.outcome), scenario.effects)

    for dies_at in random.Random(name).sample(range(1, told["commits"] + 1), KILLS):  # noqa: S311 - the same each time
        case = Case(tmp_path / str(dies_at), scenario)
        assert case.live(dies_at).returncode == -signal.SIGKILL
        log, noted = case.log(), case.notes()
        done = {f"{run}:{record['step']}" for run, _, record in log if record["type"] == "step.succeeded"}

        second = case.live()
        assert second.returncode == 0, second.stderr
        assert come_to(second)["outcome"] == told["outcome"], dies_at
        assert effects(case) == scenario.effects, dies_at
        assert not {note.key for note in case.notes()[len(noted) :]} & done, "what had succeeded did not run again"
        assert [record for record in case.log() if record in log] == log, "what was durable is as it was"
