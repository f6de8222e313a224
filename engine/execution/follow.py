"""Following a run: its records as they become durable, from any of them on."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from durably.engine.errors import DurablyError
from durably.engine.log.records import Published, Record, decode_record, from_us, refuse_sealed
from durably.store import LogRow, Store

if TYPE_CHECKING:
    from durably.engine.execution.journal import Journal
    from durably.engine.execution.live import LiveRun

__all__ = ["Followers", "Message", "message_of"]

PAGE = 100
"""Records read at once: what a follower that is slow keeps in memory."""

Observer: TypeAlias = "Callable[[LiveRun, Sequence[Record]], None]"


class Message(NamedTuple):
    """Something that a run has published."""

    topic: str
    data: Any
    at: datetime
    seq: int
    """Its place in the run's log: who has seen this one goes on with `Run.stream(after=seq)`."""


class Followers:
    """Wakes those who follow runs.

    All they are told is that there may be more. They read it from the store, each at its own pace, so a slow one holds
    up nobody and keeps no more in memory than one page. While nobody waits, commits cost nothing.
    """

    def __init__(self, store: Store, journal: "Journal", observers: list[Observer]) -> None:
        self._store = store
        self._journal = journal
        self._observers = observers
        self._waiting: dict[int, list[asyncio.Event]] = {}
        self._stopped = False

    async def next_records(self, number: int, after: int) -> list[LogRow]:
        """Records of a run behind seq `after`, a page at most, as soon as there are any; none when it has ended.

        May be canceled at any time. Raises `DurablyError` when the engine stops.
        """
        news = self._listen(number)
        try:
            while not self._stopped:
                news.clear()  # before the look, so that nothing falls between
                if self._journal.failure is None:  # else nobody knows whether what is there is durable (DESIGN rule 8)
                    records = await self._store.records_after(number, after, PAGE)
                    if records or await self._is_over(number, after):
                        return records
                await news.wait()
        finally:
            self._forget(number, news)
        raise DurablyError("the engine has stopped; the run goes on with the next one")

    async def _is_over(self, number: int, after: int) -> bool:
        """Whether the run has ended, and not after the look at its records."""
        row = await self._store.run_numbered(number)
        return row is None or (row.phase is None and row.seq <= after)

    def _listen(self, number: int) -> asyncio.Event:
        if not self._waiting:
            self._observers.append(self._observe)
        news = asyncio.Event()
        self._waiting.setdefault(number, []).append(news)
        return news

    def _forget(self, number: int, news: asyncio.Event) -> None:
        others = self._waiting[number]
        others.remove(news)
        if not others:
            del self._waiting[number]
        if not self._waiting:
            self._observers.remove(self._observe)

    def _observe(self, run: "LiveRun", _records: Sequence[Record]) -> None:
        for news in self._waiting.get(run.number, ()):
            news.set()

    def wake_all(self) -> None:
        """The store was reopened: let everybody look at what was committed without anybody knowing."""
        for waiting in self._waiting.values():
            for news in waiting:
                news.set()

    def stop(self) -> None:
        """Tell everybody who waits, and whoever comes, that this engine has stopped."""
        self._stopped = True
        self.wake_all()


class _Type(msgspec.Struct):
    type: str


_type = msgspec.json.Decoder(_Type).decode


def message_of(row: LogRow) -> Message | None:
    """What a record tells those who follow the run; None for all but those that `publish` wrote. Raises `Sealed`."""
    refuse_sealed(row.body)
    if _type(row.body).type != "message.published":  # a look at the type costs a tenth of the whole record
        return None
    record = decode_record(row.body)
    assert isinstance(record, Published)
    return Message(record.topic, msgspec.json.decode(record.data), from_us(row.at_us), row.seq)
