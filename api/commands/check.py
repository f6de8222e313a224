"""`durably check`, and how findings of the lint look."""

import os
from collections.abc import Sequence
from pathlib import Path

import click
from msgspec import to_builtins
from rich.text import Text

from durably import Workflow
from durably.api import target as targets
from durably.api.commands.command import NO, Command, json_option, print_json
from durably.api.commands.feed import Feed
from durably.api.console import clean, output_console
from durably.api.target import Target
from durably.engine.lint.findings import Finding
from durably.engine.lint.lint import lint

__all__ = ["check", "show_finding", "warn"]


@click.command(cls=Command)
@click.argument("target")
@json_option
def check(target: str, as_json: bool) -> None:
    """Find what is not deterministic in the workflows of TARGET: clocks, randomness, files, threads, …

    Looks at the code of each workflow and of the functions of the project that it calls, and runs none of it.
    `# durably: allow[kind]` at the end of a line, or of a `def` line, silences a finding. Exit status 1 when there are
    findings.
    """
    found = targets.load(target)
    findings = lint(found.workflows)
    if as_json:
        names = [each.name for each in found.workflows if isinstance(each, Workflow)]
        print_json({"workflows": names, "findings": [to_builtins(finding) for finding in findings]})
    else:
        console = output_console()
        for finding in findings:
            console.print(show_finding(finding), soft_wrap=True)
        console.print(_summary(found, findings), soft_wrap=True)
    if findings:
        click.get_current_context().exit(NO)


def warn(target: Target, feed: Feed) -> None:
    """Show what the lint finds in a server's own output, for `durably dev`."""
    for finding in lint(target.workflows):
        if feed.as_json:
            feed.write_json({"kind": "finding", "finding": finding})
        else:
            feed.write(show_finding(finding))


def show_finding(finding: Finding) -> Text:
    """As a compiler does: the place, the line, what is meant on it, and what to do."""
    place = f"{_relative(finding.file)}:{finding.line}" + (f":{finding.column}" if finding.column else "")
    text = Text.assemble(
        (place, "bold"), ": ", (finding.kind, "bold yellow"), ": ", (clean(finding.problem), "bold"), "\n"
    )
    if finding.source:
        text.append_text(_marked(finding))
    text.append(f"{'':5} = ", "blue").append(f"in {finding.where}\n")
    text.append(f"{'':5} = ", "blue").append(f"{finding.remedy}\n", "green")
    return text


def _marked(finding: Finding) -> Text:
    source = clean(finding.source).expandtabs(4)
    before = clean(finding.source[: max(0, finding.column - 1)]).expandtabs(4)
    margin = f"{'':5} │ "
    text = Text.assemble((f"{finding.line:>5} │ ", "blue"), source, "\n")
    if finding.column:
        text.append(margin, "blue").append(f"{'':{len(before)}}{'^' * finding.width}\n", "yellow")
    return text


def _relative(file: str) -> str:
    path = Path(file)
    return os.fspath(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def _summary(target: Target, findings: Sequence[Finding]) -> Text:
    count = sum(isinstance(each, Workflow) for each in target.workflows)
    checked = f"{count} workflow{'' if count == 1 else 's'} of {target.name} checked: "
    if not findings:
        return Text.assemble(checked, ("nothing found", "green"))
    number = len(findings)
    return Text.assemble(checked, (f"{number} finding{'' if number == 1 else 's'}", "bold red"))
