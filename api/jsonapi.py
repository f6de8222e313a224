"""JSON:API 1.1 documents."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from durably.api.errors import JSON_API, Problem
from durably.api.responses import respond

__all__ = ["Resource", "collection", "document"]

_encode = msgspec.json.Encoder().encode


class Resource(msgspec.Struct, frozen=True):
    """One resource object."""

    type: str
    id: str
    attributes: Mapping[str, Any]


def document(
    request: web.Request, data: Resource, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A document of one resource."""
    return _answer(request, {"data": data}, status, headers)


def collection(
    request: web.Request, data: Sequence[Resource], *, size: int | None = None, after: str | None = None
) -> web.Response:
    """A document of several, if in pages `size` on each; the next begins behind the cursor `after`."""
    content: dict[str, Any] = {"data": data}
    if size is not None:
        following = None if after is None else str(request.rel_url.update_query({"page[after]": after}))
        content["links"] = {"next": following}
        content["meta"] = {"page_size": size}
    return _answer(request, content)


def _answer(
    request: web.Request,
    content: Mapping[str, Any],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    _check_accept(request)
    return respond(_encode(content), JSON_API, status, headers)


def _check_accept(request: web.Request) -> None:
    """406 for a client that takes JSON:API only with parameters it does not have here (JSON:API 1.1)."""
    accept = request.headers.get("Accept", "")
    if JSON_API not in accept:
        return
    wanted = [each.strip() for each in accept.split(",")]
    ours = [each.partition(";")[2].strip() for each in wanted if each.startswith(JSON_API)]
    if not any(parameters == "" or parameters.startswith(("profile=", "q=")) for parameters in ours):
        raise Problem(406, "not_acceptable", f"{JSON_API} has no parameter but profile here: {accept[:200]!r}")
