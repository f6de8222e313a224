"""What goes into a step or a run comes out of it, by annotation, live as on replay: the table of docs/values.md.

Each row is tried on the codec's functions and in a real workflow. Run as a program, this file prints the table.
"""

# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportMissingParameterType=false
# (annotations are made from the table when the tests run)

import asyncio
import collections
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, Optional, TypedDict, TypeVar, Union
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durably import Event, RunFailed, Signal, step, workflow
from durably.engine.declare.definitions import Step, Workflow
from durably.engine.declare.signature import Signature
from durably.engine.values.codec import Unencodable, decoder_for, encode, stable_digest
from durably.testing import TestEngine

DOCS = Path(__file__).parents[3] / "docs/values.md"
T = TypeVar("T")


@dataclass
class Line:
    sku: str
    price: Decimal = Decimal(1)


@dataclass
class Order:
    id: UUID
    lines: list[Line] = field(default_factory=list)


@dataclass
class Gift(Line):
    to: str = "Ada"


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: float


@dataclass
class Box(Generic[T]):
    item: T


class Card(msgspec.Struct, tag=True):
    number: str


class Cash(msgspec.Struct, tag=True):
    cents: int


class Page(msgspec.Struct, Generic[T], frozen=True, rename="camel"):
    first_item: T


class Address(TypedDict):
    city: str
    since: NotRequired[date]


class Partial(TypedDict, total=False):
    city: str


class Span(NamedTuple):
    start: date
    days: int = 1


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Size(StrEnum):
    L = "l"


class Right(Flag):
    READ = 1
    WRITE = 2


class Item(pydantic.BaseModel):
    name: str = pydantic.Field(alias="itemName", min_length=1)
    tags: set[str] = set()
    at: datetime | None = None


class Tree(pydantic.BaseModel):
    value: int
    children: "list[Tree]" = []


class Labeled(pydantic.BaseModel, Generic[T]):
    value: T


class Either(pydantic.RootModel[Item | Tree]):
    pass


@pydantic.dataclasses.dataclass
class Pair:
    left: int
    item: Item


@dataclass
class Shelf:
    items: dict[str, list[Item]]


class UserId(str):
    __slots__ = ()


class Celsius(float):
    pass


class Moment(datetime):
    """What libraries such as pendulum have."""


ID = UUID(int=1)
AT = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
ADA = Item(itemName="Ada", tags={"x"}, at=AT)
EQUAL = "the same"

ROWS: list[tuple[str, Any, object, object]] = [
    # annotation, the same as an object, a value, what comes back
    ("None", None, None, EQUAL),
    ("bool", bool, True, EQUAL),
    ("int", int, -7, EQUAL),
    ("int", int, 2**70, EQUAL),
    ("float", float, 0.1, EQUAL),
    ("float", float, 1, 1.0),
    ("int | float", int | float, 1, EQUAL),
    ("int | float", int | float, 1.0, EQUAL),
    ("str", str, "ünï", EQUAL),
    ("bytes", bytes, b"\x00\xff", EQUAL),
    ("bytearray", bytearray, bytearray(b"ab"), EQUAL),
    ("datetime", datetime, AT, EQUAL),
    ("datetime", datetime, datetime(2026, 1, 2), EQUAL),  # noqa: DTZ001 - naive on purpose
    ("datetime", datetime, datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))), EQUAL),
    (
        "datetime",
        datetime,
        datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Zurich")),
        datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=1))),
    ),
    ("date", date, date(2026, 1, 2), EQUAL),
    ("time", time, time(3, 4, 5), EQUAL),
    ("timedelta", timedelta, timedelta(days=-7, microseconds=1), EQUAL),
    ("UUID", UUID, ID, EQUAL),
    ("Decimal", Decimal, Decimal("0.10"), EQUAL),
    ("Decimal", Decimal, Decimal("1E+5"), EQUAL),
    ("Enum", Color, Color.RED, EQUAL),
    ("IntEnum", Level, Level.LOW, EQUAL),
    ("StrEnum", Size, Size.L, EQUAL),
    ("Flag", Right, Right.READ | Right.WRITE, EQUAL),
    ("Literal['a', 1]", Literal["a", 1], "a", EQUAL),
    ("Literal[True]", Literal[True], True, EQUAL),
    ("int | None", int | None, None, EQUAL),
    ("date | None", Optional[date], date(2026, 1, 2), EQUAL),  # noqa: UP045 - as others write it
    ("Union[int, str, None]", Union[int, str, None], "7", EQUAL),  # noqa: UP007 - as others write it
    ("Annotated[int, Meta(ge=0)]", Annotated[int, msgspec.Meta(ge=0)], 3, EQUAL),
    ("list[date]", list[date], [date(2026, 1, 2)], EQUAL),
    ("set[int]", set[int], {1}, EQUAL),
    ("set[tuple[int, str]]", set[tuple[int, str]], {(1, "a")}, EQUAL),
    ("frozenset[str]", frozenset[str], frozenset({"a"}), EQUAL),
    ("tuple[int, str]", tuple[int, str], (1, "a"), EQUAL),
    ("tuple[date, ...]", tuple[date, ...], (date(2026, 1, 2),), EQUAL),
    ("Sequence[int]", Sequence[int], (1, 2), [1, 2]),
    ("Mapping[str, int]", Mapping[str, int], {"a": 1}, EQUAL),
    ("dict[int, set[str]]", dict[int, set[str]], {1: {"a"}}, EQUAL),
    ("dict[float, int]", dict[float, int], {1.5: 1}, EQUAL),
    ("dict[UUID, int]", dict[UUID, int], {ID: 1}, EQUAL),
    ("dict[date, int]", dict[date, int], {date(2026, 1, 2): 1}, EQUAL),
    ("dict[Enum, int]", dict[Level, int], {Level.LOW: 1}, EQUAL),
    ("dataclass, nested", Order, Order(ID, [Line("s", Decimal("9.90"))]), EQUAL),
    ("dataclass, frozen, with slots", Point, Point(1, 2.0), EQUAL),
    ("dataclass, generic", Box[date], Box(date(2026, 1, 2)), EQUAL),
    ("msgspec Struct, tagged", Card | Cash, Cash(5), EQUAL),
    ("list of tagged Structs", list[Card | Cash], [Cash(5), Card("4")], EQUAL),
    ("msgspec Struct, generic, renamed", Page[date], Page(date(2026, 1, 2)), EQUAL),
    ("TypedDict", Address, {"city": "Bern"}, EQUAL),
    ("TypedDict, NotRequired", Address, {"city": "Bern", "since": date(2026, 1, 2)}, EQUAL),
    ("TypedDict, total=False", Partial, {}, EQUAL),
    ("NamedTuple", Span, Span(date(2026, 1, 2)), EQUAL),
    ("pydantic model", Item, ADA, EQUAL),
    ("pydantic model, recursive", Tree, Tree(value=1, children=[Tree(value=2)]), EQUAL),
    ("pydantic RootModel of a union", Either, Either(ADA), EQUAL),
    ("pydantic models in a dataclass", Shelf, Shelf({"a": [ADA]}), EQUAL),
    ("pydantic dataclass", Pair, Pair(1, ADA), EQUAL),
    ("Event[Order]", Event[Order], Event("order/placed", Order(ID), id="e", ts=AT), EQUAL),
    ("Signal[Item]", Signal[Item], Signal("approved", ADA, AT), EQUAL),
    # an instance of a subclass comes back as what the annotation says
    ("str, given a subclass of it", str, UserId("ada"), "ada"),
    ("str, given a StrEnum", str, Size.L, "l"),
    ("float, given a subclass of it", float, Celsius(1.5), 1.5),
    ("datetime, given a subclass of it", datetime, Moment(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
    ("dict, given a Counter", dict[str, int], collections.Counter("a"), {"a": 1}),
    ("a dataclass, given one that inherits from it", Line, Gift("s"), Line("s")),
    # no annotation: JSON's own types
    ("none, or Any", Any, {"a": [1, 1.0, True, None]}, EQUAL),
    ("none, or Any", Any, 2**70, EQUAL),
    ("none, or Any", Any, (1, 2), [1, 2]),
    ("none, or Any", Any, {1: AT}, {"1": "2026-01-02T03:04:05.000678Z"}),
    ("none, or Any", Any, Line("s"), {"sku": "s", "price": "1"}),
    ("none, or Any", Any, ADA, {"itemName": "Ada", "tags": ["x"], "at": "2026-01-02T03:04:05.000678Z"}),
    ("none, or Any", Any, b"ab", "YWI="),
]
MORE: list[tuple[str, Any, object, object]] = [
    ("generic model", Labeled[date], Labeled[date](value=date(2026, 1, 2)), EQUAL),
    ("bare generic", Box, Box([1]), EQUAL),
    ("extremes", timedelta, timedelta.min, EQUAL),
    ("extremes", datetime, datetime.max, EQUAL),  # noqa: DTZ901 - naive on purpose
    ("extremes", float, 5e-324, EQUAL),
    ("minus zero", float, -0.0, EQUAL),
    ("minus zero", Any, -0.0, EQUAL),
    ("subclass as a key", dict[str, int], {UserId("ada"): 1}, {"ada": 1}),
    ("subclass in a dataclass", Line, Line(UserId("s")), Line("s")),
    ("model with what it does not know", Item, Item.model_validate({"itemName": "a", "more": 1}), Item(itemName="a")),
]
"""What is not on the page."""
EVERY = [*ROWS, *MORE]
IDS = [f"{name} {number}" for number, (name, *_) in enumerate(EVERY)]


def described(value: object) -> str:
    """A value with its types, which `==` does not look at: 1, 1.0 and True are equal."""
    return f"{type(value).__name__} {value!r}".replace("TzInfo(0)", "datetime.timezone.utc")


# -- the codec's functions


@pytest.mark.parametrize(("name", "annotation", "value", "back"), EVERY, ids=IDS)
def test_by_annotation(name: str, annotation: Any, value: object, back: object) -> None:
    del name
    expected = value if back is EQUAL else back
    decoded = decoder_for(annotation)(encode(value))
    assert decoded == expected
    assert described(decoded) == described(expected)
    assert described(decoder_for(annotation)(encode(decoded))) == described(expected), "and again"


# -- a real workflow


def annotated(fn: Callable[..., Any], name: str, annotation: Any) -> Callable[..., Any]:
    fn.__name__ = fn.__qualname__ = name
    if annotation is not Any:
        fn.__annotations__.update({"value": annotation, "return": annotation})
    return fn


class Case:
    """A workflow and a step that are annotated so, and what each of their executions saw."""

    def __init__(self, number: int, annotation: Any) -> None:
        self.seen: list[tuple[str, str]] = []

        async def pass_on(value):  # type: ignore[no-untyped-def]
            self.seen.append(("step", described(value)))
            return value

        passed = Step(annotated(pass_on, f"step{number}", annotation))

        async def run(value):  # type: ignore[no-untyped-def]
            self.seen.append(("input", described(value)))
            result = await passed(value)
            self.seen.append(("result", described(result)))
            await asyncio.sleep(1)  # thrown away here, and rebuilt from the log
            self.seen.append(("awake", described(result)))
            return result

        self.workflow = Workflow(annotated(run, f"workflow{number}", annotation))


async def through_a_run(pairs: Sequence[tuple[Any, object]]) -> list[tuple[Case, Any]]:
    """Each value through a run of its own: what was seen of it, and the run's result."""
    cases = [Case(number, annotation) for number, (annotation, _) in enumerate(pairs)]
    async with TestEngine([case.workflow for case in cases]) as engine:
        runs = [await engine.start(case.workflow, value) for case, (_, value) in zip(cases, pairs, strict=True)]
        return [(case, await run.result()) for case, run in zip(cases, runs, strict=True)]


@pytest.mark.anyio
async def test_in_a_workflow_live_as_on_replay() -> None:
    expected = [value if back is EQUAL else back for *_, value, back in EVERY]
    for value, (case, result) in zip(expected, await through_a_run([row[1:3] for row in EVERY]), strict=True):
        assert result == value
        assert {text for _, text in case.seen} == {described(value)}
        places = [place for place, _ in case.seen]
        assert (places.count("step"), places[-1]) == (1, "awake")
        assert places.count("input") >= 2, "it was replayed"


# -- what cannot work


class Mixed(Enum):
    A = 1
    B = "b"


@dataclass
class Rate:
    percent: int


REFUSED: list[tuple[str, Any, str]] = [
    ("Path", Path, "write str"),
    ("IPv4Address", IPv4Address, "to JSON types, dataclasses"),
    ("complex", complex, "to JSON types, dataclasses"),
    ("Iterable[int]", Iterable[int], "write list"),
    ("deque[int]", collections.deque[int], "write list"),
    ("Counter[str]", collections.Counter[str], "write dict"),
    ("str | datetime", str | datetime, "both are text in JSON: put them into fields of their own"),
    ("list[int] | set[int]", list[int] | set[int], "both are arrays in JSON"),
    ("dataclass | another one", Line | Point, "make them msgspec structs with tags"),
    ("dataclass | dict", Line | dict[str, int], "make them msgspec structs with tags"),
    ("pydantic model | another one", Item | Tree, "wrap the union in a pydantic RootModel"),
    ("dict[int | str, int]", dict[int | str, int], "use one type of key"),
    ("dict[tuple[int, int], int]", dict[tuple[int, int], int], "use a list of pairs"),
    ("dict[bool, int]", list[dict[bool, int]], "use a list of pairs"),
    ("dict[Literal['1', 1], int]", dict[Literal["1", 1], int], "use text only"),
    ("Enum of text and integers", Mixed, "text or integers for values"),
    ("Literal of an enum's member", Literal[Color.RED], "write the enum itself"),
    ("subclass of str", UserId, "write str"),
    ("Meta with bounds over 64 bits", Annotated[int, msgspec.Meta(lt=2**64)], "check such bounds in the function"),
    ("subclass of float", list[Celsius], "write float"),
]


@pytest.mark.parametrize(("name", "annotation", "way_out"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_annotations_are_refused_when_the_function_is_declared(name: str, annotation: Any, way_out: str) -> None:
    del name
    message = f"(?s)the result of broken.. is annotated .* cannot work: .*{way_out}"

    async def broken():  # type: ignore[no-untyped-def]
        pass

    broken.__annotations__["return"] = annotation
    for declare in (step, workflow):
        with pytest.raises(TypeError, match=message):
            declare(broken)

    async def takes(value):  # type: ignore[no-untyped-def]
        pass

    takes.__annotations__["value"] = annotation
    with pytest.raises(TypeError, match=r"parameter 'value' of takes\(\)"):
        workflow(takes)


REFUSED_VALUES: list[tuple[str, object, str]] = [
    ("NaN, infinities", math.nan, "nan at \\$ has no form in JSON"),
    ("the same in a model", pydantic.create_model("Rate", x=(float, ...))(x=math.inf), "inf at \\$.x has no form"),
    ("the same in a subclass of float", [None, Celsius("nan")], "nan at \\$\\[1\\] has no form"),
    ("lone surrogates", {"a": "\ud800"}, "not Unicode .*; give it as bytes"),
    ("whatever is not a value: clients, exceptions", [ValueError()], "ValueError at \\$\\[0\\] cannot be encoded"),
    ("a model that was not validated", Item.model_construct(name=1), "Item at \\$ cannot be encoded"),
]


@pytest.mark.parametrize(("name", "value", "message"), REFUSED_VALUES, ids=[name for name, *_ in REFUSED_VALUES])
@pytest.mark.anyio
async def test_values_are_refused_and_the_step_fails_at_once(name: str, value: object, message: str) -> None:
    del name
    with pytest.raises(Unencodable, match=message):
        encode(value)
    calls: list[int] = []

    @step
    async def give() -> Any:
        calls.append(1)
        return value

    @workflow
    async def ask() -> Any:
        return await give()

    async with TestEngine([ask]) as engine:
        with pytest.raises(RunFailed, match=message):
            await (await engine.start(ask)).result()
    assert calls == [1], "not retried"


@pytest.mark.anyio
@pytest.mark.parametrize("value", [True, "1", 1.5, None, 2**70])
async def test_a_step_is_told_what_its_annotation_misses_live_as_on_replay(value: Any) -> None:
    @step
    async def count(n: Annotated[int, msgspec.Meta(lt=2**62)]) -> None: ...

    @workflow
    async def ask(value: Any) -> None:
        await count(value)

    async with TestEngine([ask]) as engine:
        with pytest.raises(RunFailed, match=r"count\(\): parameter 'n' does not fit its annotation"):
            await (await engine.start(ask, value)).result()


# -- digests


def test_a_digest_does_not_depend_on_the_order_of_a_models_sets() -> None:
    items = [Item(itemName="a", tags=set(tags)) for tags in (["a", "b", "c", "d"], ["d", "c", "b", "a"])]
    assert len({stable_digest({"item": item}, encode({"item": item})) for item in items}) == 1
    other = Item(itemName="a", tags={"a", "b", "c", "e"})
    assert stable_digest({"item": other}, b"") != stable_digest({"item": items[0]}, b"")


# -- any value of any annotation

KEYS = [(str, st.text()), (int, st.integers()), (UUID, st.uuids()), (date, st.dates()), (Size, st.sampled_from(Size))]
SIMPLE: list[tuple[Any, st.SearchStrategy[Any]]] = [
    *KEYS,
    (bool, st.booleans()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bytes, st.binary()),
    (datetime, st.datetimes(timezones=st.none() | st.just(UTC))),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (Decimal, st.decimals(allow_nan=False)),
    (Right, st.sampled_from([Right.READ, Right.WRITE, Right.READ | Right.WRITE])),
    (Line, st.builds(Line, sku=st.text(), price=st.decimals(allow_nan=False))),
    (Card | Cash, st.builds(Card, st.text()) | st.builds(Cash, st.integers())),
    (Span, st.builds(Span, st.dates(), st.integers())),
    (Item, st.builds(Item, itemName=st.text(min_size=1), tags=st.sets(st.text()))),
]
Typed = tuple[Any, st.SearchStrategy[Any]]


def containers(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    return st.one_of(
        inner.map(lambda of: (list[of[0]], st.lists(of[1], max_size=3))),
        inner.map(lambda of: (tuple[of[0], ...], st.lists(of[1], max_size=3).map(tuple))),
        st.tuples(inner, inner).map(lambda two: (tuple[two[0][0], two[1][0]], st.tuples(two[0][1], two[1][1]))),
        inner.map(lambda of: (Optional[of[0]], st.none() | of[1])),  # noqa: UP045 - the operator is not for all types
        inner.map(lambda of: (Box[of[0]], st.builds(Box, of[1]))),
        inner.map(lambda of: (Page[of[0]], st.builds(Page, of[1]))),
        st.tuples(st.sampled_from(KEYS), inner).map(
            lambda two: (dict[two[0][0], two[1][0]], st.dictionaries(two[0][1], two[1][1], max_size=3))
        ),
        st.sampled_from(KEYS).map(lambda of: (set[of[0]], st.sets(of[1], max_size=3))),
    )


ANNOTATIONS = st.recursive(st.sampled_from(SIMPLE), containers, max_leaves=4)
TYPED_VALUES = ANNOTATIONS.flatmap(lambda of: st.tuples(st.just(of[0]), of[1]))


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(TYPED_VALUES)
def test_any_value_comes_back(pair: tuple[Any, object]) -> None:
    annotation, value = pair
    decoded = decoder_for(annotation)(encode(value))
    assert decoded == value
    assert type(decoded) is type(value)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(TYPED_VALUES)
def test_any_argument_reaches_the_body_as_it_does_on_replay(pair: tuple[Any, object]) -> None:
    async def take(value):  # type: ignore[no-untyped-def]
        pass

    signature = Signature(annotated(take, "take", pair[0]), "take", live=True)
    for _ in range(2):  # the second call may know how the arguments lie
        arguments = signature.bind((pair[1],), {})
        assert arguments.live == {}
        assert arguments.decode() == signature.decode(arguments.raw) == ((pair[1],), {})


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(TYPED_VALUES, min_size=1, max_size=8))
def test_any_value_comes_through_a_run(pairs: list[tuple[Any, object]]) -> None:
    for (_, value), (_, result) in zip(pairs, asyncio.run(through_a_run(pairs)), strict=True):
        assert result == value


# -- the page


def cell(text: object) -> str:
    return f"`{text}`".replace("|", "\\|")


def shown(value: object) -> str:
    return described(value).partition(" ")[2].replace("datetime.", "")


def table() -> str:
    lines = ["| annotation | a value | is stored as | comes back as |", "|---|---|---|---|"]
    for name, _, value, back in ROWS:
        stored = encode(value).decode()
        returned = EQUAL if back is EQUAL else cell(shown(back))
        lines.append(f"| {cell(name)} | {cell(shown(value))} | {cell(stored)} | {returned} |")
    return "\n".join(lines)


def test_the_page_has_the_table() -> None:
    assert table() in DOCS.read_text()


def test_the_page_has_what_is_refused() -> None:
    text = DOCS.read_text()
    assert [name for name, *_ in REFUSED if not name.startswith("subclass") and cell(name) not in text] == []
    assert [name for name, *_ in REFUSED_VALUES if name not in text] == []


if __name__ == "__main__":
    print(table())
