"""Histories of generated programs replay in other processes and on other Pythons: equal, or refused with a reason."""

import asyncio
import json
import sys
from typing import Any, cast

import pytest
from hypothesis import given

from tests.properties.elsewhere import SEEDS, do_elsewhere, other_pythons, replay
from tests.properties.laboratory import RUN, carry_out, go_on, without_addresses
from tests.properties.profile import PROFILE
from tests.properties.programs import Program
from tests.properties.strategies import programs

OTHERS = list(other_pythons())
LATER = (3, 12)
"""From here on Pythons do the same. Before it, `wait_for` makes an asyncio task of what it waits for."""

on_other_pythons = pytest.mark.parametrize(
    ("python", "version"), OTHERS or [pytest.param("", (0, 0), marks=pytest.mark.skip("there is no other Python"))]
)


@pytest.fixture(scope="module")
def recorded() -> list[tuple[Program, str]]:
    """Programs with their histories; one of a run that was killed half-way for each that has a half."""
    found: list[tuple[Program, str]] = []

    async def record(program: Program) -> None:
        untouched = await carry_out(program, max_parked=10_000)
        killed = await go_on(program, untouched.snapshots[len(untouched.snapshots) // 2], max_parked=0, down_for=3.5)
        found.extend((program, each.histories[RUN].to_json()) for each in (untouched, killed))

    @PROFILE
    @given(programs(depth=3))
    def record_all(program: Program) -> None:
        asyncio.run(record(program))

    record_all()
    return found


def judge(recorded: list[tuple[Program, str]], verdicts: list[str | None], *, may_refuse: bool) -> None:
    """What is refused must say why, and must be allowed to be."""
    assert len(verdicts) == len(recorded)
    for (program, _), verdict in zip(recorded, verdicts, strict=True):
        if verdict is not None:
            assert may_refuse, f"{program.to_json()}\n{verdict}"
            assert "does not fit its history at record" in verdict
            assert "expected (history)" in verdict
            assert waits_for(program), f"{program.to_json()}\n{verdict}"


def waits_for(program: Program) -> bool:
    """Whether it calls `asyncio.wait_for`, the one thing that 3.11 does in another way."""
    text = program.to_json()
    return '"wait_for"' in text or '"Await"' in text


@pytest.mark.parametrize("seed", SEEDS)
def test_histories_replay_in_another_process_with_another_hash_seed(
    recorded: list[tuple[Program, str]], seed: str
) -> None:
    verdicts = do_elsewhere(sys.executable, "replay", [history for _, history in recorded], seed=seed)
    judge(recorded, verdicts, may_refuse=False)


@on_other_pythons
def test_histories_replay_on_another_python(
    recorded: list[tuple[Program, str]], python: str, version: tuple[int, int]
) -> None:
    verdicts = do_elsewhere(python, "replay", [history for _, history in recorded])
    judge(recorded, verdicts, may_refuse=min(version, sys.version_info[:2]) < LATER)


@on_other_pythons
def test_histories_of_another_python_replay_here(
    recorded: list[tuple[Program, str]], python: str, version: tuple[int, int]
) -> None:
    here = recorded[::2]  # those that nothing happened to
    there = do_elsewhere(python, "record", [program.to_json() for program, _ in here])
    differ = min(version, sys.version_info[:2]) < LATER
    judge(here, replay(there), may_refuse=differ)
    for (program, history), other in zip(here, there, strict=True):
        if not (differ and waits_for(program)):
            assert comparable(history) == comparable(other), program.to_json()


VARYING = {"code", "python", "traceback", "id"}
"""What a history says of the software that wrote it, and of the run."""


def comparable(history: str) -> Any:
    """A history without that."""

    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            return {key: stripped(each) for key, each in fields.items() if key not in VARYING}
        if isinstance(value, list):
            return [stripped(each) for each in cast("list[Any]", value)]
        return value

    return stripped(without_addresses(json.loads(history)))
