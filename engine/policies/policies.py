"""The stored retry policies of an engine, in memory: asked at each failure, changed through the store."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from durably.engine.errors import DurablyError
from durably.engine.execution.documents import DocumentConflict, Documents, to_its_end
from durably.engine.policies.model import PolicyFields, to_retry_policy
from durably.engine.retries.retry import RetryPolicy
from durably.store import DocumentRow

__all__ = ["Policies", "PolicyInUse", "PolicyNotFound", "StoredPolicy"]

KIND = "retry_policy"


class PolicyNotFound(DurablyError):  # noqa: N818 - named as the errors of the contract are
    """There is no stored policy of that id, or it was deleted."""

    def __init__(self, policy_id: str) -> None:
        super().__init__(f"there is no retry policy {policy_id!r}, or it was deleted: list them to see which there are")


class PolicyInUse(DurablyError):  # noqa: N818 - as above
    """The policy cannot be deleted: jobs refer to it. `jobs` are their ids."""

    def __init__(self, policy_id: str, jobs: list[str]) -> None:
        super().__init__(
            f"retry policy {policy_id!r} is used by {', '.join(jobs[:10])}: let these jobs name another one first"
        )
        self.jobs = jobs


class StoredPolicy(Struct, frozen=True):
    """A policy as it is stored, and what it means."""

    row: DocumentRow
    fields: PolicyFields
    retry_policy: RetryPolicy


class Policies:
    """All stored policies. `changed` is called when there is a new one: runs may have waited for it.

    A policy that was deleted stays in force for steps that name it, until there is a new one of its id (DESIGN section
    5). Changes come one after another, so that each sees what the one before has left.
    """

    def __init__(self, documents: Documents, *, now_us: Callable[[], int], changed: Callable[[], None]) -> None:
        self._documents = documents
        self._now_us = now_us
        self._changed = changed
        self._newest: dict[str, StoredPolicy] = {}
        self.changing = asyncio.Lock()
        """Held while policies change, and while jobs do, which refer to them: each sees what the other has left."""
        self.referencing: Callable[[str], list[str]] = _nobody
        """The jobs that refer to a policy, by id."""

    async def load(self) -> None:
        """Read what is stored."""
        async with self.changing:  # what is changed meanwhile may be newer than what was read
            self._newest = {row.id: _stored(row) for row in await self._documents.load(KIND)}

    def lookup(self, policy_id: str) -> RetryPolicy | None:
        """What the policy of that id means, deleted or not; None if there never was one."""
        found = self._newest.get(policy_id)
        return None if found is None else found.retry_policy

    def all(self) -> list[StoredPolicy]:
        """Those that are not deleted, by id."""
        return [each for _, each in sorted(self._newest.items()) if each.row.deleted_us is None]

    def get(self, policy_id: str) -> StoredPolicy:
        """One that is not deleted. Raises `PolicyNotFound`."""
        found = self._newest.get(policy_id)
        if found is None or found.row.deleted_us is not None:
            raise PolicyNotFound(policy_id)
        return found

    @to_its_end
    async def create(self, policy_id: str, fields: PolicyFields) -> StoredPolicy:
        """A new policy. Raises `DocumentConflict` when there is one of that id."""
        async with self.changing:
            found = self._newest.get(policy_id)
            if found is not None and found.row.deleted_us is None:
                raise DocumentConflict(f"retry policy {policy_id!r} exists already: PUT replaces it")
            now_us = self._now_us()
            row = DocumentRow(kind=KIND, id=policy_id, body=_encode(fields), created_us=now_us, updated_us=now_us)
            created = await self._save(row)
        self._changed()
        return created

    @to_its_end
    async def replace(self, policy_id: str, fields: PolicyFields) -> StoredPolicy:
        """Another content for a policy. It holds from the next failure on."""
        async with self.changing:
            row = self.get(policy_id).row
            return await self._save(
                replace(row, body=_encode(fields), version=row.version + 1, updated_us=self._now_us())
            )

    @to_its_end
    async def delete(self, policy_id: str) -> None:
        """Delete a policy. Raises `PolicyInUse` while jobs refer to it."""
        async with self.changing:
            row = self.get(policy_id).row
            if jobs := self.referencing(policy_id):
                raise PolicyInUse(policy_id, jobs)
            now_us = self._now_us()
            await self._save(replace(row, version=row.version + 1, updated_us=now_us, deleted_us=now_us))

    async def _save(self, row: DocumentRow) -> StoredPolicy:
        await self._documents.save(row)
        self._newest[row.id] = stored = _stored(row)
        return stored


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(PolicyFields).decode


def _stored(row: DocumentRow) -> StoredPolicy:
    fields = _decode(row.body)
    return StoredPolicy(row, fields, to_retry_policy(fields))


def _nobody(_: Any) -> list[str]:
    return []
