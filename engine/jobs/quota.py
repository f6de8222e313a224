"""How many runs of jobs a month may have, and how many it has had."""

from datetime import UTC, datetime
from typing import NamedTuple

from durably.engine.errors import NonRetriableError
from durably.engine.execution.usage import DAY_US
from durably.engine.jobs.chain import WORKFLOW
from durably.engine.log.records import from_us, to_us
from durably.store import Store
from durably.store.runtime import Clock

__all__ = ["Period", "Quota", "QuotaExceeded", "Used", "period_of"]

DECEMBER = 12


class QuotaExceeded(NonRetriableError):  # noqa: N818 - named as the errors of the contract are
    """This month has had as many runs of jobs as its quota allows, so the request was not sent. Never retried."""


class Period(NamedTuple):
    """A month in UTC, and its days, counted from 1970: the last one is the next month's first."""

    name: str
    from_day: int
    until_day: int


class Used(NamedTuple):
    """What jobs have used."""

    runs: int
    """Runs that have begun, retries too."""
    tasks: int
    """One for each chain of a run and its retries (DESIGN section 5, "job metering")."""


def period_of(now_us: int) -> Period:
    """The month that it is."""
    now = from_us(now_us)
    following = (now.year + 1, 1) if now.month == DECEMBER else (now.year, now.month + 1)
    return Period(f"{now:%Y-%m}", _day(now.year, now.month), _day(*following))


def _day(year: int, month: int) -> int:
    return to_us(datetime(year, month, 1, tzinfo=UTC)) // DAY_US


class Quota:
    """Counts what has begun: a run that was canceled before is not metered, one that fails for the quota is."""

    def __init__(self, store: Store, clock: Clock, included: int | None) -> None:
        self._store = store
        self._clock = clock
        self.included = included
        """Runs in a month; None: as many as you like."""

    @property
    def period(self) -> Period:
        """The month that counts now."""
        return period_of(self._clock.now_us())

    async def used(self) -> Used:
        """What jobs have used this month."""
        period = self.period
        rows = await self._store.usage(period.from_day, period.until_day)
        ours = [row for row in rows if row.workflow == WORKFLOW]
        return Used(sum(row.runs for row in ours), sum(row.tasks for row in ours))

    async def check(self) -> None:
        """Raise `QuotaExceeded` if the run that asks, which has begun, is beyond the quota.

        Runs that begin together at the edge of it count each other, so all of them may be refused.
        """
        if self.included is not None and (used := (await self.used()).runs) > self.included:
            raise QuotaExceeded(
                f"{used:,} runs of jobs have begun in {self.period.name}, and {self.included:,} are included: "
                "the request was not sent"
            )
