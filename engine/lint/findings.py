"""What the lint has found."""

from collections.abc import Iterable

from msgspec import Struct

from durably.engine.errors import DurablyError

__all__ = ["Finding", "LintError"]


class Finding(Struct, frozen=True):
    """One place in the code of a workflow that is not deterministic, or may not be."""

    kind: str
    """What silences it: `# durably: allow[kind]`."""
    problem: str
    remedy: str
    file: str
    line: int
    column: int
    """From 1, in characters; 0 where Python does not know."""
    width: int
    """Characters, on that line."""
    function: str
    callers: tuple[str, ...]
    """The functions that lead there, from the workflow's own on."""
    source: str
    """The line; empty where there is no source."""

    @property
    def message(self) -> str:
        """What is wrong, and what to do."""
        return f"{self.problem}. {self.remedy}"

    @property
    def where(self) -> str:
        """In which function, and how a run gets there."""
        through = f", called by {' → '.join(self.callers)}" if self.callers else ""
        return f"{self.function}(){through}"

    def __str__(self) -> str:
        lines = [f"{self.file}:{self.line}: {self.kind}: {self.problem}"]
        if self.source:
            lines.append(f"    {self.source.strip()}")
        return "\n".join([*lines, f"  in {self.where}. {self.remedy}"])


class LintError(DurablyError):
    """Workflows that are not deterministic, with all that was found."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__(self.findings)

    def __str__(self) -> str:
        found = "\n".join(map(str, self.findings))
        return (
            "workflows do what a replay could not repeat:\n"
            f"{found}\n"
            "A line that is right as it is says so: `# durably: allow[kind]` (docs/determinism.md)"
        )
