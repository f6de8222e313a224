"""TARGET: what is found, and what is said when it is not."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from durably.api.target import BrokenTarget, NoTarget, load, load_codec

ONE = "from durably import workflow\n\n@workflow\nasync def one() -> None: ...\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """Writes a module below the working directory; what is imported from there is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(name: str, code: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
        return file

    yield write
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


Write = Callable[[str, str], Path]


def names(text: str) -> list[str]:
    return [each.name for each in load(text).workflows]


def test_workflows_and_triggered_steps_in_the_order_of_the_module(write: Write) -> None:
    write(
        "t_all.py",
        "from durably import Event, step, workflow\n"
        "@step(on='app/clicked')\nasync def click(event: Event) -> None: ...\n"
        "@step\nasync def helper() -> None: ...\n"
        "@workflow\nasync def second() -> None: ...\n"
        "@workflow('second', version=2)\nasync def second_again() -> None: ...\n"
        "quick = second.options(test=True)\n",
    )
    target = load("t_all.py")
    assert [(each.name, each.version) for each in target.workflows] == [("click", 1), ("second", 1), ("second", 2)]
    assert not target.workflows[1].test  # type: ignore[union-attr]  # the workflow itself, not one with options
    assert target.engine is None
    assert target.folder == Path.cwd()


@pytest.mark.parametrize("text", ["t_shop/flows.py", "t_shop.flows", "./t_shop/flows.py"])
def test_a_module_of_a_package_is_imported_as_one(write: Write, text: str) -> None:
    write("t_shop/__init__.py", "")
    write("t_shop/names.py", "NAME = 'of the package'\n")
    write("t_shop/flows.py", "from t_shop.names import NAME\nfrom durably import workflow\n\n"
          "@workflow(NAME)\nasync def one() -> None: ...\n")  # fmt: skip
    target = load(text)
    assert [each.name for each in target.workflows] == ["of the package"]
    assert target.folder == Path.cwd() / "t_shop"


def test_a_file_finds_its_neighbours_from_any_working_directory(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("deep/t_near.py", ONE)
    file = write("deep/t_with.py", "from t_near import one\n")
    elsewhere = write("elsewhere/x.txt", "").parent
    monkeypatch.chdir(elsewhere)
    assert names(str(file)) == ["one"]


def test_an_engine_behind_the_colon(write: Write) -> None:
    write("t_engine.py", ONE + "from durably import Engine\nmine = Engine('memory://', workflows=[one])\n")
    target = load("t_engine:mine")
    assert target.engine is not None
    assert target.engine.url == "memory://"
    assert [each.name for each in target.workflows] == ["one"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("t_fine.pyy/", "there is no file t_fine.pyy/"),
        ("t_fin.py", "there is no file t_fin.py; did you mean t_fine.py?"),
        ("no/where.py", "there is no folder"),
        ("t_nothing", "there is no module 't_nothing'"),
        ("t_fine.more", "there is no module 't_fine.more'"),
        ("t-fine", "neither a file nor a module"),
        ("", "neither a file nor a module"),
        ("t_fine:engine", "'engine' is not there"),
        ("t_fine:one", "'one' is a Workflow"),
        ("json.py", "cannot be imported as 'json'"),
    ],
)
def test_what_is_not_there_is_named(write: Write, text: str, said: str) -> None:
    write("t_fine.py", ONE)
    write("json.py", ONE)
    with pytest.raises(NoTarget) as refused:
        load(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("code", "said", "traced"),
    [
        ("x = (", "SyntaxError: '(' was never closed", "line 1"),
        ("import t_missing_neighbour", "ModuleNotFoundError", "line 1, in <module>"),
        ("\n1 / 0", "ZeroDivisionError", "line 2, in <module>"),
        ("raise SystemExit(3)", "SystemExit: 3", "line 1, in <module>"),
        ("from durably import workflow\n@workflow\ndef one(): ...", "no coroutine function", "line 2"),
        ("from durably import step\n@step\ndef one() -> None: ...", "declares no workflow, and no step", ""),
        (ONE + "@workflow('one')\nasync def two() -> None: ...", "two workflows are called 'one'", ""),
    ],
)
def test_what_is_wrong_with_the_code_is_shown(write: Write, code: str, said: str, traced: str) -> None:
    file = write("t_broken.py", code)
    with pytest.raises(BrokenTarget) as broken:
        load("t_broken.py")
    assert said in str(broken.value)
    assert broken.value.folder == file.parent
    assert traced in broken.value.trace
    assert bool(broken.value.trace) == bool(traced)
    assert "target.py" not in broken.value.trace
    assert "importlib" not in broken.value.trace


def test_a_codec_is_named_as_an_engine_is(write: Write) -> None:
    write(
        "sealing.py",
        "class Codec:\n    def encode(self, data): return data\n    decode = encode\ncodec = Codec()\nsecret = 'a'\n",
    )
    named = load_codec("sealing.py:codec")
    assert named.decode(named.encode(b"a")) == b"a"
    assert load_codec("sealing") is named
    for text in ("sealing.py:secret", "sealing.py:nothing"):
        with pytest.raises(NoTarget, match=f"{text} names no codec"):
            load_codec(text)
    with pytest.raises(NoTarget, match="no module 'nowhere'"):
        load_codec("nowhere:codec")
