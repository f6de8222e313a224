"""A disk that fails and a process that is killed, at every single system call that matters.

strace makes the k-th `fdatasync` or `pwrite64` of an unmodified program fail, or kills it there, for k = 1,
2, … until the program gets through. What the program was told (`fault_scenario.py`) is then held against the
file. kill -9 alone proves no durability, because the page cache survives it: that every acknowledgement comes
behind an fsync of its own is read off the order of system calls. Each check has a control: a planted mistake
it must find.
"""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import pytest

from durably.store.sqlite.connection import settle
from durably.store.sqlite.migrate import migrate

SCENARIO = Path(__file__).with_name("fault_scenario.py")
RECORDS = 4


def can_trace() -> bool:
    """Whether strace is here and may trace: containers often forbid ptrace."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], check=False).returncode == 0


pytestmark = pytest.mark.skipif(not can_trace(), reason="needs strace, and to be allowed to use ptrace")


class Outcome(NamedTuple):
    """What one process was told, what is in its file afterwards, and the calls that were traced."""

    report: list[str]
    log: list[int]
    integrity: str
    trace: list[str]

    @property
    def injected(self) -> bool:
        return any("INJECTED" in line or "SIGKILL" in line for line in self.trace)

    def told(self, word: str) -> list[int]:
        return [int(line.split()[1]) for line in self.report if line.startswith(word)]


def run(folder: Path, calls: str, *, inject: str | None = None, bug: str = "", template: Path | None = None) -> Outcome:
    """Play the scenario under strace: on a copy of `template`, or on a file that does not exist yet."""
    folder.mkdir()
    store, report, trace = folder / "app.db", folder / "report", folder / "trace"
    if template is not None:
        shutil.copy(template, store)
    options = ["-f", "-qq", "-o", str(trace), "-e", f"trace={calls}"]
    if inject is not None:
        options += ["-e", f"inject={inject}"]
    program = [sys.executable, str(SCENARIO), str(store), str(report), str(RECORDS), bug]
    subprocess.run(["strace", *options, *program], check=False, timeout=30)
    log: list[int] = []
    database = sqlite3.connect(store)
    if database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'log'").fetchone()[0]:
        log = [seq for (seq,) in database.execute("SELECT seq FROM log ORDER BY id")]
    (integrity,) = database.execute("PRAGMA integrity_check").fetchone()
    database.close()
    return Outcome(
        report.read_text().splitlines() if report.exists() else [],
        log,
        integrity,
        trace.read_text(errors="replace").splitlines(),
    )


def violations(outcome: Outcome) -> list[str]:
    """What must never happen, whatever fails."""
    found: list[str] = []
    known = 0  # the end of the log as the program knew it
    open_ended = True  # something was under way that may be there or not
    for line in outcome.report:
        match line.split():
            case ["acked", seq]:
                known, open_ended = int(seq), True
            case ["truth", seq]:
                if not known <= int(seq) <= known + 1:
                    found.append(f"acknowledged up to {known}, {line} after reopening")
                known, open_ended = int(seq), True
            case ["refused", _]:
                found.append(f"{line}, though nobody else writes")
            case ["end"]:
                open_ended = False
            case _:
                pass
    if outcome.log != list(range(1, len(outcome.log) + 1)):
        found.append(f"gaps: {outcome.log}")
    if not known <= len(outcome.log) <= known + open_ended:
        found.append(f"known up to {known}, in the file {len(outcome.log)}")
    if outcome.integrity != "ok":
        found.append(outcome.integrity)
    return found


def unsynced_acks(outcome: Outcome) -> list[str]:
    """Acknowledgements that did not come behind an fsync of their own."""
    found: list[str] = []
    synced = False
    for line in outcome.trace:
        if re.search(r"fdatasync\(\d+\) += 0", line):
            synced = True
        elif "write(" in line:  # any line of the report: the next acknowledgement needs an fsync behind this one
            if '"acked ' in line and not synced:
                found.append(line)
            synced = False
    return found


Play = Callable[..., Iterator[Outcome]]


@pytest.fixture
def at_every(tmp_path: Path) -> Play:
    """Play the scenario with a fault at the k-th call, for k = 1, 2, … until no call is left to fail.

    The many writes are tried on a store that exists, the fewer fsyncs from its creation on.
    """
    template = tmp_path / "template.db"
    database = sqlite3.connect(template, isolation_level=None)
    settle(database, "template")
    migrate(database, "template")
    database.close()

    def play(call: str, fault: str, *, persistent: bool = False, bug: str = "") -> Iterator[Outcome]:
        def at(k: int) -> Outcome:
            inject = f"{call}:{fault}:when={k}{'+' if persistent else ''}"
            existing = template if call == "pwrite64" else None
            return run(tmp_path / str(k), call, inject=inject, bug=bug, template=existing)

        numbers = count(1)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            while True:
                for outcome in pool.map(at, islice(numbers, 4)):
                    if not outcome.injected:
                        return
                    yield outcome

    return play


def test_without_a_fault_everything_is_acknowledged(tmp_path: Path) -> None:
    outcome = run(tmp_path / "0", "fdatasync,write")
    assert outcome.report == ["truth 0", *(f"acked {seq}" for seq in range(1, RECORDS + 1)), "end"]
    assert violations(outcome) == []
    assert not outcome.injected
    assert unsynced_acks(outcome) == []


FAULTS = [
    ("fdatasync", "error=EIO", False),
    ("fdatasync", "error=EIO", True),
    ("pwrite64", "error=ENOSPC", False),
    ("pwrite64", "error=ENOSPC", True),
]


@pytest.mark.parametrize(("call", "fault", "persistent"), FAULTS)
def test_a_failing_disk_loses_nothing_and_tells_no_lies(
    at_every: Play, call: str, fault: str, persistent: bool
) -> None:
    outcomes = list(at_every(call, fault, persistent=persistent))
    assert len(outcomes) > RECORDS, "at least one for each commit"
    for k, outcome in enumerate(outcomes, 1):
        assert violations(outcome) == [], (k, outcome.report)
    unknown = [outcome for outcome in outcomes if outcome.told("unknown")]
    assert unknown, "some of them hit a commit"
    if not persistent:
        for outcome in unknown:
            assert outcome.report[-1] == "end", "it was reopened in the same process"
            assert len(outcome.log) == RECORDS, "and went on from the truth"


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_a_process_killed_at_any_call_has_lost_nothing(at_every: Play, call: str) -> None:
    outcomes = list(at_every(call, "signal=SIGKILL"))
    assert len(outcomes) > RECORDS
    assert all("end" not in outcome.report for outcome in outcomes)
    assert [violations(outcome) for outcome in outcomes] == [[] for _ in outcomes]


# -- controls: the same checks have to find what is wrong with these


def test_acknowledging_before_the_commit_is_found(at_every: Play, tmp_path: Path) -> None:
    assert any(violations(outcome) for outcome in at_every("pwrite64", "signal=SIGKILL", bug="early"))
    assert unsynced_acks(run(tmp_path / "order", "fdatasync,write", bug="early"))


def test_taking_an_unknown_outcome_for_a_no_is_found(at_every: Play) -> None:
    assert any(violations(outcome) for outcome in at_every("fdatasync", "error=EIO", bug="deny"))


def test_committing_without_fsync_is_found(tmp_path: Path) -> None:
    outcome = run(tmp_path / "0", "fdatasync,write", bug="off")
    assert violations(outcome) == [], "kill -9 would not find it"
    assert len(unsynced_acks(outcome)) == RECORDS
