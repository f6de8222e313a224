# ruff: noqa: ARG002 - an observer takes what it is told
"""The machine keeps its balance in real code: that of the standard library, on each Python."""

import argparse
import ast
import asyncio.base_events
import asyncio.streams
import asyncio.taskgroups
import asyncio.tasks
import dataclasses
import inspect
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from durably.engine.lint.machine import Machine
from durably.engine.lint.observer import Place
from durably.engine.lint.values import NULL, UNKNOWN, Known, Made, Scope, Unknown, Value

MODULES = (argparse, ast, asyncio.base_events, asyncio.streams, asyncio.taskgroups, asyncio.tasks, dataclasses, inspect,
           tarfile)  # fmt: skip


class Watching:
    """Notes which names are called, and that no call has taken what is no value."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def load_global(self, name: str, at: Place) -> Value:
        return Unknown(name)

    def get(self, owner: Value, name: str, at: Place) -> Value:
        return Unknown(f"{owner.name}.{name}" if isinstance(owner, Unknown) else name)

    def load_module(self, name: str, *, whole: bool) -> Value:
        return Unknown(name)

    def call(self, callee: Value, arguments: Sequence[Value], at: Place) -> Value:
        assert NULL not in (callee, *arguments)
        self.called.append(callee.name if isinstance(callee, Unknown) else "")
        return UNKNOWN

    def enter(self, value: Value, at: Place) -> None:
        assert value is not NULL

    iterate = change = enter

    def set_global(self, name: str, at: Place) -> None: ...

    def keep(self, value: Value) -> None:
        assert value is not NULL


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def named(function: ast.expr) -> str | None:
    """`a.b.c`, if it is that."""
    if isinstance(function, ast.Name):
        return function.id
    if isinstance(function, ast.Attribute):
        owner = named(function.value)
        return None if owner is None else f"{owner}.{function.attr}"
    return None


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_what_the_syntax_tree_calls_the_bytecode_calls(module: ModuleType) -> None:
    """All calls in functions, of dotted names that begin with a global: the machine sees the same names called."""
    file = str(module.__file__)
    tree = ast.parse(Path(file).read_text())
    watching = Watching()
    functions = [code for code in codes(compile(tree, file, "exec")) if code.co_flags & inspect.CO_OPTIMIZED]
    for code in functions:
        Machine(code, Scope({}), watching).run()
    local = {name for code in functions for name in (*code.co_varnames, *code.co_cellvars, *code.co_freevars)}
    definitions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    statements = [each for definition in definitions for each in definition.body]
    nodes = [node for each in statements for node in ast.walk(each) if isinstance(node, ast.Call)]
    expected = {name for node in nodes if (name := named(node.func)) and name.partition(".")[0] not in local}
    assert len(expected) > 5
    assert expected - set(watching.called) == set()


def result_of(text: str) -> Value:
    """What a function with this body gives."""
    names: dict[str, object] = {}
    exec(f"async def read(a, b):\n    {text}", names)  # noqa: S102
    function = names["read"]
    assert inspect.iscoroutinefunction(function)
    return Machine(function.__code__, Scope({}), Watching()).run()


@pytest.mark.parametrize(
    ("text", "cls"),
    [
        ("return {a, b}", set),
        ("return {each for each in a}", set),
        ("return [each for each in a]", list),
        ("return a, b", tuple),
        ("return [*a, b]", list),
        ("c = d = {a}; return d", set),
        ("c = {a}; c = c | b; return c", set),
        ("return await {a}", set),
        ("c = {a if b else 1}; return c", set),
        ("with a: c = {b}\n    return c", set),
        ("try: c = {b}\n    except a: pass\n    return c", set),
    ],
)
def test_what_is_known_of_a_result(text: str, cls: type) -> None:
    result = result_of(text)
    if "for each" in text and not isinstance(result, Made):  # Python 3.11 has functions for comprehensions
        return
    assert isinstance(result, Made)
    assert result.cls is cls


def test_constants_are_known() -> None:
    result = result_of("c = 3\n    return c")
    assert isinstance(result, Known)
    assert result.obj == 3
