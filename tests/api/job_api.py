"""Jobs over HTTP, for the tests of that part of the API: a server, an engine on a virtual clock, a destination."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from durably.testing import TestEngine
from tests.api.conftest import Answer, Api, Launch
from tests.destination import LOOPBACK, Destination, open_destination

__all__ = ["JobApi", "open_job_api"]

JSON_API = {"Content-Type": "application/vnd.api+json"}
JOBS = "/api/v1/jobs"
RUNS = "/api/v1/runs"


class JobApi:
    """The API, and what tests of jobs do with it all the time."""

    def __init__(self, api: Api, engine: TestEngine, destination: Destination) -> None:
        self.api = api
        self.engine = engine
        self.destination = destination

    async def __call__(self, method: str, path: str, content: Any = None, **options: Any) -> Answer:
        """A request, whose body is plain unless it is a job's."""
        if content is not None:
            options.update(json=content, headers={**JSON_API, **options.pop("headers", {})})
        return await self.api(method, path, **options)

    async def get(self, path: str, **options: Any) -> Any:
        """The document at an address."""
        answer = await self.api.get(path, **options)
        assert answer.status == 200, answer.text
        return answer.json

    def attributes(self, **changes: Any) -> dict[str, Any]:
        """A job that can be run by hand in production."""
        configuration = {"url": self.destination.url, **changes.pop("request", {})}
        environments = {"production": {"enabled": True}}
        return {"name": "a job", "configuration": configuration, "environments": environments, **changes}

    async def write(self, method: str, path: str, job_id: str, attributes: Any, **options: Any) -> Answer:
        """POST or PUT a job."""
        return await self(method, path, {"data": {"type": "job", "id": job_id, "attributes": attributes}}, **options)

    async def create(self, job_id: str = "job", **changes: Any) -> dict[str, Any]:
        """A new job; it, as the server answers."""
        answer = await self.write("POST", JOBS, job_id, self.attributes(**changes))
        assert answer.status == 201, answer.text
        resource: dict[str, Any] = answer.json["data"]
        return resource

    async def policy(self, policy_id: str = "again", **changes: Any) -> None:
        """A new policy, by default for 5xx."""
        least = {"name": policy_id, "max_retries": 3, "backoff": "fixed", "delay_seconds": 10}
        attributes = {**least, "retry_statuses": ["5xx"], **changes}
        document = {"data": {"type": "retry_policy", "id": policy_id, "attributes": attributes}}
        assert (await self("POST", "/api/v1/retry-policies", document)).status == 201

    async def run(self, job_id: str = "job", environment: str | None = None) -> str:
        """Run it, and let it end; the run's id."""
        body = {} if environment is None else {"environment": environment}
        answer = await self("POST", f"{JOBS}/{job_id}/actions/run", body)
        assert answer.status == 200, answer.text
        await self.engine.settle()
        run_id: str = answer.json["data"]["id"]
        return run_id

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and what comes of it end."""
        await self.engine.clock.advance(seconds)
        await self.engine.settle()

    async def runs(self, **query: str) -> list[dict[str, Any]]:
        """Runs as they are listed."""
        found: list[dict[str, Any]] = (await self.get(RUNS, params=query))["data"]
        return found


@asynccontextmanager
async def open_job_api(launch: Launch, **settings: Any) -> AsyncGenerator[JobApi]:
    """All of it. The clock stands still unless the test moves it."""
    async with open_destination() as destination:
        engine = TestEngine(auto=False)
        engine.settings = engine.settings._replace(http_allow=LOOPBACK, **settings)
        yield JobApi(await launch(engine), engine, destination)
