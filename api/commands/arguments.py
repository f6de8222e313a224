"""Arguments that click has no type for: JSON, times, versions. Each is the `callback` of a parameter."""

import json
import re
import sys
from datetime import datetime
from typing import Any, NoReturn

import click
import msgspec

from durably.engine.log.records import to_us
from durably.store.runtime import SECOND_US, SystemClock

__all__ = ["json_object", "since", "version"]

UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
SHOWN_BEFORE, SHOWN_AFTER = 60, 20
"""Characters of a long line of JSON that are shown around the place where it breaks."""


def json_object(_ctx: click.Context, _param: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """A JSON object; `-` reads it from standard input."""
    if value is None:
        return None
    text = sys.stdin.read() if value == "-" else value
    try:
        return msgspec.json.decode(text.encode(), type=dict[str, Any])
    except msgspec.ValidationError:
        what = text.strip()[:80]
        raise click.BadParameter(f'an object is needed, like {{"name": "Ada"}}, and this is {what}') from None
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise click.BadParameter(_explain(text, error)) from None


def _explain(text: str, error: Exception) -> str:
    """What is wrong with the JSON, and a line that points at it."""
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as found:
        line = (text.splitlines() or [""])[min(found.lineno, len(text.splitlines()) or 1) - 1]
        start = max(0, found.colno - SHOWN_BEFORE)
        shown = line[start : found.colno + SHOWN_AFTER]
        return f"{found.msg} at line {found.lineno}, column {found.colno}\n  {shown}\n  {'^':>{found.colno - start}}"
    except ValueError as found:
        return str(found)
    return str(error)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def since(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """How long ago (`90s`, `15m`, `2h`, `7d`) or a time (`2026-01-31T12:00:00Z`, local without a zone), in µs."""
    if value is None:
        return None
    ago = re.fullmatch(r"(\d{1,9})([smhdw])", value)
    if ago is not None:
        return SystemClock().wall_us() - int(ago[1]) * UNITS_S[ago[2]] * SECOND_US
    try:
        return to_us(datetime.fromisoformat(value).astimezone())
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is neither how long ago, like 90s, 15m, 2h or 7d, nor a time, like 2026-01-31T12:00:00Z"
        ) from None


def version(_ctx: click.Context, _param: click.Parameter, value: str) -> str | int:
    """`current`, `original`, or a number."""
    if value in {"current", "original"}:
        return value
    if not (value.isascii() and value.isdigit()):
        raise click.BadParameter(f"{value!r} is none of current, original, or a number")
    return int(value)
