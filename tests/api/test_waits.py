"""Requests that wait for a run to end."""

import asyncio
import gc
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from durably.api.limits import LIMITS

pytestmark = pytest.mark.anyio

WORKFLOWS = "/api/v1/workflows"


async def test_a_failure_is_waited_for_too(api: Any, caplog: pytest.LogCaptureFixture) -> None:
    answer = await api.post(f"{WORKFLOWS}/broken/actions/run?wait=30")
    assert answer.status == 201
    assert answer.json["data"]["attributes"]["status"] == "FAILED"
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []  # of exceptions nobody looked at


async def test_a_wait_that_is_over_answers_with_the_open_run(api: Any) -> None:
    answer = await api.post(f"{WORKFLOWS}/nap/actions/run?wait=0.02")
    assert answer.status == 201
    assert answer.json["data"]["attributes"]["status"] == "RUNNING"


async def test_a_stopping_server_answers_who_waits(api: Any) -> None:
    waiting = asyncio.create_task(api.post(f"{WORKFLOWS}/nap/actions/run?wait=60"))
    while not [run for run in await api.engine.list_runs() if run.phase == "sleeping"]:
        await checkpoint()
    await api.server.close()
    answer = await waiting
    assert answer.status == 201
    assert answer.json["data"]["attributes"]["phase"] == "sleeping"


@pytest.mark.parametrize("wait", ["1e9", "inf"])
async def test_a_wait_is_capped(launch: Any, wait: str) -> None:
    api = await launch(limits=LIMITS._replace(wait_s=0.02))
    answer = await api.post(f"{WORKFLOWS}/nap/actions/run?wait={wait}")
    assert answer.json["data"]["attributes"]["status"] == "RUNNING"
