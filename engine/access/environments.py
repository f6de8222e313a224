"""Environments: names that keep runs, events and keys apart within one store."""

import re
from collections.abc import Container, Iterable
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from durably.engine.errors import InvalidInput
from durably.engine.log.records import refuse_sealed
from durably.store import DocumentRow

__all__ = ["BUILT_IN", "KIND", "Environment", "check_environment", "environments_in", "jobs_in", "new_environment"]

KIND = "environment"
BUILT_IN = ("production", "staging", "development")
"""Those that exist from the start, and are stored nowhere (DESIGN section 5)."""

_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,62}")


class Environment(NamedTuple):
    """One environment."""

    name: str
    created_us: int | None = None
    """None: it exists from the start."""


class _Named(Struct):
    """As much of a stored job as this module has to know."""

    environments: dict[str, Raw] = {}


_decode_job = msgspec.json.Decoder(_Named).decode


def check_environment(name: str) -> str:
    """The name, if one can be called so. Raises `InvalidInput`."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name[:80]!r} cannot be an environment's name: it has 1 to 63 characters, lower-case letters, digits, - "
            "and _, and begins with a letter or a digit"
        )
    return name


def environments_in(rows: Iterable[DocumentRow]) -> dict[str, Environment]:
    """All there are, by name: those that exist from the start first, then the stored ones."""
    stored = sorted((row.id, row.created_us) for row in rows if row.deleted_us is None)
    return {name: Environment(name) for name in BUILT_IN} | {name: Environment(name, at) for name, at in stored}


def new_environment(name: str, now_us: int) -> DocumentRow:
    """An environment as it is stored. Raises `InvalidInput` for a name that none can have."""
    body = msgspec.json.encode({"name": check_environment(name)})
    return DocumentRow(kind=KIND, id=name, body=body, created_us=now_us, updated_us=now_us)


def jobs_in(environment: str, jobs: Iterable[DocumentRow]) -> list[str]:
    """The ids of the stored jobs that name an environment. Raises `Sealed` when they cannot be read without a codec."""
    return [row.id for row in jobs if row.deleted_us is None and environment in _named_by(row)]


def _named_by(job: DocumentRow) -> Container[str]:
    refuse_sealed(job.body)
    return _decode_job(job.body).environments
