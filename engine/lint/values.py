"""What is known, without running it, of a value in a workflow's code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, TypeAlias

__all__ = [
    "NULL",
    "SET_ITERATOR",
    "UNKNOWN",
    "Inner",
    "Known",
    "Made",
    "Method",
    "Named",
    "Scope",
    "Unknown",
    "Value",
    "class_of",
    "is_set",
]

SET_ITERATOR = type(iter(set[Any]()))


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """An object that exists: what a global, a closure or a constant holds."""

    obj: Any


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """An object of this class, which the code makes or is given."""

    cls: type[Any]
    items: list[Value] = field(default_factory=list["Value"])
    """What is known to be in it, for a collection."""


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """What a class has under a name, taken from an object of it."""

    raw: Any
    owner: Known | Made


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """Something that is not at hand, since its module is not imported, and known by its dotted name only."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Inner:
    """A function that the code defines: a nested `def`, a lambda, a comprehension."""

    code: CodeType
    scope: Scope


@dataclass(frozen=True, slots=True, eq=False)
class Unknown:
    """Anything."""

    name: str = ""
    """Under which it was taken from something unknown."""


Value: TypeAlias = Known | Made | Method | Named | Inner | Unknown

UNKNOWN = Unknown()
NULL = Unknown()
"""What bytecode has on its stack beside a function that is no method."""


def class_of(value: Value) -> type[Any]:
    """Of an object whose class is known; else `object`."""
    match value:
        case Made(cls):
            return cls
        case Known():
            return _class_of_object(value.obj)
        case _:
            return object


def _class_of_object(obj: object) -> type[Any]:
    return type(obj)


def is_set(value: Value) -> bool:
    """Whether its order is an accident, in every process another one."""
    return issubclass(class_of(value), set | frozenset | SET_ITERATOR)


class Scope:
    """The names that a piece of code sees. Its own variables, as far as they are known by now, come first."""

    def __init__(
        self, module: dict[str, Any], variables: Mapping[str, Value] | None = None, outer: Scope | None = None
    ) -> None:
        self.module = module
        self.variables = dict(variables or {})
        self._outer = outer

    def inner(self) -> Scope:
        """That of a function defined here."""
        return Scope(self.module, outer=self)

    def variable(self, name: str) -> Value:
        """A local variable, here or in a function around."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.variables:
                return scope.variables[name]
            scope = scope._outer
        return UNKNOWN
