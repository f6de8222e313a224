"""What a run uses up, as it is added to a day's totals (the first seed: "all attempts count as one task")."""

from typing import Final

from durably.engine.log.state import RunState
from durably.store import UsageRow
from durably.store.runtime import SECOND_US

__all__ = ["DAY_US", "used"]

DAY_US: Final = 86_400 * SECOND_US


def used(state: RunState, at_us: int, began: bool, tasks: int) -> UsageRow:
    """What is added when a run begins, or steps of it start for the first time.

    A chain of a job's retries is one task: that of its first run (DESIGN section 5, "job metering").
    """
    created = state.created
    assert created is not None
    if created.job is not None and created.job.attempt:
        tasks = 0
    return UsageRow(at_us // DAY_US, created.environment, created.workflow, int(began), tasks)
