"""What a run's failure causes: a job's next try, the run that handles the failure, messages about it.

All of it is written in the commit that ends the run, so that it comes about exactly once, whatever crashes (the first
seed: "no error emails will be sent during the auto-retry window"; one is recorded when nothing is tried any more).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import quote

from msgspec import Raw

from durably.engine.declare.registry import Registry
from durably.engine.errors import ErrorInfo
from durably.engine.jobs.chain import uuid_of
from durably.engine.log.ids import derived_id
from durably.engine.log.records import NOTHING, RunCreated
from durably.engine.notifications.failure import RunFailure
from durably.engine.values.codec import decode_json
from durably.store import DeliveryRow

__all__ = ["Aftermath", "Consequences"]


class Consequences(NamedTuple):
    """What goes into the failed run's last commit."""

    runs: Sequence[tuple[str, RunCreated]] = ()
    """Runs that begin, under these ids."""
    deliveries: Sequence[DeliveryRow] = ()


class Aftermath:
    """Decides what follows. `successor` gives a failed job's next try, `notify` the messages about a failure.

    `url` is where the API is reached from outside, for the link to the run.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        successor: Callable[[str, RunCreated, ErrorInfo, int], RunCreated | None],
        notify: Callable[[RunFailure, int], Sequence[DeliveryRow]],
        url: Callable[[], str | None],
    ) -> None:
        self._registry = registry
        self._successor = successor
        self._notify = notify
        self._url = url

    def of(self, run_id: str, created: RunCreated, error: ErrorInfo, now_us: int) -> Consequences:
        """What follows the failure of a run with `error`.

        Of a child the parent gets to know, and of a test who made it: neither is told to anybody else.
        """
        again = self._successor(run_id, created, error, now_us) if created.job is not None else None
        if again is not None:
            return Consequences([(uuid_of(derived_id(run_id, "retry")), again)])
        what = created.workflow if created.job is None else created.job.job
        failure = RunFailure(run_id, what, error, input_of(created), self._link(run_id, created))
        quiet = created.parent is not None or created.test
        return Consequences(self._handler(failure, created), () if quiet else self._notify(failure, now_us))

    def _handler(self, failure: RunFailure, created: RunCreated) -> list[tuple[str, RunCreated]]:
        """The run of the workflow's `on_failure`, if it has one."""
        failed = self._registry.get(created.workflow, created.version)
        definition = None if failed is None else failed.definition.on_failure
        if definition is None:
            return []
        handler = self._registry.get(definition.name, definition.version)
        assert handler is not None, "the registry has registered it with the workflow"
        run = RunCreated(
            workflow=handler.name,
            version=handler.version,
            input=Raw(handler.signature.bind((failure,), {}).raw),  # what misses its annotation fails it, not us
            trigger="CHILD",
            event=NOTHING,
            environment=created.environment,
            test=created.test,
            origin=failure.run_id,
            timeout=handler.timeout,
        )
        return [(derived_id(failure.run_id, "on_failure"), run)]

    def _link(self, run_id: str, created: RunCreated) -> str | None:
        base = self._url()
        kind = "workflow-runs" if created.job is None else "runs"
        return None if base is None else f"{base.rstrip('/')}/api/v1/{kind}/{quote(run_id, safe='')}"


def input_of(created: RunCreated) -> object:
    """Arguments by parameter name, or the event that the run was triggered by."""
    event = decode_json(bytes(created.event))
    return decode_json(bytes(created.input)) if event is None else {"event": event}
