"""Judges what the code of one function does, and follows the project's own functions that it calls."""

import asyncio
import builtins
import contextlib
import functools
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import PurePath
from types import FunctionType
from typing import Any

from durably.engine.declare.definitions import Definition
from durably.engine.lint.catalogue import Catalogue, Entry
from durably.engine.lint.functions import default_factories, is_own, returned
from durably.engine.lint.observer import Place
from durably.engine.lint.reports import Report
from durably.engine.lint.rules import KINDS
from durably.engine.lint.values import UNKNOWN, Inner, Known, Made, Method, Named, Unknown, Value, class_of, is_set

__all__ = ["Reader"]

IN_ORDER = (list, tuple, enumerate, iter, map, filter, zip, dict.fromkeys, deque, str.join)
"""They take things in the order in which they come."""
MUTABLE = (list, dict, set, deque)
CHANGES = {
    *("append", "extend", "insert", "remove", "pop", "popleft", "appendleft", "clear", "sort", "reverse", "add"),
    *("discard", "update", "setdefault", "popitem"),
}
"""Methods of those."""
TASKS = (asyncio.create_task, asyncio.ensure_future)
KEPT: dict[type[Any], set[str]] = {
    set: {"union", "intersection", "difference", "symmetric_difference", "copy"},
    frozenset: {"union", "intersection", "difference", "symmetric_difference", "copy"},
    PurePath: {"joinpath", "with_name", "with_stem", "with_suffix", "relative_to"},
}
"""Methods that give another object of the same class."""


class Reader:
    """The observer of one function's code."""

    def __init__(
        self,
        catalogue: Catalogue,
        module: dict[str, Any],
        setters: dict[str, str],
        report: Report,
        follow: Callable[[FunctionType | Inner], Value],
    ) -> None:
        self._catalogue = catalogue
        self._module = module
        self._setters = setters
        self._report = report
        self._follow = follow

    # -- names

    def load_global(self, name: str, at: Place) -> Value:
        if name in self._module:
            value = Known(self._module[name])
        elif hasattr(builtins, name):
            value = Known(getattr(builtins, name))
        else:
            return UNKNOWN
        setter = self._setters.get(name)
        if setter is not None:
            self._report.tell("global", f"{name}, which {setter}() sets, {KINDS['global'].why}", at)
        return self._seen(value, at)

    def get(self, owner: Value, name: str, at: Place) -> Value:
        value = self._catalogue.member(owner, name)
        if isinstance(value, Method) and isinstance(value.raw, property):
            return self._followed(value.raw.fget)
        return self._seen(value, at)

    def load_module(self, name: str, *, whole: bool) -> Value:
        wanted = name if whole else name.partition(".")[0]
        return Known(sys.modules[wanted]) if wanted in sys.modules else Named(wanted)

    def _seen(self, value: Value, at: Place) -> Value:
        entry = self._catalogue.find(value)
        if entry is not None and entry.rule.on_sight:
            self._tell(entry, entry.name, at)
        return value

    # -- calls

    def call(self, callee: Value, arguments: Sequence[Value], at: Place) -> Value:
        entry = self._catalogue.find(callee)
        if entry is not None and not entry.rule.on_sight:
            if self._counts(entry, arguments):
                self._tell(entry, f"{entry.name}()", at)
            return self._result(callee, arguments, at) if isinstance(callee, Known) else UNKNOWN
        if _is_durable(callee):
            return _durable_result(callee)
        if isinstance(callee, Known) and callee.obj is functools.partial and arguments:
            first, *arguments = arguments
            self._pass_on(arguments, at)
            return first
        self._pass_on(arguments, at)
        self._judge_call(callee, arguments, at)
        return self._result(callee, arguments, at)

    def _counts(self, entry: Entry, arguments: Sequence[Value]) -> bool:
        if entry.name == "asyncio.as_completed":
            return not (arguments and _are_tasks(arguments[0]))
        return entry.rule.at_most is None or len(arguments) <= entry.rule.at_most

    def _pass_on(self, arguments: Sequence[Value], at: Place) -> None:
        """Functions that are given to another, which is going to call them."""
        for argument in arguments:
            entry = None if isinstance(argument, Named) or _is_class(argument) else self._catalogue.find(argument)
            if entry is not None and not entry.rule.on_sight and entry.rule.at_most is None:
                self._tell(entry, f"{entry.name}()", at)
            elif not _is_durable(argument) and not _is_class(argument):
                self._result(argument, (), at)

    def _judge_call(self, callee: Value, arguments: Sequence[Value], at: Place) -> None:
        """Calls that are wrong by what they are given."""
        function = callee.obj if isinstance(callee, Known) else callee.raw if isinstance(callee, Method) else None
        first = arguments[0] if arguments else UNKNOWN
        if _is_one_of(function, IN_ORDER):
            for argument in arguments:
                self.iterate(argument, at)
        elif function is contextlib.suppress:
            if any(_catches_cancel(argument) for argument in arguments):
                self._report.tell("cancel", f"suppress() {KINDS['cancel'].why}", at)
        elif function is next and isinstance(first, Known):
            self._report.tell("global", f"what next() takes from {KINDS['global'].why}", at)
        elif isinstance(callee, Method) and _name(function) in CHANGES and issubclass(class_of(callee.owner), MUTABLE):
            self.change(callee.owner, at)

    def _result(self, callee: Value, arguments: Sequence[Value], at: Place) -> Value:
        """What a call gives, as far as that is known."""
        match callee:
            case Known(type() as cls):
                self._construct(cls, arguments, at)
                result: Value = Made(cls)
            case Known(obj):
                result = Made(asyncio.Task) if _is_one_of(obj, TASKS) else self._followed(obj)
            case Unknown("create_task"):  # of a task group, or of a loop
                result = Made(asyncio.Task)
            case Method(raw, owner):
                result = self._of_method(raw, owner, arguments)
            case Inner():
                result = self._of_inner(callee, arguments, at)
            case _:
                result = UNKNOWN
        return result

    def _of_method(self, raw: Any, owner: Known | Made, arguments: Sequence[Value]) -> Value:
        name = _name(raw)
        if isinstance(owner, Made) and name in {"add", "append"}:
            owner.items.extend(arguments)
        is_kept = any(issubclass(class_of(owner), each) and name in names for each, names in KEPT.items())
        return Made(class_of(owner)) if is_kept else self._followed(raw)

    def _of_inner(self, inner: Inner, arguments: Sequence[Value], at: Place) -> Value:
        """A comprehension is called with an iterator. One that is lazy has the order of what it walks through."""
        result = self._follow(inner)
        given = arguments[0] if arguments else UNKNOWN
        if inner.code.co_name == "<genexpr>" and is_set(given):
            return Made(set, _items(given))
        if inner.code.co_name in {"<listcomp>", "<dictcomp>"}:
            self.iterate(given, at)
        return result

    def _construct(self, cls: type, arguments: Sequence[Value], at: Place) -> None:
        for name in ("__init__", "__post_init__"):
            method = getattr(cls, name, None)
            if not (isinstance(method, FunctionType) and method.__code__.co_filename == "<string>"):  # a dataclass's
                self._followed(method)
        for factory in default_factories(cls, len(arguments)):
            self._pass_on([Known(factory)], at)

    def _followed(self, function: Any) -> Value:
        is_followed = isinstance(function, FunctionType) and is_own(function.__code__)
        return self._follow(function) if is_followed else UNKNOWN

    # -- other uses

    def enter(self, value: Value, at: Place) -> None:
        if isinstance(value, Known) and not isinstance(value.obj, type):
            entry = self._catalogue.of_instance(value.obj)
            if entry is not None:
                self._tell(entry, f"a {entry.name} in `with`", at)

    def iterate(self, value: Value, at: Place) -> None:
        if is_set(value) and not _are_tasks(value):
            self._report.tell("order", f"a set {KINDS['order'].why}", at)

    def change(self, value: Value, at: Place) -> None:
        if isinstance(value, Known):
            what = (
                value.obj.__name__ if isinstance(value.obj, type) else f"the {type(value.obj).__name__} that is changed"
            )
            self._report.tell("global", f"{what} {KINDS['global'].why}", at)

    def set_global(self, name: str, at: Place) -> None:
        self._report.tell("global", f"the global variable {name} {KINDS['global'].why}", at)

    def keep(self, value: Value) -> None:
        if isinstance(value, Inner):
            self._follow(value)

    def _tell(self, entry: Entry, subject: str, at: Place) -> None:
        kind = KINDS[entry.rule.kind]
        self._report.tell(kind.name, f"{subject.removeprefix('builtins.')} {kind.why}", at, entry.rule.remedy)


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", ""))


def _items(value: Value) -> list[Value]:
    return value.items if isinstance(value, Made) else []


def _is_durable(value: Value) -> bool:
    """Steps, workflows, and Durably's own functions: what they are given they run as a step, or keep."""
    obj = value.obj if isinstance(value, Known) else value.raw if isinstance(value, Method) else None
    if isinstance(obj, Definition):
        return True
    is_code = isinstance(obj, FunctionType | type)
    return is_code and str(obj.__module__).partition(".")[0] == "durably"


def _durable_result(callee: Value) -> Value:
    if isinstance(callee, Method) and isinstance(callee.owner, Known):
        return callee.owner  # step.options(…) is that step
    definition = callee.obj if isinstance(callee, Known) else None
    return (returned(definition.fn) if isinstance(definition, Definition) else None) or UNKNOWN


def _is_class(value: Value) -> bool:
    return isinstance(value, Known) and isinstance(value.obj, type)


def _is_one_of(obj: Any, functions: tuple[Any, ...]) -> bool:
    return any(obj is each for each in functions)


def _catches_cancel(value: Value) -> bool:
    return isinstance(value, Known) and isinstance(value.obj, type) and issubclass(asyncio.CancelledError, value.obj)


def _are_tasks(value: Value) -> bool:
    """asyncio tasks on a run's loop have the same hashes on replay, so a set of them has one order."""
    items = _items(value)
    return bool(items) and all(issubclass(class_of(item), asyncio.Future) for item in items)
