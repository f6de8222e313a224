"""The query of a list: `page[…]`, `sort` and `filter[…]`, the same for all lists.

Each has a function that declares it for the table of operations, and a method of `ListQuery` that reads it.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta

from durably.api.errors import Problem
from durably.api.jsonapi import Page
from durably.api.operations import Parameter
from durably.engine.log.records import to_us
from durably.store import RunOrder, RunQuery, RunRow

__all__ = [
    "AFTER",
    "BY_NUMBER",
    "MAX_PAGE",
    "Interval",
    "ListQuery",
    "Order",
    "by_cursor",
    "cursor",
    "filter_by",
    "filter_by_part",
    "filter_by_time",
    "in_order",
    "next_cursor",
    "place",
    "sort_by",
]

T = TypeVar("T")
MAX_PAGE = 1_000
"""The most resources on a page."""
PAGE = 50
MAX_NUMBER = 1_000_000_000
AFTER = "page[after]"


# -- declaring

_INTERVAL = re.compile(r"([\[(])([^,]+),([^,]+)([\])])")
_INTERVAL_TEXT = Annotated[str, Meta(pattern=f"^{_INTERVAL.pattern}$")]
_CURSOR_TEXT = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]+$")]


def by_cursor(most: int = MAX_PAGE) -> tuple[Parameter, ...]:
    """For `ListQuery.page_size` and `page_after`: a list that is read from the store page by page."""
    return (
        Parameter("page[size]", _up_to(most), f"Resources on a page; {PAGE} unless given"),
        Parameter(AFTER, _CURSOR_TEXT, "Where the page begins: take it from `links.next` of the page before"),
    )


def _up_to(most: int) -> Any:
    return Annotated[int, Meta(ge=1, le=most)]


BY_NUMBER = (
    Parameter("page[number]", _up_to(MAX_NUMBER), "Which page; 1 unless given"),
    Parameter("page[size]", _up_to(MAX_PAGE), f"Resources on a page; {MAX_PAGE} unless given"),
    Parameter("meta[total]", bool, "Whether to tell how many resources and pages there are"),
)
"""For `ListQuery.page`: a list that is there as a whole."""


def filter_by(name: str, among: Collection[str] | None = None) -> Parameter:
    """For `ListQuery.filter`."""
    values: Any = str if among is None else Literal[tuple(among)]
    return Parameter(f"filter[{name}]", tuple[values, ...], f"Only those with one of these as `{name}`")


def filter_by_part(name: str) -> Parameter:
    """For `ListQuery.part`."""
    return Parameter(f"filter[{name}]", str, f"Only those with this as a part of `{name}`, in any case")


def filter_by_time(name: str) -> Parameter:
    """For `ListQuery.interval`."""
    how = "an interval such as `[a,b)`; `[ ]` with the end, `( )` without, `*` for none"
    return Parameter(f"filter[{name}]", _INTERVAL_TEXT, f"Only those whose `{name}` is in {how}")


def sort_by(names: Iterable[str], default: str, *, most: int | None = None) -> Parameter:
    """For `ListQuery.sort`, and with `most` 1 for `sort_one`."""
    given: Any = Literal[tuple(sign + name for name in names for sign in ("", "-"))]
    values: Any = given if most == 1 else tuple[given, ...]
    return Parameter("sort", values, f"The order, with a `-` for descending; `{default}` unless given")


# -- reading


class Order(NamedTuple):
    """What a list is sorted by."""

    name: str
    descending: bool


class Interval(NamedTuple):
    """From an engine time, inclusive, until another, exclusive; None is unbounded."""

    from_us: int | None = None
    until_us: int | None = None


_time = msgspec.json.Decoder(datetime).decode


class ListQuery:
    """The parameters of a list request, taken one by one."""

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

    def part(self, name: str) -> str:
        """What `filter[name]` looks for, to be compared with casefolded text; commas are a part of it."""
        return (self.single(f"filter[{name}]") or "").casefold()

    def interval(self, name: str) -> Interval:
        """`filter[name]` as `[a,b)`: `[` and `]` with the end, `(` and `)` without it, `*` for none."""
        parameter = f"filter[{name}]"
        text = self.single(parameter)
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

    def sort(self, names: Collection[str], default: str) -> list[Order]:
        """What `sort` says, the most important first: names, each with a `-` before it for descending."""
        given = self.single("sort")
        text = default if given is None else given
        orders = [Order(each.removeprefix("-"), each.startswith("-")) for each in text.split(",")]
        for order in orders:
            if order.name not in names:
                detail = f"sort is {text[:100]!r}; it is one or several of {', '.join(names)}, with a - for descending"
                raise _bad("sort", detail)
        return orders

    def sort_one(self, names: Collection[str], default: str) -> Order:
        """The same of a list that is sorted by one of them."""
        first, *more = self.sort(names, default)
        if more:
            raise _bad("sort", "this list is sorted by one name at a time; give one")
        return first

    def page(self) -> Page:
        """`page[number]`, `page[size]` and `meta[total]`, for a list that `numbered` cuts into pages."""
        number, size = self._number("page[number]", MAX_NUMBER), self._number("page[size]", MAX_PAGE)
        return Page(number or 1, size or MAX_PAGE, self.flag("meta[total]"))

    def flag(self, parameter: str) -> bool:
        """Whether this parameter is `true`."""
        text = self.single(parameter)
        if text not in (None, "true", "false"):
            raise _bad(parameter, f"{parameter} is {text[:100]!r}; it is true or false")
        return text == "true"

    def page_size(self, most: int = MAX_PAGE) -> int:
        """`page[size]`."""
        return self._number("page[size]", most) or PAGE

    def page_after(self, order: Order) -> tuple[Any, int] | None:
        """Behind which run the page begins: what it has in this order, and its number (`RunQuery.before`)."""
        text = self.single(AFTER)
        if text is None:
            return None
        try:
            found = _cursor(b64decode(text + "=" * (-len(text) % 4), "-_", validate=True))
        except (ValueError, msgspec.DecodeError):
            found = None
        if found is None or found.order != order or not isinstance(found.value, _values(order) | None):
            detail = f"{AFTER} is {text[:100]!r}; take it from links.next of the page before, with the same sort"
            raise _bad(AFTER, detail)
        return found.value, found.run

    def _number(self, parameter: str, most: int) -> int | None:
        text = self.single(parameter)
        if text is None:
            return None
        if not (re.fullmatch("[0-9]{1,10}", text) and 1 <= int(text) <= most):
            raise _bad(parameter, f"{parameter} is {text[:100]!r}; it is a number from 1 to {most:,}")
        return int(text)

    def single(self, parameter: str) -> str | None:
        """The value of a parameter that is given once, if at all."""
        values = self._given.pop(parameter, None)
        if values is None:
            return None
        if len(values) > 1:
            raise _bad(parameter, f"{parameter} is given {len(values)} times; give it once")
        return values[0]


def in_order(items: Iterable[T], orders: Sequence[Order], value: Callable[[T, str], Any]) -> list[T]:
    """`items` sorted; `value(item, name)` is what an order goes by. Those that have None come last either way."""
    found = list(items)
    for name, descending in reversed(orders):
        some = [each for each in found if value(each, name) is not None]
        some.sort(key=lambda each: value(each, name), reverse=descending)
        found = some + [each for each in found if value(each, name) is None]
    return found


_Integer = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Cursor(NamedTuple):
    order: Order
    value: _Integer | str | None
    run: _Integer


_cursor = msgspec.json.Decoder(_Cursor).decode
TEXTS = ("status", "job")
"""What runs can be sorted by that is no number."""


def _values(order: Order) -> type[int | str]:
    return str if order.name in TEXTS else int


def cursor(order: Order, value: str | int | None, run: int) -> str:
    """What `page[after]` says for the page that begins behind this run, which has this value in that order."""
    return b64encode(msgspec.json.encode(_Cursor(order, value, run)), b"-_").decode().rstrip("=")


def next_cursor(order: Order, query: RunQuery, rows: Sequence[RunRow]) -> str | None:
    """What it says for the page behind this one, whose `query` asked for one run more to see whether there is one."""
    if len(rows) < query.limit:
        return None
    return cursor(order, *place(rows[-2], query.order))


def place(row: RunRow, order: RunOrder) -> tuple[int | str | None, int]:
    """What the run has in this order, and its number: where a list goes on behind it (`RunQuery.before`)."""
    if order == "duration":
        return None if row.finished_us is None else row.finished_us - row.created_us, row.run
    return getattr(row, order if order in TEXTS else f"{order}_us"), row.run


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
