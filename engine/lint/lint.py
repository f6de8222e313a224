"""`lint(workflows)`: what is not deterministic in their code, and in the project's functions that it calls."""

import builtins
import dis
from collections.abc import Iterable, Iterator
from inspect import unwrap
from types import CodeType, FunctionType
from typing import Any

from durably.engine.declare.definitions import Step, Workflow
from durably.engine.lint.cancels import swallows
from durably.engine.lint.catalogue import Catalogue
from durably.engine.lint.findings import Finding, LintError
from durably.engine.lint.functions import is_own, scope_of
from durably.engine.lint.machine import Machine
from durably.engine.lint.observer import Place
from durably.engine.lint.reader import Reader
from durably.engine.lint.reports import Report, Reports
from durably.engine.lint.rules import KINDS
from durably.engine.lint.values import UNKNOWN, Inner, Scope, Value

__all__ = ["lint", "refuse_findings"]

MOST_CALLERS = 10
"""How deep calls are followed."""
HANDLES, SETS_GLOBAL = dis.opmap["PUSH_EXC_INFO"], dis.opmap["STORE_GLOBAL"]


def lint(workflows: Iterable[Workflow[..., Any] | Step[..., Any]]) -> list[Finding]:
    """What is found, by file and line. Steps may do everything, so those with a trigger are not looked into."""
    reading = _Reading()
    for each in workflows:
        if isinstance(each, Workflow):
            reading.check(each.fn)
    return reading.reports.findings()


def refuse_findings(workflows: Iterable[Workflow[..., Any] | Step[..., Any]]) -> None:
    """Raise `LintError` with everything that is found, if anything is."""
    findings = lint(workflows)
    if findings:
        raise LintError(findings)


class _Reading:
    """Of several workflows at once: what they share is read once."""

    def __init__(self) -> None:
        self.reports = Reports()
        self._catalogue = Catalogue()
        self._results: dict[int, tuple[CodeType, Value]] = {}
        self._setters: dict[int, dict[str, str]] = {}

    def check(self, function: Any) -> None:
        """Read a workflow's function, and what decorators of libraries hide."""
        for each in (function, unwrap(function)):
            if isinstance(each, FunctionType) and (is_own(each.__code__) or each is unwrap(function)):
                self._read(each.__code__, scope_of(each), ())

    def _follow(self, called: FunctionType | Inner, callers: tuple[str, ...]) -> Value:
        if len(callers) > MOST_CALLERS:
            return UNKNOWN
        if isinstance(called, Inner):
            return self._read(called.code, called.scope, callers)
        return self._read(called.__code__, scope_of(called), callers)

    def _read(self, code: CodeType, scope: Scope, callers: tuple[str, ...]) -> Value:
        if id(code) in self._results:
            return self._results[id(code)][1]
        self._results[id(code)] = code, UNKNOWN  # what calls itself finds this
        report = self.reports.open(code, callers)
        inside = callers if code.co_name.startswith("<") else (*callers, code.co_qualname)
        setters = self._setters_of(scope.module)
        reader = Reader(self._catalogue, scope.module, setters, report, lambda called: self._follow(called, inside))
        self._results[id(code)] = code, Machine(code, scope, reader).run()
        if HANDLES in code.co_code[::2]:
            _check_handlers(code, scope.module, report)
        return self._results[id(code)][1]

    def _setters_of(self, module: dict[str, Any]) -> dict[str, str]:
        """The global variables that functions of a module set, each with one that does."""
        if id(module) not in self._setters:
            self._setters[id(module)] = {
                instruction.argval: function.__qualname__
                for function in _functions_of(module)
                if SETS_GLOBAL in function.__code__.co_code[::2]
                for instruction in dis.get_instructions(function.__code__)
                if instruction.opcode == SETS_GLOBAL
            }
        return self._setters[id(module)]


def _check_handlers(code: CodeType, module: dict[str, Any], report: Report) -> None:
    function = report.source.function(code)
    if function is None:
        return
    names = vars(builtins) | module
    for handler in swallows(function, names.get):
        end = handler.type.end_lineno if handler.type is not None else None
        width = len("except")
        at = Place(handler.lineno, end or handler.lineno, handler.col_offset, handler.col_offset + width)
        report.tell("cancel", f"this {KINDS['cancel'].why}", at)


def _functions_of(module: dict[str, Any]) -> Iterator[FunctionType]:
    for value in module.values():
        function = value.fn if isinstance(value, Step | Workflow) else value
        if isinstance(function, FunctionType) and function.__globals__ is module:
            yield function
