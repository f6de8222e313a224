"""docs/seeds.md, made of the tests of this folder: `python -m tests.seeds.page` writes it if they all pass."""

import inspect
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import FunctionType
from typing import NamedTuple

from tests.seeds.checklist import ROWS

__all__ = ["PAGE", "proofs", "render"]

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
PAGE = ROOT / "docs/seeds.md"
SECOND = "test_inngest_retries"

HEAD = """\
# What the three seeds ask for, row by row

Durably does what three documents describe: Paragon's auto-retries (rows P), Inngest's retries, and smplkit's retry
policies for jobs (rows S), with the pages that these link to. Every row and every sentence is a test in `tests/seeds`.
`python -m tests.seeds.page` runs them all and writes this page if every one of them passes.

## Paragon's auto-retries, and smplkit's retry policies and jobs

| row | sentence | proved by | |
|---|---|---|---|
"""

SECOND_HEAD = """
## Inngest's retries

| sentence | proved by |
|---|---|
"""

NOTES: Mapping[str, str] = {
    "P-4": "five retries, six attempts: the seed's table and its text disagree",
    "P-15": "without users: who starts a run is not known here",
    "P-18": "by catching `StepError`",
    "P-19": "answered with status 200",
    "P-20": "as phase `sleeping`",
    "P-21": "**to come** with flow control: the option says so",
    "S-23": "`SSRF_BLOCKED`, `QUOTA_EXCEEDED`, `WORKER_LOST`: our reading of the sentence, which names none",
}


class Proof(NamedTuple):
    """A test, and what it quotes."""

    row: str | None
    quote: str
    module: str
    test: str


def proofs() -> Iterator[Proof]:
    """The tests of this folder that quote a sentence, in the order of their modules."""
    for path in sorted(FOLDER.glob("test_*.py")):
        if path.stem != "test_page":
            yield from _proofs_in(path)


def _proofs_in(path: Path) -> Iterator[Proof]:
    spec = spec_from_file_location(f"seeds_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, function in vars(module).items():
        if not (name.startswith("test_") and isinstance(function, FunctionType)):
            continue
        [marked] = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "row"] or [None]
        if marked is not None:
            yield Proof(*marked.args, path.stem, name)
        elif path.stem == SECOND and function.__doc__:
            yield Proof(None, inspect.cleandoc(function.__doc__).partition("\n\n")[0], path.stem, name)


def render() -> str:
    """The page."""
    found = list(proofs())
    rows = {proof.row: proof for proof in found if proof.row is not None}
    first = "".join(
        f"| {name} | {_cell(rows[name].quote)} | {_test(rows[name])} | {NOTES.get(name, '')} |\n" for name in ROWS
    )
    second = "".join(f"| {_cell(proof.quote)} | {_test(proof)} |\n" for proof in found if proof.row is None)
    return HEAD + first + SECOND_HEAD + second


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _test(proof: Proof) -> str:
    return f"[`{proof.test}`](../tests/seeds/{proof.module}.py)"


if __name__ == "__main__":
    others = ["--ignore", str(FOLDER / "test_page.py")]
    subprocess.run([sys.executable, "-m", "pytest", "-q", *others, str(FOLDER)], check=True, cwd=ROOT)
    PAGE.write_text(render())
