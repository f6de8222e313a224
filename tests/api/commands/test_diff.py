"""`durably diff`: two runs of a store, or two files."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from durably import step, workflow
from durably.api.cli import main
from durably.testing import TestEngine


@step(retries=1)
async def charge(cents: int) -> int:
    return cents


@workflow
async def order(cents: int = 100) -> str:
    await asyncio.sleep(60)
    await charge(cents)
    return "done"


@pytest.fixture
def durably(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command in a folder with histories: `one.json`, the same `again.json`, and `failed.json`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    async def write() -> None:
        async with TestEngine(workflows=[order]) as engine:
            for name in ("one", "again", "failed"):
                if name == "failed":
                    engine.mock(charge, raises=[ConnectionError("no"), None], returns=1)
                run = await engine.start(order, run_id=name)
                await run.result()
                (tmp_path / f"{name}.json").write_text((await run.history()).to_json())

    asyncio.run(write())
    runner = CliRunner()
    return lambda *args: runner.invoke(main, args)


def test_two_that_did_the_same(durably: Callable[..., Result]) -> None:
    done = durably("diff", "one.json", "again.json")
    assert (done.exit_code, done.stdout) == (0, "same: both did the same, in 7 records\n")
    assert json.loads(durably("diff", "one.json", "again.json", "--json").stdout) == {"same": True, "strands": []}


def test_what_differs_is_shown_with_its_times_and_the_rest_passed_over(durably: Callable[..., Result]) -> None:
    done = durably("diff", "one.json", "failed.json")
    assert done.exit_code == 1
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[:5] == [
        "--- run one  order version 1  SUCCEEDED",
        "+++ run failed  order version 1  SUCCEEDED",
        "  … 2 the same: the run, 0/timer#0",
        "  charge  0/charge#0",
        "      attempt.started 0  +1 min, now +1 min",
    ]
    assert lines[5] == "  +   attempt.failed 0  +1 min  error ConnectionError: no"
    assert lines[7].startswith("  ~   step.succeeded")
    assert lines[8:] == ["        attempt: 0, now 1", "        output: 100, now 1"]
    told = json.loads(durably("diff", "one.json", "failed.json", "--json").stdout)
    [strand] = told["strands"]
    assert (told["same"], strand["key"], strand["moved"]) == (False, "0/charge#0", False)
    assert strand["records"][-1]["changes"] == ["attempt: 0, now 1", "output: 100, now 1"]


def test_a_file_that_is_not_there(durably: Callable[..., Result]) -> None:
    done = durably("diff", "one.json", "two.json")
    assert done.exit_code == 1
    assert "there is no file two.json" in done.stderr
