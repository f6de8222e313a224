"""A run's history as people and tools see it: one format for export, replay, HTTP and fixtures (CONTRACT section 6)."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec
from msgspec import Raw, Struct

from durably.engine.errors import DurablyError
from durably.engine.log.grammar import Entry
from durably.engine.log.records import decode_record, from_us, refuse_sealed, to_us
from durably.store import LogRow, RunRow

__all__ = ["FORMAT", "History", "HistoryRecord", "record_document"]

FORMAT = "durably.history/1"


class HistoryRecord:
    """One record: `seq`, `at` and `type`, and the fields of its type as attributes, decoded."""

    __slots__ = ("_fields", "at", "seq", "type")

    def __init__(self, seq: int, at: datetime, fields: dict[str, Any]) -> None:
        self.seq = seq
        self.at = at
        self.type: str = fields["type"]
        self._fields = fields

    def __getattr__(self, name: str) -> Any:
        try:
            return self._fields[name]
        except KeyError:
            raise AttributeError(f"a {self.type} record has no {name!r}") from None

    def get(self, name: str, default: Any = None) -> Any:
        """A field that not every record of the type has: what is at its default is left out of the log."""
        return self._fields.get(name, default)

    def to_dict(self) -> dict[str, Any]:
        """The record as it stands in the JSON document."""
        return {"seq": self.seq, "at": self.at, **self._fields}

    def __repr__(self) -> str:
        return f"<record {self.seq} {self.type}>"


class _Document(Struct):
    format: str
    run: dict[str, Any]
    records: list[dict[str, Raw]]


class History:
    """All records of a run, in order, with what is known of the run itself in `run`."""

    __slots__ = ("__dict__", "_rows", "run")

    def __init__(self, run: dict[str, Any], rows: Sequence[LogRow]) -> None:
        self.run = run
        self._rows = rows

    @classmethod
    def of(cls, row: RunRow, rows: Sequence[LogRow]) -> "History":
        """The history of a stored run. Raises `Sealed`."""
        for each in rows:
            refuse_sealed(each.body)
        return cls({"id": row.id, "workflow": row.workflow, "version": row.version, "status": row.status}, rows)

    @classmethod
    def from_json(cls, text: str | bytes) -> "History":
        """Read an exported history. `DurablyError` when it is none, or of a format that this version does not know."""
        try:
            document = msgspec.json.decode(text, type=_Document)
            rows = [_row(record) for record in document.records]
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            raise DurablyError(f"this is not an exported history: {error}. `durably export RUN` writes one.") from error
        if document.format != FORMAT:
            raise DurablyError(
                f"the history is of format {document.format!r}, this version reads {FORMAT!r}; use the version of "
                "Durably that wrote it, or a later one"
            )
        return cls(document.run, rows)

    def to_json(self) -> str:
        """The document, readable: two spaces of indent, a line for each field."""
        document = {
            "format": FORMAT,
            "run": self.run,
            "records": [record_document(row) for row in self._rows],
        }
        return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()

    @cached_property
    def records(self) -> tuple[HistoryRecord, ...]:
        """The records, oldest first."""
        return tuple(HistoryRecord(row.seq, from_us(row.at_us), msgspec.json.decode(row.body)) for row in self._rows)

    def entries(self) -> list[Entry]:
        """The records as the engine reads them."""
        return [Entry(row.seq, row.at_us, decode_record(row.body)) for row in self._rows]

    def __iter__(self) -> Iterator[HistoryRecord]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self._rows)

    def types(self) -> list[str]:
        """The types of the records: the shape of the history at a glance."""
        return [record.type for record in self.records]


_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_at = msgspec.json.Decoder(datetime).decode


def record_document(row: LogRow) -> dict[str, Any]:
    """A record as it stands in the document, its fields still encoded."""
    return {"seq": row.seq, "at": from_us(row.at_us), **_fields(row.body)}


def _row(record: dict[str, Raw]) -> LogRow:
    fields = dict(record)
    seq = msgspec.json.decode(fields.pop("seq"), type=int)
    at_us = to_us(_at(fields.pop("at")))
    return LogRow(0, seq, at_us, msgspec.json.encode(fields))
