"""Arguments that click has no type for: JSON, times, versions. Each is the `callback` of a parameter."""

import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn, cast

import click
import msgspec

from durably.engine.log.records import to_us
from durably.store.runtime import SECOND_US, SystemClock

__all__ = ["json_by_step", "json_object", "json_value", "objects_by_step", "place", "since", "until", "version"]

UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
SHOWN_BEFORE, SHOWN_AFTER = 60, 20
"""Characters of a long line of JSON that are shown around the place where it breaks."""


def json_object(_ctx: click.Context, _param: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """A JSON object; `-` reads it from standard input."""
    return None if value is None else _object(_read(value))


def json_value(_ctx: click.Context, _param: click.Parameter, value: str) -> Any:
    """Any JSON; `-` reads it from standard input."""
    return _value(_read(value))


def json_by_step(_ctx: click.Context, _param: click.Parameter, values: Sequence[str]) -> dict[str, Any]:
    """`STEP=JSON`, as often as there are steps."""
    return {step: _value(text) for step, text in map(_by_step, values)}


def objects_by_step(_ctx: click.Context, _param: click.Parameter, values: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`STEP=JSON` with arguments by name, as often as there are steps."""
    return {step: _object(text) for step, text in map(_by_step, values)}


def place(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | str | None:
    """A record's number, or a step."""
    return int(value) if value is not None and re.fullmatch("[0-9]{1,9}", value) else value


def _read(value: str) -> str:
    return sys.stdin.read() if value == "-" else value


def _by_step(value: str) -> tuple[str, str]:
    step, equals, text = value.partition("=")
    if not (step and equals):
        raise click.BadParameter(f'{value[:80]!r} is not STEP=JSON, like charge={{"paid": true}}')
    return step, text


def _object(text: str) -> dict[str, Any]:
    value = _value(text)
    if not isinstance(value, dict):
        what = text.strip()[:80]
        raise click.BadParameter(f'an object is needed, like {{"name": "Ada"}}, and this is {what}')
    return cast("dict[str, Any]", value)


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode())
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


def until(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """How long from now (`12h`, `90d`) or a time, as in `since`, in µs."""
    if value is None:
        return None
    left = re.fullmatch(r"(\d{1,9})([smhdw])", value)
    if left is not None:
        return SystemClock().wall_us() + int(left[1]) * UNITS_S[left[2]] * SECOND_US
    try:
        return to_us(datetime.fromisoformat(value).astimezone())
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is neither how long from now, like 12h or 90d, nor a time, like 2026-01-31T12:00:00Z"
        ) from None


def version(_ctx: click.Context, _param: click.Parameter, value: str) -> str | int:
    """`current`, `original`, or a number."""
    if value in {"current", "original"}:
        return value
    if not (value.isascii() and value.isdigit()):
        raise click.BadParameter(f"{value!r} is none of current, original, or a number")
    return int(value)
