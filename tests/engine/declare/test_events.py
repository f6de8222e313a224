from dataclasses import FrozenInstanceError, dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably.engine.declare.events import Cron, Event, Signal, Trigger, TriggerIndex, matches
from durably.engine.values.codec import Mismatch, decoder_for, encode

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Order:
    id: str


class TestEvent:
    def test_what_is_left_out(self) -> None:
        event: Any = Event("app/user.created")
        assert (event.data, event.id, event.ts, event.user, event.v) == ({}, None, None, None, None)

    def test_each_has_data_of_its_own(self) -> None:
        Event[Any]("a").data["x"] = 1
        assert Event[Any]("a").data == {}

    def test_it_is_immutable(self) -> None:
        event = Event("a", {"x": 1})
        with pytest.raises(FrozenInstanceError):
            event.name = "b"  # type: ignore[misc]

    def test_it_can_be_made_with_its_type(self) -> None:
        assert Event[Order]("a", Order("o")) == Event("a", Order("o"))
        assert Signal[Order]("a", Order("o"), AT) == Signal("a", Order("o"), AT)

    def test_it_compares_by_value(self) -> None:
        assert Event("a", {"x": 1}, id="1") == Event("a", {"x": 1}, id="1") != Event("a", {"x": 1}, id="2")

    @pytest.mark.parametrize(
        "event",
        [
            Event("a"),
            Event("a", {"id": "o"}, id="1", ts=AT, user={"id": 7}, v="2"),
        ],
    )
    def test_round_trip(self, event: Event[Any]) -> None:
        assert decoder_for(Event)(encode(event)) == event
        assert decoder_for(Event[dict[str, str]])(encode(event)) == event

    def test_data_is_decoded_as_annotated(self) -> None:
        decode = decoder_for(Event[Order])
        assert decode(b'{"name":"a","data":{"id":"o"}}') == Event("a", Order("o"))
        with pytest.raises(Mismatch, match=r"Expected `str`, got `int` - at `\$\.data\.id`"):
            decode(b'{"name":"a","data":{"id":1}}')
        with pytest.raises(Mismatch, match="missing required field `data`"):
            decode(b'{"name":"a"}')

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("", "0 characters"),
            ("x" * 513, "513 characters; it must have 1 to 512"),
            ("a\nb", "control characters"),
            ("a\x00", "control characters"),
        ],
    )
    def test_bad_names(self, name: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Event(name)
        with pytest.raises(Mismatch, match=message):
            decoder_for(Event)(encode({"name": name, "data": {}}))

    def test_the_longest_name(self) -> None:
        assert len(Event("é" * 512).name) == 512

    @pytest.mark.parametrize("data", ["text", 1, 1.5, True, [1], ("a",), {1}, b"x"])
    def test_data_that_is_no_object(self, data: object) -> None:
        with pytest.raises(TypeError, match="must be an object"):
            Event("a", data)

    def test_data_that_is_null_when_decoded(self) -> None:
        with pytest.raises(Mismatch, match="must be an object"):
            decoder_for(Event)(b'{"name":"a","data":null}')

    def test_a_time_without_a_zone(self) -> None:
        with pytest.raises(ValueError, match="without a time zone"):
            Event("a", ts=datetime(2026, 1, 1))  # noqa: DTZ001 - that is the mistake
        with pytest.raises(Mismatch, match="without a time zone"):
            decoder_for(Event)(b'{"name":"a","data":{},"ts":"2026-01-01T00:00:00"}')


class TestValues:
    def test_a_signal_is_decoded_as_annotated(self) -> None:
        raw = encode({"name": "approve", "data": {"id": "o"}, "at": AT})
        assert decoder_for(Signal[Order])(raw) == Signal("approve", Order("o"), AT)

    def test_a_condition_is_compiled_where_it_is_declared(self) -> None:
        assert Trigger("a", where="event.data.x > 1") == Trigger("a", "event.data.x > 1") != Trigger("a")
        with pytest.raises(ValueError, match="line 1, column 15: Syntax error"):
            Trigger("a", where="event.data.x >")

    @pytest.mark.parametrize("name", ["trigger", "vars"])
    def test_a_condition_is_on_the_event_alone(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"undeclared reference to '{name}.x'; it can use event and"):
            Trigger("a", where=f"event.data.x == {name}.x")

    def test_cron_holds_what_it_is_given(self) -> None:
        assert Cron("0 2 * * *") == Cron("0 2 * * *", timezone="UTC", jitter=0, catch_up="once")
        with pytest.raises(ValueError, match="jitter"):
            Cron("0 2 * * *", jitter=-1)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"expr": "0 2 30 2 *"}, "'30' is no day-of-month"),
            ({"timezone": "Mars/Base"}, "time zone 'Mars/Base' is unknown"),
            ({"catch_up": "twice"}, "catch_up is 'twice'; it must be 'once', 'skip' or 'all'"),
        ],
    )
    def test_a_schedule_is_checked_where_it_is_declared(self, given: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Cron("0 2 * * *", **given) if "expr" not in given else Cron(**given)


MATCHES = [
    ("app/user.created", "app/user.created", True),
    ("app/user.created", "app/user.deleted", False),
    ("app/user", "app/user.created", False),
    ("app/user.*", "app/user.created", True),
    ("app/user.*", "app/user.name.changed", True),
    ("app/user.*", "app/user", False),
    ("app/user.*", "app/user.", False),  # a * stands for something
    ("app/user.*", "app/users.created", False),
    ("app/*", "app/user.created", True),
    ("app/*", "app/v1/user", True),
    ("app/*", "other/app/user", False),
    ("app/*", "APP/user", False),
]


class TestMatching:
    @pytest.mark.parametrize(("pattern", "name", "expected"), MATCHES)
    def test_one_pattern(self, pattern: str, name: str, expected: bool) -> None:
        assert matches(pattern, name) is expected

    @pytest.mark.parametrize("pattern", ["*", "app*", "app/us*", "app/*/x", "*.created", "app/**", "app/*.*"])
    def test_a_star_in_another_place_is_refused(self, pattern: str) -> None:
        with pytest.raises(ValueError, match="only be the last character, after a / or a"):
            Trigger(pattern)


class Definition(NamedTuple):
    name: str
    version: int
    triggers: tuple[Trigger, ...]


def definition(name: str, *triggers: str | Trigger, version: int = 1) -> Definition:
    return Definition(name, version, tuple(Trigger(each) if isinstance(each, str) else each for each in triggers))


def started(name: str, *definitions: Definition, **data: object) -> list[tuple[str, int]]:
    event = {"name": name, "data": data}
    return [(each.name, each.version) for each in TriggerIndex(definitions).matching(name, lambda: event)]


def unneeded() -> NoReturn:
    raise AssertionError("the event was decoded for nothing")


MANY = Trigger("x", where="event.data.n > 10")


PARTS = st.lists(st.sampled_from(["a", "b", "/", "."]), min_size=1, max_size=6).map("".join)


class TestTriggerIndex:
    @pytest.mark.parametrize(("pattern", "name", "expected"), MATCHES)
    def test_one_trigger(self, pattern: str, name: str, expected: bool) -> None:
        assert started(name, definition("w", pattern)) == ([("w", 1)] if expected else [])

    def test_every_workflow_that_matches_sorted_by_name(self) -> None:
        all_of_them = [
            definition("c", "x/y"),
            definition("a", "x/*"),
            definition("b", "other", "x/y"),
            definition("d", "z"),
        ]
        assert started("x/y", *all_of_them) == [("a", 1), ("b", 1), ("c", 1)]

    def test_one_run_however_many_triggers_match(self) -> None:
        assert started("x/y.z", definition("a", "x/y.z", "x/*", "x/y.*")) == [("a", 1)]

    def test_of_two_versions_the_highest_that_matches(self) -> None:
        versions = [
            definition("a", "x", version=2),
            definition("a", "x", "y", version=10),
            definition("a", "x", "z", version=1),
        ]
        assert started("x", *versions) == [("a", 10)]
        assert started("z", *versions) == [("a", 1)]

    def test_a_condition(self) -> None:
        assert started("x", definition("a", MANY), definition("b", "x"), n=11) == [("a", 1), ("b", 1)]
        assert started("x", definition("a", MANY), definition("b", "x"), n=10) == [("b", 1)]

    def test_a_field_that_is_missing_starts_nothing(self) -> None:
        assert started("x", definition("a", MANY)) == []

    def test_one_of_several_triggers_will_do(self) -> None:
        either = definition("a", MANY, Trigger("x", where="has(event.data.always)"))
        assert started("x", either, n=0) == []
        assert started("x", either, n=0, always=None) == [("a", 1)]
        assert started("x", definition("a", MANY, "x"), n=0) == [("a", 1)]

    def test_a_condition_on_another_name_does_not_count(self) -> None:
        assert started("x", definition("a", MANY, Trigger("y", where="true"), "x/*"), n=0) == []
        assert started("x/y", definition("a", MANY, "x/*"), n=0) == [("a", 1)]

    def test_the_highest_version_alone_decides(self) -> None:
        assert started("x", definition("a", "x"), definition("a", MANY, version=2), n=0) == []
        assert started("x", definition("a", "x"), definition("a", MANY, version=2), n=11) == [("a", 2)]
        assert started("x", definition("a", MANY), definition("a", "x", version=2), n=0) == [("a", 2)]

    def test_the_event_is_decoded_when_a_condition_asks_and_once(self) -> None:
        decoded: list[str] = []

        def event() -> dict[str, Any]:
            decoded.append("once")
            return {"data": {"n": 11}}

        index = TriggerIndex([definition("a", MANY), definition("b", MANY), definition("c", "y"), definition("d", "z")])
        assert [each.name for each in index.matching("y", unneeded)] == ["c"]
        assert [each.name for each in TriggerIndex([definition("d", "z")]).matching("z", unneeded)] == ["d"]
        assert not decoded
        assert [each.name for each in index.matching("x", event)] == ["a", "b"]
        assert decoded == ["once"]

    @given(PARTS, st.lists(st.tuples(PARTS, st.booleans()), max_size=8))
    def test_it_finds_what_matching_one_by_one_finds(self, name: str, patterns: list[tuple[str, bool]]) -> None:
        triggers = [f"{text}*" if wild and text[-1] in "/." else text for text, wild in patterns]
        definitions = [definition(f"{index:02}", trigger) for index, trigger in enumerate(triggers)]
        expected = [(f"{index:02}", 1) for index, trigger in enumerate(triggers) if matches(trigger, name)]
        assert started(name, *definitions) == expected
