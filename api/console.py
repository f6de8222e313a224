"""What a person at a terminal reads: where it is printed, how times are worded, and where logs go."""

import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog
from rich.console import Console

if TYPE_CHECKING:
    from structlog.typing import Processor

__all__ = [
    "clean",
    "clock_time",
    "error_console",
    "how_long",
    "local_time",
    "one_line",
    "output_console",
    "set_up_logs",
]

PIPE_WIDTH = 200
"""Columns where nobody looks: what reads a pipe wants whole ids, not a layout."""

MINUTE, HOUR, DAY = 60, 3_600, 86_400
_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def output_console(*, steadfast: bool = False) -> Console:
    """What was asked for goes here: standard output. A steadfast one outlives its reader, as a server has to."""
    return _console(stderr=False, kind=_Steadfast if steadfast else Console)


def error_console() -> Console:
    """What is said beside it goes here: standard error."""
    return _console(stderr=True)


class _Steadfast(Console):
    """Falls silent when nobody reads any more, where others end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


def _console(*, stderr: bool, kind: type[Console] = Console) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return kind(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)


def clean(text: str) -> str:
    """Text of others, without what would steer the terminal."""
    return text.translate(_CONTROLS)


def one_line(text: str, most: int = 300) -> str:
    """The same on one line, cut where it gets too long."""
    line = " ⏎ ".join(clean(text).splitlines())
    return line if len(line) <= most else f"{line[:most]}…"


# -- times


def local_time(at: datetime) -> str:
    """A time by this machine's clock, to the second: `2026-01-31 14:05:09 CET`."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def clock_time(at: datetime) -> str:
    """The time of day by this machine's clock."""
    return at.astimezone().strftime("%H:%M:%S")


def how_long(seconds: float) -> str:
    """A duration in two units at most: `3.2 ms`, `1.25 s`, `2 min 5 s`, `6 d 23 h`."""
    if seconds < 0.9995:  # noqa: PLR2004 - what rounds up to a second
        return f"{seconds * 1000:.3g} ms"
    if seconds < MINUTE:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for unit, name, part, part_name in (
        (DAY, "d", HOUR, "h"),
        (HOUR, "h", MINUTE, "min"),
        (MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit} {name}" + (f" {rest} {part_name}" if rest else "")
    return "1 min"


# -- logs


def set_up_logs(*, as_json: bool, tell: Callable[[str, MutableMapping[str, Any]], bool]) -> None:
    """Send structlog's events and stdlib's log lines (`current().logger`) to standard error, in one form.

    `tell` is asked first, with each event of Durably's own; True says that it has told of it itself.
    """

    def others(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if tell(str(event["event"]), event):
            raise structlog.DropEvent
        return event

    common: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
    ]
    last: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if not as_json:
        # The rich traceback would print local variables, and with them secrets.
        plain = structlog.dev.plain_traceback
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[others, *common, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=common,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # the reload tells what has changed
