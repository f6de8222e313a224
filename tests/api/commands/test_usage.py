"""`durably usage`: from a server, and from its store."""

import json
from collections.abc import Callable
from typing import Any

import pytest

Spawn = Callable[..., Any]


@pytest.fixture
def server(spawn: Spawn) -> Any:
    """A server whose day had two runs of `shake`, a step each, and one of `add`, which has none."""
    found = spawn("serve", "flows.py").ready()
    for command in (("shake",), ("shake",), ("add", '{"a": 1}')):
        assert found("start", *command, "--wait").returncode == 0
    return found


def test_what_was_used_is_a_table_with_its_sum(server: Any) -> None:
    heads, *lines, total = server("usage").stdout.splitlines()
    assert heads.split() == ["day", "environment", "workflow", "runs", "tasks"]
    assert [line.split()[1:] for line in lines] == [["production", "add", "1", "0"], ["production", "shake", "2", "2"]]
    assert total.split() == ["total", "3", "2"]


def test_it_is_filtered(server: Any) -> None:
    [used] = server.json("usage", "--workflow", "shake", "--environment", "production", "--since", "1d")
    assert (used["workflow"], used["runs"], used["tasks"]) == ("shake", 2, 2)
    nothing = server("usage", "--environment", "staging")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "nothing was used\n")


def test_a_store_tells_the_same(server: Any, durably: Callable[..., Any]) -> None:
    for options in ((), ("--workflow", "add"), ("--environment", "staging"), ("--since", "2030-01-01")):
        read = durably("usage", *options, "--store", "sqlite:///durably.db", "--json")
        assert read.returncode == 0, read.stderr
        assert json.loads(read.stdout) == server.json("usage", *options)
