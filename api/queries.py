"""The query of a list: `page[size]`, `page[after]`, `sort` and `filter[…]`, the same for all lists."""

import re
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from durably.api.errors import Problem
from durably.engine.log.records import to_us

__all__ = ["MAX_PAGE", "Interval", "ListQuery", "cursor"]

MAX_PAGE = 100
"""The most resources on a page; each may carry an input and an output of megabytes."""
PAGE = 50


class Interval(NamedTuple):
    """From an engine time, inclusive, until another, exclusive; None is unbounded."""

    from_us: int | None = None
    until_us: int | None = None


_INTERVAL = re.compile(r"([\[(])([^,]+),([^,]+)([\])])")
_time = msgspec.json.Decoder(datetime).decode


class ListQuery:
    """The parameters of a list request. They are taken one by one; `done` refuses those that nobody took."""

    def __init__(self, request: web.Request) -> None:
        self._given = {name: request.query.getall(name) for name in request.query}

    def filter(self, name: str, among: Collection[str] | None = None) -> tuple[str, ...]:
        """The values of `filter[name]`, any of which fits: commas between them, or given several times."""
        parameter = f"filter[{name}]"
        values = tuple(_split(self._given.pop(parameter, ())))
        for value in values:
            if among is not None and value not in among:
                known = ", ".join(among)
                raise _bad(parameter, f"{parameter} is {value[:100]!r}; it is one or several of {known}")
        return values

    def interval(self, name: str) -> Interval:
        """`filter[name]` as `[a,b)`: `[` and `]` with the end, `(` and `)` without it, `*` for none."""
        parameter = f"filter[{name}]"
        text = self._single(parameter)
        if text is None:
            return Interval()
        found = _INTERVAL.fullmatch(text)
        try:
            if found is None:
                raise ValueError(text)
            opening, start, end, closing = found.groups()
            return Interval(_bound(start, opening == "("), _bound(end, closing == "]"))
        except (ValueError, TypeError, OverflowError):
            raise _bad(
                parameter,
                f"{parameter} is {text[:100]!r}; it is an interval like [2026-01-31T00:00:00Z,*): times as "
                "in RFC 3339, [ ] with and ( ) without the end, * for no bound",
            ) from None

    def sort(self, only: str) -> None:
        """Refuse any other order than the one this list has."""
        text = self._single("sort")
        if text not in (None, only):
            raise _bad("sort", f"sort is {text!r}; this list can be sorted by {only} only")

    def page_size(self) -> int:
        """`page[size]`."""
        text = self._single("page[size]")
        if text is None:
            return PAGE
        if not (re.fullmatch("[0-9]{1,3}", text) and 1 <= int(text) <= MAX_PAGE):
            raise _bad("page[size]", f"page[size] is {text[:100]!r}; it is a number from 1 to {MAX_PAGE}")
        return int(text)

    def page_after(self) -> int | None:
        """The number behind `page[after]`."""
        text = self._single("page[after]")
        if text is None:
            return None
        if not re.fullmatch(r"[0-9a-f]{1,15}", text):
            raise _bad("page[after]", f"page[after] is {text[:100]!r}; take it from links.next of the page before")
        return int(text, 16)

    def done(self) -> None:
        """Refuse what nobody took: a misspelt filter must not look like one that found everything."""
        for name in self._given:
            raise _bad(name, f"there is no parameter {name[:100]!r} here")

    def _single(self, parameter: str) -> str | None:
        values = self._given.pop(parameter, None)
        if values is None:
            return None
        if len(values) > 1:
            raise _bad(parameter, f"{parameter} is given {len(values)} times; give it once")
        return values[0]


def cursor(number: int) -> str:
    """What `page[after]` says for the page that begins behind this number."""
    return f"{number:x}"


def _split(texts: Iterable[str]) -> Iterable[str]:
    return (value for text in texts for value in text.split(",") if value)


def _bound(text: str, beyond: bool) -> int | None:
    text = text.strip()
    if text == "*":
        return None
    at: Any = _time(msgspec.json.encode(text.replace(" ", "+")))  # who does not write %2B for + sends a space
    return to_us(at) + beyond


def _bad(parameter: str, detail: str) -> Problem:
    return Problem(400, "invalid_parameter", detail, parameter=parameter)
