"""The command line without a server: help, bad use, and commands that read a store."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from durably import Engine, Event, NonRetriableError, RunFailed, step, workflow
from durably.api.cli import COMMANDS, main


@step
async def fetch(name: str) -> dict[str, str]:
    return {"name": name}


@workflow(on="demo/greet")
async def greet(event: Event) -> dict[str, str]:
    return await fetch(event.data["name"])


@workflow
async def fail(why: str) -> None:
    raise NonRetriableError(why)


Durably = Callable[..., Result]
NOBODY = "http://127.0.0.1:9"  # the port of "discard", where nothing listens


@pytest.fixture
def durably(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Durably:
    """Runs a command in an empty folder; keywords are environment variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("DURABLY_STORE", raising=False)
    runner = CliRunner()
    return lambda *args, **environment: runner.invoke(main, args, env=environment)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with a run that succeeded and a newer one that failed."""
    url = f"sqlite:///{tmp_path}/runs.db"

    async def fill() -> None:
        async with Engine(url, workflows=[greet, fail], drain_timeout=0) as engine:
            await engine.send(Event("demo/greet", {"name": "Ada"}, id="e1"))
            [greeted] = await engine.list_runs()
            await (await engine.get_run(greeted.id)).result(timeout=10)
            run = await engine.start(fail, "no\x1b[31m way", run_id="failing")
            with pytest.raises(RunFailed):
                await run.result(timeout=10)

    asyncio.run(fill())
    return url


# -- the command line itself


def test_help_names_every_command_and_is_quick() -> None:
    code = (
        "import sys; from durably.api.cli import main; main(['--help'], standalone_mode=False);"
        "heavy = {'aiohttp', 'watchfiles', 'durably.api.app', 'durably.api.commands'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(durably: Durably, name: str) -> None:
    done = durably(name, "--help")
    assert done.exit_code == 0
    assert f"{name}" in done.output


@pytest.mark.parametrize(
    "command",
    [
        ["worker", "flows.py"],
        ["verify"],
    ],
)
def test_what_is_not_built_says_so(durably: Durably, command: list[str]) -> None:
    done = durably(*command)
    assert done.exit_code == 2
    assert "not built yet" in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["strat", "x"], "No such command 'strat'"),
        (["start"], "Missing argument 'WORKFLOW'"),
        (["start", "x", '{"a": 1,\n "b" 2}'], "Expecting ':' delimiter at line 2, column 6\n   \"b\" 2}\n       ^"),
        (["start", "x", '{"a": NaN}'], "JSON has no NaN"),
        (["start", "x", "[1]"], "an object is needed"),
        (["start", "x", ""], "Expecting value at line 1, column 1"),
        (["send", "x", "{'a': 1}"], "enclosed in double quotes at line 1, column 2"),
        (["signal", "x"], "Missing argument 'NAME'"),
        (["signal", "x", "approve", "yes"], "Expecting value at line 1, column 1"),
        (["fork", "x", "--patch", "charge"], "'charge' is not STEP=JSON"),
        (["fork", "x", "--patch", "charge=yes"], "Expecting value at line 1, column 1"),
        (["fork", "x", "--args", "charge=[1]"], "an object is needed"),
        (["fork", "x", "--store", "sqlite:///x.db"], "needs a running server"),
        (["rerun", "x", "--version", "newest"], "none of current, original, or a number"),
        (["runs", "--since", "yesterday"], "neither how long ago"),
        (["runs", "--status", "DONE"], "'DONE' is not one of"),
        (["runs", "--url", NOBODY, "--store", "sqlite:///x.db"], "--url and --store say two things"),
        (["cancel", "x", "--store", "sqlite:///x.db"], "needs a running server"),
        (["start", "x", "--store", "sqlite:///x.db"], "needs a running server"),
        (["serve", "x.py", "--port", "70000"], "70000 is not in the range"),
    ],
)
def test_bad_use_is_status_2_and_says_what(durably: Durably, command: list[str], said: str) -> None:
    done = durably(*command)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not done.stdout


def test_without_a_server_the_way_out_is_named(durably: Durably) -> None:
    done = durably("runs", DURABLY_URL=NOBODY)
    assert done.exit_code == 1
    assert f"nothing answers at {NOBODY}" in done.stderr
    assert "--store" in done.stderr
    changing = durably("cancel", "r", "--url", NOBODY, "--json")
    assert changing.exit_code == 1
    assert "durably serve TARGET" in json.loads(changing.stderr)["error"]
    assert "--store" not in changing.stderr


# -- commands that read a store


def test_runs_of_a_store(durably: Durably, store: str) -> None:
    def listed(*args: str) -> list[str]:
        done = durably("runs", "--json", *args, DURABLY_STORE=store)
        assert done.exit_code == 0, done.stderr
        return [info["workflow"] for info in json.loads(done.stdout)]

    assert listed() == ["fail", "greet"]
    assert listed("--limit", "1") == ["fail"]
    assert listed("--status", "failed", "--status", "RUNNING") == ["fail"]
    assert listed("--workflow", "greet", "--since", "1h") == ["greet"]
    assert listed("--phase", "blocked") == []
    assert listed("--since", "2100-01-01") == []

    table = durably("runs", "--store", store).stdout.splitlines()
    assert len(table) == 3
    assert table[1].split()[:3] == ["failing", "fail", "FAILED"]
    assert "no\ufffd[31m way" in table[1]
    assert durably("runs", "--store", store, "--phase", "blocked").stderr == "no runs\n"


def test_what_the_command_line_says_wins_over_the_environment(durably: Durably, store: str) -> None:
    assert durably("runs", "--store", store, DURABLY_URL=NOBODY).exit_code == 0
    assert durably("runs", "--url", NOBODY, DURABLY_STORE=store).exit_code == 1
    # A server is asked first, where the environment names both: it knows as much and more.
    assert durably("runs", DURABLY_URL=NOBODY, DURABLY_STORE=store).exit_code == 1


def test_show(durably: Durably, store: str) -> None:
    done = durably("show", "failing", "--store", store)
    assert done.exit_code == 0
    assert "FAILED" in done.stdout
    assert "no\ufffd[31m way" in done.stdout
    assert "\x1b" not in done.stdout
    shown = json.loads(durably("show", "failing", "--store", store, "--json").stdout)
    assert (shown["status"], shown["tasks"]) == ("FAILED", 0)


def test_a_run_that_is_not_there(durably: Durably, store: str) -> None:
    done = durably("show", "nobody", "--store", store)
    assert done.exit_code == 1
    assert done.stderr == "Error: there is no run 'nobody' in this store; check the id and the store's URL\n"
    assert json.loads(durably("export", "nobody", "--store", store, "--json").stderr)["error"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///none.db", "there is no such file"),
        ("memory://", "nothing that another process could read"),
        ("none.db", "A store is named by a URL"),
        ("postgresql://me:secret@host/db", "not built yet"),
    ],
)
def test_a_store_that_cannot_be_read(durably: Durably, url: str, said: str) -> None:
    done = durably("runs", "--store", url)
    assert done.exit_code == 1
    assert said in done.stderr
    assert "secret" not in done.stderr


def test_a_history_leaves_and_is_replayed(durably: Durably, store: str, tmp_path: Path) -> None:
    run = json.loads(durably("runs", "--store", store, "--workflow", "greet", "--json").stdout)[0]["id"]
    history = durably("export", run, "--store", store).stdout
    assert json.loads(history)["format"] == "durably.history/1"
    assert durably("export", run, "--store", store, "-o", "run.json").stdout == ""
    assert (tmp_path / "run.json").read_text() == history

    code = Path(__file__).read_text()
    (tmp_path / "cli_same.py").write_text(code)
    (tmp_path / "cli_other.py").write_text(code.replace('event.data["name"])', '"Bob")'))
    for given in (["run.json"], [run, "--store", store]):
        same = durably("replay", given[0], "cli_same.py", *given[1:])
        assert same.exit_code == 0, same.output
        assert f"run {run} fits" in same.stdout
        other = durably("replay", given[0], "cli_other.py", *given[1:])
        assert other.exit_code == 1
        assert "expected (history): step 'fetch'" in other.stdout
        assert "cli_other.py" in other.stdout
    told = json.loads(durably("replay", "run.json", "cli_other.py", "--json").stdout)
    assert (told["run"], told["fits"]) == (run, False)


@pytest.mark.parametrize(
    ("file", "said"), [("absent.json", "there is no file absent.json"), ("x.json", "not an exported history")]
)
def test_a_file_that_is_no_history(durably: Durably, tmp_path: Path, file: str, said: str) -> None:
    (tmp_path / "x.json").write_text("{}")
    code = tmp_path / f"cli_for_{file.replace('.', '_')}.py"  # a module is imported once
    code.write_text(Path(__file__).read_text())
    done = durably("replay", file, code.name)
    assert done.exit_code == 1
    assert said in done.stderr


def test_migrate_makes_a_store_once(durably: Durably, tmp_path: Path) -> None:
    assert durably("migrate", "--store", "sqlite:///new.db").exit_code == 0
    assert (tmp_path / "new.db").exists()
    again = durably("migrate", "--json", DURABLY_STORE="sqlite:///new.db")
    assert json.loads(again.stdout) == {"store": "sqlite:///new.db", "migrated": True}
    assert durably("runs", "--store", "sqlite:///new.db").exit_code == 0
