"""Where a redirect leads, and with which request (RFC 9110 section 15.4, and what browsers do)."""

from msgspec.structs import replace
from yarl import URL

from durably.engine.http.errors import InvalidRequest
from durably.engine.http.messages import Request, Response
from durably.engine.http.secrets import is_secret, shown
from durably.engine.http.urls import origin, parse_url

__all__ = ["redirected"]

REDIRECTS = frozenset({301, 302, 303, 307, 308})
OF_THE_BODY = frozenset({"content-encoding", "content-language", "content-location", "content-type"})


def redirected(request: Request, response: Response) -> Request | None:
    """The request that follows `response`, None if that is no redirect.

    303 asks for a GET, and so do 301 and 302 after a POST; 307 and 308 repeat method and body. Headers whose names look
    secret are not sent to another origin, nor is `Host`. Raises `InvalidRequest` where the new URL cannot be requested.
    """
    location = response.headers.get("location")
    if response.status not in REDIRECTS or not location:
        return None
    before = parse_url(request.url)
    after = _target(request, before, location)
    headers = request.headers
    if origin(before) != origin(after):
        headers = {name: value for name, value in headers.items() if not is_secret(name) and name.lower() != "host"}
    if not _asks_for_get(request.method.upper(), response.status):
        return replace(request, url=str(after), headers=headers)
    left = {name: value for name, value in headers.items() if name.lower() not in OF_THE_BODY}
    return replace(request, method="GET", url=str(after), headers=left, body=b"")


def _asks_for_get(method: str, status: int) -> bool:
    return (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST")  # noqa: PLR2004 - statuses


def _target(request: Request, before: URL, location: str) -> URL:
    try:
        return parse_url(str(before.join(URL(location, encoded=location.isascii()))))
    except (InvalidRequest, ValueError) as error:
        why = str(error) if isinstance(error, InvalidRequest) else f"{shown(location)!r} cannot be parsed"
        raise InvalidRequest(f"{request.method} {shown(request.url)} was redirected, and {why}") from None
