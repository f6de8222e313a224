"""`durably check`: what is printed for people and for programs, and the exit status; and the warnings of `dev`."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Durably = Callable[..., Any]

FAULTY = """\
import time, uuid
from durably import step, workflow

def number():
\treturn "é", uuid.uuid4()

@workflow
async def bad() -> None:
    print(time.time(),
          number())

@workflow
async def good() -> None: ...

@step(on="a/b")
async def click(event) -> None:
    time.time()
"""

SHOWN = """\
faulty.py:5:14: random: uuid.uuid4() gives another value on every replay
    5 │     return "é", uuid.uuid4()
      │                 ^^^^^^^^^^^^
      = in number(), called by bad
      = Use durably.uuid4()

faulty.py:9:11: clock: time.time() reads the clock, and on replay the time is another
    9 │     print(time.time(),
      │           ^^^^^^^^^^^
      = in bad()
      = Use durably.now()

2 workflows of faulty.py checked: 2 findings
"""


@pytest.fixture
def faulty(folder: Path) -> Path:
    """A file in the folder with two findings."""
    file = folder / "faulty.py"
    file.write_text(FAULTY)
    return file


@pytest.mark.usefixtures("faulty")
def test_findings_are_shown_as_a_compiler_does(durably: Durably) -> None:
    done = durably("check", "faulty.py")
    assert (done.returncode, done.stdout, done.stderr) == (1, SHOWN, "")
    assert "\x1b[" in durably("check", "faulty.py", FORCE_COLOR="1").stdout


@pytest.mark.usefixtures("faulty")
def test_findings_as_json(durably: Durably, folder: Path) -> None:
    done = durably("check", "faulty.py", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["workflows"]) == (1, ["bad", "good"])
    assert [each["kind"] for each in told["findings"]] == ["random", "clock"]
    assert told["findings"][0] == {
        "kind": "random",
        "problem": "uuid.uuid4() gives another value on every replay",
        "remedy": "Use durably.uuid4()",
        "file": str(folder / "faulty.py"),
        "line": 5,
        "column": 14,
        "width": 12,
        "function": "number",
        "callers": ["bad"],
        "source": '\treturn "é", uuid.uuid4()',
    }


def test_nothing_found_is_status_0(durably: Durably, folder: Path) -> None:
    (folder / "one.py").write_text("from durably import workflow\n@workflow\nasync def one(): ...\n")
    done = durably("check", "one.py")
    assert (done.returncode, done.stdout) == (0, "1 workflow of one.py checked: nothing found\n")
    assert json.loads(durably("check", "one.py", "--json").stdout) == {"workflows": ["one"], "findings": []}


@pytest.mark.parametrize(("arguments", "said"), [([], "Missing argument"), (["none.py"], "there is no file none.py")])
def test_bad_use_is_status_2(durably: Durably, arguments: list[str], said: str) -> None:
    done = durably("check", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_module_that_does_not_import_is_shown(durably: Durably, folder: Path) -> None:
    (folder / "broken.py").write_text("import nothing_of_that_name\n")
    done = durably("check", "broken.py")
    assert done.returncode == 1
    assert "nothing_of_that_name" in done.stderr


def test_dev_warns_at_each_start(spawn: Callable[..., Any], faulty: Path) -> None:
    server = spawn("dev", "faulty.py")
    assert server.until("finding")["finding"]["kind"] == "random"
    assert server.until("finding")["finding"]["line"] == 9
    server.until("serving")
    faulty.write_text(FAULTY.replace("time.time(),", "3,"))
    server.until("changed")
    assert server.until("finding")["finding"]["kind"] == "random"
    server.until("serving")
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
