"""`durably replay`: one history, a part of it, its frames in pdb, and all open runs of a store."""

import asyncio
import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Generator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from durably import Engine
from durably.api.cli import main
from durably.api.commands.variables import local_variables

Durably = Callable[..., Result]

FLOWS = """
import asyncio
from durably import step, workflow

@step
async def reserve(sku: str) -> str:
    return f"reservation of {sku}"

@step
async def charge(cents: int) -> None: ...

async def watch(sku: str) -> str:
    card_token = f"tok-{sku}"
    await asyncio.sleep(3600)
    return sku

@workflow
async def order(sku: str) -> str:
    reservation = await reserve(sku)
    async with asyncio.TaskGroup() as group:
        for number in range(2):
            group.create_task(watch(f"{sku}{number}"))
    await charge(100)
    return reservation

@workflow
async def quick() -> str:
    return await reserve("lamp")

@workflow
async def never(sku: str) -> None:
    await asyncio.Event().wait()
"""


@pytest.fixture
def durably(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Durably:
    """Runs a command in a folder with `old.py` and `new.py`, whose `order` gives its first step another argument."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "old.py").write_text(FLOWS)
    (tmp_path / "new.py").write_text(FLOWS.replace("await reserve(sku)", "await reserve(sku.upper())"))
    for name in ("old", "new"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    runner = CliRunner()
    return lambda *args, **more: runner.invoke(main, args, **more)


@pytest.fixture
def store(durably: Durably, tmp_path: Path) -> str:
    """A store with three open runs of `order`, one of `never`, and one of `quick` that has ended."""
    del durably
    url = f"sqlite:///{tmp_path}/runs.db"
    sys.path.insert(0, str(tmp_path))  # a list that the fixture before puts back
    flows: Any = import_module("old")

    async def fill() -> None:
        async with Engine(url, workflows=[flows.order, flows.quick, flows.never], drain_timeout=0) as engine:
            for number in range(3):
                await engine.start(flows.order, "lamp", run_id=f"r{number}")
            await engine.start(flows.never, "lamp", run_id="waits")
            await (await engine.start(flows.quick, run_id="q")).result(timeout=10)
            for _ in range(500):
                if len(await (await engine.get_run("r2")).history()) >= 6:
                    break
                await asyncio.sleep(0.01)

    asyncio.run(fill())
    return url


# -- one history


def test_what_does_not_fit_is_told_without_a_word_on_blocking(durably: Durably, store: str) -> None:
    done = durably("replay", "r1", "new.py", "--store", store)
    assert done.exit_code == 1
    assert "changed arguments: the code does the same with other arguments" in done.stdout
    assert 'differs:            sku: "lamp", now "LAMP"' in done.stdout
    assert "blocked" not in done.stdout
    told = json.loads(durably("replay", "r1", "new.py", "--store", store, "--json").stdout)
    assert (told["fits"], told["kind"]) == (False, "changed arguments")


# -- a part of it


def picture(done: Result) -> str:
    text = re.sub(r"\S*/(\w+\.py:\d+)", r"\1", done.stdout)
    text = re.sub(r"\d{2}:\d{2}:\d{2}(?= \()", "HH:MM:SS", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:+]+", "THEN", text)


def test_until_shows_where_every_asyncio_task_is_parked(durably: Durably, store: str) -> None:
    done = durably("replay", "r1", "old.py", "--store", store, "--until", "5")
    assert done.exit_code == 0, done.output
    assert picture(done) == (
        """record 5 is what the code did after record 4: this is where it stood then
run r1 at record 4, step.succeeded, THEN
  asyncio task 0
    order  old.py:20
      async with asyncio.TaskGroup() as group:
        sku = 'lamp'
        reservation = 'reservation of lamp'
        group = <TaskGroup tasks=2 entered>
        number = 1
    waits for asyncio tasks 0/0 and 0/1
    asyncio task 0/0
      watch  old.py:14
        await asyncio.sleep(3600)
          sku = 'lamp0'
          card_token = <redacted>
      waits for timer 0/0/timer#0 of 1 h, since HH:MM:SS (0 ms ago), until HH:MM:SS (in 1 h)
    asyncio task 0/1
      watch  old.py:14
        await asyncio.sleep(3600)
          sku = 'lamp1'
          card_token = <redacted>
      waits for timer 0/1/timer#0 of 1 h, since HH:MM:SS (0 ms ago), until HH:MM:SS (in 1 h)
"""
    )


def test_until_before_that_shows_the_step(durably: Durably, store: str) -> None:
    told = json.loads(durably("replay", "r1", "old.py", "--store", store, "--until", "3", "--json").stdout)
    assert (told["record"], told["fits"], told["ended"]) == (2, True, False)
    [task] = told["tasks"]
    [wait] = task["waits"]
    assert (task["path"], task["stack"][0]["source"]) == ("0", "reservation = await reserve(sku)")
    assert wait["key"] == "0/reserve#0"
    assert wait["what"].startswith('step \'reserve\' (0/reserve#0) with {"sku":"lamp"}, called at old.py:19')
    assert task["locals"] == [{"sku": "'lamp'"}]


def test_until_a_step_is_where_that_is_called(durably: Durably, store: str) -> None:
    for wanted in ("reserve", "0/reserve#0"):
        done = durably("replay", "r1", "old.py", "--store", store, "--until", wanted)
        assert done.stdout.startswith("run r1 at record 2, run.started")
        assert "reservation = await reserve(sku)" in done.stdout


def test_until_a_record_that_is_not_fed_says_why_it_stands_earlier(durably: Durably, store: str) -> None:
    done = durably("replay", "r1", "old.py", "--store", store, "--until", "6")
    first, second, *_ = done.stdout.splitlines()
    assert first == "record 6 is what the code did after record 4: this is where it stood then"
    assert second.startswith("run r1 at record 4, step.succeeded")
    fed = durably("replay", "r1", "old.py", "--store", store, "--until", "4").stdout
    assert fed.startswith("run r1 at record 4, step.succeeded")


def test_where_it_does_not_fit_the_difference_and_the_place_are_shown(durably: Durably, store: str) -> None:
    done = durably("replay", "r1", "new.py", "--store", store, "--until", "5")
    assert done.exit_code == 1
    assert 'differs:            sku: "lamp", now "LAMP"' in done.stdout
    assert "run r1 at record 2, run.started" in done.stdout
    assert "reservation = await reserve(sku.upper())" in done.stdout


def test_a_body_that_has_ended_is_told_with_what_it_came_to(durably: Durably, store: str) -> None:
    done = durably("replay", "q", "old.py", "--store", store, "--until", "5")
    assert 'the body has returned "reservation of lamp"' in done.stdout


@pytest.mark.parametrize(
    ("args", "said", "status"),
    [
        (["r1", "old.py", "--until", "99"], "run r1 has 6 records, and no record 99", 1),
        (["r1", "old.py", "--until", "0"], "and no record 0", 1),
        (["r1", "old.py", "--until", "nope"], "the run's history has no step 'nope'; it has 0/reserve#0", 1),
        (["r1", "old.py", "--until", "1"], "the body of run r1 had not begun by record 1", 1),
        (["r1", "old.py", "--pdb", "--task", "0/9"], "there is no asyncio task '0/9'", 1),
        (["r1"], "Missing argument TARGET", 2),
        ([], "Missing argument FILE or RUN", 2),
        (["--all-open"], "Missing argument TARGET", 2),
        (["--all-open", "r1", "old.py"], "'old.py' is one argument too many", 2),
        (["--all-open", "old.py", "--pdb"], "--until and --pdb at one", 2),
    ],
)
def test_bad_use(durably: Durably, store: str, args: list[str], said: str, status: int) -> None:
    done = durably("replay", *args, "--store", store)
    assert done.exit_code == status
    assert said in done.stderr


# -- pdb


DURABLY = [sys.executable, "-c", "from durably.api.cli import main; main()"]


def test_pdb_opens_in_the_frame_that_waits(durably: Durably, store: str, tmp_path: Path) -> None:
    del durably
    command = [*DURABLY, "replay", "r1", "old.py", "--store", store, "--pdb", "--task", "0/1"]
    done = subprocess.run(
        command, cwd=tmp_path, input="p sku\nnext\nup\nq\n", capture_output=True, text=True, check=True
    )
    debugger = done.stdout.partition("> ")[2]
    assert "watch()" in debugger
    assert "(durably) 'lamp1'" in debugger
    assert "The code stands still" in debugger


GATHERED = """
import asyncio
from durably import Engine, step, workflow

@step
async def ship(parcel: int) -> None:
    await asyncio.Event().wait()

@workflow
async def gathers() -> None:
    parcels = [1, 2]
    await asyncio.gather(*(ship(each) for each in parcels))

async def fill(url):
    async with Engine(url, workflows=[gathers], drain_timeout=0) as engine:
        run = await engine.start(gathers, run_id="g")
        while len(await run.history()) < 4:
            await asyncio.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("chosen", "said"),
    [((), ""), (("--task", "0/1"), "asyncio task 0/1 is in no line of yours: this is 0, which has created it")],
)
def test_pdb_opens_where_steps_were_gathered_and_never_in_a_frame_of_ours(
    durably: Durably, tmp_path: Path, chosen: tuple[str, ...], said: str
) -> None:
    del durably
    (tmp_path / "gathered.py").write_text(GATHERED)
    sys.path.insert(0, str(tmp_path))
    flows: Any = import_module("gathered")
    url = f"sqlite:///{tmp_path}/gathered.db"
    asyncio.run(flows.fill(url))
    command = [*DURABLY, "replay", "g", "gathered.py", "--store", url, "--pdb", *chosen]
    done = subprocess.run(command, cwd=tmp_path, input="p parcels\nq\n", capture_output=True, text=True, check=True)
    shown, _, debugger = done.stdout.partition("> ")
    assert "waits for step 'ship' (0/1/ship#0)" in shown
    assert "call_step" not in shown
    assert "kwargs" not in shown
    assert "gathers()" in debugger
    assert "(durably) [1, 2]" in debugger
    assert said in done.stderr


def test_pdb_on_a_terminal(durably: Durably, store: str, tmp_path: Path) -> None:
    """As a person has it: with a terminal, in a process of its own."""
    del durably
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*DURABLY, "replay", "r1", "old.py", "--store", store, "--pdb", "--until", "3"],
        cwd=tmp_path,
        env={**os.environ, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    while b"(durably) " not in said:
        said += os.read(ours, 4096)
    os.write(ours, b"p sku * 2\nq\n")
    assert process.wait(30) == 0
    rest = b""
    try:
        while part := os.read(ours, 4096):
            rest += part
    except OSError:  # that is how Linux says that the other side has closed
        pass
    os.close(ours)
    assert b"-> reservation = await reserve(sku)" in said
    assert b"'lamplamp'" in rest


def test_local_variables_are_short_and_without_secrets() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise LookupError

    def waiting(**given: object) -> Generator[None]:
        text, items, request, password, api_key = given["text"], given["items"], given["request"], "hunter2", "hunter3"
        yield
        assert [text, items, request, password, api_key, rude]

    rude = Rude()
    request = {"headers": {"Authorization": "Bearer hunter2"}, "path": "/"}
    suspended: Any = waiting(text="x" * 1000, items=list(range(100)), request=request)
    next(suspended)
    found = dict(local_variables(suspended.gi_frame))
    suspended.close()
    assert len(found["text"]) < 200
    assert found["items"] == "[0, 1, 2, 3, 4, 5, 6, 7, ...]"
    assert "Rude instance" in found["rude"]
    assert (found["password"], found["api_key"]) == ("<redacted>", "<redacted>")
    assert found["request"] == "{'headers': {'Authorization': <redacted>}, 'path': '/'}"


# -- all open runs


def test_all_open_runs_fit_their_own_code(durably: Durably, store: str) -> None:
    done = durably("replay", "--all-open", "old.py", "--store", store)
    assert (done.exit_code, done.stdout) == (0, "all 4 open runs fit: nothing would block with old.py\n")


def test_runs_that_would_block_are_told_by_kind_with_one_message_each(
    durably: Durably, store: str, tmp_path: Path
) -> None:
    code = FLOWS.replace("await reserve(sku)", "await reserve(sku.upper())").replace("async def never", "async def new")
    (tmp_path / "newest.py").write_text(code)
    done = durably("replay", "--all-open", "newest.py", "--store", store)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "4 of 4 open runs would block with newest.py"
    assert "order version 1  changed arguments  3 runs: r0, r1, r2" in lines
    assert "never version 1  unknown workflow  1 run: waits" in lines
    assert done.stdout.count("expected (history)") == 1
    assert "blocked" not in done.stdout
    told = [
        json.loads(line)
        for line in durably("replay", "--all-open", "newest.py", "--store", store, "--json").stdout.splitlines()
    ]
    assert [(each["run"], each["kind"]) for each in told[:-1]] == [
        *((f"r{number}", "changed arguments") for number in range(3)),
        ("waits", "unknown workflow"),
    ]
    assert told[-1] == {"open": 4, "fit": 0, "would_block": 4}


def test_the_store_is_that_of_the_engine_in_target(durably: Durably, store: str, tmp_path: Path) -> None:
    code = f"{FLOWS}\nfrom durably import Engine\nengine = Engine({store!r}, workflows=[order, never])\n"
    (tmp_path / "with_engine.py").write_text(code)
    assert "all 4 open runs fit" in durably("replay", "--all-open", "with_engine.py:engine").stdout


def test_a_damaged_history_counts_as_one_that_would_block(durably: Durably, store: str) -> None:
    with sqlite3.connect(store.removeprefix("sqlite:///")) as connection:
        connection.execute("DELETE FROM log WHERE seq = 3 AND run = (SELECT run FROM runs WHERE id = 'r1')")
    connection.close()
    done = durably("replay", "--all-open", "old.py", "--store", store)
    assert done.exit_code == 1
    assert "1 of 4 open runs would block" in done.stdout
    assert "run r1: record 3 is missing: the history goes on with seq 4" in done.stdout


def test_beside_a_running_engine_and_changes_nothing(durably: Durably, store: str) -> None:
    before = durably("export", "r1", "--store", store).stdout
    flows: Any = sys.modules["old"]

    async def beside() -> Result:
        async with Engine(store, workflows=[flows.order, flows.quick, flows.never], drain_timeout=0):
            return await asyncio.to_thread(durably, "replay", "--all-open", "new.py", "--store", store)

    assert "3 of 4 open runs would block" in asyncio.run(beside()).stdout
    assert durably("export", "r1", "--store", store).stdout == before


def test_many_runs_take_no_more_memory_than_few(durably: Durably, tmp_path: Path) -> None:
    sys.path.insert(0, str(tmp_path))
    flows: Any = import_module("old")

    async def fill(url: str, count: int) -> None:
        async with Engine(url, workflows=[flows.never], drain_timeout=0) as engine:
            await asyncio.gather(*(engine.start(flows.never, "x" * 2_000) for _ in range(count)))

    def peak(count: int) -> int:
        url = f"sqlite:///{tmp_path}/{count}.db"
        asyncio.run(fill(url, count))
        tracemalloc.start()
        done = durably("replay", "--all-open", "old.py", "--store", url)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert f"all {count:,} open runs fit" in done.stdout
        return most

    peak(10)  # what is imported and cached at the first time
    assert peak(1_500) < peak(100) + 1_000_000
