"""Bytes as an HTTP response, with the headers that every response has."""

from collections.abc import Mapping

from aiohttp import web
from multidict import CIMultiDict

__all__ = ["HTML", "JSON", "JSON_API", "common_headers", "respond"]

JSON = "application/json"
JSON_API = "application/vnd.api+json"
HTML = "text/html; charset=utf-8"

_ALWAYS = CIMultiDict(
    {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "Server": "durably",
        "X-Content-Type-Options": "nosniff",
    }
)


def common_headers() -> CIMultiDict[str]:
    """The headers of every response: no browser frames it, stores it or hands it to another site."""
    return _ALWAYS.copy()


def respond(body: bytes, media_type: str, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A response that no browser takes for anything else, frames, stores or hands to another site."""
    complete = common_headers()
    complete["Content-Type"] = media_type
    if media_type == JSON_API:
        complete["Vary"] = "Accept"  # a cache must not hand a refused Accept's 406 to others
    if headers:
        complete.update(headers)
    return web.Response(body=body, status=status, headers=complete)
