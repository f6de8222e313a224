"""A resource of its own, written as all are: what the table of operations promises, and what it refuses."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from msgspec import UNSET, Meta, Struct, UnsetType

from durably import Engine
from durably.api.app import refusals
from durably.api.bodies import read_resource
from durably.api.errors import Problem, Problems
from durably.api.jsonapi import document, no_content, numbered
from durably.api.limits import LIMITS, LIMITS_KEY
from durably.api.operations import Kind, Many, One, Operation, add_operations, operation_of
from durably.api.queries import BY_NUMBER, ListQuery, filter_by, in_order, sort_by
from tests.conformance.responses import Checked

pytestmark = pytest.mark.anyio

JSON_API = {"Content-Type": "application/vnd.api+json"}


# -- a resource


class BookFields(Struct, kw_only=True, forbid_unknown_fields=True):
    """What clients write of a book. What only the server changes may be there too: it comes back with a PUT."""

    title: Annotated[str, Meta(min_length=1)]
    pages: Annotated[int, Meta(ge=1)] | None = None
    version: Any | UnsetType = UNSET


class BookAttributes(Struct, kw_only=True):
    """A book as it is shown."""

    title: str
    pages: int | None
    version: int


BOOK = Kind("book", BookAttributes)
WRITTEN = Kind("book", BookFields)
PATH = "/api/v1/books"
SORTS = ("title", "pages")
LIST = (*BY_NUMBER, sort_by(SORTS, "title"), filter_by("title"))


class Books:
    """Books, as resources of type `book` under the ids that clients give them."""

    def __init__(self) -> None:
        self.all: dict[str, BookAttributes] = {}
        self.seen: list[str] = []

    def operations(self) -> list[Operation]:
        one, body, book = PATH + "/{id}", One(WRITTEN), One(BOOK)
        return [
            Operation("GET", PATH, self.list, "Books by title", "read", query=LIST, answers={200: Many(BOOK)}),
            Operation("POST", PATH, self.create, "Create a book", "write", body, answers={201: book}),
            Operation("PUT", one, self.replace, "Replace a book", "write", body, answers={200: book}),
            Operation("DELETE", one, self.delete, "Delete a book", "write", answers={204: None}),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """All books, or those of some titles."""
        query = ListQuery(request)
        titles = query.filter("title")
        found = [item for item in self.all.items() if not titles or item[1].title in titles]
        ordered = in_order(found, query.sort(SORTS, "title"), lambda item, name: getattr(item[1], name))
        return numbered(request, ordered, query.page(), lambda item: BOOK.resource(*item))

    async def create(self, request: web.Request) -> web.Response:
        """A new one under an id of the client's choice."""
        book_id, given = await read_resource(request, BookFields, type="book")
        if book_id is None:
            raise Problem(400, "invalid_input", "a book needs an id", pointer="/data/id")
        if book_id in self.all:
            raise Problem(
                409, "conflict", "there is one", pointer="/data/id", meta={"version": self.all[book_id].version}
            )
        self.all[book_id] = BookAttributes(title=given.title, pages=given.pages, version=1)
        return self._answer(book_id, 201, {"Location": f"{PATH}/{book_id}"})

    async def replace(self, request: web.Request) -> web.Response:
        """Another content, a version later."""
        book_id = request.match_info["id"]
        _, given = await read_resource(request, BookFields, type="book", id=book_id)
        self.all[book_id] = BookAttributes(title=given.title, pages=given.pages, version=self.all[book_id].version + 1)
        return self._answer(book_id)

    async def delete(self, request: web.Request) -> web.Response:
        """Gone."""
        operation = operation_of(request)
        assert operation is not None
        self.seen.append(f"{operation.method} {operation.path}")
        del self.all[request.match_info["id"]]
        return no_content()

    def _answer(self, book_id: str, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
        return document(BOOK.resource(book_id, self.all[book_id]), status, headers)


class Library(NamedTuple):
    """Books, and a client of the server that has them."""

    books: Books
    client: TestClient[web.Request, web.Application]

    async def send(self, method: str, path: str, data: Any = None, **attributes: Any) -> tuple[int, Any]:
        """Status and content of the answer to a resource, if there is one."""
        content = {"data": {"type": "book", **data, "attributes": attributes}} if data is not None else None
        body = None if content is None else json.dumps(content).encode()
        async with self.client.request(method, path, data=body, headers=JSON_API if body else {}) as answer:
            return answer.status, await answer.json(content_type=None) if answer.status != 204 else None


@pytest.fixture
async def library() -> AsyncIterator[Library]:
    books, checked = Books(), Checked()
    app = web.Application(middlewares=[refusals(Engine("memory://"))])
    app[LIMITS_KEY] = LIMITS
    add_operations(app, books.operations())
    checked.watch(app)
    async with TestClient(TestServer(app)) as client:
        yield Library(books, client)
    assert checked.flaws == []


# -- writing


async def test_a_resource_is_created_replaced_as_it_came_and_deleted(library: Library) -> None:
    status, made = await library.send("POST", PATH, {"id": "b"}, title="One")
    assert (status, made["data"]) == (201, {"type": "book", "id": "b", "attributes": attributes(version=1)})

    shown = {**made["data"]["attributes"], "pages": 12}
    status, changed = await library.send("PUT", f"{PATH}/b", {"id": "b"}, **shown)
    assert (status, changed["data"]["attributes"]) == (200, attributes(pages=12, version=2))

    assert await library.send("DELETE", f"{PATH}/b") == (204, None)
    assert library.books.all == {}
    assert library.books.seen == ["DELETE /api/v1/books/{id}"]


def attributes(**given: Any) -> dict[str, Any]:
    return {"title": "One", "pages": None, "version": 1, **given}


@pytest.mark.parametrize(
    ("body", "status", "pointer", "says"),
    [
        (b"", 400, "", "byte 0"),
        (b"{", 400, "", "byte 1"),
        (b"[]", 400, "", "Expected `object`, got `array`"),
        (b"{}", 400, "/data", "missing required field `data`"),
        (b'{"data":null}', 400, "/data", "Expected `object`, got `null`"),
        (b'{"data":[]}', 400, "/data", "Expected `object`, got `array`"),
        (b'{"data":{}}', 400, "/data/type", "missing required field `type`"),
        (b'{"data":{"type":7}}', 400, "/data/type", "Expected `str`, got `int`"),
        (b'{"data":{"type":"film"}}', 409, "/data/type", "here are resources of type 'book'"),
        (b'{"data":{"type":"book","id":7}}', 400, "/data/id", "Expected `str"),
        (b'{"data":{"type":"book","id":"c"}}', 409, "/data/id", "an id cannot change"),
        (b'{"data":{"type":"book"}}', 400, "/data/attributes/title", "missing required field `title`"),
        (b'{"data":{"type":"book","attributes":[]}}', 400, "/data/attributes", "Expected `object`"),
        (b'{"data":{"type":"book","attributes":{"title":""}}}', 400, "/data/attributes/title", "length >= 1"),
        (b'{"data":{"type":"book","attributes":{"title":"x","pages":0}}}', 400, "/data/attributes/pages", ">= 1"),
        (b'{"data":{"type":"book","attributes":{"title":"x","a/b~":0}}}', 400, "/data/attributes/a~1b~0", "unknown"),
        (b'{"data":{"type":"book","attributes":{"title":"\xff"}}}', 400, "/data/attributes", "UTF-8"),
        (b'{"data":{"type":"book","attributes":%s}}' % (b"[" * 80 + b"]" * 80), 400, "", "64 arrays"),
    ],
)
async def test_a_body_that_cannot_be_is_refused(
    library: Library, body: bytes, status: int, pointer: str, says: str
) -> None:
    async with library.client.put(f"{PATH}/b", data=body, headers=JSON_API) as answer:
        [error] = (await answer.json(content_type=None))["errors"]
    assert (answer.status, error["source"]) == (status, {"pointer": pointer})
    assert says in error["detail"]


@pytest.mark.parametrize("media_type", ["application/json", "application/vnd.api+json; profile=x"])
async def test_members_that_nobody_knows_are_ignored_and_json_is_json(library: Library, media_type: str) -> None:
    data = {"type": "book", "id": "b", "lid": "x", "links": {}, "attributes": {"title": "One"}}
    body = json.dumps({"data": data, "meta": {}, "jsonapi": {"version": "1.1"}}).encode()
    async with library.client.post(PATH, data=body, headers={"Content-Type": media_type}) as answer:
        assert answer.status == 201


async def test_a_refusal_may_carry_what_programs_need(library: Library) -> None:
    await library.send("POST", PATH, {"id": "b"}, title="One")
    status, refused = await library.send("POST", PATH, {"id": "b"}, title="One")
    [error] = refused["errors"]
    assert (status, error["meta"], error["source"]) == (409, {"version": 1}, {"pointer": "/data/id"})


async def test_several_reasons_are_told_at_once() -> None:
    async def refuse(_: web.Request) -> web.Response:
        raise Problems([Problem(400, "invalid_input", "one"), Problem(400, "invalid_input", "two", pointer="/b")])

    app = web.Application(middlewares=[refusals(Engine("memory://"))])
    add_operations(app, [Operation("POST", "/api/x", refuse, "Refuse", "write", answers={204: None})])
    async with TestClient(TestServer(app)) as client, client.post("/api/x") as answer:
        errors = (await answer.json(content_type=None))["errors"]
    assert answer.status == 400
    assert [(error["detail"], error.get("source")) for error in errors] == [("one", None), ("two", {"pointer": "/b"})]


# -- lists


@pytest.fixture
async def shelf(library: Library) -> Library:
    """With books whose titles and pages are in no order."""
    for book_id, title, pages in (("1", "c", 10), ("2", "a", 30), ("3", "b", None), ("4", "a", 20)):
        library.books.all[book_id] = BookAttributes(title=title, pages=pages, version=1)
    return library


@pytest.mark.parametrize(
    ("query", "ids", "pagination"),
    [
        ("", "2431", {"page": 1, "size": 1000}),
        ("sort=-title", "1324", {"page": 1, "size": 1000}),
        ("sort=title,pages", "4231", {"page": 1, "size": 1000}),
        ("sort=title,-pages", "2431", {"page": 1, "size": 1000}),
        ("sort=pages", "1423", {"page": 1, "size": 1000}),
        ("sort=-pages", "2413", {"page": 1, "size": 1000}),
        ("filter[title]=b,c&meta[total]=true", "31", {"page": 1, "size": 1000, "total": 2, "total_pages": 1}),
        ("page[size]=3", "243", {"page": 1, "size": 3}),
        ("page[size]=3&page[number]=2&meta[total]=false", "1", {"page": 2, "size": 3}),
        ("page[size]=3&page[number]=3&meta[total]=true", "", {"page": 3, "size": 3, "total": 4, "total_pages": 2}),
        ("filter%5Btitle%5D=nobody&meta%5Btotal%5D=true", "", {"page": 1, "size": 1000, "total": 0, "total_pages": 0}),
    ],
)
async def test_a_list_is_sorted_filtered_and_cut_into_pages(
    shelf: Library, query: str, ids: str, pagination: dict[str, int]
) -> None:
    status, answer = await shelf.send("GET", f"{PATH}?{query}")
    assert status == 200, answer
    assert "".join(resource["id"] for resource in answer["data"]) == ids
    assert answer["meta"] == {"pagination": pagination}


async def test_each_page_leads_to_the_next(shelf: Library) -> None:
    path: str | None = f"{PATH}?page[size]=3&sort=-title"
    pages: list[str] = []
    while path is not None:
        _, answer = await shelf.send("GET", path)
        pages.append("".join(resource["id"] for resource in answer["data"]))
        path = answer["links"]["next"]
    assert pages == ["132", "4"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("page[number]=0", "page[number]"),
        ("page[number]=-1", "page[number]"),
        ("page[number]=two", "page[number]"),
        ("page[number]=99999999999", "page[number]"),
        ("page[number]=1&page[number]=1", "page[number]"),
        ("page[size]=0", "page[size]"),
        ("page[size]=1001", "page[size]"),
        ("page[after]=x", "page[after]"),
        ("meta[total]=yes", "meta[total]"),
        ("meta[total]=", "meta[total]"),
        ("sort=version", "sort"),
        ("sort=title,", "sort"),
        ("sort=", "sort"),
        ("filter[pages]=1", "filter[pages]"),
        ("include=author", "include"),
        ("fields[book]=title", "fields[book]"),
        ("title=a", "title"),
    ],
)
async def test_a_parameter_that_cannot_be_is_refused(shelf: Library, query: str, parameter: str) -> None:
    status, answer = await shelf.send("GET", f"{PATH}?{query}")
    assert (status, answer["errors"][0]["source"]) == (400, {"parameter": parameter})


async def test_so_it_is_where_there_are_no_parameters(shelf: Library) -> None:
    status, answer = await shelf.send("DELETE", f"{PATH}/1?force=true")
    assert (status, answer["errors"][0]["source"]) == (400, {"parameter": "force"})
    assert "1" in shelf.books.all


# -- media types


@pytest.mark.parametrize("media_type", ["application/vnd.api+json; ext=x", "text/html", "application/vnd.api+json"])
async def test_what_has_no_body_needs_no_content_type(shelf: Library, media_type: str) -> None:
    async with shelf.client.delete(f"{PATH}/1", headers={"Content-Type": media_type}) as answer:
        assert answer.status == 204


async def test_a_client_that_takes_no_answer_is_refused_before_anything_is_done(library: Library) -> None:
    body = json.dumps({"data": {"type": "book", "id": "b", "attributes": {"title": "One"}}}).encode()
    headers = {**JSON_API, "Accept": "application/vnd.api+json; ext=x"}
    async with library.client.post(PATH, data=body, headers=headers) as answer:
        assert (answer.status, answer.headers["Vary"]) == (406, "Accept")
    assert library.books.all == {}
