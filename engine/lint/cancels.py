"""`except` that keeps a cancel from its run. Bytecode does not tell where a handler ends, so this reads the source."""

import ast
import asyncio
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

__all__ = ["swallows"]

AWAITS = (ast.Await, ast.AsyncFor, ast.AsyncWith)
NESTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def swallows(function: ast.AST, look_up: Callable[[str], Any]) -> Iterator[ast.ExceptHandler]:
    """The handlers around an `await` that catch `CancelledError` and never raise. `look_up` knows global names."""
    for node in _within(function):
        if isinstance(node, ast.Try | ast.TryStar) and any(isinstance(each, AWAITS) for each in _within(*node.body)):
            for handler in node.handlers:
                if _catches_cancel(handler.type, look_up):
                    if not any(isinstance(each, ast.Raise) for each in _within(*handler.body)):
                        yield handler
                    break  # those behind it never see one


def _within(*roots: ast.AST) -> Iterator[ast.AST]:
    """These nodes and all below, but not what is in functions defined there."""
    for root in roots:
        yield root
        yield from _within(*(child for child in ast.iter_child_nodes(root) if not isinstance(child, NESTED)))


def _catches_cancel(caught: ast.expr | None, look_up: Callable[[str], Any]) -> bool:
    if caught is None:
        return True
    if isinstance(caught, ast.Tuple):
        return any(_catches_cancel(each, look_up) for each in caught.elts)
    exception = _resolve(caught, look_up)
    return isinstance(exception, type) and issubclass(asyncio.CancelledError, exception)


def _resolve(expression: ast.expr, look_up: Callable[[str], Any]) -> Any:
    if isinstance(expression, ast.Name):
        return look_up(expression.id)
    if isinstance(expression, ast.Attribute):
        module = _resolve(expression.value, look_up)
        return vars(module).get(expression.attr) if isinstance(module, ModuleType) else None
    return None
