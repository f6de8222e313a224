"""The documents agree with the code: links lead somewhere, lists are complete, and what is shown as code runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from durably import DurablyError
from durably.engine.log.records import INPUTS, NOTES, Record
from durably.engine.log.state import RunState

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def prose_of(name: str) -> str:
    """Without blocks of code."""
    return re.sub(r"^```.*?^```", "", text_of(name), flags=re.MULTILINE | re.DOTALL)


def python_blocks(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text_of(name), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose_of(name))
    here = (ROOT / name).parent
    assert [each for each in targets if "://" not in each and not (here / each).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name: str) -> None:
    named = set(re.findall(r"`((?:api|engine|store|tests|examples|docs|src|benchmarks)/[\w/.]*)`", prose_of(name)))
    assert [each for each in sorted(named) if not (ROOT / each).exists()] == []


# -- records, phases, errors


def types_of(kinds: set[type]) -> set[str]:
    return {kind.__struct_config__.tag for kind in kinds}  # type: ignore[attr-defined]  # msgspec's


def test_the_table_of_records_is_complete() -> None:
    rows = dict(re.findall(r"^\| (input|command|note) \| (.*) \|$", text_of("docs/architecture.md"), re.MULTILINE))
    found = {kind: set(re.findall(r"`(\w+\.\w+)`", row)) for kind, row in rows.items()}
    inputs, notes = types_of(set(INPUTS)), types_of(set(NOTES))
    every = types_of(set(Record.__args__))
    assert found["input"] == inputs
    assert found["note"] == notes | {"attempt.started"}
    assert found["command"] == every - inputs - notes


def test_both_pictures_of_a_run_show_the_same_records() -> None:
    drawn = re.findall(r"^```\w*\n(.*?)^```", text_of("docs/run-lifecycle.md"), re.MULTILINE | re.DOTALL)[:2]
    mermaid, plain = (set(re.findall(r"[a-z]+\.[a-z]+", picture)) for picture in drawn)
    every = types_of(set(Record.__args__))
    assert mermaid - plain == {"step.scheduled"}
    assert (mermaid | plain) <= every
    changes = {each for each in every if each.startswith("run.")}
    assert changes <= plain, "each record that changes a run's status"


def test_the_phases_are_those_of_the_code() -> None:
    table = text_of("docs/run-lifecycle.md").partition("## Phases")[2]
    listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    code = Path(sys.modules[RunState.__module__].__file__ or "").read_text()
    body = code[code.index("def phase(") : code.index("def next_due_us(")]
    phases = re.findall(r'return "(\w+)"(?: if self.timers else "(\w+)")?', body)
    assert set(listed) == {each for pair in phases for each in pair if each}


def test_every_error_that_handles_raise_is_in_the_table() -> None:
    named = set(re.findall(r"`(\w+)`", text_of("docs/errors.md")))
    errors = {each.__name__ for each in DurablyError.__subclasses__()} - {"BadHistory", "Forbidden", "ChildError"}
    public = {name for name in errors if hasattr(sys.modules["durably"], name)}
    assert public <= named


# -- code


@pytest.mark.parametrize("name", [name for name in NAMES if python_blocks(name)])
def test_code_runs(name: str, tmp_path: Path) -> None:
    """Each block is a module; blocks with tests in them are run by pytest."""
    for index, block in enumerate(python_blocks(name)):
        path = tmp_path / f"test_block_{index}.py"
        path.write_text(block)
        module = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"] if "def test_" in block else []
        if module:
            (tmp_path / "conftest.py").write_text(
                "import pytest\n\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n"
            )
        done = subprocess.run(
            [sys.executable, *module, str(path)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
