"""What a request must be like to be sent: its method, URL and headers."""

import re

from yarl import URL

from durably.engine.http.errors import InvalidRequest
from durably.engine.http.messages import Request
from durably.engine.http.secrets import shown

__all__ = ["check_request", "origin", "parse_url"]

LONGEST_URL = 8_192
"""Characters. Servers take no more than about that."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\0\r\n]*")
_UNWANTED = re.compile(r"[\0-\x20\x7f\\]")
"""What no URL has, and what two parsers read in two ways."""
_OF_THE_CONNECTION = frozenset(
    {"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)


def check_request(request: Request) -> None:
    """Refuse what cannot be sent: `InvalidRequest`."""
    parse_url(request.url)
    if not _TOKEN.fullmatch(request.method) or request.method.upper() in ("CONNECT", "TRACE"):
        raise InvalidRequest(f"the method {request.method[:40]!r} cannot be sent; use GET, POST, PUT, PATCH, DELETE, …")
    for name, value in request.headers.items():
        if not _TOKEN.fullmatch(name):
            raise InvalidRequest(f"the header name {name[:80]!r} cannot be sent: it must be letters, digits and '-'")
        if name.lower() in _OF_THE_CONNECTION:
            raise InvalidRequest(f"the header {name!r} is the HTTP client's own; leave it out")
        if not _VALUE.fullmatch(value) or not _is_utf8(value):
            raise InvalidRequest(f"the value of the header {name!r} has a line break or what is no text in it")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def parse_url(text: str) -> URL:
    """The URL, just as it is written if it is ASCII: services sign URLs. Raises `InvalidRequest`."""
    if len(text) > LONGEST_URL:
        raise _refused(text, f"it has {len(text):,} characters, more than {LONGEST_URL:,}")
    if _UNWANTED.search(text):
        raise _refused(text, "it has blanks, control characters or backslashes in it; percent-encode them")
    try:
        url = URL(text, encoded=text.isascii())
        scheme, host, port, user = url.scheme.lower(), url.host, url.port, url.raw_user or url.raw_password
    except ValueError:  # also from IDNA
        raise _refused(text, "it cannot be parsed") from None
    if scheme not in ("http", "https"):
        raise _refused(text, "it must begin with http:// or https://")
    if user is not None or "@" in url.raw_authority:
        raise _refused(text, "it has a name or password in it, which would be recorded; send an Authorization header")
    if not host:
        raise _refused(text, "it names no host")
    if not port:
        raise _refused(text, "port 0 is none")
    return url


def _refused(url: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"the URL {shown(url)!r} cannot be requested: {why}")


def origin(url: URL) -> tuple[str, str, int | None]:
    """Scheme, host and port: what has to be the same for secrets to be sent along."""
    return url.scheme.lower(), (url.raw_host or "").lower(), url.port
