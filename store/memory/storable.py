"""Whether a disk would take an operation's values too: 64-bit integers, encodable text, bytes."""

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.structs import astuple

from durably.store.rows import (
    Append,
    Create,
    Forget,
    Ingest,
    Notify,
    Operation,
    Put,
    Reschedule,
    RunRow,
    Save,
    Together,
)

__all__ = ["is_storable"]


def is_storable(operation: Operation) -> bool:
    """Whether all of it can be stored."""
    return all(_is_value(value) for row in _rows_of(operation) for value in row)


def _rows_of(operation: Operation) -> Iterator[Iterable[Any]]:
    """Everything an operation wants to have stored."""
    match operation:
        case Append():
            yield from _rows_of_group(operation)
        case Create():
            yield from (_values(operation.row), operation.record, operation.known or ())
        case Ingest():
            for arrival in operation.events:
                yield arrival.event
                for row, record in arrival.runs:
                    yield from (_values(row), record)
        case Put():
            yield operation.row
        case Save() | Notify():
            yield astuple(operation.row)
        case Reschedule():
            yield (operation.schedule, operation.due_us)
        case Forget():
            yield (operation.before_us, operation.limit)
        case Together():
            for each in operation.operations:
                yield from _rows_of(each)


def _rows_of_group(operation: Append) -> Iterator[Iterable[Any]]:
    yield from operation.records
    yield from (operation.change or (), operation.taken, operation.used or (), _values(operation.created))
    for each in operation.also:
        yield from _rows_of(each)


def _values(row: RunRow | None) -> tuple[Any, ...]:
    return () if row is None else astuple(row)


def _is_value(value: object) -> bool:
    match value:
        case None | bytes():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case str():
            return not any("\ud800" <= character <= "\udfff" for character in value)
        case _:
            return False
