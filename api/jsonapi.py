"""JSON:API 1.1 documents."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

import msgspec
from aiohttp import web

from durably.api.responses import JSON_API, common_headers, respond

__all__ = ["Page", "Resource", "collection", "document", "no_content", "numbered"]

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


class Resource(msgspec.Struct, frozen=True):
    """One resource object; `attributes` are a struct or a mapping."""

    type: str
    id: str
    attributes: Any


class Page(NamedTuple):
    """Which part of a list is asked for, counted from 1, and whether to say how long the whole list is."""

    number: int
    size: int
    total: bool = False


def document(data: Resource, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A document of one resource."""
    return _answer({"data": data}, status, headers)


def collection(request: web.Request, data: Sequence[Resource], *, size: int, after: str | None) -> web.Response:
    """A page of `size` resources at most; the next one begins behind the cursor `after`, if there is one."""
    following = None if after is None else str(request.rel_url.update_query({"page[after]": after}))
    return _answer({"data": data, "links": {"next": following}, "meta": {"page_size": size}})


def numbered(request: web.Request, items: Sequence[T], page: Page, show: Callable[[T], Resource]) -> web.Response:
    """One page of a whole list; `show` makes resources of the items on it, and of no others."""
    end = page.number * page.size
    following = None
    if end < len(items):
        following = str(request.rel_url.update_query({"page[number]": str(page.number + 1)}))
    pagination: dict[str, Any] = {"page": page.number, "size": page.size}
    if page.total:
        pagination |= {"total": len(items), "total_pages": -(-len(items) // page.size)}
    content = {
        "data": [show(item) for item in items[end - page.size : end]],
        "links": {"next": following},
        "meta": {"pagination": pagination},
    }
    return _answer(content)


def no_content() -> web.Response:
    """204, as after a DELETE."""
    return web.Response(status=HTTPStatus.NO_CONTENT, headers=common_headers())


def _answer(
    content: Mapping[str, Any],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    return respond(_encode(content), JSON_API, status, headers)
