"""What is done to which runs, and how fast."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from durably.engine.log.records import to_us
from durably.store import RunQuery

__all__ = ["Action", "BulkRequest", "Selection"]

Action: TypeAlias = Literal["cancel", "rerun"]

NATURAL: dict[Action, tuple[str, ...]] = {"cancel": ("PENDING", "RUNNING"), "rerun": ("FAILED",)}
"""The runs that an action is for, unless the selection says."""

Texts: TypeAlias = Annotated[tuple[str, ...], Meta(max_length=100)]


class Selection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which runs: those that fit all of it, each of several values being enough."""

    status: Annotated[
        tuple[Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED"], ...], Meta(max_length=5)
    ] = ()
    workflow: Texts = ()
    trigger: Texts = ()
    environment: Texts = ()
    event: Texts = ()
    created_from: datetime | None = None
    created_until: datetime | None = None
    """Without this time itself."""


class BulkRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One bulk operation. Only runs that were there when it was asked for are meant."""

    action: Action
    selection: Selection = Selection()
    rate: float = 10.0
    """Runs a second."""
    version: Literal["current", "original"] = "current"
    """Of the workflow, for reruns."""

    def query(self) -> RunQuery:
        """The runs that are meant, newest first."""
        wanted = self.selection
        return RunQuery(
            status=wanted.status or NATURAL[self.action],
            workflow=wanted.workflow,
            trigger=wanted.trigger,
            environment=wanted.environment,
            event=wanted.event,
            created_from_us=None if wanted.created_from is None else to_us(wanted.created_from),
            created_until_us=None if wanted.created_until is None else to_us(wanted.created_until),
        )
