"""What can be set of an engine, with its defaults (DESIGN section 5, CONTRACT section 3)."""

from collections.abc import Sequence
from typing import NamedTuple

from durably.engine.notifications.destination import Destination
from durably.engine.retries.retry import RetryPolicy

__all__ = ["Settings"]


class Settings(NamedTuple):
    """An engine's settings. Durations are in seconds."""

    environment: str = "production"
    default_retry: RetryPolicy = RetryPolicy.DEFAULT
    max_steps: int = 10_000
    """Bodies of steps that run at once; a further step waits as `step.scheduled`."""
    max_threads: int = 32
    """Bodies of sync steps that run at once, each in a thread."""
    max_parked: int = 10_000
    """Waiting runs whose instances are kept in memory; others are rebuilt by replay. 0 evicts at every wait."""
    max_lost: int = 3
    """Crash losses in a row after which a step fails as `WorkerLost` (DESIGN rule 12)."""
    max_cpu: float = 10.0
    """CPU time that one activation may use before the run fails as `OutOfTime`; a tenth of it gives a warning."""
    drain_timeout: float = 30.0
    """How long running bodies get to end when the engine stops."""
    notify: Sequence[Destination] = ()
    """Who is told of runs that have failed for good."""
    http_allow: Sequence[str] = ()
    """Networks that are not public and that HTTP steps and jobs may reach, in CIDR notation."""
    quota: int | None = None
    """Runs of jobs in a month; None: as many as you like."""
    retention: float | None = None
    """How long ended runs and events are kept; None: for ever."""
    url: str | None = None
    """Where the API is reached, for links; None: where it listens."""
