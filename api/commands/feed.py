"""What a server prints while it runs: what becomes of runs, once it is committed, and what needs attention."""

import asyncio
from collections import Counter
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct
from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.text import Text

from durably.api.commands.command import say
from durably.api.console import clean, clock_time, how_long, one_line
from durably.engine.execution.live import LiveRun
from durably.engine.log.records import (
    AttemptFailed,
    AttemptLost,
    BodyFailed,
    CancelRequested,
    Record,
    RunCanceled,
    RunContinued,
    RunFailed,
    RunStarted,
    RunSucceeded,
    RunUnblocked,
    StepFailed,
    from_us,
    to_us,
)
from durably.store.runtime import SECOND_US, Clock

__all__ = ["Feed", "Happening"]

EVERY_S = 0.1
"""How often lines are written: one write for all that came meanwhile."""
LINES = 30
"""Lines written each time; what is over is counted. A busy server is not to spend its time on printing."""
KNOWN = 10_000
"""Runs whose start is remembered, to tell how long they took."""
SHOWN = 200
"""Characters shown of an output or an error."""

Kind = Literal[
    "started",
    "retrying",
    "lost",
    "failed step",
    "canceling",
    "blocked",
    "unblocked",
    "succeeded",
    "failed",
    "canceled",
    "continued",
]
SIGNS: dict[Kind, tuple[str, str]] = {
    "started": ("▶", "cyan"),
    "retrying": ("↻", "yellow"),
    "lost": ("↯", "red"),
    "failed step": ("✗", "red"),
    "canceling": ("■", "magenta"),
    "blocked": ("‼", "bold magenta"),
    "unblocked": ("▶", "bold green"),
    "succeeded": ("✔", "green"),
    "failed": ("✘", "bold red"),
    "canceled": ("■", "magenta"),
    "continued": ("➜", "green"),
}
ENDS: frozenset[Kind] = frozenset({"succeeded", "failed", "canceled", "continued"})


TOLD: frozenset[type[Any]] = frozenset(
    {
        AttemptFailed,
        AttemptLost,
        BodyFailed,
        CancelRequested,
        RunCanceled,
        RunContinued,
        RunFailed,
        RunStarted,
        RunSucceeded,
        RunUnblocked,
        StepFailed,
    }
)
"""What `tell` has words for; most records go by without being looked at."""


class Happening(Struct, omit_defaults=True):
    """One line: what happened to which run."""

    at: datetime
    kind: Kind
    run: str
    workflow: str
    text: str = ""


def tell(  # noqa: PLR0911 - one answer for each kind of record
    record: Record, now_us: int
) -> tuple[Kind, str] | None:
    """What a record means to a person who watches; None for what goes without saying."""
    match record:
        case RunStarted():
            return "started", ""
        case AttemptFailed(retry_at=datetime() as due):
            wait = how_long((to_us(due) - now_us) / SECOND_US)
            again = f"retry {record.attempt + 1} of {record.max_retries} in {wait}"
            return "retrying", f"step {record.name}: {record.error} · {again}"
        case AttemptLost():
            text = f"step {record.name}: attempt {record.attempt} was lost ({record.reason}), and starts again"
            return "lost", text
        case StepFailed():
            tries = "1 attempt" if record.attempt == 0 else f"{record.attempt + 1} attempts"
            return "failed step", f"step {record.name}, after {tries}: {record.error}"
        case BodyFailed():
            wait = how_long((to_us(record.retry_at) - now_us) / SECOND_US)
            again = f"retry {record.attempt + 1} of {record.max_retries} in {wait}"
            return "retrying", f"body: {record.error} · {again}"
        case CancelRequested():
            return "canceling", "its time is over" if record.reason == "timeout" else record.reason
        case RunUnblocked():
            return "unblocked", "the code fits again"
        case RunSucceeded():
            return "succeeded", bytes(record.output)[:SHOWN].decode("utf-8", "ignore")
        case RunFailed():
            return "failed", str(record.error)
        case RunCanceled():
            return "canceled", "it was stopped: it went on after a second request" if record.stopped else ""
        case RunContinued():
            return "continued", f"as run {record.continued_to}"
        case _:
            return None


class Feed:
    """Prints on `console`, for people or as lines of JSON. `observe` belongs in `executor.observers`."""

    def __init__(self, console: Console, clock: Clock, *, as_json: bool = False, quiet: bool = False) -> None:
        self._console = console
        self._clock = clock
        self.as_json = as_json
        self._quiet = quiet
        self._lines: list[Happening] = []
        self._more: Counter[Kind] = Counter()
        self._began: dict[int, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def observe(self, run: LiveRun, records: Sequence[Record]) -> None:
        """Take note of records that have been committed."""
        if self._quiet:
            return
        for record in records:
            if type(record) not in TOLD:
                continue
            now_us = self._clock.now_us()
            told = tell(record, now_us)
            if told is not None:
                kind, text = told
                self._add(Happening(from_us(now_us), kind, run.id, _workflow(run), text), run.number, now_us)

    def _add(self, happening: Happening, number: int, now_us: int) -> None:
        self._measure(happening, number, now_us)
        if self.as_json or len(self._lines) < LINES:
            self._lines.append(happening)
        else:
            self._more[happening.kind] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self.flush)

    def _measure(self, happening: Happening, number: int, now_us: int) -> None:
        if happening.kind == "started":
            if len(self._began) >= KNOWN:
                del self._began[next(iter(self._began))]
            self._began[number] = now_us
        elif happening.kind in ENDS:
            began_us = self._began.pop(number, None)
            if began_us is not None:
                took = how_long((now_us - began_us) / SECOND_US)
                happening.text = f"after {took}" + (f": {happening.text}" if happening.text else "")

    def flush(self) -> None:
        """Write what is waiting."""
        lines, self._lines = self._lines, []
        more, self._more = self._more, Counter()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not lines:
            return
        if self.as_json:
            self.write_json(*lines)
            return
        text = Text("\n").join(map(_line, lines))
        if more:
            counts = ", ".join(f"{count:,} {kind}" for kind, count in more.items())
            text.append(f"\n{'':10}… and {counts}", "dim")
        self.write(text)

    def write_json(self, *values: object) -> None:
        """One line of JSON each."""
        text = "".join(msgspec.json.encode(value).decode() + "\n" for value in values)
        with suppress(BrokenPipeError):  # nobody reads any more, which is no reason to stop working
            self._console.file.write(text)
            self._console.file.flush()

    def announce(self, kind: str, text: str) -> None:
        """Something about the process itself; people find it beside the output."""
        self.flush()
        if self.as_json:
            self.write_json({"kind": kind, "text": text})
        else:
            say(text)

    def write(self, text: RenderableType) -> None:
        """Something for people."""
        self._console.print(text, soft_wrap=True)

    # -- what is logged and deserves more than a line

    def take_over(self, name: str, event: MutableMapping[str, Any]) -> bool:
        """Tell of an event of the engine's log in its own way, if it has one."""
        if name == "engine.failed":
            return True  # the process ends with this reason as its last word
        if name != "run.blocked":
            return False
        self.flush()
        if self.as_json:
            now = from_us(self._clock.now_us())
            self.write_json(Happening(now, "blocked", str(event.get("run_id", "")), "", str(event.get("reason", ""))))
            return True
        reason = Text(clean(str(event.get("reason", ""))), "magenta")
        reason.highlight_regex(r"(?m)^\s*expected.*$", "bold green")
        reason.highlight_regex(r"(?m)^\s*got.*$", "bold red")
        reason.highlight_regex(r"(?m)^\s*differs.*$", "bold yellow")
        title = Text(f" BLOCKED  run {event.get('run_id', '')} ", "bold white on magenta")
        self._console.print(Panel(reason, title=title, title_align="left", border_style="magenta"))
        return True


def _workflow(run: LiveRun) -> str:
    return "" if run.registered is None else run.registered.name


def _line(happening: Happening) -> Text:
    sign, style = SIGNS[happening.kind]
    return Text.assemble(
        (f"{clock_time(happening.at)}  ", "dim"),
        (f"{sign} ", style),
        (f"{happening.workflow}  ", "bold"),
        (f"{happening.run}  ", "dim"),
        (happening.kind, style),
        f"  {one_line(happening.text)}" if happening.text else "",
    )
