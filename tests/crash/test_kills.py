"""kill -9 at every durable write of the order example, and a failing disk at every fsync.

strace kills an unmodified program at the k-th `pwrite64`, `fdatasync`, … of a thread, or lets that call fail,
for each k there is. A second process then finishes the run. Which steps were executed is told by requests to
the shop, noted in a file the engine does not write, and held against the log before and after.

By default an even sample of all places is tried; `DURABLY_ALL_KILLS=1` tries every one, which takes minutes.
"""

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from durably.store.sqlite.connection import settle
from durably.store.sqlite.migrate import migrate

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PATH = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
ALL = os.environ.get("DURABLY_ALL_KILLS") == "1"
WRITES = ("pwrite64", "fdatasync", "fsync", "ftruncate", "unlink")
SYNCS = ("fdatasync", "fsync")


def can_trace() -> bool:
    """Whether strace is here and may trace: containers often forbid ptrace."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], check=False).returncode == 0


pytestmark = [
    pytest.mark.skipif(not can_trace(), reason="needs strace, and to be allowed to use ptrace"),
    pytest.mark.timeout(900 if ALL else 120),
]


# -- the shop, which outlives everybody


class Shop:
    def __init__(self, url: str) -> None:
        self.url = url

    def books(self) -> Any:
        with urllib.request.urlopen(self.url) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "examples/shop.py"), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_port(port)
            yield Shop(f"http://127.0.0.1:{port}")
        finally:
            process.kill()


def wait_for_port(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the shop did not open")


# -- one order, and what is left of it


class Kind(NamedTuple):
    """An order and what it comes to."""

    address: str
    result: str
    steps: int
    fresh: bool
    """Whether its first process creates the store, too."""


ORDERS = {
    # two reservations, a payment, a parcel
    "shipped": Kind("1 Main St", r"parcel-\d+", steps=4, fresh=True),
    # no parcel, and each of the others undone
    "canceled": Kind("nowhere", "canceled: ship failed", steps=7, fresh=False),
}


class Log(NamedTuple):
    """What is in a store's file."""

    run: dict[str, Any] | None
    records: list[dict[str, Any]]
    integrity: str

    def keys(self, *types: str) -> set[str]:
        return {record["step"] for record in self.records if record["type"] in types}


class Process(NamedTuple):
    """What became of one process."""

    status: int
    stderr: str
    lines: list[str]
    log: Log

    @property
    def executed(self) -> Counter[tuple[str, int]]:
        """How often each attempt's body called the shop."""
        calls = (line.split() for line in self.lines if line.startswith("executed"))
        return Counter((key, int(attempt)) for _, key, attempt in calls)

    @property
    def result(self) -> str | None:
        ends = [line.removeprefix("ended ") for line in self.lines if line.startswith("ended ")]
        return ends[0] if ends else None


class Case:
    """One order in a folder of its own, worked on by one process after the other."""

    def __init__(self, folder: Path, shop: Shop, kind: Kind) -> None:
        folder.mkdir()
        self.folder, self.shop, self.kind = folder, shop, kind
        self.skus = {f"apple of {folder}", f"pear of {folder}"}
        order = {"id": str(folder), "items": dict.fromkeys(sorted(self.skus), 1), "cents": 450}
        self.order = json.dumps({**order, "address": kind.address})
        self.trace = folder / "trace"
        if not kind.fresh:
            with closing(sqlite3.connect(folder / "app.db", isolation_level=None)) as database:
                settle(database, "the store")
                migrate(database, "the store")

    def work(self, inject: str | None = None, bug: str = "") -> Process:
        report = self.folder / "report"
        report.unlink(missing_ok=True)
        command = [sys.executable, str(HERE / "one_order.py"), "app.db", str(report), self.order, bug]
        if inject is not None:
            strace = ["strace", "-f", "-qq", "-o", str(self.trace), "-e", f"trace={','.join(WRITES)}"]
            command = [*strace, *(["-e", f"inject={inject}"] if inject else []), *command]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | {"SHOP_URL": self.shop.url, "PYTHONPATH": PATH},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        lines = report.read_text().splitlines() if report.exists() else []
        return Process(done.returncode, done.stderr, lines, self.read())

    def read(self) -> Log:
        """The log as the next process will find it, read in a copy, so that reading changes nothing."""
        copy = self.folder / "copy"
        copy.mkdir()
        for file in self.folder.glob("app.db*"):
            shutil.copy(file, copy)
        try:
            return read(copy / "app.db")
        finally:
            shutil.rmtree(copy)

    @property
    def struck(self) -> bool:
        """Whether the fault has happened."""
        return re.search("INJECTED|killed by SIGKILL", self.trace.read_text(errors="replace")) is not None

    def entries(self) -> Counter[str]:
        """What the shop has on its books for this order."""
        found: Counter[str] = Counter()
        for book, entries in self.shop.books().items():
            for asked_for in entries.values():
                if asked_for.get("order") == str(self.folder) or asked_for.get("sku") in self.skus:
                    found[book] += 1
        return found


def read(path: Path) -> Log:
    with closing(sqlite3.connect(path)) as database:
        (integrity,) = database.execute("PRAGMA integrity_check").fetchone()
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'log'").fetchone():
            return Log(None, [], integrity)
        database.row_factory = sqlite3.Row
        runs = [dict(row) for row in database.execute("SELECT * FROM runs")]
        assert len(runs) <= 1, "one event has started two runs"
        log = database.execute("SELECT seq, body FROM log ORDER BY id")
        records = [{"seq": row["seq"], **json.loads(row["body"])} for row in log]
        return Log(runs[0] if runs else None, records, integrity)


# -- what must hold


def violations(case: Case, first: Process, second: Process) -> list[str]:
    """What is wrong with an order that one process began and another finished."""
    found: list[str] = []
    before, after = first.log, second.log
    found += [f"damaged: {log.integrity}" for log in (before, after) if log.integrity != "ok"]
    if "acknowledged" in first.lines and before.run is None:
        found.append("the event was acknowledged and is lost")
    if after.records[: len(before.records)] != before.records:
        found.append("the log of the first process is not the beginning of the last one")
    recorded = before.keys("step.succeeded", "step.failed")
    found += [f"{key} ran again after its end was recorded" for key, _ in second.executed if key in recorded]
    started = {(r["step"], r["attempt"]) for r in before.records if r["type"] == "attempt.started"}
    found += [f"{key} ran before its start was recorded" for key in first.executed if key not in started]
    twice = [key for process in (first, second) for key, n in process.executed.items() if n > 1]
    found += [f"{key} ran twice in one process" for key in twice]
    return found + flaws(case, second)


def flaws(case: Case, last: Process) -> list[str]:
    """What is wrong with an order that should be finished."""
    found: list[str] = []
    kind, log = case.kind, last.log
    if last.status != 0 or not re.fullmatch(kind.result, last.result or ""):
        return [f"status {last.status}, result {last.result}: {last.stderr}"]
    assert log.run is not None
    shown = (log.run["status"], log.run["tasks"], log.run["seq"])
    if shown != ("SUCCEEDED", kind.steps, len(log.records)):
        found.append(f"{shown} is shown for {kind.steps} steps and {len(log.records)} records")
    if [record["seq"] for record in log.records] != list(range(1, len(log.records) + 1)):
        found.append("the log has gaps")
    on_books = {"reservations": 2, "payments": 1, "parcels": 1} if kind.steps == 4 else {}
    if case.entries() != on_books:
        found.append(f"the shop's books say {case.entries()}")
    return found


# -- where to strike


class Place(NamedTuple):
    """The k-th call of a thread."""

    call: str
    k: int


def places(case: Case) -> list[Place]:
    """Every call of an undisturbed process that changes what is on the disk."""
    undisturbed = case.work("")
    assert flaws(case, undisturbed) == []
    counts: Counter[tuple[str, str]] = Counter()
    for line in case.trace.read_text().splitlines():
        if called := re.match(r"(\d+) +(\w+)\(", line):
            counts[called[1], called[2]] += 1
    most = {call: max((n for (_, each), n in counts.items() if each == call), default=0) for call in WRITES}
    assert most["fdatasync"] + most["fsync"] > case.kind.steps + 2, "one for each commit (DESIGN rule 2)"
    return [Place(call, k) for call in WRITES for k in range(1, most[call] + 1)]


def sample(found: list[Place], part: int, parts: int, sparse: int) -> list[Place]:
    """One of several parts of all places, or an even sample of it. From the back: the end must be in it."""
    chosen = found[::-1] if ALL else found[::-sparse]
    return chosen[part::parts]


PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", ORDERS)
def test_a_process_killed_at_any_write_loses_nothing(tmp_path: Path, shop: Shop, kind: str, part: int) -> None:
    everywhere = places(Case(tmp_path / "undisturbed", shop, ORDERS[kind]))
    struck = 0
    for place in sample(everywhere, part, PARTS, sparse=12):
        case = Case(tmp_path / f"{place.call}-{place.k}", shop, ORDERS[kind])
        first = case.work(f"{place.call}:signal=SIGKILL:when={place.k}")
        struck += case.struck
        assert violations(case, first, case.work()) == [], (place, first)
    assert struck, "at least some of these calls were made again"


@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("kind", ORDERS)
def test_an_fsync_that_fails_once_is_survived(tmp_path: Path, shop: Shop, kind: str, part: int) -> None:
    """In place: the store is reopened, and what was unknown is read. Only opening may fail."""
    everywhere = [p for p in places(Case(tmp_path / "undisturbed", shop, ORDERS[kind])) if p.call in SYNCS]
    survived = 0
    for place in sample(everywhere, part, 2, sparse=4):
        case = Case(tmp_path / f"{place.call}-{place.k}", shop, ORDERS[kind])
        first = case.work(f"{place.call}:error=EIO:when={place.k}")
        if first.status == 0:
            survived += case.struck
        else:
            assert "StoreError" in first.stderr, (place, first)
        assert violations(case, first, case.work()) == [], (place, first)
    assert survived


def test_a_disk_that_fails_for_good_loses_nothing(tmp_path: Path, shop: Shop) -> None:
    """The engine gives no result, and does not say that anything is lost; on a mended disk the run ends."""
    everywhere = places(Case(tmp_path / "undisturbed", shop, ORDERS["shipped"]))
    for place in sample([p for p in everywhere if p.call in SYNCS], 0, 1, sparse=8):
        case = Case(tmp_path / f"{place.call}-{place.k}", shop, ORDERS["shipped"])
        first = case.work(f"{place.call}:error=EIO:when={place.k}+")
        if first.result is None:
            assert re.match("StoreError|TimeoutError", first.stderr.splitlines()[-1]), (place, first)
        assert violations(case, first, case.work()) == [], (place, first)


# -- controls: the same checks have to find what is wrong with these


def test_reporting_commits_before_they_happened_is_found(tmp_path: Path, shop: Shop) -> None:
    everywhere = [p for p in places(Case(tmp_path / "undisturbed", shop, ORDERS["shipped"])) if p.call == "pwrite64"]
    found: list[str] = []
    for place in everywhere[len(everywhere) // 2 :: 32]:
        case = Case(tmp_path / str(place.k), shop, ORDERS["shipped"])
        first = case.work(f"pwrite64:signal=SIGKILL:when={place.k}", bug="hasty")
        found += violations(case, first, case.work())
    assert any("acknowledged and is lost" in line or "before its start" in line for line in found), found


def test_a_success_that_is_lost_is_found(tmp_path: Path, shop: Shop) -> None:
    case = Case(tmp_path / "case", shop, ORDERS["shipped"])
    first = case.work()
    with closing(sqlite3.connect(case.folder / "app.db", isolation_level=None)) as database:
        forget_the_last_success(database)
    assert any("ran again" in line for line in violations(case, first, case.work()))


def forget_the_last_success(database: sqlite3.Connection) -> None:
    """Leave the store as if the commit with the last step's result had never been."""
    found = database.execute("SELECT max(seq) FROM log WHERE CAST(body AS TEXT) LIKE '%step.succeeded%'")
    (seq,) = found.fetchone()
    database.execute("DELETE FROM log WHERE seq >= ?", [seq])
    database.execute("UPDATE runs SET status = 'RUNNING', phase = 'executing', seq = ?", [seq - 1])
