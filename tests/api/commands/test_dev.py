"""`durably dev`: one process that takes in changed code, says what is wrong with it, and loses nothing."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

Spawn = Callable[..., Any]


def edit(file: Path, old: str, new: str) -> None:
    """Change the code, as an editor does: in one go."""
    text = file.read_text()
    assert old in text
    fresh = file.with_suffix(".new")
    fresh.write_text(text.replace(old, new))
    fresh.replace(file)


def test_a_change_reloads_the_same_process_with_the_new_code(spawn: Spawn, folder: Path) -> None:
    server = spawn("dev", "flows.py").ready()
    assert server.json("start", "add", '{"a": 1}', "--wait")["output"] == {"sum": 3, "of": [1, 2]}
    assert server.json("runs")[0]["environment"] == "development"

    edit(folder / "flows.py", '"sum": a + b', '"sum": a - b')
    assert server.until("changed")["text"] == "flows.py changed"
    told = server.until("serving")
    assert told["pid"] == server.process.pid
    server.url = told["url"]
    assert server.json("start", "add", '{"a": 1}', "--wait")["output"] == {"sum": -1, "of": [1, 2]}

    server.signal(signal.SIGTERM)
    assert server.ended() == 0


def test_a_step_under_way_starts_again_with_the_new_code(spawn: Spawn, folder: Path) -> None:
    server = spawn("dev", "flows.py", "--drain-timeout", "0.1").ready()
    server("send", "demo/hello", '{"name": "Ada"}')
    server.until("body", step="until_told")
    edit(folder / "flows.py", 'return text + "!"', 'return text + "?"')
    server.until("serving")
    (folder / "go").touch()
    assert server.until("succeeded")["text"] == '"Hello Ada?"'
    assert server.executions == ["first", "until_told", "until_told"]


def test_who_is_asked_to_end_while_it_reloads_ends(spawn: Spawn, folder: Path) -> None:
    server = spawn("dev", "flows.py", "--drain-timeout", "500").ready()
    server("send", "demo/hello", '{"name": "Ada"}')
    server.until("body", step="until_told")
    edit(folder / "flows.py", 'return text + "!"', 'return text + "?"')
    server.until("stopping")
    server.signal(signal.SIGTERM)
    (folder / "go").touch()
    assert server.ended() == 0


def test_code_that_does_not_import_is_shown_and_the_next_change_waited_for(spawn: Spawn, folder: Path) -> None:
    server = spawn("dev", "flows.py").ready()
    edit(folder / "flows.py", "@workflow\nasync def nap(", "@workflow\nasync def nap(:")
    waits = server.until("waiting")["text"]
    assert waits == f"process {server.process.pid} waits for a change in {folder}"
    assert "SyntaxError" in server.errors
    assert "nap(:" in server.errors

    edit(folder / "flows.py", "nap(:", "nap(")
    assert server.until("serving")["pid"] == server.process.pid
    server.signal(signal.SIGINT)
    assert server.ended() == 0


def test_a_module_that_is_broken_from_the_start_is_waited_for_too(spawn: Spawn, folder: Path) -> None:
    (folder / "empty.py").write_text("")
    server = spawn("dev", "empty.py")
    server.until("waiting")
    assert "declares no workflow" in server.errors
    server.signal(signal.SIGTERM)
    assert server.ended() == 0


def test_a_run_that_no_longer_fits_is_blocked_until_the_code_is_put_back(spawn: Spawn, folder: Path) -> None:
    server = spawn("dev", "flows.py", "--drain-timeout", "0.1").ready()
    server("send", "demo/hello", '{"name": "Ada"}')
    server.until("body", step="until_told")
    edit(folder / "flows.py", 'first(event.data["name"])', 'first("Bob")')
    blocked = server.until("blocked")
    assert "expected (history): step 'first' (0/first#0)" in blocked["text"]
    assert "got (code):         step 'first' (0/first#0)" in blocked["text"]
    assert 'differs:            name: "Ada", now "Bob"' in blocked["text"]
    assert "flows.py:" in blocked["text"]

    edit(folder / "flows.py", 'first("Bob")', 'first(event.data["name"])')
    (folder / "go").touch()
    assert server.until("succeeded")["run"] == blocked["run"]
    assert server.executions == ["first", "until_told", "until_told"]
