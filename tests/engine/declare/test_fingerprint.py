import subprocess
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

from durably.engine.declare.fingerprint import fingerprint

SOURCE = """
async def f(x):
    def inner(y):
        return y in {"a", "b", "c", "d", None, (1, 2.5)}
    try:
        return [await g(i, 1) for i in x if inner(i)]
    except ValueError:
        return f"none of {x}"
"""


def compiled(source: str, file: str = "<test>") -> Callable[..., Any]:
    namespace: dict[str, Any] = {}
    exec(compile(source, file, "exec"), namespace)  # noqa: S102 - our own source
    function: Callable[..., Any] = namespace["f"]
    return function


def test_sixteen_hexadecimal_digits() -> None:
    assert len(fingerprint(compiled(SOURCE))) == 16
    int(fingerprint(compiled(SOURCE)), 16)


@pytest.mark.parametrize(
    "other",
    [
        compiled("\n\n# a comment\n" + SOURCE, "elsewhere.py"),
        compiled(SOURCE.replace("    try:", "\n    # a comment\n    try:")),
    ],
)
def test_the_same_when_code_is_only_moved(other: Callable[..., Any]) -> None:
    assert fingerprint(other) == fingerprint(compiled(SOURCE))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("g(i, 1)", "g(i, 2)"),  # a constant
        ("g(i, 1)", "g(i, True)"),  # equal to the old one, of another type
        ("g(i, 1)", "g(i, 1.0)"),
        ("g(i, 1)", "h(i, 1)"),  # a name
        ("y in", "y not in"),  # the bytecode of an inner function
        ('"d", None', '"e", None'),  # a constant in a set in an inner function
        ("(1, 2.5)", "(1, -2.5)"),
        ("none of", "nothing of"),
        ("ValueError", "KeyError"),
    ],
)
def test_another_when_code_changes(old: str, new: str) -> None:
    assert SOURCE.count(old) == 1
    assert fingerprint(compiled(SOURCE.replace(old, new))) != fingerprint(compiled(SOURCE))


def test_the_same_in_every_process() -> None:
    script = (
        "from durably.engine.declare.fingerprint import fingerprint\n"
        f"namespace = {{}}; exec(compile({SOURCE!r}, 'there.py', 'exec'), namespace)\n"
        "print(fingerprint(namespace['f']))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2", "3")
    }
    assert seen == {fingerprint(compiled(SOURCE))}


def test_the_same_when_code_has_run_and_python_has_specialized_it() -> None:
    def count(n: int) -> int:
        total = 0
        for i in range(n):
            total += i
        return total

    before = fingerprint(count)
    assert count(10_000) == 49_995_000
    assert fingerprint(count) == before


def test_of_the_function_inside_a_decorator() -> None:
    def decorated(fn: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(fn)
        async def wrapper(*args: Any) -> Any:
            return await fn(*args)

        return wrapper

    assert fingerprint(decorated(compiled(SOURCE))) == fingerprint(compiled(SOURCE))
