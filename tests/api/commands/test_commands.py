"""Commands that talk to a server: `start`, `send`, `cancel`, `signal`, `rerun`, `fork`, `show`."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Spawn = Callable[..., Any]


@pytest.fixture
def server(spawn: Spawn) -> Iterator[Any]:
    return spawn("serve", "flows.py").ready()


def test_start_prints_the_id_and_with_wait_what_came_of_it(server: Any) -> None:
    started = server("start", "add", '{"a": 1}', "--run-id", "sum-1")
    assert (started.returncode, started.stdout) == (0, "sum-1\n")
    assert "durably show sum-1" in started.stderr

    again = server("start", "add", '{"a": 1}', "--run-id", "sum-1", "--wait")
    assert (again.returncode, again.stdout) == (0, '{"sum":3,"of":[1,2]}\n')
    assert "run sum-1 of add SUCCEEDED" in again.stderr
    assert len(server.json("runs")) == 1

    other = server("start", "add", '{"a": 2}', "--run-id", "sum-1")
    assert other.returncode == 1
    assert other.stderr.startswith("Error: run 'sum-1' exists and is another one")

    failed = server("start", "fail", '{"why": "no way"}', "--wait")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "no way" in failed.stderr
    assert server("start", "add", '{"a": "x"}').stderr.startswith("Error: add(): parameter 'a' does not fit")
    assert "workflow 'ad' is not registered" in server("start", "ad").stderr


def test_runs_are_filtered(server: Any, folder: Path) -> None:
    (folder / "go").touch()
    server("start", "add", '{"a": 1}', "--wait")
    server("send", "demo/hello", '{"name": "Ada"}')

    def found(*options: str) -> list[str]:
        return sorted(run["workflow"] for run in server.json("runs", *options))

    assert found() == ["add", "hello"]
    assert found("--trigger", "manual") == found("--workflow", "add") == ["add"]
    assert found("--event", "demo/hello") == found("--trigger", "EVENT") == ["hello"]
    assert found("--environment", "production", "--since", "1h") == ["add", "hello"]
    assert found("--environment", "staging") == found("--until", "1h") == []


def test_arguments_from_standard_input(server: Any) -> None:
    done = subprocess.run(
        [*server.process.args[:3], "start", "add", "-", "--wait", "--url", server.url],
        input='{"a": 40}', capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["sum"] == 42


def test_test_mode(server: Any) -> None:
    info = json.loads(server("start", "shake", "--test", "--wait", "--json").stdout)
    assert (info["status"], info["test"]) == ("FAILED", True)
    assert "no line 0" in info["error"]["message"]
    assert server.json("start", "shake", "--wait")["output"] == 7


def test_an_event_sent_twice_is_one(server: Any, folder: Path) -> None:
    (folder / "go").touch()
    for _ in range(2):
        sent = server("send", "demo/hello", '{"name": "Ada"}', "--id", "e1")
        assert (sent.returncode, sent.stdout) == (0, "e1\n")
    conflict = server("send", "demo/hello", '{"name": "Bob"}', "--id", "e1")
    assert conflict.returncode == 1
    assert "an id stands for one event" in conflict.stderr
    assert server.json("send", "demo/other")["ids"]
    [run] = server.json("runs")
    assert run["event_id"] == "e1"


def test_cancel_and_rerun(server: Any) -> None:
    assert server("start", "nap", '{"seconds": 3600}', "--run-id", "sleeper").returncode == 0
    assert server.json("show", "sleeper")["phase"] == "sleeping"
    assert server("cancel", "sleeper").returncode == 0
    server.until("canceled", run="sleeper")
    late = server("cancel", "sleeper")
    assert late.returncode == 1
    assert "has ended CANCELED" in late.stderr

    again = server("rerun", "sleeper", "--input", '{"seconds": 0}')
    info = server.json("show", again.stdout.strip())
    assert (info["trigger"], info["origin"]) == ("RERUN", "sleeper")
    assert server("rerun", "sleeper", "--version", "7").returncode == 1


@pytest.fixture
def declined(server: Any) -> Any:
    """A server with a run `bought` whose second step has failed."""
    assert server("start", "buy", '{"cents": 5}', "--run-id", "bought", "--wait").returncode == 1
    return server


def test_a_run_begins_again_at_a_step(declined: Any) -> None:
    again = declined("rerun", "bought", "--from-step", "charge")
    assert (again.returncode, "does again what bought did" in again.stderr) == (0, True), again.stderr
    run = again.stdout.strip()
    declined.until("failed", run=run)
    shown = declined("show", run).stdout
    assert "rerun of bought" in shown
    assert "from step 0/charge#0, run bought" in shown
    assert re.search(r"price +◆ .* given\n", shown)
    assert declined.executions == ["price", "charge", "charge"]
    unknown = declined("rerun", "bought", "--from-step", "ship")
    assert unknown.returncode == 1
    assert "the run's history has no step 'ship'; it has 0/price#0, 0/charge#0" in unknown.stderr


@pytest.mark.parametrize(
    ("options", "output", "executions"),
    [
        (["--patch", 'charge="by hand"'], "by hand", []),
        (["--at", "charge", "--args", 'charge={"cents": 3}'], "3 paid", ["charge"]),
        (["--at", "4", "--args", '0/charge#0={"cents": 3}'], "3 paid", ["charge"]),
        (["--at", "1", "--patch", "0/price#0=4"], "4 paid", ["charge"]),
    ],
)
def test_a_fork_goes_on_from_the_middle(declined: Any, options: list[str], output: Any, executions: list[str]) -> None:
    before = declined.executions
    done = declined("fork", "bought", *options)
    assert (done.returncode, "goes on from the middle of bought" in done.stderr) == (0, True), done.stderr
    run = done.stdout.strip()
    while (info := declined.json("show", run))["finished_at"] is None:
        pass
    assert info["output"] == output
    assert declined.executions[len(before) :] == executions
    shown = declined("show", run).stdout
    assert "fork of bought" in shown
    assert re.search(r"fork +◆ .* taken over up to record \d+, run bought\n", shown)


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--at", "99"], 1, "there is no record 99"),
        (["--at", "ship"], 1, "the run's history has no step 'ship'"),
        (["--at", "9" * 30], 1, "has no step '999"),
        (["--patch", "charge=3"], 1, "step 0/charge#0: Expected `str`, got `int`"),
        (["--patch", "charge"], 2, "is not STEP=JSON"),
        (["--args", "charge=[3]"], 2, "an object is needed"),
    ],
)
def test_a_fork_that_cannot_be(declined: Any, options: list[str], status: int, says: str) -> None:
    done = declined("fork", "bought", *options)
    assert done.returncode == status
    assert says in done.stderr
    assert len(declined.json("runs")) == 1


def test_a_run_that_goes_on_as_another(server: Any) -> None:
    done = server("start", "count_down", '{"left": 3}', "--run-id", "first", "--wait")
    assert (done.returncode, done.stdout) == (0, '"done"\n')
    assert "run first goes on as " in done.stderr
    first = server("show", "first").stdout
    heir = server.json("show", "first")["continued_to"]
    assert f"goes on as {heir}" in first
    assert "output" not in first
    assert "goes on where first ended" in server("show", heir).stdout


@pytest.mark.parametrize(("data", "output"), [([], 7), (['{"by": "Ada"}'], {"by": "Ada"}), (["-"], [1])])
def test_a_signal_wakes_who_waits_for_it(server: Any, data: list[str], output: object) -> None:
    server("start", "approve", "--run-id", "a")
    assert "RUNNING waiting" in server("show", "a").stdout
    sent = server("signal", "a", "approve", *data, given="[1]")
    assert (sent.returncode, sent.stdout) == (0, "")
    assert "run a has the signal 'approve'" in sent.stderr
    server.until("succeeded", run="a")
    assert server.json("show", "a")["output"] == output
    late = server("signal", "a", "approve")
    assert late.returncode == 1
    assert "has ended" in late.stderr


def test_show_counts_down(server: Any) -> None:
    server("start", "nap", '{"seconds": 86400}', "--run-id", "sleeper")
    text = server("show", "sleeper").stdout
    assert "RUNNING sleeping" in text
    assert "sleeping, due in 23 h 59 min" in text or "sleeping, due in 1 d" in text


def test_who_waits_goes_on_when_the_server_is_back(spawn: Spawn, server: Any) -> None:
    port = server.url.rpartition(":")[2]
    server("send", "demo/hello", '{"name": "Ada"}')
    command = ["start", "nap", '{"seconds": 0.3}', "--wait", "--run-id", "n", "--url", server.url]
    with subprocess.Popen(
        [*server.process.args[:3], *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        server.until("started", run="n")
        server.process.kill()
        server.process.wait()
        back = spawn("serve", "flows.py", "--port", port)
        out, errors = waiting.communicate()
    assert (waiting.returncode, out) == (0, '"awake"\n')
    assert "run n of nap SUCCEEDED" in errors
    assert back.process.poll() is None


def test_a_list_with_a_long_error_keeps_ids_and_status_whole(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    why = json.dumps({"why": "no\n" + "x" * 500})
    assert server("start", "fail", why, "--run-id", "a-run-with-an-id-of-36-characters-ok", "--wait").returncode == 1
    assert server("start", "nap", '{"seconds": 3600}', "--run-id", "n").returncode == 0
    for columns in (80, 120, 200, None):
        if columns is None:
            monkeypatch.delenv("COLUMNS")
        else:
            monkeypatch.setenv("COLUMNS", str(columns))
        printed = server("runs").stdout.splitlines()
        assert re.fullmatch(r"run +workflow +status.*", printed[0])
        assert re.match(r"n +nap +RUNNING (sleeping|executing)", printed[1])
        assert re.match(r"a-run-with-an-id-of-36-characters-ok  fail +FAILED", printed[2])
        assert max(map(len, printed)) <= (columns or 200)
        assert len(printed) == 3
    assert "NonRetriableError" in printed[2]
