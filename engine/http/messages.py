"""A request and its answer, as values."""

import codecs
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from msgspec import Struct, field
from msgspec.structs import force_setattr

from durably.engine.http.secrets import is_secret, secret_parameters, shown
from durably.engine.values.codec import decoder_for, encode

__all__ = ["MAX_BODY", "MAX_REDIRECTS", "Headers", "Request", "Response"]

MAX_BODY = 4 * 1024 * 1024
"""The most bytes of an answer that are kept: those of a step's result."""
MAX_REDIRECTS = 5
SHORTEST_SECRET = 8
"""Characters of a part of a header, such as what follows `Bearer`, that is looked for on its own."""


class Headers(dict[str, str]):
    """The headers of an answer: names in lower case, and looked up in any case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class Request(Struct, frozen=True, kw_only=True):
    """What `HttpClient.send` sends."""

    method: str
    url: str
    headers: dict[str, str] = {}
    body: bytes = b""
    timeout: float = 30
    """Seconds for all of it: redirects, and reading the answer."""
    success_status: tuple[str, ...] = ("2xx",)
    """The statuses that are wanted, `"201"` or `"2xx"`. A redirect that is among them is not followed."""
    max_redirects: int = MAX_REDIRECTS
    tls_verify: bool = True
    ca_cert: str | None = None
    """Certificates in PEM that are trusted, beside those that the system trusts."""
    max_body: int = MAX_BODY
    """The most bytes of the answer's body that are kept, after decompression."""

    @property
    def secrets(self) -> list[str]:
        """Values that must not be repeated in errors, the longest first."""
        values = [value for name, value in self.headers.items() if is_secret(name)]
        values += [part for value in values for part in re.split(r"[\s,;=]+", value) if len(part) >= SHORTEST_SECRET]
        values += [value for _, value in secret_parameters(self.url)]
        return sorted(filter(None, values), key=len, reverse=True)

    def __repr__(self) -> str:
        return f"<Request {self.method} {shown(self.url)}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("method", self.method), ("url", shown(self.url))]


class Response(Struct, frozen=True, omit_defaults=True):
    """An answer, decoded from its own record in every replay.

    `Response.of` makes one for tests. The body is recorded as text where it is UTF-8, so that people can read it in a
    history, else in Base64.
    """

    status: int
    headers: Mapping[str, str] = {}
    """By name, in any case; several of one name are joined by a comma."""
    url: str = ""
    """Where the answer came from in the end."""
    redirects: tuple[str, ...] = ()
    """The URLs that led there, the first one first. Secrets are hidden here as in `url`."""
    as_text: str = field(default="", name="body")
    as_bytes: bytes = field(default=b"", name="body_base64")
    body_bytes: int = 0
    """The length of the whole body, decompressed; at least that much where reading it was given up."""
    truncated: bool = False
    """Whether `body` is only the beginning."""

    def __post_init__(self) -> None:
        force_setattr(self, "headers", Headers(self.headers))

    @classmethod
    def of(
        cls,
        status: int = 200,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | str = b"",
        json: Any = None,
        url: str = "",
        body_bytes: int | None = None,
    ) -> "Response":
        """An answer with this body, or with `json` as its body. It is truncated if `body_bytes` says there is more."""
        content = body.encode() if isinstance(body, str) else body if json is None else encode(json)
        total = len(content) if body_bytes is None else body_bytes
        text = _utf8(content, whole=total <= len(content))
        return cls(
            status=status,
            headers=headers or {},
            url=url,
            as_text=text or "",
            as_bytes=content if text is None else b"",
            body_bytes=total,
            truncated=total > len(content),
        )

    @property
    def body(self) -> bytes:
        """The body, decompressed."""
        return self.as_bytes or self.as_text.encode()

    @property
    def text(self) -> str:
        """The body as text: in the charset of its Content-Type, UTF-8 without one; what does not fit becomes U+FFFD."""
        if not self.as_bytes:
            return self.as_text
        found = _CHARSET.search(self.headers.get("content-type", ""))
        charset = found[1] if found and _is_charset(found[1]) else "utf-8"
        return self.as_bytes.decode(charset, "replace")

    def __repr__(self) -> str:
        return f"<Response {self.status} with {self.body_bytes:,} bytes>"  # no body, which may be long or secret

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("status", self.status), ("body_bytes", self.body_bytes)]

    def json(self, type: Any = Any) -> Any:  # noqa: A002 - as run_step(type=…) and wait_for_signal(type=…) have it
        """The body decoded from JSON, by an annotation if one is given. A `ValueError` says what does not fit."""
        return decoder_for(type)(self.body)


_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE)


_NO_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"})
"""What Python decodes and nobody sends: they raise, take quadratic time, or give what is no Unicode."""


@lru_cache(maxsize=256)
def _is_charset(name: str) -> bool:
    """Whether Python can decode text that is said to be in it."""
    try:
        "a".encode(name)  # which refuses what is no text, such as base64
    except (LookupError, UnicodeError):
        return False
    return codecs.lookup(name).name not in _NO_CHARSETS


def _utf8(content: bytes, *, whole: bool) -> str | None:
    """The text that encodes to these bytes, if there is one. A character that the end cuts in two is left out."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(content, final=whole)
    except UnicodeDecodeError:
        return None
