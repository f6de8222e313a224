"""`durably bulk` against a server in a process of its own."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Spawn = Callable[..., Any]


@pytest.fixture
def server(spawn: Spawn) -> Iterator[Any]:
    return spawn("serve", "flows.py").ready()


def nap(server: Any, count: int) -> list[str]:
    return [server("start", "nap", '{"seconds": 3600}').stdout.strip() for _ in range(count)]


def statuses(server: Any, workflow: str) -> list[str]:
    return [run["status"] for run in server.json("runs", "--workflow", workflow)]


def test_a_preview_names_runs_and_does_nothing(server: Any) -> None:
    ids = nap(server, 3)
    done = server("bulk", "cancel", "--workflow", "nap", "--preview")
    assert (done.returncode, done.stdout.split()) == (0, ids[::-1])
    assert "cancel would be done to 3 runs; nothing was done" in done.stderr
    assert set(statuses(server, "nap")) == {"RUNNING"}
    told = json.loads(server("bulk", "cancel", "--workflow", "nap", "--preview", "--json").stdout)
    assert (told["action"], told["total"]) == ("cancel", 3)


def test_runs_are_canceled_and_others_are_not(server: Any) -> None:
    ids = nap(server, 3)
    server("start", "approve", "{}")
    done = server("bulk", "cancel", "--workflow", "nap", "--rate", "1000")
    assert done.returncode == 0, done.stderr
    assert "cancel: 3 of 3 runs" in done.stderr
    for run_id in ids:  # they are asked to end; this waits until they have
        server("start", "nap", '{"seconds": 3600}', "--run-id", run_id, "--wait")
    assert statuses(server, "nap") == ["CANCELED"] * 3
    assert statuses(server, "approve") == ["RUNNING"]


def test_failed_runs_are_run_again(server: Any) -> None:
    for why in ("a", "b"):
        server("start", "fail", json.dumps({"why": why}), "--wait")
    told = json.loads(server("bulk", "rerun", "--rate", "1000", "--json").stdout)
    assert (told["status"], told["done"], told["total"]) == ("SUCCEEDED", 2, 2)
    assert len(statuses(server, "fail")) == 4


@pytest.mark.parametrize(
    "options", [("--rate", "0"), ("--status", "DONE"), ("--since", "yesterday"), ("--version", "2")]
)
def test_bad_use(server: Any, options: tuple[str, str]) -> None:
    assert server("bulk", "rerun", *options).returncode == 2
