"""What `patch` and `args` of a fork mean."""

from typing import Any

import pytest
from msgspec import Raw

from durably import InvalidInput
from durably.engine.log.changes import changes
from durably.engine.log.grammar import Entry
from durably.engine.log.records import (
    NOTHING,
    AttemptStarted,
    Record,
    RunCreated,
    RunStarted,
    StepFailed,
    StepSucceeded,
)


def called(key: str) -> AttemptStarted:
    name = key.rpartition("/")[2].partition("#")[0]
    return AttemptStarted(step=key, name=name, attempt=0, start=0, input=Raw(b'{"x":1,"y":2}'))


RECORDS: list[Record] = [
    RunCreated(workflow="w", version=1, input=NOTHING, trigger="MANUAL", event=NOTHING, environment="p", test=False),
    RunStarted(code="c", python="3", anyio="4", engine="1", seed=1),
    called("0/a#0"),
    called("0/b#0"),
    called("0/1/b#0"),
    called("/mine"),
]
HISTORY = [Entry(seq, seq, record) for seq, record in enumerate(RECORDS, 1)]


@pytest.mark.parametrize(
    ("step", "key", "name"),
    [
        ("a", "0/a#0", "a"),
        ("0/a#0", "0/a#0", "a"),
        ("0/1/b#0", "0/1/b#0", "b"),
        ("/mine", "/mine", "mine"),
        ("0/c#3", "0/c#3", "c"),  # it has not run
    ],
)
def test_an_outcome_for_a_step(step: str, key: str, name: str) -> None:
    found = changes(HISTORY, {step: [1]}, {})
    assert found.outcomes == {key: StepSucceeded(step=key, name=name, attempt=0, output=Raw(b"[1]"))}
    assert found.args == {}


def test_an_error_for_a_step() -> None:
    [outcome] = changes(HISTORY, {"a": PermissionError("no")}, {}).outcomes.values()
    assert isinstance(outcome, StepFailed)
    assert (outcome.error.type, outcome.error.message) == ("PermissionError", "no")


def test_arguments_for_a_step() -> None:
    found = changes(HISTORY, {}, {"a": {"y": 5}, "0/c#0": {"z": None}})
    assert found.args == {"0/a#0": Raw(b'{"y":5}'), "0/c#0": Raw(b'{"z":null}')}
    assert found.outcomes == {}


@pytest.mark.parametrize(
    ("patch", "args", "message"),
    [
        ({"b": 1}, {}, "2 steps of the run are called 'b'"),
        ({"c": 1}, {}, "no step 'c'"),
        ({"a": 1, "0/a#0": 2}, {}, "0/a#0 is given twice"),
        ({"a": object()}, {}, "the outcome of step 0/a#0: the object at"),
        ({"a": 1}, {"a": {}}, "0/a#0 has both an outcome and arguments"),
        ({}, {"b": {}}, "2 steps of the run are called 'b'"),
        ({}, {"a": {"z": 1}}, "0/a#0 has no parameter 'z'; it has x, y"),
        ({}, {"a": [1]}, r"must be an object by parameter name, not \[1\]"),
        ({}, {"a": {"x": {1: object()}}}, "the arguments of step 0/a#0"),
    ],
)
def test_what_cannot_be_meant(patch: dict[str, Any], args: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        changes(HISTORY, patch, args)
