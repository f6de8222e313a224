"""`durably serve` and `durably dev` as users run them: processes of their own, told apart by what they print."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from durably.api.cli import main

DURABLY = [sys.executable, "-c", "from durably.api.cli import main; main(prog_name='durably')"]

FLOWS = """
import asyncio
import json
import time
from pathlib import Path
from durably import Event, NonRetriableError, RetryPolicy, continue_as_new, current, step, wait_for_signal, workflow

def count(what):
    # in a file that the engine does not write, and for who reads the output
    with Path("executions.txt").open("a") as file:
        print(what, file=file)
    print(json.dumps({"kind": "body", "step": what}), flush=True)

@step
async def first(name: str) -> str:
    count("first")
    return f"Hello {name}"

@step
async def until_told(text: str) -> str:
    count("until_told")
    while not Path("go").exists():
        await asyncio.sleep(0.02)
    return text + "!"

@workflow(on="demo/hello")
async def hello(event: Event) -> str:
    return await until_told(await first(event.data["name"]))

@workflow
async def add(a: int, b: int = 2) -> dict:
    return {"sum": a + b, "of": [a, b]}

@step(retry=RetryPolicy(3, backoff="fixed", delay=0.01, jitter=0))
async def shaky() -> int:
    if current().attempt < 2:
        raise ConnectionError(f"no line {current().attempt}")
    return 7

@workflow
async def shake() -> int:
    return await shaky()

@workflow
async def fail(why: str) -> None:
    raise NonRetriableError(why)

@step
def stuck() -> None:
    count("stuck")
    time.sleep(600)

@workflow
async def hang() -> None:
    await stuck()

@step
async def rude() -> None:
    count("rude")
    time.sleep(600)

@workflow
async def block_the_loop() -> None:
    await rude()

@workflow
async def nap(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "awake"

@workflow
async def approve() -> object:
    signal = await wait_for_signal("approve")
    return await shaky() if signal.data is None else signal.data

@step
async def price(cents: int) -> int:
    count("price")
    return cents

@step(retries=0)
async def charge(cents: int) -> str:
    count("charge")
    if cents > 4:
        raise ValueError(f"{cents} declined")
    return f"{cents} paid"

@workflow
async def buy(cents: int) -> object:
    return await charge(await price(cents))

@workflow
async def count_down(left: int) -> str:
    if left:
        continue_as_new(left - 1)
    return "done"
"""


class Server:
    """A running `durably serve` or `durably dev`, in a folder with `flows.py`."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.folder = folder
        self._errors = folder / "stderr.txt"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DURABLY_")}
        environment["DURABLY_PORT"] = "0"
        with self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*DURABLY, *args, "--json"],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.url = ""

    def until(self, kind: str, **wanted: str) -> dict[str, Any]:
        """Read what it prints up to the line of this kind; the process ending first fails the test."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told: dict[str, Any] = json.loads(line)
            if told["kind"] == kind and all(told[name] == value for name, value in wanted.items()):
                return told
        pytest.fail(f"it ended with {self.process.wait()} before it told of {kind!r}:\n{self.errors}")

    def ready(self) -> "Server":
        """Wait until it serves."""
        self.url = self.until("serving")["url"]
        return self

    @property
    def errors(self) -> str:
        """What is on its standard error so far."""
        return self._errors.read_text()

    @property
    def executions(self) -> list[str]:
        """The step bodies that have run, in a file that the engine does not write."""
        return (self.folder / "executions.txt").read_text().split()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end; the exit status."""
        assert self.process.stdout is not None
        self.process.stdout.read()
        return self.process.wait()

    def __call__(self, *args: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run another command against it, in this process, which is quicker; `given` is its standard input."""
        done = CliRunner().invoke(main, [*args, "--url", self.url], input=given)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return subprocess.CompletedProcess(args, done.exit_code, done.stdout, done.stderr)

    def json(self, *args: str) -> Any:
        """What that command prints as JSON."""
        done = self(*args, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def run_durably(folder: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in that folder."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DURABLY_")}
    return subprocess.run(
        [*DURABLY, *args], cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with `flows.py` in it."""
    (tmp_path / "flows.py").write_text(FLOWS)
    return tmp_path


Spawn = Callable[..., Server]


@pytest.fixture
def spawn(folder: Path) -> Iterator[Spawn]:
    """Starts `durably` with these arguments in the folder; killed with the test."""
    servers: list[Server] = []

    def start(*args: str) -> Server:
        servers.append(Server(folder, *args))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.wait()
        assert server.process.stdout is not None
        server.process.stdout.close()


@pytest.fixture
def durably(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command to its end in the folder; keywords are environment variables."""
    return lambda *args, **environment: run_durably(folder, *args, **environment)
