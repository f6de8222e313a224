import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, Optional, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably.engine.values.codec import (
    MAX_DEPTH,
    MAX_RESULT,
    Malformed,
    Mismatch,
    Unencodable,
    Unsupported,
    check_depth,
    decode_json,
    decoder_for,
    digest,
    encode,
    encode_result,
    stable_digest,
    try_encode,
)


@dataclass
class Line:
    sku: str
    price: Decimal = Decimal(0)
    tags: frozenset[str] = frozenset()


class Order(msgspec.Struct):
    id: str
    lines: list[Line]


@dataclass
class Node:
    value: int
    next: "Node | None" = None


class Color(Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


class Address(TypedDict):
    city: str


class Client:
    pass


@dataclass
class Holder:
    client: Any


def output_of(script: str, hash_seed: str = "0") -> str:
    """What a script prints in another process."""
    env = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, check=True, text=True)
    return done.stdout


class TestRoundTrip:
    @pytest.mark.parametrize(
        ("value", "annotation"),
        [
            (None, None),
            (True, bool),
            (2**70, int),  # over 64 bits
            (1.0, float),
            ("ünï\u2028\x00", str),
            (b"\x00\xff", bytes),
            (datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), datetime),
            (date(2026, 1, 2), date),
            (timedelta(days=7, microseconds=1), timedelta),
            (Decimal("0.10"), Decimal),
            (UUID(int=1), UUID),
            (Color.RED, Color),
            (Point(1, 2), Point),
            ({"city": "Bern"}, Address),
            ({1: "a", 2: "b"}, dict[int, str]),
            ({(1, "a")}, set[tuple[int, str]]),
            (Order("o", [Line("s", Decimal(1), frozenset({"x", "y"}))]), Order),
            (Node(1, Node(2)), Node),
            ("a", Literal["a", 1]),
            (3, Annotated[int, msgspec.Meta(ge=0)]),
            ({"a": [1, None]}, dict[str, object]),
            ({"a": [1, None]}, object),
        ],
    )
    def test_by_annotation(self, value: object, annotation: Any) -> None:
        back = decoder_for(annotation)(encode(value))
        assert back == value
        assert type(back) is type(value)

    @pytest.mark.parametrize(
        ("value", "plain"),
        [
            ((1, 2), [1, 2]),
            ({1: "a"}, {"1": "a"}),
            (Line("s"), {"sku": "s", "price": "0", "tags": []}),
            (b"ab", "YWI="),
        ],
    )
    def test_without_annotation_json_types_come_back(self, value: object, plain: object) -> None:
        assert decode_json(encode(value)) == plain

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_any_json_value(self, value: object) -> None:
        assert repr(decode_json(encode(value))) == repr(value)  # repr tells 1 from 1.0 and from True

    def test_a_payload_of_a_record_is_decoded_as_it_is(self) -> None:
        assert decoder_for(int)(msgspec.Raw(b"7")) == 7

    def test_one_decoder_for_one_annotation(self) -> None:
        assert decoder_for(list[int]) is decoder_for(list[int])

    def test_annotations_that_have_no_hash(self) -> None:
        assert decoder_for(Annotated[int, ["a list"]])(b"1") == 1

    def test_a_function_that_never_returns(self) -> None:
        assert decoder_for(NoReturn)(b"null") is None


class TestUnencodable:
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (Client(), r"Client at \$ cannot be encoded"),
            ({"items": [1, Holder(Client())]}, r"Client at \$\.items\[1\]\.client cannot be encoded"),
            ({"a b": {7: object()}}, r"object at \$\['a b'\]\[7\] cannot"),
            ({(1, 2): 3}, r"dict at \$ cannot .*tuple"),
            (ValueError("x"), r"ValueError at \$"),
            ((i for i in range(3)), r"generator at \$"),
            (math.nan, r"nan at \$ has no form in JSON"),
            ([None, {"x": -math.inf}], r"-inf at \$\[1\]\.x has no form in JSON"),
            ([None, 2**70, math.inf], r"inf at \$\[2\]"),  # an int that MessagePack has no form for
            (
                Order("o", [Line("s", tags=frozenset({"\ud800"}))]),
                r"text at \$\.lines\[0\]\.tags\[0\] is not Unicode",
            ),
        ],
    )
    def test_the_message_names_type_and_path(self, value: object, message: str) -> None:
        with pytest.raises(Unencodable, match=message):
            encode(value)
        assert try_encode(value) is None

    def test_a_value_that_contains_itself(self) -> None:
        loop: list[object] = []
        loop.append(loop)
        with pytest.raises(Unencodable, match="list is nested too deeply or contains itself"):
            encode(loop)

    def test_what_only_looks_like_a_nan(self) -> None:
        bytes_of_a_nan = "\u02ff"  # UTF-8: CB BF; the bytes of MessagePack's NaN cannot be valid UTF-8
        assert decode_json(encode([None, bytes_of_a_nan, b"\xcb\x7f\xf8"])) == [None, bytes_of_a_nan, "y3/4"]

    def test_a_result_over_the_limit(self) -> None:
        fits = "x" * (MAX_RESULT - 2)  # and two quotes
        assert len(encode_result(fits)) == MAX_RESULT
        with pytest.raises(Unencodable, match=r"4,194,305 bytes of JSON, over the limit of 4,194,304"):
            encode_result(fits + "x")


class TestUndecodable:
    @pytest.mark.parametrize(
        ("raw", "annotation", "message"),
        [
            (b'"1"', int, "Expected `int`, got `str`"),
            (b"true", int, "Expected `int`, got `bool`"),
            (b"1.5", int, "Expected `int`, got `float`"),
            (b'{"id":"o","lines":[{"sku":1}]}', Order, r"at `\$\.lines\[0\]\.sku`"),
            (b'{"id":"o"}', Order, "missing required field `lines`"),
            (b"-1", Annotated[int, msgspec.Meta(ge=0)], ">= 0"),
            (b"1e999", float, "out of range"),
        ],
    )
    def test_what_does_not_fit(self, raw: bytes, annotation: Any, message: str) -> None:
        with pytest.raises(Mismatch, match=message):
            decoder_for(annotation)(raw)

    def test_an_int_fits_a_float(self) -> None:
        assert repr(decoder_for(float)(b"1")) == "1.0"

    @pytest.mark.parametrize("raw", [b"", b"{", b"{]", b"NaN", b'"\xff"', b"[" * 100_000, b'"\\ud800"'])
    @pytest.mark.parametrize("annotation", [Any, str, list[Any]])
    def test_what_is_no_json(self, raw: bytes, annotation: Any) -> None:
        with pytest.raises((Malformed, Mismatch)):
            decoder_for(annotation)(raw)

    @given(st.binary(max_size=60))
    def test_no_bytes_raise_anything_else(self, raw: bytes) -> None:
        for decode in (decode_json, decoder_for(Order)):
            with suppress(Malformed, Mismatch):
                decode(raw)


class TestUnsupported:
    @pytest.mark.parametrize(
        ("annotation", "message"),
        [
            (Client, "cannot be decoded to Client"),
            (list[Client | None], "Client"),
            (dict[str, tuple[Client, ...]], "Client"),
            (Callable[[int], int], "Callable"),
            (complex, "complex"),
            (str | datetime, "more than one str-like type"),
            (list[int] | set[int], "more than one array-like"),
        ],
    )
    def test_no_json_for_it(self, annotation: Any, message: str) -> None:
        with pytest.raises(Unsupported, match=message) as caught:
            decoder_for(annotation)
        assert isinstance(caught.value, TypeError)

    def test_in_a_field_of_a_dataclass(self) -> None:
        @dataclass
        class Wrapper:
            inner: Client

        with pytest.raises(Unsupported, match="Client"):
            decoder_for(list[Wrapper])


class TestDepth:
    @pytest.mark.parametrize(
        "raw",
        [
            b"[" * 64 + b"]" * 64,
            b'{"a":' * 64 + b"1" + b"}" * 64,
            b"[" + b"[]," * 5000 + b"[]]",
            b"[[]," * 63 + b"[]" + b"]" * 63,
            b'["' + b"[" * 5000 + b'"]',  # brackets in a string
            b'["\\"' + b"[" * 5000 + b'"]',  # behind an escaped quote
            b"[" + b"{}," * 100 + b'"' + b'\\"' * 1000,  # broken off: the decoder's affair
        ],
    )
    def test_allowed(self, raw: bytes) -> None:
        check_depth(raw)

    @pytest.mark.parametrize(
        "raw",
        [
            b"[" * 65 + b"]" * 65,
            b'{"a":[' * 33 + b"1" + b"]}" * 33,
            b"[[]," * 65 + b"1" + b"]" * 65,
            b"[[]," * 64 + b"[]" + b"]" * 64,
            b"[" * 500_000,
            b'["\\\\",' * 65 + b"1" + b"]" * 65,  # the quote is not escaped, the backslash is
            b"[[],[[]]," * 40 + b'{"a":[' * 20 + b"1" + b"]}" * 20 + b"]" * 40,
        ],
    )
    def test_refused(self, raw: bytes) -> None:
        with pytest.raises(Malformed, match="nested more than 64 deep"):
            check_depth(raw)

    @given(
        st.recursive(
            st.sampled_from([1, "[", '"', "\\", '\\"[[{']),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from('[{"\\'), inner, max_size=3),
        ),
        st.integers(1, 5),
    )
    def test_as_counted_by_hand(self, value: Any, limit: int) -> None:
        def depth(part: Any) -> int:
            kind: type = part.__class__
            if kind is dict:
                part = list(part.values())
            return 1 + max(map(depth, part), default=0) if kind in (dict, list) else 0

        if depth(value) > limit:
            with pytest.raises(Malformed):
                check_depth(encode(value), limit)
        else:
            check_depth(encode(value), limit)

    def test_the_limit(self) -> None:
        assert MAX_DEPTH == 64


class TestDigest:
    def test_it_is_a_fixed_function_of_the_bytes(self) -> None:
        assert digest(b"123456789") == "cbf43926"  # the check value that the CRC-32 standard gives
        assert digest(b"") == "00000000"

    @pytest.mark.parametrize(
        "value",
        [
            "{'tags': {'a', 'b', 'c', 'd'}}",
            "{1: {'a', 'b', 'c', 'd'}}",  # keys that are not text
            "{'mixed': {'a', 'b', 1, 2}}",  # a set without an order
        ],
    )
    def test_it_does_not_depend_on_the_order_of_sets(self, value: str) -> None:
        script = (
            "from durably.engine.values.codec import encode, stable_digest; "
            f"value = {value}; print(stable_digest(value, encode(value)))"
        )
        digests = {output_of(script, seed) for seed in ("1", "2", "3")}
        assert len(digests) == 1

    def test_it_does_not_depend_on_the_order_of_keys(self) -> None:
        one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
        assert stable_digest(one, encode(one)) == stable_digest(other, encode(other))

    def test_it_changes_with_the_value(self) -> None:
        values: list[object] = [{"a": 1}, {"a": 2}, {1: 1}, {1: 2}, {"a": {1, "x"}}, {"a": {2, "x"}}]
        assert len({stable_digest(value, encode(value)) for value in values}) == len(values)


class TestPydantic:
    """Models are encoded and decoded where the user has imported pydantic; Durably never does."""

    def test_models(self) -> None:
        pydantic = pytest.importorskip("pydantic")
        name = (str, pydantic.Field(alias="itemName"))
        # A strict model takes a date's text from JSON only, and a name by its alias only.
        model = pydantic.create_model("Item", __config__={"strict": True}, name=name, at=(datetime, ...))
        item = model(itemName="x", at=datetime(2026, 1, 1, tzinfo=UTC))
        annotation: Any = dict[str, Optional[model]]  # type: ignore[valid-type] # noqa: UP045 - made just now
        assert decoder_for(annotation)(encode({"a": item, "b": None})) == {"a": item, "b": None}
        with pytest.raises(Mismatch, match=r"itemName"):
            decoder_for(annotation)(b'{"a":{"at":"2026-01-01T00:00:00Z"}}')

    def test_it_is_not_imported_for_nothing(self) -> None:
        script = "import sys, durably.engine.values.codec as c; c.encode({'a': 1}); print('pydantic' in sys.modules)"
        assert output_of(script) == "False\n"
