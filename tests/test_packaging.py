"""What is built holds everything and nothing else: the sdist, and the wheel that is made from that sdist."""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="builds the wheel; it is in the dependency group `test`")

ROOT = Path(__file__).parents[1]
FOLDERS = ("engine", "store", "api")


def files_below(folder: Path) -> Iterator[str]:
    """Everything in it that belongs into a package."""
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
            yield path.relative_to(folder).as_posix()


def sources() -> set[str]:
    """The files of the package, as they are to be found in site-packages."""
    own = {f"durably/{path.name}" for path in (ROOT / "src/durably").iterdir() if path.is_file()}
    return own | {f"durably/{folder}/{file}" for folder in FOLDERS for file in files_below(ROOT / folder)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with a wheel that was built from what is in the sdist."""
    dist = tmp_path_factory.mktemp("dist")
    build(ROOT, "sdist", dist)
    [sdist] = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(dist / "unpacked", filter="data")
    [unpacked] = (dist / "unpacked").iterdir()
    build(unpacked, "wheel", dist)
    return dist


def build(project: Path, target: str, into: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(into)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_folders_are_linked() -> None:
    links = {folder: (ROOT / "src/durably" / folder) for folder in FOLDERS}
    assert [folder for folder, link in links.items() if not link.is_symlink()] == [], (
        "git made files of the links: git config core.symlinks true, and check out again"
    )
    assert [str(link.readlink()) for link in links.values()] == [f"../../{folder}" for folder in FOLDERS]


def test_the_wheel_holds_every_file_and_no_other(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
        [metadata] = [name for name in archive.namelist() if name.endswith("METADATA")]
        text = archive.read(metadata).decode()
    assert found == sources()
    assert "durably/py.typed" in found, "or type checkers would take it for untyped"
    assert any(name.endswith(".sql") for name in found), "data files too"
    assert "Durable async workflows" in text, "the README is its description"


def test_the_sdist_holds_what_it_takes_to_build(built: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert {f"src/{name}" for name in sources()} <= names, "with files in the place of links"
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names
    assert [name for name in names if name.startswith(("tests", ".venv", "benchmarks"))] == []


def test_the_wheel_works_without_the_checkout(built: Path, tmp_path: Path) -> None:
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")  # noqa: S202 - we have just made it
    code = """
import durably.api.cli
from durably.store.sqlite.migrate import MIGRATIONS
print(durably.__file__, *MIGRATIONS)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site"))
    assert "CREATE TABLE" in done.stdout, "it finds its migrations"
