"""API keys: how they are made, what is stored of them, and what one that is shown is good for.

A key is `dk_`, its public id, and a secret of 256 random bits. Only the SHA-256 of the whole is stored: of that many
random bits nobody guesses one from the other, so that a slow hash would protect nothing, and cost each request its
time.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from hmac import compare_digest
from typing import Literal, NamedTuple, TypeAlias, get_args

import msgspec
from msgspec import Struct

from durably.engine.errors import DurablyError
from durably.engine.log.records import from_us
from durably.store import DocumentRow
from durably.store.runtime import Randomness

__all__ = ["KIND", "Key", "KeyRefused", "Keys", "NewKey", "Scope", "covers", "new_key"]

KIND = "key"
PREFIX = "dk"
ID_DIGITS = 16
"""Hexadecimal digits of a key's public id."""

Scope: TypeAlias = Literal["read", "write", "admin"]
"""What a key is good for: `admin` includes `write`, and `write` includes `read`."""
_ORDER: tuple[str, ...] = get_args(Scope)


class KeyRefused(DurablyError):  # noqa: N818 - named as the errors of the contract are
    """The key that was shown is good for nothing: nobody made it, it was revoked, or it has expired."""


class Key(Struct, frozen=True, kw_only=True):
    """A key as it is stored. Times are engine times."""

    id: str
    name: str
    scope: Scope
    environment: str
    digest: str
    """The SHA-256 of the key, in hexadecimal digits."""
    created_us: int
    expires_us: int | None = None
    revoked_us: int | None = None

    def why_refused(self, now_us: int) -> str | None:
        """Why it is good for nothing any more; None while it is."""
        if self.revoked_us is not None:
            return f"API key {self.name!r} was revoked"
        if self.expires_us is not None and self.expires_us <= now_us:
            return f"API key {self.name!r} expired at {from_us(self.expires_us):%Y-%m-%d %H:%M} UTC"
        return None


class NewKey(NamedTuple):
    """A key that was just made: the one time that anybody sees what it is."""

    text: str
    row: DocumentRow


class _Body(Struct):
    """What a key's document holds."""

    name: str
    scope: Scope
    environment: str
    digest: str
    expires_us: int | None = None


_decode = msgspec.json.Decoder(_Body).decode


def covers(scope: str, needed: str) -> bool:
    """Whether a key of this scope may do what needs that one."""
    return _ORDER.index(scope) >= _ORDER.index(needed)


def new_key(
    name: str, scope: Scope, environment: str, *, now_us: int, expires_us: int | None, randomness: Randomness
) -> NewKey:
    """Make a key."""
    key_id = randomness.token()[:ID_DIGITS]
    text = f"{PREFIX}_{key_id}_{randomness.token()}{randomness.token()}"
    body = msgspec.json.encode(_Body(name, scope, environment, _digest(text), expires_us))
    return NewKey(text, DocumentRow(kind=KIND, id=key_id, body=body, created_us=now_us, updated_us=now_us))


class Keys:
    """All keys there are, revoked ones too."""

    def __init__(self, rows: Iterable[DocumentRow]) -> None:
        self._by_id = {row.id: _key(row) for row in rows}

    def __iter__(self) -> Iterator[Key]:
        return iter(self._by_id.values())

    @property
    def configured(self) -> bool:
        """Whether a key was ever made: from then on everybody needs one, also when all have been revoked since."""
        return bool(self._by_id)

    def check(self, text: str, now_us: int) -> Key:
        """The key that this is. Raises `KeyRefused`. What is compared with the secret takes the same time always."""
        key = self._by_id.get(text.removeprefix(f"{PREFIX}_").partition("_")[0])
        if key is None or not compare_digest(key.digest, _digest(text)):
            raise KeyRefused("the API key is not known here; `durably keys list` shows which there are")
        why = key.why_refused(now_us)
        if why is not None:
            raise KeyRefused(f"{why}; `durably keys create` makes another one")
        return key


def _digest(text: str) -> str:
    return sha256(text.encode(errors="replace")).hexdigest()


def _key(row: DocumentRow) -> Key:
    body = _decode(row.body)
    return Key(
        id=row.id,
        name=body.name,
        scope=body.scope,
        environment=body.environment,
        digest=body.digest,
        created_us=row.created_us,
        expires_us=body.expires_us,
        revoked_us=row.deleted_us,
    )
