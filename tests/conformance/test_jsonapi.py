"""The validator itself: what is JSON:API 1.1, and what is not."""

from typing import Any

import pytest

from tests.conformance.jsonapi import flaws_of

THING = {"type": "thing", "id": "1"}
ERROR = {"status": "400", "code": "bad", "title": "Bad Request", "detail": "it is bad"}


@pytest.mark.parametrize(
    "document",
    [
        {"data": None},
        {"data": []},
        {"data": THING},
        {"data": [THING, {"type": "thing", "id": "2"}]},
        {"data": {**THING, "attributes": {"name": "x", "created_at": None, "ü": 1, "a b-c_d": []}}},
        {"data": {**THING, "attributes": {"nested": {"id": 1, "type": 2, "links": 3, "-": 4}}}},
        {"data": {**THING, "relationships": {"of": {"data": THING}, "in": {"links": {"self": "/x"}}}}},
        {"data": [], "links": {"next": None, "self": "/x"}, "meta": {"page_size": 50}},
        {"data": [], "links": {"self": {"href": "/x", "title": "X", "type": "text/html", "hreflang": ["en", "de"]}}},
        {"data": [], "links": {"describedby": "/openapi.json"}},
        {"data": [], "jsonapi": {"version": "1.1", "ext": ["https://e.com/e"], "profile": ["https://e.com/p"]}},
        {"data": THING, "included": [{"type": "other", "id": "1"}]},
        {"data": THING, "@context": "https://example.com"},
        {"data": {"type": "job", "id": "1", "attributes": {"type": "http"}}},
        {"meta": {}},
        {"errors": [ERROR]},
        {"errors": [{**ERROR, "source": {"pointer": "/data/attributes/name"}, "meta": {"referencing_jobs": ["j"]}}]},
        {"errors": [{**ERROR, "source": {"pointer": ""}}, {"id": "1", "source": {"header": "Accept"}}]},
        {"errors": [{"status": "500", "links": {"about": "https://example.com"}}]},
    ],
)
def test_a_document(document: Any) -> None:
    assert flaws_of(document) == []


NOT_ONE: list[Any] = [
    [],
    {},
    {"links": {}},
    {"data": THING, "errors": [ERROR]},
    {"data": THING, "status": 200},
    {"data": "thing"},
    {"data": {"id": "1"}},
    {"data": {"type": "thing"}},
    {"data": {"type": "thing", "id": 1}},
    {"data": {"type": 1, "id": "1"}},
    {"data": {"type": "_thing", "id": "1"}},
    {"data": {**THING, "name": "x"}},
    {"data": {**THING, "attributes": []}},
    {"data": {**THING, "attributes": {"id": "1"}}},
    {"data": {**THING, "attributes": {"type": "x"}}},
    {"data": {**THING, "attributes": {"a.b": 1}}},
    {"data": {**THING, "attributes": {"a-": 1}}},
    {"data": {**THING, "relationships": {"of": {}}}},
    {"data": {**THING, "relationships": {"of": {"data": {"type": "thing"}}}}},
    {"data": [THING, THING]},
    {"data": [THING, None]},
    {"data": [], "links": {"next": 2}},
    {"data": [], "links": {"after": "/x"}},
    {"data": [], "links": {"next": {"title": "no href"}}},
    {"data": [], "meta": []},
    {"data": [], "jsonapi": {"version": 1.1}},
    {"meta": {}, "included": []},
    {"errors": {}},
    {"errors": []},
    {"errors": [{}]},
    {"errors": [{**ERROR, "status": 400}]},
    {"errors": [{**ERROR, "status": "bad"}]},
    {"errors": [{**ERROR, "message": "x"}]},
    {"errors": [{**ERROR, "source": {"pointer": "data"}}]},
    {"errors": [{**ERROR, "meta": None}]},
]


@pytest.mark.parametrize("document", NOT_ONE)
def test_what_is_none(document: Any) -> None:
    assert flaws_of(document)
