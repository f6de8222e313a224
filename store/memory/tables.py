"""The tables of the store in memory, and how a change to them is taken back."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from durably.store.rows import (
    DeliveryRow,
    DocumentRow,
    EventRow,
    InboxRow,
    LogRow,
    RunRow,
    TriggerRow,
    UsageRow,
    WaitRow,
)

__all__ = ["Tables"]

K = TypeVar("K")
V = TypeVar("V")


class Tables:
    """Dictionaries, in the order their rows were first stored.

    They are changed through `_set`, `_drop` and `_extend_log`, which remember how it was: an operation that is refused
    half way is rolled back, as it is on a disk.
    """

    def __init__(self) -> None:
        self._runs: dict[int, RunRow] = {}
        self._numbers: dict[str, int] = {}
        self._log: dict[int, list[LogRow]] = {}
        self._events: dict[int, EventRow] = {}
        self._newest: dict[tuple[str, str], int] = {}
        """The newest event of each environment and id."""
        self._waits: dict[tuple[int, str], WaitRow] = {}
        self._inbox: dict[int, InboxRow] = {}
        self._triggers: list[TriggerRow] = []
        self._documents: dict[int, DocumentRow] = {}
        self._living: dict[tuple[str, str], int] = {}
        """Of each kind and id the document that is not deleted."""
        self._positions: dict[str, int] = {}
        self._deliveries: dict[str, DeliveryRow] = {}
        self._usage: dict[tuple[int, str, str], UsageRow] = {}
        self._undo: list[Callable[[], object]] = []

    def _set(self, table: dict[K, V], key: K, value: V) -> None:
        before = partial(table.__setitem__, key, table[key]) if key in table else partial(table.pop, key)
        self._undo.append(before)
        table[key] = value

    def _drop(self, table: dict[K, V], key: K) -> None:
        if key in table:
            self._undo.append(partial(table.__setitem__, key, table.pop(key)))

    def _extend_log(self, run: int, records: list[LogRow]) -> None:
        if run not in self._log:
            self._set(self._log, run, [])
        log = self._log[run]
        self._undo.append(partial(log.__delitem__, slice(len(log), None)))
        log.extend(records)

    def _roll_back(self) -> None:
        while self._undo:
            self._undo.pop()()
