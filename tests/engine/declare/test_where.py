import re
import sys
from types import MappingProxyType
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably.engine.declare.where import MAX_EXPRESSION, Where

EVENT: dict[str, Any] = {
    "name": "app/order.paid",
    "id": "e-1",
    "ts": "2026-01-02T03:04:05.250000Z",
    "data": {
        "amount": 150,
        "price": 1.0,
        "none": None,
        "flag": True,
        "zero": 0,
        "text": "Grüße",
        "order_id": "o-1",
        "user": {"id": 7, "e-mail": "a@b.c"},
        "tags": ["new", "vip"],
        "items": [{"sku": "a", "count": 2}, {"sku": "b", "count": 1}],
    },
}
TRIGGER = {"name": "app/order.placed", "data": {"order_id": "o-1"}}
VARS = {"user": 7, "order": "o-2", "allowed": ["o-1", "o-2"]}

HOLDS = [
    ("event.data.amount > 100", True),
    ("event.data.amount > 150", False),
    ("event.data.amount >= 149.5", True),
    ("event.data.user.id == vars.user", True),
    ("event.data.order_id == vars.order", False),
    ("event.data.order_id in vars.allowed", True),
    ("event.data.order_id == trigger.data.order_id", True),
    ('event.data.tags.exists(t, t == "vip")', True),
    ('event.data.tags.exists(t, t == "old")', False),
    ('"vip" in event.data.tags', True),
    ('event.data.items.all(i, i.count > 0) && event.data.items[1].sku == "b"', True),
    ("event.data.items.map(i, i.count).exists(n, n == 2)", True),
    ('event.name.startsWith("app/")', True),
    ('event.data.user["e-mail"].endsWith("@b.c")', True),
    ('event.data["amount"] == 150', True),
    # numbers as in JSON
    ("event.data.price == 1", True),
    ("event.data.amount == 150.0", True),
    ("event.data.amount / 4 == 37", True),
    ("double(event.data.amount) * 1.5 > 200.0", True),
    ("event.data.flag == 1", False),
    ('event.data.user.id == "7"', False),
    # unicode, counted in code points
    ('event.data.text == "Grüße" && event.data.text.size() == 5', True),
    ('event.data.text.lowerAscii() == "grüße"', True),
    # missing and null
    ("has(event.data.coupon) && event.data.coupon", False),
    ("!has(event.data.coupon)", True),
    ("has(event.data.none)", True),
    ("event.data.none == null", True),
    ("event.data.?coupon.orValue(3) == 3", True),
    ("event.data.coupon == 1 || event.data.amount == 150", True),
    # times
    ('timestamp(event.ts) > timestamp("2026-01-02T03:04:05Z")', True),
    ('timestamp(event.ts) + duration("1h") < timestamp("2026-01-02T04:04:05Z")', False),
    # true, and nothing else, is true
    ("event.data.flag", True),
    ("event.data.amount", False),
    ("event.data.text", False),
    ("event", False),
]

ERRORS = [
    ("event.data.coupon == 1", "a key that is missing"),
    ("event.data.coupon != 1", "which says nothing about it being another"),
    ("!event.data.coupon", ""),
    ("event.data.text > 100", "a text and a number"),
    ("event.data.amount * 1.5 > 100.0", "an int and a double"),
    ("event.data.tags[7] == 'x'", "past the end"),
    ("event.data.amount / event.data.zero == 1", "a division by zero"),
    ("event.data.text.x == 1", "a field of a text"),
    ("event.ts > 1700000000000", "a time is text"),
    ("event.data.amount + 9223372036854775807 > 0", "more than 64 bits"),
    ('event.data.text.matches("(")', "no regular expression"),
    ("has(event.data.flag) && event.data.amount", "no bool under &&"),
]


class TestHolds:
    @pytest.mark.parametrize(("expression", "expected"), HOLDS)
    def test_what_users_write(self, expression: str, expected: bool) -> None:
        assert Where(expression).holds(EVENT, TRIGGER, VARS) is expected

    @pytest.mark.parametrize(("expression", "why"), ERRORS)
    def test_an_error_is_false(self, expression: str, why: str) -> None:
        assert Where(expression).holds(EVENT, TRIGGER, VARS) is False, why

    def test_a_run_that_no_event_started(self) -> None:
        assert Where("trigger == null").holds(EVENT)
        assert not Where("trigger == null").holds(EVENT, TRIGGER)
        assert not Where("event.data.order_id == trigger.data.order_id").holds(EVENT)

    def test_without_vars(self) -> None:
        assert Where("!has(vars.user)").holds(EVENT)

    def test_any_mapping_will_do(self) -> None:
        assert Where("event.data.amount == 150 && vars.a == 1").holds(
            MappingProxyType(EVENT), vars=MappingProxyType({"a": 1})
        )

    @pytest.mark.parametrize("number", [2**63, 2**64 - 1, 2**64, 2**70, -(2**63), -(2**63) - 1, 10**400, -(10**400)])
    def test_a_large_integer_does_not_hide_the_rest_of_the_event(self, number: int) -> None:
        event = {"data": {"large": [{"number": number}], "a": 1}}
        assert Where("event.data.a == 1").holds(event)
        assert Where("event.data.large[0].number > 1").holds(event) is (number > 1)
        assert Where("event.data.large[0].number == vars.number").holds(event, None, {"number": number})
        assert not Where("event.data.missing == 1").holds(event)
        assert event["data"]["large"] == [{"number": number}]

    def test_text_that_is_not_unicode_is_false(self) -> None:
        assert not Where("event.data.x == 'a'").holds({"data": {"x": "\ud800"}})

    def test_a_regular_expression_takes_linear_time(self) -> None:
        assert not Where('event.data.x.matches("^(a|aa)+$")').holds({"data": {"x": "a" * 100_000 + "b"}})

    def test_nested_loops_are_cut_short(self) -> None:
        loop = "true"
        for name in "abcdefgh":
            loop = f"event.data.x.all({name}, {loop})"
        assert not Where(loop).holds({"data": {"x": list(range(10))}})

    @given(st.integers(-(2**53), 2**53), st.integers(-(2**53), 2**53))
    def test_numbers_compare_as_in_python(self, a: int, b: int) -> None:
        event: dict[str, Any] = {"data": {"a": a, "b": b, "af": float(a)}}
        assert Where("event.data.a < event.data.b").holds(event) is (a < b)
        assert Where("event.data.af == event.data.b").holds(event) is (a == b)


REFUSED: list[tuple[str, str]] = [
    ("event.data.amount >", "line 1, column 20: Syntax error: mismatched input '<EOF>'"),
    ("event.data.amount >\n foo( > 1", "line 2, column 7: Syntax error"),
    ("", "line 1, column 1: Syntax error"),
    ("foo == 1", "line 1, column 1: undeclared reference to 'foo'; it can use event, trigger, vars and CEL's own"),
    ("event.data.a == 1 && async.data.a == 1", "column 32: undeclared reference to 'async.data.a'"),
    ("now() > timestamp(event.ts)", "column 4: undeclared reference to 'now'"),
    ("event.data.text.foo()", "column 20: undeclared reference to 'foo'"),
    ('1 == "x"', "column 3: found no matching overload"),
    ('"x"', "gives string, whatever the event; it must be true or false"),
    ("1 + 1", "gives int, whatever the event"),
    ("event.?data", "gives optional_type"),
    ("(" * 60 + "true" + ")" * 60, "recursion limit"),
    ("event" + ".a" * 100, "recursion"),
    ("x" * (MAX_EXPRESSION + 1), "4,097 characters; it must have no more than 4,096"),
]


class TestDeclaring:
    @pytest.mark.parametrize(("expression", "message"), REFUSED)
    def test_what_is_refused(self, expression: str, message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)):
            Where(expression)

    def test_the_message_shows_the_expression(self) -> None:
        with pytest.raises(ValueError, match=re.escape("where='event.data.amount >' does not compile")):
            Where("event.data.amount >")

    def test_no_text(self) -> None:
        with pytest.raises(TypeError, match="where is True; it must be text"):
            Where(cast("Any", True))

    def test_fewer_names(self) -> None:
        assert Where("event.data.amount > 100", ("event",)).holds(EVENT)
        with pytest.raises(ValueError, match=r"undeclared reference to 'vars.x'; it can use event and CEL's own"):
            Where("event.data.a == vars.x", ("event",))

    def test_the_longest(self) -> None:
        assert Where("true" + " " * (MAX_EXPRESSION - 4)).holds(EVENT)

    def test_it_needs_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cel_expr_python.cel", None)
        with pytest.raises(ModuleNotFoundError, match=re.escape("pip install 'durably[cel]'")):
            Where("event.a", ("event", "a_set_of_names_that_no_other_test_has"))
