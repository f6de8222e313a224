"""Where two JSON values differ."""

from typing import Any

import pytest

from durably.engine.values.differences import ABSENT, Difference, differences

CASES: list[tuple[Any, Any, list[tuple[str, Any, Any]]]] = [
    (1, 1, []),
    ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, []),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
    (1, 2, [("", 1, 2)]),
    (1, 1.0, [("", 1, 1.0)]),
    (1, True, [("", 1, True)]),
    ({"a": 1}, {"a": 2, "b": 3}, [("a", 1, 2), ("b", ABSENT, 3)]),
    ({"a": {"b": 1}}, {"a": {}}, [("a.b", 1, ABSENT)]),
    ({"a": [{"b": 1}, 2]}, {"a": [{"b": 3}, 2]}, [("a[0].b", 1, 3)]),
    ([1, 2], [1], [("", [1, 2], [1])]),
    ({"a": []}, {"a": {}}, [("a", [], {})]),
]


@pytest.mark.parametrize(("before", "after", "found"), CASES)
def test_the_innermost_places(before: Any, after: Any, found: list[tuple[str, Any, Any]]) -> None:
    assert list(differences(before, after)) == [Difference(*each) for each in found]


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        (Difference("a.b", 1, "x"), 'a.b: 1, now "x"'),
        (Difference("", None, [1]), "null, now [1]"),
        (Difference("a", ABSENT, 1), "a: absent, now 1"),
        (Difference("a", "x" * 20, 1), 'a: "xxxxxxx… (22 characters), now 1'),
    ],
)
def test_in_words(difference: Difference, text: str) -> None:
    assert difference.text(8) == text
