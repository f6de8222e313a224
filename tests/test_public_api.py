"""What `durably` exports is the contract's, all of it, documented, and quick to import."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import durably
import durably.encryption
import durably.http
import durably.replay
import durably.testing

ROOT = Path(__file__).parents[1]


def test_all_names_are_there_and_sorted() -> None:
    for module in (durably, durably.encryption, durably.http, durably.testing, durably.replay):
        assert list(module.__all__) == sorted(module.__all__)
        assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_nothing_else_is_public() -> None:
    # imported by somebody, and not names of the package
    modules = {"api", "encryption", "engine", "http", "store", "testing", "replay", "TYPE_CHECKING", "import_module"}
    lazy = {"Client", "ClientRun", "NoAnswer", "NoServer", "SyncClient", "SyncRun"}
    public = {name for name in vars(durably) if name.isidentifier() and not name.startswith("_")}
    assert public - modules == set(durably.__all__) - lazy
    with pytest.raises(AttributeError, match="module 'durably' has no attribute 'Clients'"):
        _ = durably.Clients  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue] - that it is none is the test


def test_every_name_says_what_it_is_for() -> None:
    undocumented = [
        f"{module.__name__}.{name}"
        for module in (durably, durably.encryption, durably.http, durably.testing, durably.replay)
        for name in module.__all__
        if not inspect.getdoc(getattr(module, name))
    ]
    assert undocumented == []


def test_errors_have_one_root() -> None:
    exported = [getattr(durably, name) for name in durably.__all__]
    errors = [each for each in exported if inspect.isclass(each) and issubclass(each, Exception)]
    assert len(errors) > 10
    assert [each for each in errors if not issubclass(each, durably.DurablyError)] == []


def test_importing_it_imports_no_server_and_no_http_client() -> None:
    code = "import sys, durably; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    path = {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=path)
    imported = set(done.stdout.split())
    assert "durably" in imported
    assert imported & {"aiohttp", "click", "httpx", "pytest", "requests", "watchfiles"} == set()
