import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ParamSpec, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from durably.engine.declare.events import Event
from durably.engine.declare.signature import Arguments, Signature
from durably.engine.errors import InvalidInput
from durably.engine.values.codec import Mismatch

T = TypeVar("T")
P = ParamSpec("P")


@dataclass
class Order:
    id: str
    cents: int = 0


class Client:
    """What JSON cannot carry."""


CLIENT = Client()


def signature(fn: Callable[..., Any], **options: Any) -> Signature:
    return Signature(fn, fn.__name__, **{"live": True, **options})


def bind(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Arguments:
    """Bind twice: the first call looks closely, and the second may know how the arguments lie."""
    bound = signature(fn)
    first, second = bound.bind(args, kwargs), bound.bind(args, kwargs)
    assert (first.raw, first.digest) == (second.raw, second.digest)
    assert repr(first.decode()) == repr(second.decode())
    return second


def plain(a: str, b: int, c: bool | None = None) -> None: ...
def every(a: int, /, b: int, *rest: int, c: int = 3, **more: int) -> None: ...
def take(order: Order, tags: list[str] | None = None) -> None: ...
def call(client: Client, n: int) -> None: ...
def price(amount: float) -> None: ...


def without_annotations(fn: Callable[..., Any]) -> Callable[..., Any]:
    fn.__annotations__.clear()
    return fn


@without_annotations
def untyped(a: Any, b: Any = 2) -> Any: ...


class TestBind:
    @pytest.mark.parametrize(
        ("fn", "args", "kwargs", "raw"),
        [
            (plain, ("x", 1), {}, b'{"a":"x","b":1,"c":null}'),
            (plain, ("x", 1, True), {}, b'{"a":"x","b":1,"c":true}'),
            (plain, ("x",), {"b": 1}, b'{"a":"x","b":1,"c":null}'),
            (plain, (), {"c": False, "b": 1, "a": "x"}, b'{"a":"x","b":1,"c":false}'),
            (untyped, (1,), {}, b'{"a":1,"b":2}'),
            (every, (1, 2), {}, b'{"a":1,"b":2,"rest":[],"c":3,"more":{}}'),
            (every, (1, 2, 3, 4), {"d": 5}, b'{"a":1,"b":2,"rest":[3,4],"c":3,"more":{"d":5}}'),
            (every, (1,), {"b": 2, "c": 4, "a": 6}, b'{"a":1,"b":2,"rest":[],"c":4,"more":{"a":6}}'),
            (take, (Order("o", 5),), {}, b'{"order":{"id":"o","cents":5},"tags":null}'),
            (price, (1.5,), {}, b'{"amount":1.5}'),
            (lambda: None, (), {}, b"{}"),
        ],
    )
    def test_an_object_by_parameter_name(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], raw: bytes
    ) -> None:
        assert bind(fn, *args, **kwargs).raw == raw

    @pytest.mark.parametrize(
        ("args", "kwargs", "message"),
        [
            (("x",), {}, r"plain\(\): missing a required argument: 'b'"),
            (("x", 1, None, 2), {}, r"plain\(\): too many positional"),
            (("x", 1), {"d": 1}, r"plain\(\): got an unexpected keyword argument 'd'"),
            (("x", 1), {"a": 1}, r"plain\(\): multiple values for argument 'a'"),
        ],
    )
    def test_what_any_call_would_refuse(self, args: tuple[Any, ...], kwargs: dict[str, Any], message: str) -> None:
        with pytest.raises(TypeError, match=message):
            signature(plain).bind(args, kwargs)

    def test_what_is_known_of_types_does_not_hold_for_others(self) -> None:
        known = signature(plain)
        for args in [("x", 1), ("x", True), ("x", 1, None), ("x", 1, True), ("x", 1)]:
            assert known.bind(args, {}).raw == signature(plain).bind(args, {}).raw

    def test_nor_for_values_that_json_cannot_carry(self) -> None:
        numbers, texts = signature(price), signature(untyped)
        assert numbers.bind((1.5,), {}).live == {}
        assert numbers.bind((math.nan,), {}).raw == b'{"amount":{"$type":"float"}}'
        assert texts.bind(("x",), {}).live == {}
        assert texts.bind(("\ud800",), {}).raw == b'{"a":{"$type":"str"},"b":2}'


class TestDigest:
    def test_it_does_not_depend_on_how_arguments_are_given(self) -> None:
        digests = {
            bind(plain, "x", 1).digest,
            bind(plain, "x", 1, None).digest,
            bind(plain, "x", b=1).digest,
            bind(plain, c=None, b=1, a="x").digest,
        }
        assert len(digests) == 1

    def test_it_changes_with_the_arguments(self) -> None:
        digests = {
            bind(plain, "x", 1).digest,
            bind(plain, "x", 2).digest,
            bind(plain, "y", 1).digest,
            bind(take, Order("o")).digest,
            bind(take, Order("p")).digest,
            bind(take, Order("p"), []).digest,
        }
        assert len(digests) == 6

    def test_what_cannot_be_encoded_is_left_out(self) -> None:
        assert bind(call, CLIENT, 1).digest == bind(call, Client(), 1).digest != bind(call, CLIENT, 2).digest


class TestDecode:
    """What a body gets is what it was called with, as JSON and the annotations have it (DESIGN rule 14)."""

    @pytest.mark.parametrize(
        ("fn", "args", "kwargs", "by_position", "by_name"),
        [
            (plain, ("x", 1), {}, ("x", 1, None), {}),
            (plain, ("x",), {"b": 1}, ("x", 1, None), {}),
            (every, (1, 2, 3, 4), {"c": 5, "d": 6}, (1, 2, 3, 4), {"c": 5, "d": 6}),
            (take, (Order("o", 5), ["a"]), {}, (Order("o", 5), ["a"]), {}),
            (untyped, (Order("o", 5),), {}, ({"id": "o", "cents": 5}, 2), {}),
            (untyped, ((1, 2),), {}, ([1, 2], 2), {}),
        ],
    )
    def test_the_arguments(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        by_position: tuple[Any, ...],
        by_name: dict[str, Any],
    ) -> None:
        arguments = signature(fn).bind(args, kwargs)
        assert signature(fn).decode(arguments.raw) == (by_position, by_name)  # in another process
        if not arguments.plain:
            assert arguments.decode() == (by_position, by_name)

    def test_every_body_gets_a_copy_of_its_own(self) -> None:
        order = Order("o")
        arguments = signature(take).bind((order, ["a"]), {})
        (first, tags), _ = arguments.decode()
        first.id = "changed"
        tags.append("b")
        assert arguments.decode() == ((Order("o"), ["a"]), {})
        assert order.id == "o"

    def test_an_int_becomes_a_float(self) -> None:
        assert repr(bind(price, 1).decode()) == "((1.0,), {})"

    def test_a_default_stands_for_what_is_left_out(self) -> None:
        assert signature(every).decode(b'{"a":1,"b":2}') == ((1, 2), {"c": 3})

    def test_other_arguments_than_the_recorded(self) -> None:
        arguments = signature(call).bind((CLIENT, 1), {})
        changed = arguments.override(Raw(b'{"n":7}'))
        assert changed.decode() == ((CLIENT, 7), {})
        assert changed.digest == arguments.override(Raw(b'{"n":7}')).digest != arguments.digest
        assert signature(plain).bind(("x", 1), {}).override(Raw(b'{"a":"y","b":2}')).decode() == (("y", 2, None), {})

    def test_what_was_passed_as_it_is_may_be_replaced_too(self) -> None:
        arguments = signature(call).bind((CLIENT, 1), {}).override(Raw(b'{"client":"none"}'))
        assert arguments.decode() == (("none", 1), {})

    def test_a_default_of_none_needs_no_annotation(self) -> None:
        def f(x: int = None) -> None: ...  # type: ignore[assignment] # noqa: RUF013 - as users write it

        assert bind(f).decode() == ((), {})
        assert signature(f).decode(b'{"x":null}') == ((None,), {})

    @pytest.mark.parametrize(
        ("raw", "message"),
        [
            (b"{}", r"take\(\) misses its parameter 'order'"),
            (b'{"order":{}}', r"parameter 'order' does not fit its annotation .*Order: .*missing .*`id`"),
            (
                b'{"order":{"id":"o","cents":"1"}}',
                r"parameter 'order' .*Expected `int`, got `str` - at `\$\.cents`",
            ),
            (b'{"order":{"id":"o"},"tags":[1]}', r"parameter 'tags' .*list\[str\].*: Expected `str`"),
            (b'{"order":{"id":"o"},"x":1}', r"take\(\) has no parameter 'x'; it takes order, tags"),
            (b"[1]", r"input of take\(\) must be an object by parameter name: .*got `array`"),
            (b"null", r"input of take\(\) must be an object"),
            (b"{", r"input of take\(\) must be an object .*not JSON"),
        ],
    )
    def test_what_misses_its_annotation(self, raw: bytes, message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            signature(take).decode(raw)

    @given(
        st.tuples(
            st.text() | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.lists(st.integers()) | st.text() | st.none(),
        )
    )
    def test_live_as_from_the_record(self, args: tuple[Any, ...]) -> None:
        fn = signature(untyped)
        for _ in range(2):
            arguments = fn.bind(args, {})
            assert repr(arguments.decode()) == repr(fn.decode(arguments.raw)) == f"({args}, {{}})"


class TestLiveArguments:
    """What cannot be encoded is passed as it is and recorded by type name (DESIGN rule 14)."""

    def test_by_annotation(self) -> None:
        arguments = bind(call, CLIENT, 1)
        assert arguments.raw == b'{"client":{"$type":"%b.Client"},"n":1}' % __name__.encode()
        (client, n), _ = arguments.decode()
        assert client is CLIENT
        assert n == 1

    def test_without_annotation(self) -> None:
        (client, _), _ = bind(untyped, CLIENT).decode()
        assert client is CLIENT

    def test_by_value(self) -> None:
        (value,), _ = bind(price, math.nan).decode()
        assert math.isnan(value)
        (text, _), _ = bind(untyped, "\ud800").decode()
        assert text == "\ud800"

    def test_others_are_still_copied(self) -> None:
        order = Order("o")

        def f(order: Order, client: Client) -> None: ...

        (copy, client), _ = bind(f, order, CLIENT).decode()
        assert copy == order
        assert copy is not order
        assert client is CLIENT

    def test_what_json_has_a_form_for_is_recorded_though_it_cannot_be_decoded(self) -> None:
        def f(items: Iterable[int]) -> None: ...

        assert bind(f, [1, 2]).raw == b'{"items":[1,2]}'
        assert bind(f, [1, 2]).digest != bind(f, [1, 3]).digest
        assert bind(f, [1, 2]).decode() == (([1, 2],), {})

    def test_self_is_left_out(self) -> None:
        class Service:
            def charge(self, order: Order, cents: int = 1) -> None: ...

        service = Service()
        of_method = signature(Service.charge).of_method
        for _ in range(2):
            arguments = of_method.bind((service, Order("o")), {})
            assert arguments.raw == b'{"order":{"id":"o","cents":0},"cents":1}'
            assert arguments.decode() == ((service, Order("o"), 1), {})
            changed = arguments.override(Raw(b'{"order":{"id":"p"}}'))
            assert changed.decode() == ((service, Order("p"), 1), {})

    def test_self_is_left_out_of_plain_arguments(self) -> None:
        class Service:
            def add(self, a: int, b: int = 2) -> None: ...

        service = Service()
        of_method = signature(Service.add).of_method
        for _ in range(2):
            arguments = of_method.bind((service, 1), {})
            assert arguments.raw == b'{"a":1,"b":2}'
            assert arguments.decode() == ((service, 1), {})


class TestInput:
    def test_a_run_needs_arguments_that_can_be_encoded(self) -> None:
        def f(x: Any) -> None: ...

        assert signature(f).bind_input(([1],), {}).raw == b'{"x":[1]}'
        with pytest.raises(InvalidInput, match=r"f\(\): parameter 'x': the .*Client at \$\[0\] cannot be encoded"):
            signature(f).bind_input(([CLIENT],), {})

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (("x", "1"), r"parameter 'b' does not fit its annotation int: Expected `int`, got `str`"),
            (("x",), r"plain\(\): missing a required argument: 'b'"),
        ],
    )
    def test_and_that_fit(self, args: tuple[Any, ...], message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            signature(plain).bind_input(args, {})


def on_event(event: Event) -> None: ...  # a bare Event is Event[Any]
def on_order(event: Event[Order]) -> None: ...
def on_either(event: Event[Order] | None = None, n: int = 1) -> None: ...
def on_annotated(event: Annotated[Event[Order], "meta"]) -> None: ...
def on_start() -> None: ...
def on_too_much(event: Event, other: int) -> None: ...


@without_annotations
def on_anything(event: Any) -> None: ...


EVENT = Event("order/placed", {"id": "o", "cents": 5}, id="1", user="u")
TYPED = Event("order/placed", Order("o", 5), id="1", user="u")


class TestEvents:
    @pytest.mark.parametrize(
        ("fn", "expected"),
        [
            (on_event, (EVENT,)),
            (on_order, (TYPED,)),
            (on_either, (TYPED, 1)),
            (on_annotated, (TYPED,)),
            (on_anything, (EVENT,)),
            (on_start, ()),
        ],
    )
    def test_the_event_is_the_input(self, fn: Callable[..., Any], expected: tuple[Any, ...]) -> None:
        assert signature(fn, triggered=True).bind_event(EVENT) == (expected, {})

    def test_each_body_gets_an_event_of_its_own(self) -> None:
        (mine,), _ = signature(on_event, triggered=True).bind_event(EVENT)
        mine.data["id"] = "changed"
        assert EVENT.data["id"] == "o"

    def test_data_that_does_not_fit(self) -> None:
        with pytest.raises(InvalidInput, match=r"'event' does not fit .*Event.*Order.* at `\$\.data\.cents`"):
            signature(on_order, triggered=True).bind_event(Event("order/placed", {"id": "o", "cents": "5"}))

    def test_started_by_hand(self) -> None:
        arguments = signature(on_order, triggered=True).bind_input((TYPED,), {})
        assert arguments.decode() == ((TYPED,), {})

    @pytest.mark.parametrize("fn", [plain, take, untyped, every, price, on_too_much])
    def test_functions_that_do_not_take_an_event(self, fn: Callable[..., Any]) -> None:
        with pytest.raises(TypeError, match="it must take an event and nothing else that has no default"):
            signature(fn, triggered=True)


class TestAnnotations:
    """Those that cannot work are refused when a function is declared (CONTRACT section 2)."""

    @pytest.mark.parametrize(
        ("annotation", "message"),
        [
            (str | datetime, r"parameter 'x' of f\(\) is annotated .*more than one str-like type"),
            (list[str | datetime], r"parameter 'x' of f\(\)"),
            (dict[str, set[int] | list[int]] | None, r"parameter 'x' of f\(\)"),
        ],
    )
    @pytest.mark.parametrize("live", [True, False])
    def test_types_with_one_form_in_json(self, annotation: Any, message: str, live: bool) -> None:
        def f(x: Any) -> None: ...

        f.__annotations__["x"] = annotation
        with pytest.raises(TypeError, match=message):
            signature(f, live=live)

    @pytest.mark.parametrize("annotation", [Client, Callable[[int], int], Client | str, list[Client], type[Client]])
    def test_what_json_cannot_carry_is_for_steps_only(self, annotation: Any) -> None:
        def f(x: Any) -> None: ...

        f.__annotations__["x"] = annotation
        signature(f)
        with pytest.raises(TypeError, match=r"parameter 'x' of f\(\) is annotated .*cannot work.*Change the"):
            signature(f, live=False)

    @pytest.mark.parametrize("annotation", [Client, Client | None, list[Client], str | datetime])
    def test_a_result_has_to_come_back(self, annotation: Any) -> None:
        def f() -> Any: ...

        f.__annotations__["return"] = annotation
        with pytest.raises(TypeError, match=r"the result of f\(\) is annotated"):
            signature(f)

    def test_the_result(self) -> None:
        def f() -> list[Order]: ...  # type: ignore[empty-body]

        assert signature(f).decode_result(msgspec.Raw(b'[{"id":"o"}]')) == [Order("o")]
        with pytest.raises(Mismatch):
            signature(f).decode_result(b"1")
        assert signature(lambda: None).decode_result(b"[1]") == [1]

    def test_a_name_that_is_defined_later(self) -> None:
        def f(x: "Later") -> "Later": ...  # type: ignore[empty-body]

        assert signature(f).decode(b'{"x":{"n":1}}') == ((Later(1),), {})

        unresolved = Signature(_before_it_is_defined(), "f", live=True)
        with pytest.raises(TypeError, match=r"an annotation of f\(\) \(parameter 'x'\) cannot be resolved.*'Missing'"):
            unresolved.check()
        unresolved.fn.__globals__["Missing"] = Order
        unresolved.check()
        assert unresolved.decode(b'{"x":{"id":"o"}}') == ((Order("o"),), {})

    def test_type_variables(self) -> None:
        def f(x: T, *args: P.args, **kwargs: P.kwargs) -> T: ...  # type: ignore[empty-body, valid-type]

        assert bind(f, [1], 2, y=3).decode() == (([1], 2), {"y": 3})


def _before_it_is_defined() -> Callable[..., Any]:
    namespace: dict[str, Any] = {}
    exec("def f(x: 'Missing'): ...", namespace)  # noqa: S102 - our own source
    function: Callable[..., Any] = namespace["f"]
    return function


@dataclass
class Later:
    n: int
