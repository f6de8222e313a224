"""`durably serve`: its start, its end, and what keeps it from starting."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Spawn = Callable[..., Any]
Durably = Callable[..., subprocess.CompletedProcess[str]]


# -- the beginning


def test_it_says_what_it_serves_and_is_ready_then(spawn: Spawn, folder: Path) -> None:
    server = spawn("serve", "flows.py")
    told = server.until("serving")
    assert told["pid"] == server.process.pid
    assert told["store"] == "sqlite:///durably.db"
    assert {"name": "hello", "version": 1, "on": ["demo/hello"]} in told["workflows"]
    with urllib.request.urlopen(f"{told['url']}/health/ready") as answer:
        assert answer.status == 200
    assert (folder / "durably.db").exists()


def test_people_are_told_where_to_look_and_what_to_try(spawn: Spawn) -> None:
    server = spawn("serve", "flows.py").ready()
    port = server.url.rpartition(":")[2]
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
    reader, writer = os.pipe()
    people = subprocess.Popen(
        [*server.process.args[:3], "serve", "flows.py", "--port", port], cwd=server.folder, stdout=writer, stderr=writer
    )
    os.close(writer)
    with os.fdopen(reader) as output:
        text = ""
        while "  try " not in text:
            line = output.readline()
            assert line, text
            text += line
        people.send_signal(signal.SIGINT)
        text += output.read()
    assert people.wait() == 0
    assert f"durably serves flows.py, process {people.pid}" in text
    assert "hello  on demo/hello" in text
    assert re.search(r"try +durably start \w+ '\{.*\}' --url", text)
    assert text.rstrip().endswith("stopping")


def test_an_engine_in_the_target_brings_its_settings_and_the_command_line_wins(spawn: Spawn, folder: Path) -> None:
    (folder / "mine.py").write_text(
        "from durably import Engine\nfrom flows import add, nap\n"
        "engine = Engine('sqlite:///mine.db', workflows=[add, nap], environment='staging')\n"
    )
    server = spawn("serve", "mine.py:engine")
    told = server.until("serving")
    assert (told["store"], [each["name"] for each in told["workflows"]]) == ("sqlite:///mine.db", ["add", "nap"])
    server.url = told["url"]
    assert server.json("start", "add", '{"a": 1}')["environment"] == "staging"
    server.signal(signal.SIGTERM)
    assert server.ended() == 0

    other = spawn("serve", "mine.py:engine", "--store", "sqlite:///other.db", "--environment", "production")
    told = other.until("serving")
    other.url = told["url"]
    assert told["store"] == "sqlite:///other.db"
    assert other.json("start", "add", '{"a": 1}')["environment"] == "production"


# -- the end


def begin(server: Any) -> str:
    """Trigger a run that is in the middle of its second step when this returns; its id."""
    server("send", "demo/hello", '{"name": "Ada"}')
    server.until("body", step="until_told")
    [run] = server.json("runs")
    return str(run["id"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_steps_end(spawn: Spawn, durably: Durably, folder: Path, number: signal.Signals) -> None:
    server = spawn("serve", "flows.py").ready()
    run = begin(server)
    server.signal(number)
    assert "the step that runs may take 30 s to end" in server.until("stopping")["text"]
    (folder / "go").touch()
    assert server.ended() == 0

    info = json.loads(durably("show", run, "--store", "sqlite:///durably.db", "--json").stdout)
    assert (info["status"], info["output"]) == ("SUCCEEDED", "Hello Ada!")
    assert server.executions == ["first", "until_told"]


def test_a_thread_that_never_ends_does_not_keep_the_process(spawn: Spawn) -> None:
    server = spawn("serve", "flows.py", "--drain-timeout", "0.2").ready()
    run = server.json("start", "hang")["id"]
    server.until("body", step="stuck")
    server.signal(signal.SIGTERM)
    assert server.process.wait(timeout=30) == 0  # the step sleeps for ten minutes

    again = spawn("serve", "flows.py").ready()
    types = [record["type"] for record in again.json("export", run)["records"]]
    assert types[:4] == ["run.created", "run.started", "attempt.started", "attempt.lost"]
    assert again.json("export", run)["records"][3]["reason"] == "drain"


def test_code_that_keeps_the_loop_does_not_keep_the_process(spawn: Spawn) -> None:
    server = spawn("serve", "flows.py", "--drain-timeout", "0.1").ready()
    with subprocess.Popen([*server.process.args[:3], "start", "block_the_loop", "--url", server.url]) as starting:
        server.until("body", step="rude")
        server.signal(signal.SIGTERM)
        assert server.process.wait(timeout=30) == 1
    assert starting.returncode in {0, 1}  # told, or not, before the loop was kept


def test_a_second_signal_stops_at_once(spawn: Spawn) -> None:
    server = spawn("serve", "flows.py", "--drain-timeout", "500").ready()
    server("start", "hang")
    server.until("body", step="stuck")
    status = None
    while status is None:  # the one that counts is the first after half a second
        server.signal(signal.SIGTERM)
        try:
            status = server.process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
    assert status == 128 + signal.SIGTERM


def test_signals_that_come_together_are_one(spawn: Spawn, folder: Path) -> None:
    server = spawn("serve", "flows.py").ready()
    begin(server)
    server.signal(signal.SIGINT)
    server.signal(signal.SIGTERM)  # Ctrl-C under `timeout` or make
    (folder / "go").touch()
    assert server.ended() == 0


def test_an_engine_that_cannot_go_on_ends_the_process_with_the_reason(spawn: Spawn, folder: Path) -> None:
    server = spawn("serve", "flows.py").ready()
    with sqlite3.connect(folder / "durably.db") as database:  # as if another engine had taken the store
        database.execute("INSERT INTO sessions (token, began_us, first_record) VALUES ('another', 0, 0)")
    database.close()
    server("start", "add", '{"a": 1}')
    assert server.ended() == 1
    last = server.errors.strip().splitlines()[-1]
    assert "was taken over by another engine" in last
    assert "Traceback" not in server.errors


def test_after_kill_9_runs_go_on_and_finished_steps_do_not_run_again(spawn: Spawn, folder: Path) -> None:
    server = spawn("serve", "flows.py").ready()
    run = begin(server)
    server.process.kill()
    server.process.wait()
    (folder / "go").touch()

    again = spawn("serve", "flows.py").ready()
    again.until("succeeded", run=run)
    info = again.json("show", run)
    assert (info["output"], info["tasks"]) == ("Hello Ada!", 2)
    assert again.executions == ["first", "until_told", "until_told"]


# -- what keeps it from starting


def refusal(durably: Durably, *args: str, status: int, **environment: str) -> str:
    """What a command that refuses says: one line, unless the user's code is shown."""
    done = durably(*args, **environment)
    assert done.returncode == status, done.stderr
    assert not done.stdout
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_store_in_use_names_the_process(spawn: Spawn, durably: Durably) -> None:
    server = spawn("serve", "flows.py").ready()
    text = refusal(durably, "serve", "flows.py", "--port", "0", status=1)
    assert f"in use by another engine (process {server.process.pid})" in text


def test_stores_that_cannot_be_opened(durably: Durably, folder: Path) -> None:
    with sqlite3.connect(folder / "foreign.db") as database:
        database.execute("CREATE TABLE theirs (x)")
    database.close()
    assert "another program" in refusal(durably, "serve", "flows.py", status=1, DURABLY_STORE="sqlite:///foreign.db")

    durably("migrate", "--store", "sqlite:///newer.db")
    with sqlite3.connect(folder / "newer.db") as database:
        database.execute("PRAGMA user_version = 999")
    database.close()
    assert "999" in refusal(durably, "serve", "flows.py", "--store", "sqlite:///newer.db", status=1)

    nowhere = refusal(durably, "serve", "flows.py", "--store", "sqlite:///no/such/folder.db", status=1)
    assert "The folder has to exist" in nowhere
    assert "sqlite:///" in refusal(durably, "serve", "flows.py", "--store", "durably.db", status=1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_may_not_be_written(durably: Durably, folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o555)
    assert "writable" in refusal(durably, "serve", "flows.py", "--store", "sqlite:///closed/a.db", status=1)


def test_an_address_that_is_taken(durably: Durably) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = refusal(durably, "serve", "flows.py", "--port", str(port), status=1)
    assert f"cannot listen on 127.0.0.1 port {port}" in text


def test_a_target_that_does_not_import_shows_the_users_lines_only(durably: Durably, folder: Path) -> None:
    (folder / "broken.py").write_text("import flows\n\nflows.nothing()\n")
    done = durably("serve", "broken.py")
    assert done.returncode == 1
    assert re.findall(r'File "(.*)", line (\d+)', done.stderr) == [(str(folder / "broken.py"), "3")]
    assert done.stderr.splitlines()[-1] == (
        "Error: broken.py cannot be imported: AttributeError: module 'flows' has no attribute 'nothing'"
    )


def test_a_target_that_is_not_there_is_bad_use(durably: Durably) -> None:
    assert "did you mean flows.py?" in refusal(durably, "serve", "flow.py", status=2)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--http-allow", "10.0.0.0/33", "10.0.0.0/33"),
        ("--http-allow", "10.0.0.1/8", "10.0.0.0/8"),
        ("--retention", "-1", "-1.0 is not in the range"),
        ("--quota", "-1", "-1 is not in the range"),
        ("--environment", "Bad!", "'Bad!' cannot be an environment's name"),
        ("--public-url", "durably.example.com", "is no address"),
    ],
)
def test_settings_that_cannot_be(durably: Durably, option: str, value: str, said: str) -> None:
    done = durably("serve", "flows.py", option, value)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_an_engine_that_is_not_named_is_told_of(spawn: Spawn, folder: Path) -> None:
    code = "from durably import Engine\nfrom flows import add\n\nmine = Engine(workflows=[add])\n"
    (folder / "app.py").write_text(code)
    told = spawn("serve", "app.py").until("unused")
    assert "app.py has mine, whose settings are not used: to serve that engine say app.py:mine" in told["text"]
