"""`/api/v1/workflows`."""

import asyncio
import json
from typing import Any

import pytest

from durably import Cron, Engine, workflow
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

WORKFLOWS = "/api/v1/workflows"
GREET = f"{WORKFLOWS}/greet/actions/run"


async def test_workflows_are_listed_by_name(api: Any) -> None:
    answer = await api.get(WORKFLOWS)
    assert answer.status == 200
    data = {resource["id"]: resource for resource in answer.json["data"]}
    assert list(data) == ["broken", "greet", "nap", "onboard", "record_click"]
    assert {resource["type"] for resource in data.values()} == {"workflow"}
    greet = {"name": "greet", "version": 2, "versions": [1, 2], "triggers": [], "schedules": []}
    assert data["greet"]["attributes"] == greet
    assert data["onboard"]["attributes"]["triggers"] == [{"event": "app/user.*", "where": None}]
    assert (await api.get(f"{WORKFLOWS}/greet")).json["data"] == data["greet"]


async def test_schedules_tell_when_they_fire_next(launch: Any) -> None:
    @workflow(cron=Cron("30 2 * * *", timezone="Europe/Berlin"))
    async def nightly() -> None: ...

    api = await launch(TestEngine(workflows=[nightly]))  # whose clock begins with the year 2026
    [schedule] = (await api.get(f"{WORKFLOWS}/nightly")).json["data"]["attributes"]["schedules"]
    assert schedule == {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "next_run_at": "2026-01-01T01:30:00Z"}


async def test_a_run_is_started_and_answered_at_once(api: Any) -> None:
    answer = await api.post(f"{WORKFLOWS}/nap/actions/run")
    assert answer.status == 201
    data = answer.json["data"]
    assert (data["type"], data["attributes"]["workflow"]) == ("workflow_run", "nap")
    assert data["attributes"]["status"] in {"PENDING", "RUNNING"}
    assert answer.headers["Location"] == f"/api/v1/workflow-runs/{data['id']}"
    assert (await api.get(answer.headers["Location"])).json["data"]["id"] == data["id"]


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/vnd.api+json", "Application/JSON; charset=utf-8"]
)
async def test_a_run_gets_its_input_and_is_waited_for(api: Any, media_type: str) -> None:
    body = json.dumps({"input": {"name": "you"}}).encode()
    answer = await api.post(f"{GREET}?wait=30", data=body, headers={"Content-Type": media_type})
    assert answer.status == 201
    attributes = answer.json["data"]["attributes"]
    assert (attributes["status"], attributes["output"]) == ("SUCCEEDED", "good day you")
    assert attributes["trigger"] == "MANUAL"
    assert attributes["test"] is False


@pytest.mark.parametrize("wait", ["soon", "-1", "nan", ""])
async def test_a_wait_that_is_no_number_is_refused(api: Any, wait: str) -> None:
    answer = await api.post(f"{GREET}?wait={wait}", json={"input": {"name": "you"}})
    assert answer.status == 400
    assert answer.error["source"] == {"parameter": "wait"}
    assert await api.engine.list_runs() == []


async def test_a_triggered_step_and_an_event_workflow_take_an_event_as_input(api: Any) -> None:
    event = {"name": "app/user.created", "data": {"email": "a@b.c"}}
    answer = await api.post(f"{WORKFLOWS}/onboard/actions/run?wait=30", json={"input": {"event": event}})
    assert answer.status == 201, answer.text
    assert answer.json["data"]["attributes"]["output"] == {"email": "a@b.c"}


async def test_test_mode_is_marked(api: Any) -> None:
    answer = await api.post(GREET, json={"input": {"name": "you"}, "mode": "test"})
    assert answer.json["data"]["attributes"]["test"] is True


@workflow(timeout=0.05)
async def endless() -> None:
    await asyncio.sleep(3600)


async def test_the_workflows_own_time_limit_holds(launch: Any) -> None:
    api = await launch(Engine("memory://", workflows=[endless], drain_timeout=0))
    answer = await api.post(f"{WORKFLOWS}/endless/actions/run?wait=30")
    attributes = answer.json["data"]["attributes"]
    assert (attributes["status"], attributes["error"]["type"]) == ("FAILED", "durably.TimedOut")


# -- run ids


async def test_a_known_run_id_gives_the_run_that_exists(api: Any) -> None:
    """The same input in another form, and from `engine.start`, is the same input."""
    run = await api.engine.start("greet", "you", run_id="one")
    for body in ({"name": "you"}, {"times": 1, "name": "you"}):
        answer = await api.post(GREET, json={"input": body, "run_id": "one"})
        assert (answer.status, answer.json["data"]["id"]) == (201, run.id)
    assert len(await api.engine.list_runs()) == 1


async def test_a_known_run_id_with_another_input_is_a_conflict(api: Any) -> None:
    await api.post(GREET, json={"input": {"name": "you"}, "run_id": "one"})
    answer = await api.post(GREET, json={"input": {"name": "me"}, "run_id": "one"})
    assert answer.status == 409
    assert answer.error["code"] == "conflict"


async def test_many_starts_with_one_id_are_one_run(api: Any) -> None:
    body = {"input": {"name": "you"}, "run_id": "one"}
    answers = await asyncio.gather(*(api.post(GREET, json=body) for _ in range(100)))
    assert {(answer.status, answer.json["data"]["id"]) for answer in answers} == {(201, "one")}
    assert len(await api.engine.list_runs()) == 1


# -- refusals


@pytest.mark.parametrize(
    ("body", "says", "pointer"),
    [
        (b"", "misses its parameter 'name'", "/input"),
        (b"{}", "misses its parameter 'name'", "/input"),
        (b'{"input":{"name":1}}', "parameter 'name' does not fit its annotation str", "/input"),
        (b'{"input":{"name":"you","time":1}}', "no parameter 'time'", "/input"),
        (b'{"input":[]}', "must be an object", "/input"),
        (b'{"input":"you"}', "must be an object", "/input"),
        (b'{"input":null}', "must be an object", "/input"),
        (b'{"input":{"name":"you"},"mode":"live"}', "Invalid enum value 'live' at mode", "/mode"),
        (b'{"input":{"name":"you"},"run_id":7}', "at run_id", "/run_id"),
        (b'{"input":{"name":"you"},"run_id":""}', "1 to 255", None),
        (b'{"input":{"name":"you"},"run_id":"%s"}' % (b"i" * 256), "1 to 255", None),
        (b'{"input":{"name":"you"},"color":1}', "unknown field `color`", "/color"),
        (b'{"input":{"name":"you"},"version":"2"}', "at version", "/version"),
        (b'{"input":{"name":"you"},"delay":-1}', "at delay", "/delay"),
        (b'{"input":', "(byte 9)", ""),
        (b"[]", "Expected `object`", ""),
        (b'{"input":{"name":"\xff"}}', "UTF-8", None),
        (b'{"input":{"name":%s}}' % (b"[" * 63 + b"]" * 63), "64 arrays and objects", ""),
    ],
)
async def test_a_run_that_cannot_be_is_refused(api: Any, body: bytes, says: str, pointer: str | None) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await api.post(GREET, data=body, headers=headers)
    assert answer.status == 400
    assert says in answer.error["detail"]
    if pointer is not None:
        assert answer.error["source"] == {"pointer": pointer}
    assert await api.engine.list_runs() == []


@pytest.mark.parametrize("path", ["/nobody", "/nobody/actions/run"])
async def test_an_unknown_workflow_is_not_found(api: Any, path: str) -> None:
    answer = await api("POST" if "actions" in path else "GET", WORKFLOWS + path)
    assert answer.status == 404
    assert "'nobody' is not registered; this engine knows broken, greet" in answer.error["detail"]
