"""Changes of code are seen, also those that come while the code is imported."""

import asyncio
import os
from pathlib import Path

import pytest

from durably.api.reload import Watch

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def write(file: Path, *, age_s: float = 0) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("x = 1\n")
    at = file.stat().st_mtime - age_s
    os.utime(file, (at, at))


async def test_a_change_while_it_watches(tmp_path: Path) -> None:
    write(tmp_path / "flows.py", age_s=60)
    change = asyncio.ensure_future(Watch().changed(tmp_path))
    while True:  # written until it is noticed: when exactly it begins to watch does not show
        write(tmp_path / "below" / "more.py")
        done, _ = await asyncio.wait([change], timeout=0.1)
        if done:
            break
    assert change.result() == [tmp_path / "below" / "more.py"]


async def test_a_change_between_the_import_and_the_watching(tmp_path: Path) -> None:
    write(tmp_path / "flows.py", age_s=60)
    watch = Watch()
    write(tmp_path / "flows.py", age_s=-1)
    assert await watch.changed(tmp_path) == [tmp_path / "flows.py"]


async def test_what_is_no_code_is_no_change(tmp_path: Path) -> None:
    write(tmp_path / "flows.py", age_s=60)
    change = asyncio.ensure_future(Watch().changed(tmp_path))
    await asyncio.sleep(0)
    write(tmp_path / "durably.db")
    write(tmp_path / "__pycache__" / "flows.py")
    write(tmp_path / "real.py")
    assert await change == [tmp_path / "real.py"]
