"""What commands share: how they refuse, options that are environment variables too, what is printed where."""

import asyncio
import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from durably import DurablyError, NotBuilt
from durably.api.console import clean, error_console, output_console
from durably.api.target import BrokenTarget, NoTarget
from durably.store import StoreFailure

__all__ = [
    "BAD_USE",
    "NO",
    "Command",
    "codec_option",
    "json_option",
    "option",
    "print_json",
    "put",
    "say",
    "show_error",
]

NO, BAD_USE = 1, 2
"""Exit statuses (CONTRACT section 4)."""

F = TypeVar("F", bound=Callable[..., Any])


class Command(click.Command):
    """A command whose function may be a coroutine function, and whose errors are messages, never tracebacks.

    A no ends with status 1. What is not built and a target that is not there are bad use, status 2, as are
    arguments that click itself refuses.
    """

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except DurablyError as error:
            raise _Refusal(error, as_json=False) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            return asyncio.run(result) if inspect.iscoroutine(result) else result
        except (DurablyError, StoreFailure) as error:
            raise _Refusal(error, as_json=bool(ctx.params.get("as_json"))) from error


class _Refusal(click.ClickException):
    """An error of ours on its way out, through click."""

    def __init__(self, error: DurablyError | StoreFailure, *, as_json: bool) -> None:
        super().__init__(str(error))
        status = BAD_USE if isinstance(error, NotBuilt | NoTarget) else NO
        vars(self)["exit_code"] = status  # click types it as one for the whole class
        self._error = error
        self._as_json = as_json

    def show(self, file: Any = None) -> None:
        del file  # click's own way to send it elsewhere
        if self._as_json:
            click.echo(msgspec.json.encode({"error": self.message}), err=True)
        else:
            show_error(self._error)


def show_error(error: BaseException) -> None:
    """What went wrong, in colour, on standard error; for a target that does not import, Python's own words."""
    if isinstance(error, BrokenTarget) and error.trace:
        click.secho(clean(error.trace), err=True, nl=False, fg="yellow")
    click.secho("Error: ", err=True, nl=False, fg="red", bold=True)
    click.echo(clean(str(error)), err=True)


# -- options


def option(name: str, *more: str, **attributes: Any) -> Callable[[F], F]:
    """An option that is an environment variable as well: `--max-parked` is `DURABLY_MAX_PARKED`."""
    variable = "DURABLY_" + name.removeprefix("--").replace("-", "_").upper()
    return click.option(name, *more, envvar=variable, show_envvar=True, **attributes)


json_option = option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
codec_option = option("--codec", metavar="MODULE:NAME", help="What the store is encrypted with, as in app.py:codec.")


# -- output


def print_json(value: object) -> None:
    """One JSON document on standard output, indented where a person looks."""
    text = msgspec.json.encode(value)
    click.echo(msgspec.json.format(text, indent=2) if sys.stdout.isatty() else text)


def put(text: str) -> None:
    """A line of what was asked for, on standard output."""
    output_console().print(clean(text), soft_wrap=True)


def say(text: str) -> None:
    """A word to the person beside it, on standard error."""
    error_console().print(clean(text), style="dim", soft_wrap=True)
