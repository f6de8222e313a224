"""Keys and environments as people make, list and withdraw them: in a running engine, or beside it in its store."""

from collections.abc import Callable
from typing import Any, Protocol

from msgspec.structs import replace

from durably.engine.access import environments, keys
from durably.engine.access.environments import BUILT_IN, Environment, check_environment, environments_in, jobs_in
from durably.engine.access.keys import Key, Keys, Scope, new_key
from durably.engine.errors import DurablyError, InvalidInput
from durably.store import DocumentRow
from durably.store.runtime import Randomness

__all__ = ["Administration", "InUse", "NotThere"]

MAX_NAME = 200
"""The most characters of a key's name."""
JOB = "job"


class NotThere(DurablyError):  # noqa: N818 - named as the errors of the contract are
    """There is no such key, or no such environment."""


class InUse(DurablyError):  # noqa: N818 - as above
    """An environment of that name exists already, or cannot be deleted: it was there from the start, or is named."""


class StoredDocuments(Protocol):
    """Where documents are read and written: `Documents` of an engine, or of a store beside it."""

    async def load(self, kind: str) -> list[DocumentRow]: ...
    async def save(self, row: DocumentRow) -> Any: ...


class Administration:
    """Every method asks the store anew, and what it changes is durable when it returns."""

    def __init__(self, documents: StoredDocuments, now_us: Callable[[], int], randomness: Randomness) -> None:
        self._documents = documents
        self._now_us = now_us
        self._randomness = randomness

    # -- keys

    async def keys(self) -> list[Key]:
        """All keys, the oldest first, revoked ones too."""
        return list(Keys(await self._documents.load(keys.KIND)))

    async def create_key(
        self, name: str, scope: Scope, environment: str, expires_us: int | None = None
    ) -> tuple[Key, str]:
        """A new key, and its text, which nobody can be told again. Raises `NotThere` for an unknown environment."""
        if not (0 < len(name) <= MAX_NAME and name.isprintable()):
            raise InvalidInput(f"a key's name has 1 to {MAX_NAME} printable characters, and not {name[:80]!r}")
        now_us = self._now_us()
        if expires_us is not None and expires_us <= now_us:
            raise InvalidInput("the key would have expired already; let it expire later, or never")
        await self.environment(environment)
        made = new_key(name, scope, environment, now_us=now_us, expires_us=expires_us, randomness=self._randomness)
        await self._documents.save(made.row)
        [key] = Keys([made.row])
        return key, made.text

    async def revoke_key(self, which: str) -> Key:
        """Let a key, named by its id or by a name that only one has, be good for nothing from the next request on.

        Raises `NotThere`, also when it was revoked before.
        """
        rows = await self._documents.load(keys.KIND)
        found = [key for key in Keys(row for row in rows if row.deleted_us is None) if which in (key.id, key.name)]
        if not found:
            raise NotThere(f"there is no key {which[:100]!r}, or it was revoked; `durably keys list` shows them")
        if len(found) > 1:
            ids = ", ".join(key.id for key in found)
            raise InvalidInput(f"{len(found)} keys are called {which!r}: {ids}. Name one by its id")
        [row] = [withdrawn(row, self._now_us()) for row in rows if row.id == found[0].id]
        await self._documents.save(row)
        [key] = Keys([row])
        return key

    # -- environments

    async def environments(self) -> list[Environment]:
        """All environments: those that exist from the start, then the others by name."""
        return list(environments_in(await self._documents.load(environments.KIND)).values())

    async def environment(self, name: str) -> Environment:
        """One of them. Raises `NotThere`."""
        known = environments_in(await self._documents.load(environments.KIND))
        if name not in known:
            raise NotThere(
                f"there is no environment {name[:100]!r}: there are {', '.join(known)}. "
                f"`durably environments create NAME` makes another one"
            )
        return known[name]

    async def create_environment(self, name: str) -> Environment:
        """A new environment. Raises `InUse` when there is one of that name."""
        check_environment(name)
        if name in environments_in(await self._documents.load(environments.KIND)):
            raise InUse(f"environment {name!r} exists already")
        row = environments.new_environment(name, self._now_us())
        await self._documents.save(row)
        return Environment(name, row.created_us)

    async def delete_environment(self, name: str) -> None:
        """Delete an environment. Its runs stay. Raises `InUse` while jobs or keys name it, and for built-in ones."""
        await self.environment(name)
        if name in BUILT_IN:
            raise InUse(f"environment {name!r} exists from the start; it cannot be deleted")
        if jobs := jobs_in(name, await self._documents.load(JOB)):
            raise InUse(f"environment {name!r} is named by jobs: {', '.join(jobs[:10])}; change them, or delete them")
        held = [key.name for key in await self.keys() if key.environment == name and key.revoked_us is None]
        if held:
            raise InUse(f"environment {name!r} has keys: {', '.join(held[:10])}; revoke them first")
        stored = await self._documents.load(environments.KIND)
        [row] = [withdrawn(row, self._now_us()) for row in stored if row.id == name and row.deleted_us is None]
        await self._documents.save(row)


def withdrawn(row: DocumentRow, now_us: int) -> DocumentRow:
    """A document that is deleted from now on."""
    return replace(row, version=row.version + 1, updated_us=now_us, deleted_us=now_us)
