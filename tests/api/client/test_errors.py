"""What a server's refusal becomes: the exception that the engine raises, on its way through HTTP and back."""

import pytest
from msgspec import json

from durably import (
    DurablyError,
    EventConflict,
    InvalidInput,
    NoAnswer,
    NondeterminismError,
    NotBuilt,
    RunConflict,
    StoreError,
)
from durably.api.client.errors import Refused, Unavailable, refusal
from durably.api.errors import Problem, error_document, problem_of
from durably.api.events import refusal as refusal_of_events
from durably.store import StoreUnavailable

URL = "http://127.0.0.1:8484"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (StoreError("the disk is full"), Unavailable),
        (StoreUnavailable("the disk is full"), Unavailable),
        (RunConflict("it has ended"), RunConflict),
        (NondeterminismError("step x is gone", "missing"), NondeterminismError),
        (InvalidInput("it misses x"), InvalidInput),
        (DurablyError("something else"), Refused),
    ],
)
def test_exceptions_come_back_as_themselves(raised: Exception, kind: type[DurablyError]) -> None:
    assert isinstance(raised, DurablyError | StoreUnavailable)
    answer = error_document(problem_of(raised))
    assert isinstance(answer.body, bytes)
    error = refusal(URL, answer.status, answer.body, answer.headers.get("Retry-After"))
    assert type(error) is kind
    assert str(error) == str(raised)
    if isinstance(error, NondeterminismError):
        assert error.kind == "missing"
    if isinstance(error, Unavailable):
        assert isinstance(error, StoreError)
        assert error.retry_after == "1"


def test_what_is_not_built_is_named() -> None:
    answer = error_document(problem_of(NotBuilt("throttle")))
    assert isinstance(answer.body, bytes)
    error = refusal(URL, answer.status, answer.body)
    assert isinstance(error, NotBuilt)
    assert error.name == "throttle"


@pytest.mark.parametrize(
    ("status", "kind"), [(400, InvalidInput), (409, EventConflict), (413, InvalidInput), (503, Unavailable)]
)
def test_events_have_a_shape_of_their_own(status: int, kind: type[DurablyError]) -> None:
    answer = refusal_of_events(Problem(status, "any", "event 3: it is too large"))
    assert isinstance(answer.body, bytes)
    error = refusal(URL, status, answer.body)
    assert type(error) is kind
    assert str(error) == "event 3: it is too large"


@pytest.mark.parametrize(
    ("status", "content", "kind", "says"),
    [
        (401, json.encode({"errors": [{"detail": "no key", "code": "unauthorized"}]}), Refused, "no key"),
        (400, json.encode({"errors": [{"detail": "a"}, {"detail": "b"}]}), InvalidInput, "a; b"),
        (429, json.encode({"errors": [{"detail": "slowly"}]}), Unavailable, "slowly"),
        (502, b"<html>nginx", NoAnswer, "whether it was done is not known"),
        (503, b"", NoAnswer, "it answered 503"),
        (504, b"", NoAnswer, "it answered 504"),
        (404, b"nginx", DurablyError, "does not answer as a Durably server"),
        (301, b"", DurablyError, "it answered 301"),
        (400, b'{"errors":[]}', DurablyError, "does not answer as a Durably server"),
    ],
)
def test_others_answer_too(status: int, content: bytes, kind: type[DurablyError], says: str) -> None:
    error = refusal(URL, status, content)
    assert type(error) is kind
    assert says in str(error)
