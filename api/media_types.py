"""Media types as headers name them, and JSON:API's rules about them (its section "Content Negotiation")."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from aiohttp import web

from durably.api.errors import Problem
from durably.api.responses import JSON, JSON_API

__all__ = ["MediaType", "check_accept", "check_content_type", "media_types"]


class MediaType(NamedTuple):
    """`application/json; charset=utf-8`: what is before the parameters, in lower case, and they."""

    name: str
    parameters: Mapping[str, str]


_TOKEN = r"[^\s;,=\"]*"  # noqa: S105 - RFC 9110's word for a name
_PARAMETER = re.compile(rf";\s*({_TOKEN})\s*(?:=\s*(\"(?:[^\"\\]|\\.)*\"|{_TOKEN}))?\s*")
_NAME = re.compile(rf"[\s,]*({_TOKEN})\s*((?:{_PARAMETER.pattern})*)[^,]*")


def media_types(header: str) -> Iterator[MediaType]:
    """Those in a header's value, with commas between them."""
    for found in _NAME.finditer(header):
        if name := found[1].lower():
            yield MediaType(name, {each[1].lower(): each[2] or "" for each in _PARAMETER.finditer(found[2]) if each[1]})


def check_content_type(request: web.Request) -> None:
    """415 for a body that is not JSON, or is JSON:API with a parameter but `profile`: there are no extensions here.

    A profile may be any, and is ignored if it is not known, as all are.
    """
    given = request.headers.get("Content-Type", "")
    name, parameters = next(media_types(given), MediaType("", {}))
    if name not in (JSON, JSON_API):
        detail = f"the Content-Type is {given[:200]!r}; send {JSON} or {JSON_API}"
        raise Problem(415, "unsupported_media_type", detail)
    if name == JSON_API and not parameters.keys() <= {"profile"}:
        detail = f"{JSON_API} takes no parameter but profile here, and {given[:200]!r} has one"
        raise Problem(415, "unsupported_media_type", detail)


def check_accept(request: web.Request) -> None:
    """406 for a client that takes JSON:API only with parameters that it does not have here; `q` is none of them."""
    given = request.headers.get("Accept", "")
    ours = [parameters for name, parameters in media_types(given) if name == JSON_API]
    if ours and not any(parameters.keys() <= {"profile", "q"} for parameters in ours):
        raise Problem(406, "not_acceptable", f"{JSON_API} has no parameter but profile here: {given[:200]!r}")
