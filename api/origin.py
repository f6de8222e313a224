"""Who may talk to a server that asks for no key: programs on this machine, and no web page.

A page from anywhere can make a visitor's browser send requests to 127.0.0.1, directly (its Origin tells) or,
by DNS rebinding, under a name of its own that it points there (the Host tells).
"""

from functools import lru_cache
from ipaddress import ip_address

from aiohttp import web
from yarl import URL

from durably.api.errors import Problem

__all__ = ["check_origin", "is_loopback"]


def check_origin(request: web.BaseRequest) -> None:
    """Refuse, with 403, what a web page of another site may have sent."""
    headers = request.headers
    host = headers.get("Host", "")
    if not _names_this_machine(host):
        raise Problem(
            403,
            "foreign_host",
            f"the Host header is {host[:200]!r}; without API keys this server answers to localhost and "
            "loopback addresses only",
        )
    origin = headers.get("Origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        raise Problem(
            403,
            "foreign_origin",
            f"the Origin {origin[:200]!r} is another site, which may not use this server",
        )


@lru_cache(maxsize=256)
def _names_this_machine(authority: str) -> bool:
    """Whether a Host header (name and, perhaps, any port: there are forwarded ones) names this machine."""
    try:
        name = URL.build(scheme="http", authority=authority).host or ""
    except ValueError:
        return False
    return is_loopback(name)


def is_loopback(host: str) -> bool:
    """Whether a name or an address can only be this machine."""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761: never anything else
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
