"""How destinations stand: how many messages in a row they did not get, and which of them are switched off."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

import msgspec
from msgspec import Struct, structs

from durably.engine.execution.documents import DocumentConflict, Documents
from durably.engine.log.records import from_us
from durably.store import DocumentRow, Operation
from durably.store.runtime import Clock

__all__ = ["GOOD", "Standing", "StandingChange", "Standings", "delivered", "given_up", "switched_on"]

KIND = "destination"


class Standing(Struct, frozen=True):
    """How one destination stands."""

    failures: int = 0
    """Messages given up since the last one that was delivered."""
    off_at: datetime | None = None
    """Since when it is switched off; None while it is on."""
    reason: str | None = None
    """Why the last of them was given up."""


GOOD = Standing()
StandingChange: TypeAlias = Callable[[Standing], Standing]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Standing).decode


def delivered(standing: Standing) -> Standing:
    """After a message that was delivered. One that was under way when it was switched off does not switch it on."""
    return GOOD if standing.off_at is None else standing


def given_up(reason: str, patience: int | None, now_us: int) -> StandingChange:
    """After a message that was given up: switched off if it is the last of `patience` in a row (None: never)."""

    def change(standing: Standing) -> Standing:
        failures = standing.failures + 1
        off = patience is not None and failures >= patience
        return Standing(failures, standing.off_at or (from_us(now_us) if off else None), reason)

    return change


def switched_on(_: Standing) -> Standing:
    """When somebody has switched it on: a clean slate."""
    return GOOD


class Standings:
    """The standing of each destination, by its id: in memory as in the store, where each is a document."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock
        self._rows: dict[str, DocumentRow] = {}
        self._known: dict[str, Standing] = {}
        self._one_at_a_time = asyncio.Lock()

    async def load(self) -> None:
        """Read them all."""
        for row in await self._documents.load(KIND):
            self._keep(row, _decode(row.body))

    def of(self, destination: str) -> Standing:
        """How that destination stands."""
        return self._known.get(destination, GOOD)

    async def change(self, destination: str, change: StandingChange, *others: Operation) -> Standing:
        """Change it, and do `others` in the same commit. Raises `DocumentConflict` and `StoreError`."""
        async with self._one_at_a_time:
            standing = change(self.of(destination))
            row = self._row(destination, standing)
            try:
                await self._documents.save(row, *others)
            except DocumentConflict:
                await self.load()
                raise
            self._keep(row, standing)
            return standing

    def _row(self, destination: str, standing: Standing) -> DocumentRow:
        now_us, before, body = self._clock.now_us(), self._rows.get(destination), _encode(standing)
        if before is None:
            return DocumentRow(kind=KIND, id=destination, body=body, created_us=now_us, updated_us=now_us)
        return structs.replace(before, body=body, version=before.version + 1, updated_us=now_us)

    def _keep(self, row: DocumentRow, standing: Standing) -> None:
        self._rows[row.id] = row
        self._known[row.id] = standing
