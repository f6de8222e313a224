"""The application of examples/web_app.py under uvicorn, as its docstring says, killed in the middle of an order."""

import socket
import sys
from collections.abc import Callable
from os import pathsep
from pathlib import Path
from typing import Any

import httpx
import pytest

from durably import SyncClient

pytest.importorskip("fastapi", reason="the example is a FastAPI application")
pytest.importorskip("uvicorn", reason="which serves it")

ROOT = Path(__file__).parents[2]
ORDER = {"item": "tea", "cents": 450}


@pytest.fixture
def api_port() -> int:
    """Another port than `unused_port`: that of the engine in the application."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def start(start_program: Callable[..., Any], unused_port: int, api_port: int) -> Callable[[], Any]:
    """Starts the application, on the same file each time."""
    command = (sys.executable, "-m", "uvicorn", "examples.web_app:app", "--port", str(unused_port))
    env = {"PYTHONPATH": f"{ROOT / 'src'}{pathsep}{ROOT}", "DURABLY_PORT": str(api_port)}
    return lambda: start_program(*command, port=unused_port, **env)


def test_an_order_is_kept_over_a_kill(start: Callable[[], Any], api_port: int) -> None:
    application = start()
    with httpx.Client(base_url=application.url, timeout=30) as http:
        placed = http.put("/orders/o-1", json=ORDER)
        assert (placed.status_code, placed.json()) == (202, {"number": "o-1"})
        assert http.put("/orders/o-1", json=ORDER).status_code == 202, "the same again is the same"
        assert http.put("/orders/o-1", json={"item": "rum", "cents": 1}).status_code == 409
        assert http.put("/orders/o-2", json={"item": "rum"}).status_code == 422
    application.kill()
    application = start()
    with httpx.Client(base_url=application.url, timeout=30) as http, SyncClient(f"http://127.0.0.1:{api_port}") as api:
        seen = http.get("/orders/o-1").json()
        assert seen == {"number": "o-1", "status": "RUNNING", "order": ORDER, "result": None}
        assert http.post("/orders/o-1/payment").status_code == 202
        assert api.get_run("o-1").result(timeout=60) == "one tea is on its way"
        seen = http.get("/orders/o-1").json()
        assert (seen["status"], seen["result"]) == ("SUCCEEDED", "one tea is on its way")
        assert http.post("/orders/o-1/payment").status_code == 409
        assert http.get("/orders/o-9").status_code == 404
    assert application.output.count("shipping one tea") == 1
