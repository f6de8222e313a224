"""Workflows in files of their own, as the lint finds them."""

import importlib.util
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from durably import Workflow
from durably.engine.lint.findings import Finding
from durably.engine.lint.lint import lint

PRELUDE = """\
import asyncio
import durably
from durably import current, run_step, step, workflow

@step
async def charge(cents: int = 0) -> str: ...

@step
async def customers() -> set[str]: ...

"""

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Import a module of this text, from a file."""
    before = set(sys.modules)

    def load(text: str) -> ModuleType:
        name = f"linted_{len(list(tmp_path.iterdir()))}"
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in set(sys.modules) - before:
        if name.startswith("linted_"):
            del sys.modules[name]


def workflows(module: ModuleType) -> list[Workflow[..., Any]]:
    return [value for value in vars(module).values() if isinstance(value, Workflow)]


Find = Callable[..., list[Finding]]


@pytest.fixture
def find(load: Load) -> Find:
    """What is found in a workflow with this body, in a module with these lines before it."""

    def find(body: str, before: str = "", *, define: str = "async def flow() -> None:") -> list[Finding]:
        indented = textwrap.indent(textwrap.dedent(body), "    ")
        text = f"{PRELUDE}{textwrap.dedent(before)}\n@workflow\n{define}\n{indented}\n"
        return lint(workflows(load(text)))

    return find
