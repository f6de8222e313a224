"""Conditions on events: `where`, an expression in CEL, the Common Expression Language (CONTRACT sections 1 and 2).

CEL is what conditions on events are written in elsewhere: it has no effects, clock or randomness, so one condition
gives one answer for the same events, in every process. It is evaluated by `cel-expr-python`, the CEL project's own
implementation, which checks names when it compiles, bounds nesting and loops, matches regular expressions in linear
time, and needs about 8 µs for a small event. It is an extra, `pip install 'durably[cel]'`, because it takes 50 MB and
has no wheels for musl. Its `strings` and `optional` extensions are on.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib import import_module
from math import inf
from operator import is_
from types import MappingProxyType
from typing import Any, cast, final

__all__ = ["MAX_EXPRESSION", "Where"]

MAX_EXPRESSION = 4096
"""The most characters of a condition."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_FAULT = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
"""What the compiler says first: line, column, both from 1, and what is wrong."""
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1


@final
class Where:
    """A condition on an event, compiled.

    `event` in it is the event that arrives, with `name`, `data`, `id`, `ts`, and `user` and `v` if they were sent;
    `trigger` is the event that started the run, `null` when none did; `vars` is what the workflow passes. With
    `names` a condition can have fewer of the three: that of a trigger has `event` alone.

        event.data.amount > 100 && event.data.user.id == vars.user
        event.data.tags.exists(tag, tag == "vip")
        has(event.data.coupon) && event.data.coupon.lowerAscii() == "spring"
        event.data.?priority.orValue(0) >= 2
        timestamp(event.ts) > timestamp("2026-01-01T00:00:00Z")

    Numbers compare as in JSON, 1 and 1.0 are equal, but CEL's arithmetic takes both of one kind: write
    `double(event.data.amount) * 1.5`. A time is text until `timestamp()` makes it one.

    Raises:
        ValueError: it is too long, does not compile, uses a name that it does not have, or can never be true or
            false. The message says where.
        TypeError: it is no text.
        ModuleNotFoundError: `cel-expr-python` is not installed.
    """

    __slots__ = ("_program", "expression", "names")

    def __init__(self, expression: str, names: tuple[str, ...] = ("event", "trigger", "vars")) -> None:
        _check(expression)
        self.expression = expression
        self.names = names
        self._program = _compile(expression, names)

    def __repr__(self) -> str:
        return f"Where({self.expression!r})"

    def holds(
        self,
        event: Mapping[str, Any],
        trigger: Mapping[str, Any] | None = None,
        vars: Mapping[str, Any] = _NOTHING,  # noqa: A002 - the contract's name
    ) -> bool:
        """Whether the condition is true of these, all of them as decoded from JSON.

        Only `true` is true: 1 and "yes" are not. What CEL calls an error, a field that is missing or a text compared
        with a number, is false, since others' events may look like anything.
        """
        given = {"event": event, "trigger": trigger, "vars": vars}
        kind, holds = self._evaluate(given)
        if kind == "ERROR":
            widened = _widened(given)
            if widened is not given:
                _, holds = self._evaluate(widened)
        return holds

    def _evaluate(self, given: Mapping[str, Any]) -> tuple[str, bool]:
        """What kind of value comes out, and whether it is `true`."""
        try:
            value = self._program.eval(data={name: _plain(given[name]) for name in self.names})
        except RuntimeError:  # the library's only exception; no other value than text that is not Unicode raises it
            return "UNICODE", False
        kind = value.type().name()
        return kind, kind == "BOOL" and value.plain_value() is True


def _plain(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return value if value is None or isinstance(value, dict) else dict(value)


def _widened(value: Any) -> Any:
    """The value with doubles for integers that CEL has no room for, as most JSON parsers give; itself, if none is.

    CEL refuses a whole event for one such integer anywhere in it.
    """
    if isinstance(value, int):
        return value if _INT64_MIN <= value <= _UINT64_MAX else _as_double(value)
    if isinstance(value, list):
        array = cast("Sequence[Any]", value)
        parts = [_widened(part) for part in array]
        return array if all(map(is_, parts, array)) else parts
    if isinstance(value, Mapping):
        object_ = cast("Mapping[str, Any]", value)
        fields = {key: _widened(part) for key, part in object_.items()}
        return object_ if all(map(is_, fields.values(), object_.values())) else fields
    return value


def _as_double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf


# -- compiling


def _check(expression: object) -> None:
    if not isinstance(expression, str):
        raise TypeError(f"where is {expression!r}; it must be text, like 'event.data.amount > 100'")
    if len(expression) > MAX_EXPRESSION:
        raise ValueError(f"where has {len(expression):,} characters; it must have no more than {MAX_EXPRESSION:,}")


@lru_cache(maxsize=1024)
def _compile(expression: str, names: tuple[str, ...]) -> Any:
    """The program, of the library's own type, for which it has no stubs that a type checker takes."""
    try:
        program = _environment(names).compile(expression)
    except RuntimeError as error:  # the library's only exception
        raise ValueError(_explained(expression, names, str(error))) from None
    kind = program.return_type().name()
    if kind not in ("BOOL", "DYN"):
        raise ValueError(f"where={expression!r} gives {kind.lower()}, whatever the event; it must be true or false")
    return program


@cache
def _environment(names: tuple[str, ...]) -> Any:
    try:
        cel = import_module("cel_expr_python.cel")
        strings = import_module("cel_expr_python.ext.ext_strings")
        optional = import_module("cel_expr_python.ext.ext_optional")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "where= needs the package cel-expr-python, which is not installed: pip install 'durably[cel]'",
            name=error.name,
        ) from None
    return cel.NewEnv(
        variables=dict.fromkeys(names, cel.Type.DYN),
        extensions=[strings.ExtStrings(), optional.ExtOptional()],
    )


def _explained(expression: str, names: tuple[str, ...], fault: str) -> str:
    found = _FAULT.search(fault)
    if found is None:
        return f"where={expression!r} does not compile: {fault.partition(' [')[0]}"
    line, column, why = found.groups()
    why = why.removesuffix(" (in container '')")
    if why.startswith("undeclared"):
        why += f"; it can use {', '.join(names)} and CEL's own functions"
    return f"where={expression!r} does not compile: line {line}, column {column}: {why}"
