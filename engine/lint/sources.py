"""What only the source tells: its lines, comments that allow something, and where `def` lines are."""

import ast
import io
import linecache
import re
import tokenize
from collections.abc import Iterator, Sequence
from functools import cached_property
from types import CodeType
from typing import NamedTuple, TypeAlias

__all__ = ["Allowance", "Function", "Source", "first_line", "header"]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
COMMENT = re.compile(r"#\s*durably:\s*allow\[([^\]]*)\]")


class Allowance(NamedTuple):
    """One kind in one comment."""

    kind: str
    line: int
    column: int
    """In bytes, from 0, as of everything else."""


class Source:
    """A file of code; an empty one where there is no source."""

    def __init__(self, file: str) -> None:
        self.file = file
        linecache.checkcache(file)
        self.lines: Sequence[str] = linecache.getlines(file)

    def line(self, number: int) -> str:
        return self.lines[number - 1].rstrip() if 0 < number <= len(self.lines) else ""

    @cached_property
    def allowances(self) -> tuple[Allowance, ...]:
        """What comments allow, whether it is there or not."""
        if not any("durably:" in line for line in self.lines):
            return ()
        found: list[Allowance] = []
        for token in tokenize.generate_tokens(io.StringIO("".join(self.lines)).readline):
            comment = COMMENT.match(token.string) if token.type == tokenize.COMMENT else None
            if comment is not None:
                line, start = token.start[0], token.start[1] + comment.start(1)
                for kind in re.finditer(r"[^,\s]+|^\s*$", comment[1]):
                    column = len(token.line[: start + kind.start()].encode())
                    found.append(Allowance(kind[0], line, column))
        return tuple(found)

    def functions(self, line: int) -> Iterator[Function]:
        """The functions around a line, the outermost first."""
        for function in self._functions:
            if first_line(function) <= line <= (function.end_lineno or 0):
                yield function

    def function(self, code: CodeType) -> Function | None:
        """The one that was compiled to this."""
        for function in self._functions:
            if first_line(function) == code.co_firstlineno and function.name == code.co_name:
                return function
        return None

    @cached_property
    def _functions(self) -> tuple[Function, ...]:
        try:
            tree = ast.parse("".join(self.lines))
        except SyntaxError:  # it was edited since it was imported
            return ()
        return tuple(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def first_line(function: Function) -> int:
    """Of the first decorator, as code counts too."""
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


def header(function: Function) -> range:
    """The lines from its decorators to the last one before its body."""
    return range(first_line(function), max(function.lineno + 1, function.body[0].lineno))
