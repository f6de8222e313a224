"""Histories of generated programs replay in other processes and on other Pythons: equal, or refused with a reason."""

import asyncio
import json
import sys
from typing import Any, NamedTuple

import pytest
from hypothesis import given

from tests.properties.elsewhere import SEEDS, do_elsewhere, other_pythons, replay
from tests.properties.laboratory import carry_out, go_on, without_addresses
from tests.properties.profile import PATIENT, PROFILE
from tests.properties.programs import Program
from tests.properties.strategies import programs

pytestmark = PATIENT

Version = tuple[int, int]
HERE = sys.version_info[:2]
OTHERS = list(other_pythons())
LATER = (3, 12)
"""From here on Pythons do the same. Before it, `wait_for` makes an asyncio task of what it waits for."""

on_other_pythons = pytest.mark.parametrize(
    ("python", "version"), OTHERS or [pytest.param("", HERE, marks=pytest.mark.skip("there is no other Python"))]
)


class Recorded(NamedTuple):
    """A program, and the histories of its runs: untouched, and killed half-way."""

    program: Program
    untouched: dict[str, str]
    killed: dict[str, str]


@pytest.fixture(scope="module")
def recorded() -> list[Recorded]:
    """What generated programs did on this Python."""
    found: list[Recorded] = []

    async def record(program: Program) -> None:
        untouched = await carry_out(program, max_parked=10_000)
        half = untouched.snapshots[len(untouched.snapshots) // 2]
        killed = await go_on(program, half, max_parked=0, down_for=3.5)
        found.append(Recorded(program, untouched.exported(), killed.exported()))

    @PROFILE
    @given(programs(depth=3))
    def record_all(program: Program) -> None:
        asyncio.run(record(program))

    record_all()
    return found


def both(recorded: list[Recorded]) -> list[tuple[Program, str]]:
    """All histories, each with its program."""
    return [
        (each.program, history) for each in recorded for history in (*each.untouched.values(), *each.killed.values())
    ]


def judge(histories: list[tuple[Program, str]], verdicts: list[str | None], *, may_refuse: bool) -> None:
    """What is refused must be allowed to be, and must say why."""
    for (program, _), verdict in zip(histories, verdicts, strict=True):
        if verdict is not None:
            assert may_refuse, f"{program.to_json()}\n{verdict}"
            assert waits_for(program), f"{program.to_json()}\n{verdict}"
            assert "does not fit its history" in verdict
            assert "expected (history)" in verdict
            assert "asyncio.wait_for()" in verdict


def waits_for(program: Program) -> bool:
    """Whether it calls `asyncio.wait_for`, the one thing that 3.11 does in another way."""
    text = program.to_json()
    return '"wait_for"' in text or '"Await"' in text


@pytest.mark.parametrize("seed", SEEDS)
def test_histories_replay_in_another_process_with_another_hash_seed(recorded: list[Recorded], seed: str) -> None:
    histories = both(recorded)
    verdicts = do_elsewhere(sys.executable, "replay", [history for _, history in histories], seed=seed)
    judge(histories, verdicts, may_refuse=False)


@on_other_pythons
def test_histories_replay_on_another_python(recorded: list[Recorded], python: str, version: Version) -> None:
    histories = both(recorded)
    verdicts = do_elsewhere(python, "replay", [history for _, history in histories])
    judge(histories, verdicts, may_refuse=min(version, HERE) < LATER)


@on_other_pythons
def test_histories_of_another_python_replay_here(recorded: list[Recorded], python: str, version: Version) -> None:
    there = do_elsewhere(python, "record", [each.program.to_json() for each in recorded])
    histories = [
        (here.program, history) for here, other in zip(recorded, there, strict=True) for history in other.values()
    ]
    differ = min(version, HERE) < LATER
    judge(histories, replay([history for _, history in histories]), may_refuse=differ)
    for here, other in zip(recorded, there, strict=True):
        if not (differ and waits_for(here.program)):
            assert comparable(here.untouched) == comparable(other), here.program.to_json()


VARYING = {"code", "python", "traceback"}
"""What a history says of the software that wrote it."""


def comparable(histories: dict[str, str]) -> Any:
    """Histories without that."""
    return {run_id: without_addresses(json.loads(text), without=VARYING) for run_id, text in histories.items()}
