"""The examples do what they say: under a server and over HTTP, as users run them, and on a virtual clock."""

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from durably import Event
from durably.encryption import Encryption
from durably.testing import TestEngine
from examples import billing, hello, order_fulfilment
from examples.shop import Shop, open_shop

ROOT = Path(__file__).parents[1]
ORDER = {"id": "o-1", "items": {"apple": 3, "pear": 1}, "cents": 450, "address": "1 Main St"}

Serve = Callable[..., Any]


# -- under a server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the examples and nothing else: they need no checkout."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_hello_outlives_its_process(folder: Path, serve: Serve) -> None:
    code = folder / "examples/hello.py"
    code.write_text(code.read_text().replace("sleep(15)", "sleep(1)"))
    server = serve("examples/hello.py")
    server.send("app/user.created", {"email": "ada@example.com"})
    server.kill()
    run = serve("examples/hello.py").ended_run("onboard")
    assert (run["status"], run["output"], run["tasks"]) == ("SUCCEEDED", "welcome, ada", 2)


def test_a_click_is_recorded_once(folder: Path, serve: Serve) -> None:
    server = serve("examples/clicks.py")
    server.send("app/button.clicked", {"button": "buy"})
    run = server.ended_run("record_click")
    assert (run["status"], run["tasks"]) == ("SUCCEEDED", 1)
    with closing(sqlite3.connect(folder / "clicks.db")) as database:
        clicks = database.execute("SELECT key, button, at FROM clicks").fetchall()
    assert clicks == [(f"{run['id']}:0/record_click#0", "buy", run["input"]["event"]["ts"].replace("Z", "+00:00"))]


@pytest.mark.usefixtures("folder")
def test_an_order_is_shipped_by_a_shop_that_opens_late(serve: Serve, unused_port: int) -> None:
    shop = f"http://127.0.0.1:{unused_port}"
    server = serve("examples:engine", SHOP_URL=shop)
    server.send("shop/order.placed", ORDER)
    run = server.ended_run("fulfil")
    assert (run["status"], run["tasks"]) == ("SUCCEEDED", 4)
    assert run["output"].startswith("parcel-")
    errors = [record["error"]["type"] for record in failures(server, run["id"])]
    assert any(error.endswith("ClientConnectorError") for error in errors), "before the shop opened"
    assert errors[-1].endswith("ClientResponseError"), "503 for the payment"


def failures(server: Any, run_id: str) -> list[Any]:
    records = server.ask(f"/api/v1/workflow-runs/{run_id}/history")["records"]
    return [record for record in records if record["type"] == "attempt.failed"]


# -- the commands in their docstrings


LAST_RUNS = {
    "agent": ("SUCCEEDED", "Done. o-7 is refunded"),
    "chat": ("RUNNING", None),
    "documents": ("SUCCEEDED", {"a": 4, "bad": None, "c": 4, "d": 4, "e": 4, "f": 4}),
    "drip": ("SUCCEEDED", "bought pro"),
    "quorum": ("SUCCEEDED", "released"),
    "quotes": ("SUCCEEDED", {"carrier": "steady", "cents": 1238}),
    "subscription": ("CANCELED", None),
    "trip": ("SUCCEEDED", None),
}
"""What becomes of the last run that the commands start."""


@pytest.mark.parametrize("example", LAST_RUNS)
def test_an_example_can_be_tried_as_it_says(example: str, folder: Path, serve: Serve) -> None:
    docstring = (folder / f"examples/{example}.py").read_text().split('"""')[1]
    dev, *commands = re.findall(r"^    durably (.*)$", docstring, re.MULTILINE)
    assert dev == f"dev examples/{example}.py"
    server = serve(dev.removeprefix("dev "))
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), "DURABLY_URL": server.url}
    for command in commands:
        subprocess.run([sys.executable, "-m", "durably", *shlex.split(command)], env=env, check=True)
    status, output = LAST_RUNS[example]
    run = last_run(server, status)
    assert run["output"] == output


def last_run(server: Any, status: str) -> Any:
    """The attributes of the newest run, once it has that status."""
    run: Any = None
    for _ in range(400):
        run = server.ask("/api/v1/workflow-runs")["data"][0]["attributes"]
        if run["status"] == status:
            break
        time.sleep(0.05)
    assert run["status"] == status, server.output
    return run


# -- on a virtual clock


@pytest.fixture
async def shop(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Shop]:
    """The shop in this process, and open."""
    shop = Shop()
    async with open_shop(0, shop) as url:
        monkeypatch.setattr(order_fulfilment, "SHOP", url)
        yield shop


@asynccontextmanager
async def fulfilling() -> AsyncGenerator[TestEngine]:
    async with ClientSession() as session, TestEngine([order_fulfilment.fulfil], {ClientSession: session}) as engine:
        yield engine


async def place(engine: TestEngine, **changes: object) -> Any:
    await engine.send(Event("shop/order.placed", {**ORDER, **changes}))
    [info] = await engine.list_runs()
    return await engine.get_run(info.id)


async def history_of(run: Any) -> list[tuple[str, str, int]]:
    kinds = ("attempt.failed", "step.succeeded", "step.failed")
    return [(each.type, each.get("name"), each.get("attempt")) for each in await run.history() if each.type in kinds]


@pytest.mark.anyio
async def test_the_waits_of_hello_pass_in_no_time() -> None:
    async with TestEngine([hello.onboard]) as engine:
        run = await engine.start(hello.onboard, Event("app/user.created", {"email": "ada@example.com"}))
        before = engine.clock.now()
        assert await run.result() == "welcome, ada"
        assert (engine.clock.now() - before).total_seconds() == 15


@pytest.mark.anyio
async def test_everybody_gets_an_invoice_every_night_at_two_in_berlin() -> None:
    async with TestEngine([billing.billing]) as engine:
        engine.mock(billing.customers, returns=["ada", "bob"])
        invoice = engine.mock(billing.invoice, returns=900)
        await engine.clock.advance(timedelta(days=2))
        runs = await engine.list_runs()
        assert [(f"{run.scheduled_for:%d %H:%M}", run.output) for run in runs] == [
            ("02 01:00", 1800),
            ("01 01:00", 1800),
        ]
        assert [call.args for call in invoice.calls] == [
            (customer, f"2026-01-0{day}") for day in (1, 2) for customer in ("ada", "bob")
        ]


@pytest.mark.anyio
async def test_an_order_is_paid_at_the_second_attempt(shop: Shop) -> None:
    async with fulfilling() as engine:
        run = await place(engine)
        assert (await run.result()).startswith("parcel-")
        *reserved, refused, paid, shipped = await history_of(run)
        assert sorted(reserved) == [("step.succeeded", "reserve", 0)] * 2
        assert refused == ("attempt.failed", "charge", 0)
        assert paid == ("step.succeeded", "charge", 1)
        assert shipped == ("step.succeeded", "ship", 0)
        assert {book: len(entries) for book, entries in shop.books.items()} == {
            "reservations": 2,
            "payments": 1,
            "parcels": 1,
        }


@pytest.mark.anyio
async def test_an_order_that_cannot_be_shipped_is_undone(shop: Shop) -> None:
    async with fulfilling() as engine:
        run = await place(engine, address="nowhere")
        assert await run.result() == "canceled: ship failed"
        attempts = [
            attempt for kind, name, attempt in await history_of(run) if (kind, name) == ("attempt.failed", "ship")
        ]
        assert attempts == [0, 1, 2], "two retries"
        assert (await run.info()).tasks == 7, "four steps and the undoing of the first three"
        assert shop.books == {"reservations": {}, "payments": {}, "parcels": {}}


@pytest.mark.anyio
async def test_what_is_sold_out_is_not_asked_for_again_and_the_rest_released(shop: Shop) -> None:
    async with fulfilling() as engine:
        run = await place(engine, items={"apple": 1, "unicorn": 1})
        assert await run.result() == "canceled: reserve failed"
        assert ("step.failed", "reserve", 0) in await history_of(run), "409 is no reason to try again"
        assert shop.books["reservations"] == {}


@pytest.mark.anyio
async def test_restarts_change_nothing(shop: Shop) -> None:
    async with fulfilling() as engine:
        run = await place(engine)
        for _ in range(2):  # a third would be one too many, if all were to hit the same step
            await engine.restart()
            await engine.clock.advance(1)
        assert (await run.result()).startswith("parcel-")
        assert (await run.info()).tasks == 4
        assert [len(shop.books[book]) for book in ("reservations", "payments", "parcels")] == [2, 1, 1]


# -- with a codec


def show(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`durably show`, without a server."""
    return subprocess.run(
        [sys.executable, "-m", "durably", "show", *arguments, "--store", "sqlite:///clinic.db"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")} | env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_letter_is_nowhere_in_clear_and_outlives_its_key(folder: Path, serve: Serve) -> None:
    old, new = Encryption.new_key(), Encryption.new_key()
    server = serve("examples/encryption.py:engine", CLINIC_KEYS=old)
    server.send("clinic/visit.ended", {"patient": "Jane Doe", "diagnosis": "ennui"})
    run = server.ended_run("inform")
    assert (run["status"], run["output"]) == ("SUCCEEDED", len("Dear Jane Doe, you have ennui. Come back in a week."))
    server.kill()
    on_disk = b"".join(file.read_bytes() for file in folder.glob("clinic.db*"))
    assert b"clinic/visit.ended" in on_disk
    assert b"Jane" not in on_disk
    assert b"ennui" not in on_disk

    changed = serve("examples/encryption.py:engine", CLINIC_KEYS=f"{new},{old}")
    assert changed.ended_run("inform")["input"]["event"]["data"]["patient"] == "Jane Doe"
    changed.kill()

    refused = show(folder, run["id"])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is sealed, and no codec was given" in refused.stderr
    assert "--codec" in refused.stderr
    shown = show(folder, run["id"], "--codec", "examples/encryption.py:codec", CLINIC_KEYS=f"{new},{old}")
    assert "SUCCEEDED" in shown.stdout, shown.stderr
    assert "Jane Doe" in show(folder, run["id"], DURABLY_CODEC="examples.encryption", CLINIC_KEYS=old).stdout
