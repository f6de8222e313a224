"""What is told of a run that has failed."""

from typing import Any

from msgspec import Struct

from durably.engine.errors import ErrorInfo

__all__ = ["RunFailure"]


class RunFailure(Struct, frozen=True):
    """A run that has failed for good: what `on_failure` handlers take, and what `notify=` sends."""

    run_id: str
    workflow: str
    """Its name; of a run of a job, the job's id."""
    error: ErrorInfo
    """What it failed with; what a failed step raised is its `cause`."""
    input: Any
    """Its arguments by parameter name, or the event that triggered it."""
    url: str | None = None
    """Where a person finds the run; None when the engine was not told where it can be reached."""
