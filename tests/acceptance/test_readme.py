"""What the README prints is what happens: its experiment is run as it stands, block after block, by a shell."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PORT = "8484"
SERVES = "durably serves examples"


def blocks(section: str, language: str) -> list[str]:
    """The code blocks of a section, in order."""
    [text] = re.findall(rf"^## {section}\n(.*?)(?=^## )", README, re.MULTILINE | re.DOTALL)
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def installed() -> bool:
    """Whether .venv is what `make` would make of it, so that no network is needed."""
    done_with = ROOT / ".venv/installed.toml"
    return done_with.exists() and done_with.read_text() == (ROOT / "pyproject.toml").read_text()


def test_the_workflow_it_shows_is_the_example() -> None:
    shown = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[0]
    code = (ROOT / "examples/hello.py").read_text()
    assert code.endswith(f"\n{shown}"), "all of it, behind the docstring"
    assert README[: README.index(shown)].count("\n") < 30, "within the first lines"


class Terminals:
    """Two of them, in a checkout: `make run` takes up the first one, all else is done in the second."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._folder, self._env = folder, env
        self._serving: subprocess.Popen[bytes] | None = None

    @property
    def first(self) -> str:
        """What the first one shows."""
        return (self._folder / "terminal").read_text()

    def serve(self, command: str) -> None:
        """Start the server, and wait until it says that it serves."""
        with (self._folder / "terminal").open("ab") as file:
            before = self.first.count(SERVES)
            self._serving = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self._folder,
                env=self._env,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        wait_until(lambda: self.first.count(SERVES) > before)

    def end_of_serving(self) -> int:
        """The exit status in the first terminal, once there is one."""
        assert self._serving is not None
        return self._serving.wait(timeout=20)

    def do(self, commands: str) -> str:
        """What commands in the second one print. All of them must succeed."""
        commands = commands.replace(PORT, self._env["DURABLY_PORT"])
        command = ["bash", "-ec", commands]
        return subprocess.run(
            command, cwd=self._folder, env=self._env, capture_output=True, text=True, check=True
        ).stdout

    def close(self) -> None:
        """Kill what still runs."""
        if self._serving is not None and self._serving.poll() is None:
            os.killpg(self._serving.pid, signal.SIGKILL)
            self._serving.wait()


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen within a minute")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The project as a clone has it, with the .venv of this one."""
    folder = tmp_path / "durably"
    ignored = shutil.ignore_patterns(".*_cache", "__pycache__", ".git", ".venv*", ".hypothesis", "*.db*", "tests")
    shutil.copytree(ROOT, folder, symlinks=True, ignore=ignored)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


@pytest.fixture
def terminals(checkout: Path, unused_port: int) -> Iterator[Terminals]:
    env = {**os.environ, "DURABLY_PORT": str(unused_port), "DURABLY_URL": f"http://127.0.0.1:{unused_port}"}
    env.pop("MAKEFLAGS", None)  # of the make that runs the tests
    terminals = Terminals(checkout, env)
    yield terminals
    terminals.close()


@pytest.mark.skipif(not installed(), reason="needs an up-to-date .venv: run `make install`")
@pytest.mark.timeout(180)
def test_a_run_survives_kill_9_as_printed(terminals: Terminals) -> None:
    serve, trigger, kill, serve_again, look = blocks("Kill it", "sh")

    terminals.serve(serve)
    assert '"status":200' in terminals.do(trigger)
    wait_until(lambda: "creating an account for ada@example.com" in terminals.first)

    terminals.do(kill)
    assert terminals.end_of_serving() != 0, "the server was killed, and make says so"
    assert "sending mail" not in terminals.first

    terminals.serve(serve_again)
    wait_until(lambda: "succeeded" in terminals.first)
    assert terminals.first.count("creating an account") == 1, "not again"
    assert terminals.first.count("sending mail to ada") == 1

    seen = terminals.do(look)
    assert re.search(r"onboard +SUCCEEDED", seen)
    assert '"tasks":2' in seen
    assert '"output":"welcome, ada"' in seen


@pytest.mark.skipif(not installed(), reason="needs an up-to-date .venv: run `make install`")
def test_every_command_it_names_is_there() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    named = set(re.findall(r"\bmake ([a-z]+)", README)) - {"and"}
    assert named
    assert named <= set(re.findall(r"make ([a-z]+)", done.stdout))
    commands = set(re.findall(r"(?:`|&& |bin/)durably ([a-z]+)", README))
    assert {"dev", "runs", "show"} <= commands
    for command in commands:
        subprocess.run([ROOT / ".venv/bin/durably", command, "--help"], capture_output=True, check=True)
