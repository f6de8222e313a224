"""What the tests of all folders share: the backend, and servers in processes of their own."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.responses import Checked

ROOT = Path(__file__).parents[1]
DURABLY = [sys.executable, "-c", "from durably.api.cli import main; main()"]
"""The command line of this checkout, installed or not."""


@pytest.fixture
def anyio_backend() -> str:
    """Durably runs on asyncio; `anyio` is a library that workflows may use on it."""
    return "asyncio"


@pytest.fixture(autouse=True)
def checked_responses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a server in this process answers is JSON:API, where it says so, and what `/openapi.json` promises."""
    checked = Checked()
    checked.install(monkeypatch)
    yield
    assert checked.flaws == []


def free_port() -> int:
    """A port nobody listens on just now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def unused_port() -> int:
    """A port for a program that the test starts."""
    return free_port()


class Program:
    """A program that serves HTTP on a port of its own, in a process and a folder of its own."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / f"output-{port}"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def output(self) -> str:
        """What it has said so far, and a program before it in this folder on this port."""
        return self._log.read_text()

    def wait_until_it_answers(self) -> None:
        """Wait for the first answer, whatever it is. Fails with the program's output when there will be none."""
        for _ in range(400):
            try:
                urllib.request.urlopen(self.url).close()
            except urllib.error.HTTPError:
                return
            except OSError:
                assert self.process.poll() is None, self.output
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"nothing answers at {self.url}: {self.output}")

    def ask(self, path: str, body: object = None) -> Any:
        """GET, or POST of a body, of JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def send(self, name: str, data: object) -> None:
        """Send one event."""
        assert self.ask("/e/test", {"name": name, "data": data})["status"] == 200

    def ended_run(self, workflow: str) -> Any:
        """The attributes of the one run of a workflow, with its id, once it has ended."""
        found: list[Any] = []
        for _ in range(400):
            found = self.ask(f"/api/v1/workflow-runs?filter[workflow]={workflow}")["data"]
            if found and found[0]["attributes"]["finished_at"] is not None:
                [run] = found
                return {"id": run["id"], **run["attributes"]}
            time.sleep(0.05)
        raise AssertionError(f"no run of {workflow} has ended: {found}\n{self.output}")

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()


Start = Callable[..., Program]


@pytest.fixture
def start_program(tmp_path: Path) -> Iterator[Start]:
    """Start a command that serves HTTP on `port`, and wait until it does. It is killed after the test."""
    started: list[Program] = []

    def start(*command: str, port: int, folder: Path = tmp_path, **env: str) -> Program:
        program = Program(list(command), folder, {**os.environ, **env}, port)
        started.append(program)
        program.wait_until_it_answers()
        return program

    yield start
    for program in started:
        program.kill()


@pytest.fixture
def serve(start_program: Start) -> Start:
    """Start `durably serve TARGET`; a server that is started again takes the same port and the same store."""
    same_port = free_port()

    def start(target: str, port: int = same_port, **env: str) -> Program:
        if installed := os.environ.get("DURABLY"):  # where .ci/run tries a wheel
            command = [installed]
        else:
            command, env["PYTHONPATH"] = DURABLY, str(ROOT / "src")
        return start_program(*command, "serve", target, "--port", str(port), port=port, **env)

    return start
