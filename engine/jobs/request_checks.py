"""Can this request be sent? What no type says of URLs, headers, bodies and certificates."""

import ssl
from collections.abc import Iterator, Mapping

from durably.engine.http.errors import InvalidRequest
from durably.engine.http.messages import Request
from durably.engine.http.urls import check_request
from durably.engine.jobs.flaws import Flaw, escape
from durably.engine.jobs.model import MAX_BODY, Configuration, Overlay

__all__ = ["request_flaws"]

MAX_HEADERS = 100
MAX_HEADER_VALUE = 8_192
"""As many characters as common servers take of one header."""
SOMEWHERE = "http://somewhere"


def request_flaws(request: Configuration | Overlay, at: str, header_at: str) -> Iterator[Flaw]:
    """Mistakes in a request, or in what an environment has another of.

    `header_at` is what pointers to headers begin with.
    """
    if isinstance(request.url, str):
        yield from _flaw_of(Request(method="POST", url=request.url), f"{at}/url")
    if isinstance(request.body, str) and len(request.body.encode()) > MAX_BODY:
        yield Flaw(f"{at}/body", f"body takes more than {MAX_BODY:,} bytes")
    if isinstance(request.ca_cert, str) and not _is_pem(request.ca_cert):
        yield Flaw(f"{at}/ca_cert", "ca_cert must be one certificate or several in PEM")
    yield from _header_flaws(request.headers, at, header_at)


def _header_flaws(headers: Mapping[str, str], at: str, header_at: str) -> Iterator[Flaw]:
    if len(headers) > MAX_HEADERS:
        yield Flaw(at, f"there are {len(headers)} headers, more than {MAX_HEADERS}")
    seen: set[str] = set()
    for name, value in headers.items():
        pointer = header_at + escape(name)
        if name.lower() in seen:
            yield Flaw(pointer, f"header {name} is there twice: the case of its letters does not matter")
        elif len(value) > MAX_HEADER_VALUE:
            yield Flaw(pointer, f"header {name} has more than {MAX_HEADER_VALUE:,} characters")
        else:
            yield from _flaw_of(Request(method="POST", url=SOMEWHERE, headers={name: value}), pointer)
        seen.add(name.lower())


def _flaw_of(request: Request, pointer: str) -> Iterator[Flaw]:
    """Why the HTTP client would not send it."""
    try:
        check_request(request)
    except InvalidRequest as error:
        yield Flaw(pointer, str(error))


def _is_pem(text: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError, TypeError):  # the last two: it is empty, or not ASCII
        return False
    return "-----BEGIN CERTIFICATE-----" in text
