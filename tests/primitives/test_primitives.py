"""Every primitive of asyncio and anyio: it works, is durable, replays anywhere and survives kill -9 (issue 3).

These tests stand behind each cell of docs/asyncio.md.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from durably import Run, RunFailed
from tests.primitives.checks import DeadlyStore, finished, fitted, killed_at, parked
from tests.primitives.primitive import UNIT
from tests.primitives.programs import AT_HAND, GUARDED, REFUSED, Primitive, Refused
from tests.primitives.pythons import environment, others
from tests.primitives.refused_programs import REACHED_OUT

pytestmark = pytest.mark.anyio

EVERY = pytest.mark.parametrize("primitive", AT_HAND, ids=lambda each: each.name)
ELSEWHERE = ("-m", "tests.primitives.elsewhere")


# -- in this process


@EVERY
async def test_it_works_and_eviction_at_every_wait_changes_nothing(primitive: Primitive) -> None:
    result, evicted, _ = await finished(primitive, max_parked=0)
    assert result == primitive.gives
    _, kept, _ = await finished(primitive, max_parked=100)
    assert evicted.to_json() == kept.to_json()


@EVERY
async def test_what_it_waits_for_is_in_the_log(primitive: Primitive) -> None:
    if primitive.waits is None:
        _, history, _ = await finished(primitive)
        assert history.types() == ["run.created", "run.started", "run.succeeded"]
        return
    phase, history = await parked(primitive)
    kind, *units = primitive.waits.split()
    if kind == "step":
        assert phase == "executing"
        assert "attempt.started" in history.types()
    else:
        delays = [record.delay for record in history.records if record.type == "timer.set"]
        assert phase in {"executing", "sleeping"}
        assert pytest.approx(float(units[0]) * UNIT) in delays


@EVERY
async def test_killed_with_any_commit_it_comes_to_the_same(primitive: Primitive) -> None:
    _, _, commits = await finished(primitive)
    for commit in range(1, commits + 1):
        assert await killed_at(primitive, commit) == primitive.gives, f"killed with commit {commit}"


@pytest.mark.parametrize("refused", REFUSED, ids=lambda each: each.name)
async def test_what_cannot_be_deterministic_is_refused_before_it_does_anything(refused: Refused) -> None:
    REACHED_OUT.clear()
    async with fitted(refused.workflow, DeadlyStore()) as engine:
        run: Run[Any] = await engine.start(refused.workflow)
        with pytest.raises(RunFailed) as failed:
            await run.result()
    error = failed.value.error
    while error.group:
        (error,) = error.group
    assert error.type == ("durably.Forbidden" if refused.instead else "RuntimeError")
    assert refused.names in error.message
    assert refused.instead in error.message
    assert REACHED_OUT == []


# -- in other processes


@pytest.fixture(scope="module")
def histories() -> str:
    """What all of them have left, as JSON by name."""

    async def record() -> dict[str, str]:
        return {each.name: (await finished(each))[1].to_json() for each in AT_HAND}

    return json.dumps(asyncio.run(record()))


def replayed_by(python: str, histories: str, hash_seed: str) -> dict[str, str]:
    done = subprocess.run(
        [python, *ELSEWHERE, "replay"],
        env=environment(PYTHONHASHSEED=hash_seed),
        input=histories,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("hash_seed", ["1", "333"])
def test_another_process_replays_every_history(histories: str, hash_seed: str) -> None:
    """With other hashes of strings and other addresses."""
    found = replayed_by(sys.executable, histories, hash_seed)
    assert found == {each.name: "equal" for each in AT_HAND}


def test_other_pythons_replay_every_history_or_say_what_differs(histories: str) -> None:
    """Between 3.11 and later ones some of asyncio's own code differs; such a run blocks, and never goes wrong."""
    pythons = others()
    if not pythons:
        pytest.skip("no other Python here has Durably: .ci/run makes environments, DURABLY_PYTHONS names more")
    for version, python in pythons.items():
        theirs = tuple(map(int, version.split(".")))
        shared = [each for each in AT_HAND if each.since <= theirs]
        over_the_border = (3, 11) in {sys.version_info[:2], theirs}
        found = replayed_by(python, histories, "22")
        assert found.keys() == {each.name for each in shared}
        for each in shared:
            if over_the_border and not each.across_3_11:
                assert "does not fit its history" in found[each.name]
            else:
                assert found[each.name] == "equal", f"{each.name} on {version}"


def test_what_goes_around_asyncio_is_stopped_by_the_guard() -> None:
    """In development and in tests, where it is installed: for a process's life, so this one has its own."""
    done = subprocess.run(
        [sys.executable, *ELSEWHERE, "guard"], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    stopped = [each for each in GUARDED if sys.version_info >= each.since]
    assert json.loads(done.stdout) == {each.name: ["durably.Forbidden", []] for each in stopped}


def test_killed_while_they_wait_all_of_them_go_on_in_another_process(tmp_path: Path) -> None:
    """A real kill -9, on SQLite. In the first process no time passes and no step ends, so that all do wait."""
    store = f"sqlite:///{tmp_path / 'primitives.db'}"
    held = environment(DURABLY_PRIMITIVES_HELD="1", DURABLY_PRIMITIVES_UNIT="0.02")
    with subprocess.Popen(
        [sys.executable, *ELSEWHERE, "wait", store], env=held, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        waiting = json.loads(process.stdout.readline())
        process.kill()
    assert waiting == [each.name for each in AT_HAND if each.waits is not None]
    done = subprocess.run(
        [sys.executable, *ELSEWHERE, "finish", store],
        env=environment(DURABLY_PRIMITIVES_UNIT="0.02"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {each.name: each.gives for each in AT_HAND}
