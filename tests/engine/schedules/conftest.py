"""What tests of schedules share: times, an engine that is down for a while, and a wall clock that is set."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from durably import RunInfo, Step, Workflow
from durably.engine.testing import START_US, TestClock, TestEngine, VirtualClock
from durably.store.runtime import SECOND_US, Timer, WallTimer

Definition = Workflow[..., Any] | Step[..., Any]

START = datetime(2026, 1, 1, tzinfo=UTC)
"""What a test's clock begins with, a Thursday."""


def at(text: str) -> datetime:
    """A time of January 2026 in UTC, `03 02:00`."""
    return datetime.fromisoformat(f"2026-01-{text}+00:00")


async def scheduled(engine: TestEngine, workflow: str | None = None) -> list[datetime]:
    """What the runs that schedules have started are for, the oldest first."""
    runs = await engine.list_runs(trigger="SCHEDULE", limit=10_000)
    return [_time(info) for info in reversed(runs) if workflow in (None, info.workflow)]


def _time(info: RunInfo) -> datetime:
    assert info.scheduled_for is not None
    return info.scheduled_for


class DownEngine(TestEngine):
    """An engine that can be left and entered again, later."""

    def pass_by(self, duration: timedelta) -> None:
        """Let time pass while nothing runs."""
        self._virtual.jump(self._virtual.now_us() + duration // timedelta(microseconds=1))

    def deploy(self, *workflows: Definition) -> None:
        """Other code, from the next start on."""
        self.workflows = workflows


class SetClock(VirtualClock):
    """A virtual clock whose wall clock can be set, as people and NTP do."""

    def __init__(self) -> None:
        super().__init__(START_US)
        self.offset_us = 0

    def wall_us(self) -> int:
        return self.now_us() + self.offset_us

    def call_at_wall(self, due_us: int, callback: Callable[[], None]) -> Timer:
        return WallTimer(self, due_us, callback)


class SetEngine(TestEngine):
    """An engine whose wall clock can be set."""

    def __init__(self, *workflows: Definition) -> None:
        super().__init__(workflows=workflows)
        self.set_clock = SetClock()
        self._virtual = self.set_clock
        self.clock = TestClock(self, self.set_clock)

    def set_wall(self, change: timedelta) -> None:
        """Put the hands of the wall clock forward, or back."""
        self.set_clock.offset_us += int(change.total_seconds()) * SECOND_US
