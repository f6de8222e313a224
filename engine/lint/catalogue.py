"""What is under a name, and which rule a value falls under, without running any code of the user's."""

import inspect
import sys
from collections.abc import Iterator
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, NamedTuple

from durably.engine.lint.rules import METHODS, PACKAGES, PURE, RULES, Rule
from durably.engine.lint.values import UNKNOWN, Known, Made, Method, Named, Unknown, Value, class_of

__all__ = ["Catalogue", "Entry"]

MISSING: Any = object()
OF_A_CLASS = (
    FunctionType,
    BuiltinFunctionType,
    MethodDescriptorType,
    ClassMethodDescriptorType,
    WrapperDescriptorType,
    property,
)
"""What is bound to the object it is taken from."""


class Entry(NamedTuple):
    """A rule, and the name under which a value falls under it."""

    name: str
    rule: Rule


class Catalogue:
    """The rules, by the objects that their names stand for in this process.

    By identity: however a function was imported and whatever it is called there, it is the same object. Modules that
    nobody has imported are left alone; what code says of them is looked up by name.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Entry | None] = dict.fromkeys(PURE)
        self._by_name |= {name: Entry(name, rule) for rule in RULES for name in rule.names}
        self._by_id: dict[int, tuple[Any, Entry | None]] = {}
        for name, entry in self._by_name.items():
            found = _resolve(name)
            if found is not MISSING:  # the object is kept, and with it its id; of two names the first one counts
                self._by_id.setdefault(id(found), (found, entry))

    def find(self, value: Value) -> Entry | None:
        """The rule for calling this value, or, of objects, for looking at it."""
        match value:
            case Known(obj) | Method(obj):
                return self._of_object(obj)
            case Named(name):
                return self._of_name(name)
            case Unknown(name) if name in METHODS:
                return Entry(f"loop.{name}", METHODS[name])
            case _:
                return None

    def member(self, value: Value, name: str) -> Value:
        """The attribute of that name."""
        match value:
            case Known(ModuleType() as module):
                found = vars(module).get(name, MISSING)
                return Named(f"{module.__name__}.{name}") if found is MISSING else Known(_unbound(found))
            case Known(type() as cls):
                found = _static(cls, name)
                return UNKNOWN if found is MISSING else Known(found)
            case Known(obj):
                entry = self.of_instance(obj)
                return _bound(obj, value, name) if entry is None else Named(f"{entry.name}.{name}")
            case Made(cls):
                return _bound(cls, value, name)
            case Named(dotted):
                return Named(f"{dotted}.{name}")
            case _:
                return Unknown(name)

    def of_instance(self, obj: Any) -> Entry | None:
        """For an object that exists outside of the run, if its class is one that a run must not make."""
        entries = (self._of_object(cls) for cls in type(obj).__mro__)
        return next((entry for entry in entries if entry is not None), None)

    def _of_object(self, obj: Any) -> Entry | None:
        obj = _unbound(obj)
        if id(obj) in self._by_id:
            return self._by_id[id(obj)][1]
        if isinstance(obj, type) and issubclass(obj, BaseException):
            return None
        return _of_package(_dotted(obj))

    def _of_name(self, name: str) -> Entry | None:
        for prefix in _prefixes(name):
            entry = self._by_name.get(prefix, MISSING)
            if entry is not MISSING:
                return entry if entry is None or prefix == name else Entry(name, entry.rule._replace(at_most=None))
        return _of_package(name)


def _resolve(name: str) -> Any:
    """The object of a dotted name, in modules that are imported."""
    for prefix in _prefixes(name):
        module = sys.modules.get(prefix)
        if module is not None:
            found: Any = module
            for part in name.removeprefix(prefix).split(".")[1:]:
                found = vars(found).get(part, MISSING) if isinstance(found, ModuleType) else _static(found, part)
            return found
    return MISSING


def _prefixes(name: str) -> Iterator[str]:
    """`a.b.c`, `a.b`, `a`."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _of_package(name: str) -> Entry | None:
    for prefix in _prefixes(name):
        if prefix in PACKAGES:
            return Entry(name, PACKAGES[prefix])
    return None


def _dotted(obj: Any) -> str:
    """Where a function or a class is from; nothing for other objects."""
    if isinstance(obj, type | FunctionType):
        return f"{obj.__module__}.{obj.__qualname__}"
    if isinstance(obj, MethodDescriptorType | ClassMethodDescriptorType | WrapperDescriptorType):
        return f"{_dotted(obj.__objclass__)}.{obj.__name__}"
    if isinstance(obj, BuiltinFunctionType):
        return f"{obj.__module__ or _dotted(type(obj.__self__))}.{obj.__name__}"
    return ""


def _static(obj: Any, name: str) -> Any:
    return _unbound(inspect.getattr_static(obj, name, MISSING))


def _unbound(obj: Any) -> Any:
    """The function behind a method of a class: one object, however often it is taken from the class."""
    if isinstance(obj, MethodType | BuiltinFunctionType) and isinstance(obj.__self__, type):
        obj = inspect.getattr_static(obj.__self__, obj.__name__, obj)
    return inspect.getattr_static(obj, "__func__") if type(obj) in {classmethod, staticmethod} else obj


def _bound(obj: Any, owner: Known | Made, name: str) -> Value:
    found = _static(obj, name)
    if isinstance(found, OF_A_CLASS):
        return Method(found, owner)
    value = Known(found)
    is_hidden = isinstance(owner, Made) and issubclass(class_of(value), list | dict | set)  # by what __init__ sets
    return Unknown(name) if found is MISSING or is_hidden or inspect.isdatadescriptor(found) else value
