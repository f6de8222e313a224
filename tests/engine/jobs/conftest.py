"""A real server that jobs send their requests to, and an engine with jobs on a virtual clock."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest

from durably.engine.jobs.model import Job
from durably.engine.jobs.report import Report, report_of
from durably.engine.log.records import RunCreated, decode_record
from durably.engine.policies.model import PolicyFields
from durably.store import RunQuery, RunRow
from durably.testing import TestEngine
from tests.destination import LOOPBACK, Destination, open_destination


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def destination() -> AsyncIterator[Destination]:
    async with open_destination() as found:
        yield found


class Desk:
    """Jobs of a test's engine: made, started and looked at."""

    def __init__(self, engine: TestEngine, url: str) -> None:
        self.engine = engine
        self.url = url

    async def policy(self, policy_id: str = "again", **fields: Any) -> None:
        defaults: dict[str, Any] = {
            "name": policy_id,
            "max_retries": 3,
            "backoff": "fixed",
            "delay_seconds": 10,
            "retry_on_timeout": True,
            "retry_on_connection_error": True,
            "retry_statuses": ["5xx"],
        }
        policies = self.engine.core.policies
        written = PolicyFields(**{**defaults, **fields})
        if any(policy.row.id == policy_id for policy in policies.all()):
            await policies.replace(policy_id, written)
        else:
            await policies.create(policy_id, written)

    def attributes(self, **changes: Any) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            "name": "a job",
            "configuration": {"url": self.url, **changes.pop("request", {})},
            "environments": {"production": {"enabled": True}},
        }
        return {**attributes, **changes}

    async def create(self, job_id: str = "job", **changes: Any) -> Job:
        return await self.engine.core.jobs.create(job_id, self.attributes(**changes))

    async def replace(self, job_id: str = "job", **changes: Any) -> Job:
        return await self.engine.core.jobs.replace(job_id, self.attributes(**changes))

    async def run(self, job_id: str = "job", environment: str | None = None, run_id: str | None = None) -> str:
        created = self.engine.core.jobs.by_hand(job_id, environment)
        run = await self.engine.start_created(self.engine.registered(created.workflow), created, run_id)
        return run.id

    async def runs(self, job_id: str = "job") -> list[RunRow]:
        """Its runs, the oldest first."""
        return await self.engine.core.store.runs(RunQuery(job=(job_id,), descending=False))

    async def created(self, row: RunRow) -> RunCreated:
        """What a run began with."""
        [record] = (await self.engine.core.store.first_records([row.run])).values()
        created = decode_record(record.body)
        assert isinstance(created, RunCreated)
        return created

    async def report(self, row: RunRow) -> Report:
        logs = await self.engine.core.store.records([row.run])
        return report_of(each.body for each in logs[row.run])

    async def story(self, job_id: str = "job") -> list[tuple[str, str]]:
        """Trigger and status of its runs."""
        return [(row.trigger, row.status) for row in await self.runs(job_id)]


@pytest.fixture
async def desk(destination: Destination) -> AsyncIterator[Desk]:
    async with open_desk(destination.url) as found:
        yield found


@asynccontextmanager
async def open_desk(url: str, **settings: Any) -> AsyncGenerator[Desk]:
    """An engine whose clock stands still unless a test moves it: retries and schedules come when it does."""
    engine = TestEngine(auto=False)
    engine.settings = engine.settings._replace(http_allow=LOOPBACK, **settings)
    async with engine:
        yield Desk(engine, url)


OpenDesk: TypeAlias = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
def open_with() -> OpenDesk:
    """Opens a desk with other settings."""
    return open_desk
