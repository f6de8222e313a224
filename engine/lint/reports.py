"""Takes what is found, leaves out what comments allow, and finds comments that allow nothing."""

from collections.abc import Iterator
from types import CodeType

from durably.engine.lint.findings import Finding
from durably.engine.lint.observer import Place
from durably.engine.lint.rules import ALLOW, KINDS
from durably.engine.lint.sources import Allowance, Source, first_line, header

__all__ = ["Report", "Reports"]


class Reports:
    """On everything that is read in one check."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, Place, str], Finding] = {}
        self.used: set[tuple[str, Allowance]] = set()
        """Comments that have silenced something."""
        self._sources: dict[str, Source] = {}
        self._opened: list[Report] = []

    def open(self, code: CodeType, callers: tuple[str, ...]) -> "Report":
        """The report on a piece of code that is read."""
        if code.co_filename not in self._sources:
            self._sources[code.co_filename] = Source(code.co_filename)
        self._opened.append(Report(self, code, callers, self._sources[code.co_filename]))
        return self._opened[-1]

    def findings(self) -> list[Finding]:
        """All, by file and line."""
        for report in self._opened:
            report.tell_idle_allowances()
        return sorted(self.found.values(), key=lambda each: (each.file, each.line, each.column, each.kind))


class Report:
    """On one piece of code."""

    def __init__(self, reports: Reports, code: CodeType, callers: tuple[str, ...], source: Source) -> None:
        self._reports = reports
        self._code = code
        self._callers = callers
        self.source = source

    def tell(self, kind: str, problem: str, at: Place, remedy: str = "") -> None:
        """Tell of a finding, unless it is allowed there."""
        if not self._is_allowed(kind, at):
            self._add(kind, problem, at, remedy or KINDS[kind].remedy)

    def _is_allowed(self, kind: str, at: Place) -> bool:
        if not self.source.allowances:
            return False
        lines = {*range(at.line, at.end_line + 1)}.union(*map(header, self.source.functions(at.line)))
        allowed = [each for each in self.source.allowances if each.kind == kind and each.line in lines]
        self._reports.used.update((self.source.file, each) for each in allowed)
        return bool(allowed)

    def tell_idle_allowances(self) -> None:
        """Tell of comments in this code that have silenced nothing."""
        for each in self._allowances():
            if (self.source.file, each) not in self._reports.used:
                if each.kind in KINDS:
                    problem, remedy = f"nothing of kind {each.kind!r} is found here", "Remove the comment"
                else:
                    problem, remedy = f"there is no kind {each.kind!r}", f"The kinds are {', '.join(KINDS)}"
                self._add(ALLOW, problem, Place(each.line, each.line, each.column, None), remedy)

    def _allowances(self) -> Iterator[Allowance]:
        if not self.source.allowances:
            return
        function = self.source.function(self._code)
        if function is not None:
            lines = range(first_line(function), (function.end_lineno or 0) + 1)
            yield from (each for each in self.source.allowances if each.line in lines)

    def _add(self, kind: str, problem: str, at: Place, remedy: str) -> None:
        line = self.source.line(at.line)
        column, width = _columns(line, at)
        function = self._code.co_qualname
        finding = Finding(
            kind, problem, remedy, self.source.file, at.line, column, width, function, self._callers, line
        )
        # What stands in a `finally` is in the bytecode twice and more; and several workflows can come by here.
        self._reports.found.setdefault((self.source.file, at, kind), finding)


def _columns(line: str, at: Place) -> tuple[int, int]:
    """From where, counted from 1, and how many characters on the first line."""
    if at.column is None or not line:
        return 0, 0
    encoded = line.encode()
    end = at.end_column if at.end_line == at.line and at.end_column is not None else len(encoded)
    start = len(encoded[: at.column].decode(errors="replace"))
    return start + 1, max(1, len(encoded[at.column : end].decode(errors="replace").rstrip()))
