"""Functions that exist: whose they are, and what they know before they run."""

import builtins
import inspect
import sysconfig
from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, get_origin

import durably
from durably.engine.lint.values import Known, Made, Scope, Value

__all__ = ["default_factories", "is_own", "returned", "scope_of"]

LIBRARIES = tuple(
    str(Path(folder)) + "/"
    for folder in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(str(Path(file).parent) for file in (durably.__file__, inspect.__file__) if file),
    }
)
INSTALLED = {"site-packages", "dist-packages"}


def is_own(code: CodeType) -> bool:
    """Whether it is the project's: not Python's, not installed, not Durably's."""
    file = code.co_filename
    if file.startswith("<frozen"):
        return False
    return not file.startswith(LIBRARIES) and INSTALLED.isdisjoint(Path(file).parts)


def scope_of(function: FunctionType) -> Scope:
    """What it sees: its closure, and its parameters as they are annotated."""
    variables: dict[str, Value] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            variables[name] = Known(cell.cell_contents)
        except ValueError:  # not set yet
            continue
    for name in function.__annotations__:
        annotated = _annotated(function, name)
        if annotated is not None:
            variables[name] = annotated
    return Scope(function.__globals__, variables)


def returned(function: Any) -> Value | None:
    """What it is annotated to return."""
    return _annotated(function, "return") if isinstance(function, FunctionType) else None


def _annotated(function: FunctionType, name: str) -> Value | None:
    annotation = function.__annotations__.get(name)
    if isinstance(annotation, str):  # from __future__ import annotations
        name = annotation.partition("[")[0]
        annotation = function.__globals__.get(name, vars(builtins).get(name))
    cls = get_origin(annotation) or annotation
    return Made(cls) if isinstance(cls, type) else None


def default_factories(cls: type[Any], given: int) -> Iterator[Any]:
    """The factories of a dataclass that a call runs: all of them, if it gives no more than it has to."""
    fields: dict[str, Any] = inspect.getattr_static(cls, "__dataclass_fields__", {})
    initial = [field for field in fields.values() if field.init]
    required = [each for each in initial if each.default is MISSING and each.default_factory is MISSING]
    if given <= len(required):
        yield from (field.default_factory for field in initial if field.default_factory is not MISSING)
