"""What must not lie in a log in clear: headers and parameters of a query whose names say that they are secret.

A step's arguments are recorded. A secret is therefore taken out of them, `***` stands in its place, and what was taken
out goes along as `Secrets`, which no JSON can carry: it is recorded by its type's name only, and left out of the
digest (DESIGN rule 14). After a crash the workflow's code gives it again, as it gives every argument.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, final
from urllib.parse import unquote_plus

__all__ = ["HIDDEN", "Secrets", "hide", "hide_query", "is_secret", "shown"]

HIDDEN = "***"
LONGEST = 200

_ENDINGS = (
    *("auth", "authorization", "cookie", "credential", "credentials", "jwt", "key", "passphrase", "passwd"),
    *("password", "pwd", "secret", "session", "sessionid", "sig", "signature", "token"),
)
"""How the words of a secret's name end: `X-Api-Key`, `accessToken`, `X-Amz-Signature`."""
_OPEN = frozenset({"idempotencykey", "nextpagetoken", "nexttoken", "pagetoken", "continuationtoken", "xidempotencykey"})
"""Names that only sound secret, without `-` and `_`."""
_PARAMETER = re.compile(r"(?:^|(?<=&))([^=&]*)=([^&]*)")
_USER = re.compile(r"^([a-z][a-z0-9+.-]*:[/\\]*|[/\\]*)[^/\\?#]*@", re.IGNORECASE)
"""What stands before an `@` where a URL names its host: a name and perhaps a password."""


def is_secret(name: str) -> bool:
    """Whether the value of a header or a parameter with this name is to be hidden."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    return "".join(words) not in _OPEN and any(word.endswith(_ENDINGS) for word in words)


@final
class Secrets:
    """Values that were taken out, to be put back where the request is sent. It has no fields that JSON could show."""

    __slots__ = ("_headers", "_query")

    def __init__(self, headers: Mapping[str, str], query: Mapping[str, list[str]]) -> None:
        self._headers = headers
        self._query = query

    def into_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers with the hidden values; one that was replaced meanwhile, in a fork, stays as it is."""
        return {name: self._headers.get(name, value) if value == HIDDEN else value for name, value in headers.items()}

    def into_query(self, url: str) -> str:
        """The URL with the hidden values."""
        left = {name: iter(values) for name, values in self._query.items()}

        def fill(found: re.Match[str]) -> str:
            name, value = found.groups()
            return f"{name}={next(left.get(name, _nothing), value) if value == HIDDEN else value}"

        return _in_query(fill, url)


_nothing: Iterator[str] = iter(())


class Hidden(NamedTuple):
    """A URL and headers as they may be recorded, and what was taken out of them, if anything was."""

    url: str
    headers: dict[str, str]
    secrets: Secrets | None


def hide(url: str, headers: Mapping[str, str]) -> Hidden:
    """Take secrets out of a URL and headers. What follows a `#` is never sent, so it is left out."""
    url = url.partition("#")[0]
    taken = {name: value for name, value in headers.items() if is_secret(name)}
    query: dict[str, list[str]] = {}
    for name, value in secret_parameters(url):
        query.setdefault(name, []).append(value)
    left = {name: HIDDEN if name in taken else value for name, value in headers.items()}
    return Hidden(hide_query(url), left, Secrets(taken, query) if taken or query else None)


def secret_parameters(url: str) -> list[tuple[str, str]]:
    """Names and values of the secret parameters in a URL's query, as they are written there."""
    pairs: list[tuple[str, str]] = _PARAMETER.findall(url.partition("?")[2])
    return [(name, value) for name, value in pairs if is_secret(unquote_plus(name))]


def hide_query(url: str) -> str:
    """The URL without secret parameters, and without a password, which no request takes."""

    def mask(found: re.Match[str]) -> str:
        name, value = found.groups()
        return f"{name}={HIDDEN if is_secret(unquote_plus(name)) else value}"

    return _in_query(mask, _USER.sub(rf"\1{HIDDEN}@", url))


def _in_query(change: Callable[[re.Match[str]], str], url: str) -> str:
    """The URL with each parameter of its query changed."""
    path, mark, query = url.partition("?")
    return path + mark + _PARAMETER.sub(change, query)


def shown(url: str) -> str:
    """A URL for errors and log lines: without query, fragment and password."""
    text = re.split(r"[?#]", _USER.sub(rf"\1{HIDDEN}@", url), maxsplit=1)[0]
    printable = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:LONGEST])
    return printable if len(text) <= LONGEST else f"{printable}…"
