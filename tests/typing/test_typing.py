"""What users write must be clean under mypy strict and pyright strict, and their mistakes must be found."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

pytestmark = pytest.mark.skipif(
    find_spec("mypy") is None or find_spec("pyright") is None, reason="needs the type checkers"
)


def run(*command: str) -> str:
    """The output of a module of Python, which tells by its exit status that it found errors."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy(path: Path) -> list[tuple[int, str]]:
    """What mypy strict finds in a file: lines and messages."""
    output = run("mypy", "--strict", "--follow-imports=silent", "--no-pretty", str(path))
    found = re.findall(r"^[^:]+:(\d+): error: (.*)$", output, re.MULTILINE)
    return [(int(line), message) for line, message in found]


def pyright(path: Path) -> list[tuple[int, str]]:
    """What pyright strict, set in pyproject.toml, finds in a file: lines and messages."""
    output = run("pyright", "--outputjson", "--pythonpath", sys.executable, str(path))
    found = json.loads(output)["generalDiagnostics"]
    return [(each["range"]["start"]["line"] + 1, each["message"]) for each in found]


Checker = Callable[[Path], list[tuple[int, str]]]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", [mypy, pyright])
@pytest.mark.parametrize("file", ["api.py", "clients.py"])
def test_what_users_write_is_clean(checker: Checker, file: str) -> None:
    assert checker(HERE / file) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_mistakes_are_found(checker: Checker) -> None:
    lines = (HERE / "mistakes.py").read_text().splitlines()
    mistakes = {number for number, line in enumerate(lines, 1) if line.endswith("# mistake")}
    assert mistakes
    assert {line for line, _ in checker(HERE / "mistakes.py")} == mistakes
