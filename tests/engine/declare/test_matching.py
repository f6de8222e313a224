import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durably.engine.declare.matching import MAX_PATH, MAX_PATHS, Match, topics
from durably.engine.values.codec import Unencodable, decode_json

EVENT: dict[str, Any] = {
    "name": "shop/paid",
    "id": "e-1",
    "data": {
        "order_id": "o-1",
        "one": 1,
        "float": 1.0,
        "true": True,
        "null": None,
        "items": [{"id": 7}, {"id": 8}],
        "0": "zero",
        "address": {"zip": "1", "city": "x"},
    },
}


def matched(match: dict[str, Any], event: dict[str, Any] = EVENT) -> bool:
    """As an engine finds it: by the topic, among those of the event; and as a single wait is looked at."""
    wait = Match.of(match, None)
    by_topic = wait.topic("e") in topics("e", event, [wait.paths])
    assert wait.holds(event) is by_topic
    return by_topic


class TestMatching:
    @pytest.mark.parametrize(
        ("match", "expected"),
        [
            ({}, True),
            ({"data.order_id": "o-1"}, True),
            ({"data.order_id": "o-2"}, False),
            ({"data.order_id": "o-1", "name": "shop/paid", "id": "e-1"}, True),
            ({"data.order_id": "o-1", "id": "e-2"}, False),
            ({"data.one": 1.0}, True),
            ({"data.float": 1}, True),
            ({"data.one": True}, False),
            ({"data.true": 1}, False),
            ({"data.one": "1"}, False),
            ({"data.null": None}, True),
            ({"data.missing": None}, False),
            ({"data.null": 0}, False),
            ({"data.null.x": None}, False),
            ({"data.items.0.id": 7}, True),
            ({"data.items.1.id": 7}, False),
            ({"data.items.2.id": 7}, False),
            ({"data.items.-1.id": 8}, False),
            ({"data.items.²": 8}, False),
            ({"data.items.٠.id": 7}, False),  # noqa: RUF001 - a digit, but none of JSON's
            ({"data.items.id": 7}, False),
            ({"data.0": "zero"}, True),
            ({"data.order_id.0": "o"}, False),
            ({"data.items": [{"id": 7.0}, {"id": 8}]}, True),
            ({"data.items": [{"id": 8}, {"id": 7}]}, False),
            ({"data.address": {"city": "x", "zip": "1"}}, True),
            ({"data.address": {"city": "x"}}, False),
            ({"user": None}, False),
        ],
    )
    def test_one_match(self, match: dict[str, Any], expected: bool) -> None:
        assert matched(match) is expected

    @pytest.mark.parametrize(
        ("value", "as_json"),
        [
            (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
            ((1, 2), [1, 2]),
            (2**70, 2**70),
            (1e300, 1e300),
            (-0.0, 0),
            (0.1, 0.1),
            ("\n", "\n"),
        ],
    )
    def test_values_are_compared_as_json(self, value: object, as_json: object) -> None:
        assert matched({"data.x": value}, {"data": {"x": as_json}})

    def test_another_name_is_another_topic(self) -> None:
        assert Match().topic("a") != Match().topic("b")

    def test_a_topic_outlives_the_process(self) -> None:
        assert Match.of({"data.order_id": "o-1"}, None).topic("shop/paid") == "d254b3f609c845419d683dbd186193c7"

    def test_an_event_has_a_topic_for_each_set_that_it_has_in_full(self) -> None:
        sets = [(), ("data.order_id",), ("data.missing", "data.order_id"), ("data.missing",)]
        assert topics("e", EVENT, sets) == [Match().topic("e"), Match.of({"data.order_id": "o-1"}, None).topic("e")]
        assert topics("e", EVENT, []) == []

    def test_what_a_log_keeps_gives_the_same_match(self) -> None:
        match = Match.of({"data.b": 1.0, "data.a": [None, {"x": True}]}, None)
        assert match.paths == ("data.a", "data.b")
        assert json.dumps(match.required) == '{"data.a": [null, {"x": true}], "data.b": 1}'
        assert Match.of(match.required, None) == match


class TestOnePath:
    def test_it_is_the_value_of_the_own_event(self) -> None:
        trigger = {"name": "shop/placed", "data": {"order_id": "o-1"}}
        assert Match.of("data.order_id", trigger) == Match.of({"data.order_id": "o-1"}, None)

    def test_nothing_matches_every_event(self) -> None:
        assert Match.of(None, None) == Match.of({}, None) == Match()
        assert Match().holds({})

    def test_a_run_without_an_event(self) -> None:
        with pytest.raises(ValueError, match=re.escape("no event did; give the value: match={'data.order_id': …}")):
            Match.of("data.order_id", None)

    def test_an_event_without_that_field(self) -> None:
        with pytest.raises(ValueError, match="but 'shop/placed' has nothing there"):
            Match.of("data.order_id", {"name": "shop/placed", "data": {}})


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "message"),
        [
            (
                "order_id",
                "begins with 'order_id', but an event has name, data, id, ts, user, v; perhaps 'data.order_id'?",
            ),
            ("event.data.x", "perhaps 'data.x'?"),
            ("", "has nothing before"),
            ("data..x", "has nothing before, between or after its dots"),
            ("data.", "after its dots"),
            ("data." + "x" * MAX_PATH, "517 characters; it must have no more than 512"),
        ],
    )
    def test_bad_paths(self, path: str, message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)):
            Match.of({path: 1}, None)
        with pytest.raises(ValueError, match=re.escape(message)):
            Match.of(path, EVENT)

    def test_a_path_that_is_no_text(self) -> None:
        with pytest.raises(TypeError, match="a path is text"):
            Match.of(cast("Any", {1: 1}), None)

    def test_too_many(self) -> None:
        paths = {f"data.x{index}": index for index in range(MAX_PATHS + 1)}
        with pytest.raises(ValueError, match="17 paths, more than 16; say it with where="):
            Match.of(paths, None)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), "\ud800"])
    def test_values_that_json_does_not_have(self, value: object) -> None:
        with pytest.raises(Unencodable):
            Match.of({"data.x": value}, None)


# -- the equivalence that a store rests on

KEYS = st.sampled_from(["a", "b", "0", "1"])
SCALARS = st.sampled_from([None, True, False, 0, 1, 2, 0.0, 1.0, 1.5, -1, 2**64, "", "1", "a\n", "é"])
VALUES = st.recursive(SCALARS, lambda part: st.lists(part, max_size=2) | st.dictionaries(KEYS, part, max_size=2))
EVENTS = st.fixed_dictionaries({"data": st.dictionaries(KEYS, VALUES, max_size=3)})
PATHS = st.lists(KEYS, max_size=2).map(lambda keys: ".".join(["data", *keys]))
MATCHES = st.dictionaries(PATHS, VALUES, max_size=3)


def equal(a: object, b: object) -> bool:
    """JSON's equality, said in another way than the code does."""
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        ours, theirs = cast("Sequence[object]", a), cast("Sequence[object]", b)
        return len(ours) == len(theirs) and all(map(equal, ours, theirs))
    if isinstance(a, dict) and isinstance(b, dict):
        one, other = cast("Mapping[str, object]", a), cast("Mapping[str, object]", b)
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return a == b


def naive(match: dict[str, Any], event: dict[str, Any]) -> bool:
    for path, wanted in match.items():
        value: Any = event
        for key in path.split("."):
            try:
                value = value[int(key) if isinstance(value, list) else key]
            except (LookupError, TypeError, ValueError):
                return False
        if not equal(value, wanted):
            return False
    return True


@given(st.lists(MATCHES, max_size=5), EVENTS, st.randoms())
@example([{"data.a": 1}, {"data.a": True}, {"data.a": 1.0}, {}], {"data": {"a": 1}}, None)
@example([{"data.a": "x", "data.b": "y"}, {"data.a": "x\ny"}], {"data": {"a": "x", "b": "y"}}, None)
def test_a_wait_shares_a_topic_with_the_events_it_matches(
    matches: list[dict[str, Any]], event: dict[str, Any], random: Any
) -> None:
    if random is not None:  # waits also ask for what the event has
        values: dict[str, Any] = event["data"]
        matches = [*matches, *({f"data.{key}": value} for key, value in values.items() if random.random() < 0.7)]
    waits = [Match.of(match, None) for match in matches]
    path_sets: Iterable[tuple[str, ...]] = {wait.paths for wait in waits}
    of_event = set(topics("e", decode_json(json.dumps(event).encode()), path_sets))
    for match, wait in zip(matches, waits, strict=True):
        assert (wait.topic("e") in of_event) is wait.holds(event) is naive(match, event)
