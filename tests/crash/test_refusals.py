"""A server and a store that is taken, full, or from the future: a clear word, and nothing lost."""

import os
import re
import resource
import shutil
import sqlite3
import subprocess
import time
import urllib.error
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

CODE = """
import asyncio
from pathlib import Path

from durably import Event, step, workflow

@step
def note(word: str) -> None:
    with Path("executed").open("a") as file:
        print(word, file=file)

@workflow(on="note")
async def note_twice(event: Event) -> None:
    await note(event.data["word"] + " before")
    await asyncio.sleep(3)
    await note(event.data["word"] + " after")
"""

Serve = Callable[..., Any]


@pytest.fixture(autouse=True)
def code(tmp_path: Path) -> None:
    (tmp_path / "notes.py").write_text(CODE)


def executed(folder: Path) -> list[str]:
    """What the steps have done, in a file of theirs."""
    file = folder / "executed"
    return file.read_text().splitlines() if file.exists() else []


def refusal(serve: Serve, **options: Any) -> str:
    """What a server says that does not start."""
    with pytest.raises(AssertionError) as refused:
        serve("notes.py", **options)
    said = str(refused.value)
    assert "Traceback" not in said
    return said


# -- taken, or from the future


def test_a_second_server_on_a_store_is_refused_and_the_first_goes_on(serve: Serve, unused_port: int) -> None:
    first = serve("notes.py")
    said = refusal(serve, port=unused_port)
    assert f"in use by another engine (process {first.process.pid})" in said
    first.send("note", {"word": "a"})
    assert first.ended_run("note_twice")["status"] == "SUCCEEDED"


def test_a_store_of_a_newer_version_is_left_alone(serve: Serve, tmp_path: Path) -> None:
    serve("notes.py").kill()
    store = tmp_path / "durably.db"
    with closing(sqlite3.connect(store)) as database:
        database.execute("PRAGMA user_version = 99")
    before = store.read_bytes()
    assert re.search(r"schema version 99, .* knows \d+.*Install", refusal(serve), re.DOTALL)
    assert store.read_bytes() == before


def test_a_file_of_another_program_is_left_alone(serve: Serve, tmp_path: Path) -> None:
    store = tmp_path / "durably.db"
    with closing(sqlite3.connect(store)) as database:
        database.execute("CREATE TABLE customers (name TEXT)")
    before = store.read_bytes()
    assert "database of another program" in refusal(serve)
    assert store.read_bytes() == before


# -- full


class Disk(Protocol):
    """Where the store is, and how it gets full."""

    folder: Path

    def fill(self, pid: int) -> None: ...
    def make_room(self, pid: int) -> None: ...


class SmallDisk:
    """A file system of 2 MiB in memory, and a file that takes up what is left of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, pid: int) -> None:
        del pid
        with (self.folder / "ballast").open("ab", buffering=0) as file:
            for size in (65_536, 512):  # to the last block
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def make_room(self, pid: int) -> None:
        del pid
        (self.folder / "ballast").unlink()


class LimitedFiles:
    """A process that may not write beyond the first 16 KiB of a file, which a store is past long ago."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (16_384, resource.RLIM_INFINITY))

    def make_room(self, pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def small_disk(folder: Path) -> Generator[Disk]:
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "durably-test", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs to be allowed to mount a small file system")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def limited_files(folder: Path) -> Generator[Disk]:
    if not hasattr(resource, "prlimit"):
        pytest.skip("needs Linux")
    yield LimitedFiles(folder)


@pytest.fixture(params=[small_disk, limited_files], ids=["small disk", "limited files"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with request.param(folder) as disk:
        yield disk


def is_unavailable(ask: Callable[..., Any], *request: object) -> bool:
    """Whether the answer is 503, to be tried again later."""
    try:
        ask(*request)
    except urllib.error.HTTPError as error:
        return error.code == 503 and "Retry-After" in error.headers
    return False


def test_a_full_disk_refuses_new_work_and_loses_none(serve: Serve, disk: Disk, tmp_path: Path) -> None:
    server = serve("notes.py", DURABLY_STORE=f"sqlite:///{disk.folder}/app.db")
    server.send("note", {"word": "first"})
    wait_for(lambda: executed(tmp_path) == ["first before"])

    refused = ("/e/test", {"name": "note", "data": {"word": "refused"}})

    def is_full() -> bool:
        # More than once: opening the store again empties its write-ahead log, which gives back some room.
        disk.fill(server.process.pid)
        return is_unavailable(server.ask, *refused) and is_unavailable(server.ask, "/health/ready")

    wait_for(is_full)
    [run] = server.ask("/api/v1/workflow-runs")["data"]
    assert run["attributes"]["status"] == "RUNNING", "reads are answered, and the run has not failed"

    disk.make_room(server.process.pid)
    assert server.ended_run("note_twice")["status"] == "SUCCEEDED"
    assert executed(tmp_path) == ["first before", "first after"]
    wait_for(lambda: not is_unavailable(server.ask, "/health/ready"))
    server.send("note", {"word": "second"})
    wait_for(lambda: "second after" in executed(tmp_path))
    assert len(executed(tmp_path)) == 4


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen within half a minute")
