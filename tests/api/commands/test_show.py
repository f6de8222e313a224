"""`durably show` of an open run: where its code stands, from a server, or with code beside a store."""

import json
from pathlib import Path
from typing import Any


def test_a_server_tells_where_the_run_stands(spawn: Any, durably: Any, folder: Path) -> None:
    server = spawn("serve", "flows.py").ready()
    run = server("start", "nap", '{"seconds": 3600}', "--run-id", "n").stdout.strip()
    shown = server("show", run).stdout
    while "asyncio task 0" not in shown:  # it begins after the answer
        shown = server("show", run).stdout
    assert "\n  asyncio task 0\n    nap  " in shown
    assert "await asyncio.sleep(seconds)" in shown
    assert "waits for timer 0/timer#0 of 1 h, since " in shown
    assert server.json("show", run)["stack"][0]["path"] == "0"
    store = f"sqlite:///{folder}/durably.db"
    beside = durably("show", run, "--store", store).stdout
    assert "timer" in beside or "sleep" in beside
    assert "asyncio task" not in beside
    with_code = durably("show", run, "flows.py", "--store", store, "--json")
    assert json.loads(with_code.stdout)["stack"][0]["stack"][0]["function"] == "nap"


def test_code_that_does_not_fit_hides_nothing(spawn: Any, durably: Any, folder: Path) -> None:
    server = spawn("serve", "flows.py").ready()
    server("start", "nap", '{"seconds": 3600}', "--run-id", "n")
    server.until("started", run="n")
    while "sleep 1 h" not in server("show", "n").stdout:
        pass
    changed = (folder / "flows.py").read_text().replace("sleep(seconds)", "sleep(seconds + 60)")
    (folder / "changed.py").write_text(changed)
    store = f"sqlite:///{folder}/durably.db"
    shown = durably("show", "n", "changed.py", "--store", store)
    assert shown.returncode == 0, shown.stderr
    head, timeline, mismatch = (shown.stdout.index(each) for each in ("run n  nap", "sleep 1 h", "of 1 h 1 min"))
    assert head < timeline < mismatch
    assert "asyncio task 0" not in shown.stdout
    read = json.loads(durably("show", "n", "changed.py", "--store", store, "--json").stdout)
    assert (read["stack"], "of 1 h 1 min" in read["mismatch"]) == ([], True)
