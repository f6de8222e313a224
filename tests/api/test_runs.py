"""`/api/v1/workflow-runs`."""

import asyncio
import json
from base64 import b64encode
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from anyio.lowlevel import checkpoint

from durably import Engine, RunFailed, continue_as_new, step, wait_for_event, wait_for_signal, workflow

pytestmark = pytest.mark.anyio

RUNS = "/api/v1/workflow-runs"
ACTIONS = ("cancel", "signal", "rerun", "fork")


async def ended(api: Any, name: str, **options: Any) -> Any:
    """A run that has ended: its resource."""
    path = f"/api/v1/workflows/{name}/actions/run?wait=30"
    answer = await api.post(path, json=options)
    assert answer.status == 201, answer.text
    return answer.json["data"]


async def sleeping(api: Any, run_id: str | None = None) -> Any:
    """A run that sleeps for an hour."""
    run = await api.engine.start("nap", run_id=run_id)
    while (await run.info()).phase != "sleeping":
        await checkpoint()
    return run


# -- reading one


async def test_a_run_has_the_attributes_of_the_contract(api: Any) -> None:
    made = await ended(api, "greet", input={"name": "you"})
    answer = await api.get(f"{RUNS}/{made['id']}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/vnd.api+json"
    data = answer.json["data"]
    assert (data["type"], data["id"]) == ("workflow_run", made["id"])
    attributes = data["attributes"]
    times = [attributes.pop(name) for name in ("created_at", "started_at", "finished_at")]
    assert times == sorted(times)
    assert all(time.endswith("Z") for time in times)
    assert attributes == {
        "workflow": "greet",
        "version": 2,
        "trigger": "MANUAL",
        "environment": "production",
        "event": None,
        "event_id": None,
        "scheduled_for": None,
        "origin": None,
        "parent": None,
        "continued_to": None,
        "test": False,
        "status": "SUCCEEDED",
        "phase": None,
        "input": {"name": "you", "times": 1},
        "output": "good day you",
        "error": None,
        "tasks": 0,
        "next_retry_at": None,
        "waiting_for": [],
        "history_length": 3,
    }


async def test_a_failed_run_has_its_error(api: Any) -> None:
    attributes = (await ended(api, "broken"))["attributes"]
    assert attributes["status"] == "FAILED"
    assert attributes["error"]["type"] == "durably.NonRetriableError"
    assert attributes["error"]["message"] == "out of order"
    assert attributes["output"] is None


async def test_an_open_run_says_what_it_waits_for(api: Any) -> None:
    run = await sleeping(api)
    attributes = (await api.get(f"{RUNS}/{run.id}")).json["data"]["attributes"]
    assert (attributes["status"], attributes["phase"]) == ("RUNNING", "sleeping")
    [wait] = attributes["waiting_for"]
    assert wait["kind"] == "timer"
    assert wait["due_at"]


@pytest.mark.parametrize("path", ["", "/history", "/stream", *(f"/actions/{name}" for name in ACTIONS)])
async def test_an_unknown_run_is_not_found(api: Any, path: str) -> None:
    answer = await api("POST" if "actions" in path else "GET", f"{RUNS}/nobody{path}")
    assert answer.status == 404
    assert answer.error["code"] == "not_found"
    assert "'nobody'" in answer.error["detail"]


@pytest.mark.parametrize("run_id", ["a/b c", "ü", "a?b#c", "100%", "a;b", ".."])
async def test_any_run_id_has_an_address(api: Any, run_id: str) -> None:
    """Ids are quoted whole: `a/b c` is asked for as `a%2Fb%20c`."""
    await api.engine.start("nap", run_id=run_id)
    path = f"{RUNS}/{quote(run_id, safe='').replace('.', '%2E')}"
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert b'"id":"%s"' % run_id.encode() in await api.raw(head.encode())


@pytest.mark.parametrize("store", ["memory://", "sqlite:///{}/store.db"])
async def test_no_text_in_an_address_breaks_anything(launch: Any, tmp_path: Path, store: str) -> None:
    api = await launch(store=store.format(tmp_path))
    for text in ("%FF", "%ED%A0%80", "%00", "%F0%9F%92%A9", "'", "%22;DROP", "%25", "%0A"):
        for path in (f"{RUNS}/{text}", f"{RUNS}/{text}/history", f"/api/v1/workflows/{text}"):
            answer = await api.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 404 "), path
        for name in ("workflow", "event", "environment"):
            path = f"{RUNS}?filter[{name}]={text}"
            answer = await api.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 200 "), path


# -- history


async def test_the_history_is_the_bare_document(api: Any) -> None:
    made = await ended(api, "greet", input={"name": "you"})
    answer = await api.get(f"{RUNS}/{made['id']}/history")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    document = answer.json
    assert document["format"] == "durably.history/1"
    assert document["run"]["id"] == made["id"]
    assert [(record["seq"], record["type"]) for record in document["records"]] == [
        (1, "run.created"),
        (2, "run.started"),
        (3, "run.succeeded"),
    ]
    run = await api.engine.get_run(made["id"])
    assert answer.text == (await run.history()).to_json()


# -- lists


def ids(answer: Any) -> list[str]:
    assert answer.status == 200, answer.text
    return [resource["id"] for resource in answer.json["data"]]


async def test_runs_are_listed_newest_first_and_paged_by_a_cursor(api: Any) -> None:
    for number in range(7):
        await api.engine.start("nap", run_id=f"r{number}")
    newest_first = [f"r{number}" for number in range(6, -1, -1)]
    whole = await api.get(RUNS)
    assert ids(whole) == newest_first
    assert (whole.json["meta"], whole.json["links"]) == ({"page_size": 50}, {"next": None})

    path: str | None = f"{RUNS}?page[size]=3&filter[workflow]=nap"
    pages: list[list[str]] = []
    while path is not None:
        answer = await api.get(path)
        pages.append(ids(answer))
        path = answer.json["links"]["next"]
        await api.engine.start("nap")  # what comes meanwhile is on none of the pages
    assert pages == [newest_first[:3], newest_first[3:6], newest_first[6:]]


async def pages(api: Any, query: str) -> list[list[str]]:
    """The runs on each page of this list."""
    path: str | None = f"{RUNS}?{query}"
    found: list[list[str]] = []
    while path is not None:
        answer = await api.get(path)
        found.append(ids(answer))
        path = answer.json["links"]["next"]
    return found


@pytest.mark.parametrize("store", ["memory://", "sqlite:///{}/store.db"])
async def test_runs_are_sorted_and_those_without_a_value_come_last_on_any_page(
    launch: Any, tmp_path: Path, store: str
) -> None:
    api = await launch(store=store.format(tmp_path))
    for number in range(3):
        await sleeping(api, f"n{number}")
    for run_id in ("g0", "g1", "g2"):
        await ended(api, "greet", input={"name": "you"}, run_id=run_id)
    made = ["n0", "n1", "n2", "g0", "g1", "g2"]
    expected = {
        "created_at": made,
        "-created_at": made[::-1],
        "started_at": made,
        "-started_at": made[::-1],
        "finished_at": ["g0", "g1", "g2", "n0", "n1", "n2"],
        "-finished_at": ["g2", "g1", "g0", "n2", "n1", "n0"],
    }
    for sort, runs in expected.items():
        assert await pages(api, f"sort={sort}&page[size]=2") == [runs[:2], runs[2:4], runs[4:]], sort


async def test_a_cursor_is_good_for_its_own_order_only(api: Any) -> None:
    for _ in range(2):
        await api.engine.start("nap")
    first = await api.get(f"{RUNS}?page[size]=1&sort=started_at")
    following = first.json["links"]["next"]
    assert (await api.get(following)).status == 200
    answer = await api.get(following.replace("started_at", "-started_at"))
    assert (answer.status, answer.error["source"]) == (400, {"parameter": "page[after]"})


@pytest.mark.parametrize(
    "content",
    [
        ["created_at", True, 1],
        [["created_at", True], "text", 1],
        [["created_at", True], -1, 1],
        [["created_at", True], 1, 2**63],
        [["created_at", True], 2**80, 1],
        [["created_at", True], 1.5, 1],
        [["created_at", True], 1],
        [["created_at", True, 1], 1, 1],
        {},
    ],
)
async def test_a_cursor_made_by_somebody_else_is_refused(api: Any, content: Any) -> None:
    text = b64encode(json.dumps(content).encode(), b"-_").decode().rstrip("=")
    answer = await api.get(f"{RUNS}?page[after]={text}")
    assert (answer.status, answer.error["source"]) == (400, {"parameter": "page[after]"})


async def test_a_page_that_is_just_full_is_the_last(api: Any) -> None:
    for _ in range(2):
        await api.engine.start("nap")
    assert (await api.get(f"{RUNS}?page[size]=2")).json["links"]["next"] is None
    assert (await api.get(f"{RUNS}?page[size]=1")).json["links"]["next"] is not None


async def test_every_filter_narrows_and_all_of_them_together(api: Any) -> None:
    made = await ended(api, "greet", input={"name": "you"}, run_id="greeted")
    await ended(api, "broken", run_id="failed")
    await sleeping(api, "asleep")
    await api.post("/e/k", json={"name": "app/user.created", "id": "e"})
    [by_event] = await api.engine.list_runs(event="app/user.created")
    onboarded = by_event.id
    await (await api.engine.get_run(onboarded)).result(timeout=30)
    at = made["attributes"]["created_at"]
    expected = {
        "filter[status]=SUCCEEDED": {"greeted", onboarded},
        "filter[status]=FAILED,RUNNING": {"failed", "asleep"},
        "filter[status]=FAILED&filter[status]=RUNNING": {"failed", "asleep"},
        "filter[status]=PENDING": set[str](),
        "filter[phase]=sleeping": {"asleep"},
        "filter[phase]=blocked,retrying": set[str](),
        "filter[workflow]=nap,greet": {"asleep", "greeted"},
        "filter[workflow]=nobody": set[str](),
        "filter[trigger]=EVENT": {onboarded},
        "filter[trigger]=MANUAL": {"greeted", "failed", "asleep"},
        "filter[environment]=production": {"greeted", "failed", "asleep", onboarded},
        "filter[environment]=staging": set[str](),
        "filter[event]=app/user.created": {onboarded},
        f"filter[created_at]=[{at},{at}]": {"greeted"},
        f"filter[created_at]=({at},*)": {"failed", "asleep", onboarded},
        f"filter[created_at]=[*,{at})": set[str](),
        f"filter[created_at]=[{at.replace('Z', '+00:00')}, *)&filter[workflow]=greet": {"greeted"},
        f"filter[created_at]=({at},*)&filter[trigger]=MANUAL&filter[status]=RUNNING": {"asleep"},
        f"filter[started_at]=[{at},*)": {"greeted", "failed", "asleep", onboarded},
        f"filter[started_at]=[*,{at})": set[str](),
        f"filter[finished_at]=[{made['attributes']['finished_at']},{made['attributes']['finished_at']}]": {"greeted"},
        "filter[finished_at]=[2000-01-01T00:00:00Z,*)": {"greeted", "failed", onboarded},
        "filter[scheduled_for]=[2000-01-01T00:00:00Z,*)": set[str](),
        "filter[origin]=nobody": set[str](),
        "sort=-created_at": {"greeted", "failed", "asleep", onboarded},
    }
    found = {query: set(ids(await api.get(f"{RUNS}?{query}"))) for query in expected}
    assert found == expected


async def test_runs_that_come_from_another_are_found_by_it(api: Any) -> None:
    made = await ended(api, "greet", input={"name": "you"})
    again = await api.post(f"{RUNS}/{made['id']}/actions/rerun")
    assert ids(await api.get(f"{RUNS}?filter[origin]={made['id']}")) == [again.json["data"]["id"]]


async def test_lists_read_a_file_too(sqlite_api: Any) -> None:
    await ended(sqlite_api, "greet", input={"name": "a"}, run_id="one")
    await ended(sqlite_api, "greet", input={"name": "b"}, run_id="two")
    first = await sqlite_api.get(f"{RUNS}?page[size]=1&filter[status]=SUCCEEDED")
    assert ids(first) == ["two"]
    assert ids(await sqlite_api.get(first.json["links"]["next"])) == ["one"]


# -- cancel


async def test_a_canceled_run_is_answered_and_ends(api: Any) -> None:
    run = await sleeping(api)
    answer = await api.post(f"{RUNS}/{run.id}/actions/cancel")
    assert answer.status == 200
    assert answer.json["data"]["id"] == run.id
    while (await run.info()).finished_at is None:
        await checkpoint()
    assert await run.status() == "CANCELED"


async def test_an_ended_run_cannot_be_canceled(api: Any) -> None:
    made = await ended(api, "greet", input={"name": "you"})
    answer = await api.post(f"{RUNS}/{made['id']}/actions/cancel")
    assert answer.status == 409
    assert answer.error["code"] == "conflict"
    assert "SUCCEEDED" in answer.error["detail"]


# -- waiting, and signals


class Approval(msgspec.Struct):
    by: str


@workflow
async def approve() -> Any:
    signal = await wait_for_signal("approve", type=Approval, timeout=3600)
    return "nobody" if signal is None else signal.data.by


@workflow
async def parcel() -> Any:
    event = await wait_for_event("parcel/shipped", match={"data.order": 7})
    return event.data


@workflow
async def family() -> Any:
    return await parcel()


@pytest.fixture
async def waiting_api(launch: Any) -> Any:
    return await launch(Engine("memory://", workflows=[approve, parcel, family], drain_timeout=0))


async def waiting(api: Any, name: str) -> Any:
    """A run that waits for something from outside, under its workflow's name."""
    run = await api.engine.start(name, run_id=name)
    while (await run.info()).phase != "waiting":
        await checkpoint()
    return run


async def test_a_run_says_what_from_outside_it_waits_for(waiting_api: Any) -> None:
    for name in ("approve", "family"):
        await waiting(waiting_api, name)
    runs = (await waiting_api.get(f"{RUNS}?filter[phase]=waiting")).json["data"]
    assert all(run["attributes"]["status"] == "RUNNING" for run in runs)
    waits = {run["attributes"]["workflow"]: run["attributes"]["waiting_for"] for run in runs}
    [signal], [child], [event] = waits["approve"], waits["family"], waits["parcel"]
    assert (signal["kind"], signal["name"]) == ("signal", "approve")
    assert signal["due_at"]
    assert (child["kind"], child["name"]) == ("child", "parcel")
    of_child = (await waiting_api.get(f"{RUNS}/{child['run']}")).json["data"]["attributes"]
    assert (of_child["origin"], of_child["parent"]) == ("family", "family")
    assert (event["kind"], event["name"]) == ("event", "parcel/shipped")
    assert "due_at" not in event


async def test_a_signal_is_accepted_and_arrives(waiting_api: Any) -> None:
    run = await waiting(waiting_api, "approve")
    answer = await waiting_api.post(f"{RUNS}/{run.id}/actions/signal", json={"name": "approve", "data": {"by": "Ada"}})
    assert answer.status == 202
    assert answer.json["data"]["id"] == run.id
    assert await run.result(timeout=30) == "Ada"


async def test_a_signal_without_data_is_one_with_null(waiting_api: Any) -> None:
    run = await waiting(waiting_api, "approve")
    for name in ("other", "approve"):
        assert (await waiting_api.post(f"{RUNS}/{run.id}/actions/signal", json={"name": name})).status == 202
    with pytest.raises(RunFailed, match=r"(?i)approval|object"):
        await run.result(timeout=30)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "missing required field `name`"),
        ({"name": 7}, 400, "at name"),
        ({"name": ""}, 400, "1 to 255 printable characters"),
        ({"name": "a\nb"}, 400, "1 to 255 printable characters"),
        ({"name": "a", "date": 1}, 400, "unknown field `date`"),
        ({"name": "a", "data": "x" * 600_000}, 413, "the signal's data takes 600,002 bytes"),
    ],
)
async def test_a_signal_that_cannot_be_is_refused(waiting_api: Any, body: Any, status: int, says: str) -> None:
    run = await waiting(waiting_api, "approve")
    answer = await waiting_api.post(f"{RUNS}/{run.id}/actions/signal", json=body)
    assert answer.status == status
    assert says in answer.error["detail"]
    assert (await run.info()).phase == "waiting"


async def test_an_ended_run_takes_no_signal(api: Any) -> None:
    made = await ended(api, "greet", input={"name": "you"})
    answer = await api.post(f"{RUNS}/{made['id']}/actions/signal", json={"name": "approve"})
    assert answer.status == 409
    assert answer.error["code"] == "conflict"
    assert "has ended" in answer.error["detail"]


async def test_an_event_wakes_a_child_and_with_it_its_parent(waiting_api: Any) -> None:
    run = await waiting(waiting_api, "family")
    for order in (6, 7):
        sent = {"name": "parcel/shipped", "data": {"order": order}}
        assert (await waiting_api.post("/api/v1/events", json=sent)).status == 200
    assert await run.result(timeout=30) == {"order": 7}


# -- rerun


async def test_a_rerun_is_a_new_run_with_the_same_input(api: Any) -> None:
    made = await ended(api, "greet", input={"name": "you", "times": 2})
    answer = await api.post(f"{RUNS}/{made['id']}/actions/rerun")
    assert answer.status == 201
    data = answer.json["data"]
    assert data["id"] != made["id"]
    assert answer.headers["Location"] == f"{RUNS}/{data['id']}"
    assert data["attributes"]["trigger"] == "RERUN"
    assert data["attributes"]["origin"] == made["id"]
    assert data["attributes"]["input"] == {"name": "you", "times": 2}
    again = await api.engine.get_run(data["id"])
    assert await again.result(timeout=30) == "good day good day you"


async def test_a_rerun_may_have_another_input_and_version(api: Any) -> None:
    made = await ended(api, "greet", input={"name": "you"})
    given = {"input": {"name": "me"}, "version": 1}
    answer = await api.post(f"{RUNS}/{made['id']}/actions/rerun", json=given)
    assert answer.status == 201
    again = await api.engine.get_run(answer.json["data"]["id"])
    assert await again.result(timeout=timedelta(seconds=30)) == "hello me"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"input": {"nobody": 1}}, 400, "'name'"),
        ({"input": [1]}, 400, "at input"),
        ({"version": 9}, 400, "version 9"),
        ({"version": "latest"}, 400, "at version"),
        ({"inputs": {}}, 400, "unknown field `inputs`"),
        ({"from_step": 3}, 400, "at from_step"),
        ({"from_step": "charge"}, 400, "the run's history has no step 'charge'"),
    ],
)
async def test_a_rerun_that_cannot_be_is_refused(api: Any, body: Any, status: int, says: str) -> None:
    made = await ended(api, "greet", input={"name": "you"})
    answer = await api.post(f"{RUNS}/{made['id']}/actions/rerun", json=body)
    assert answer.status == status
    assert says in answer.error["detail"]
    assert len(await api.engine.list_runs()) == 1


# -- fork


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"at": 1.5}, "at at"),
        ({"patch": [1]}, "at patch"),
        ({"args": {"charge": [1]}}, "at args"),
        ({"step": "charge"}, "unknown field `step`"),
    ],
)
async def test_a_fork_that_makes_no_sense_is_refused(api: Any, body: Any, says: str) -> None:
    made = await ended(api, "greet", input={"name": "you"})
    answer = await api.post(f"{RUNS}/{made['id']}/actions/fork", json=body)
    assert answer.status == 400
    assert says in answer.error["detail"]
    assert len(await api.engine.list_runs()) == 1


# -- forks, and reruns from a step


@step
async def price(cents: int) -> int:
    return cents


@step(retries=0)
async def charge(cents: int) -> str:
    raise ValueError(f"{cents} declined")


@workflow
async def buy(cents: int) -> str:
    return await charge(await price(cents))


@pytest.fixture
async def bought(launch: Any) -> tuple[Any, str]:
    """A server, and the id of a run whose charge was declined."""
    api = await launch(Engine("memory://", workflows=[buy], drain_timeout=0))
    made = await ended(api, "buy", input={"cents": 5})
    assert made["attributes"]["status"] == "FAILED"
    return api, made["id"]


BY_HAND = {"patch": {"charge": "by hand"}}


@pytest.mark.parametrize(
    ("body", "runs"),
    [
        pytest.param(BY_HAND, [], id="before the failure"),
        pytest.param({"at": "charge"} | BY_HAND, [], id="at a step by name"),
        pytest.param({"at": "0/charge#0", "patch": {"0/charge#0": "by hand"}}, [], id="at a step by key"),
        pytest.param({"at": 4} | BY_HAND, [], id="at a record"),
        pytest.param({"at": "price", "args": {"price": {"cents": 7}}} | BY_HAND, ["price"], id="with other arguments"),
    ],
)
async def test_a_fork_goes_on_from_the_middle(bought: Any, body: Any, runs: list[str]) -> None:
    api, origin = bought
    answer = await api.post(f"{RUNS}/{origin}/actions/fork", json=body)
    assert answer.status == 201, answer.text
    data = answer.json["data"]
    assert answer.headers["Location"] == f"{RUNS}/{data['id']}"
    assert (data["attributes"]["trigger"], data["attributes"]["origin"]) == ("FORK", origin)
    run = await api.engine.get_run(data["id"])
    assert await run.result(timeout=30) == "by hand"
    created, *others = await run.history()
    started = [each.name for each in others if each.type == "attempt.started" and each.seq > created.copied["upto"]]
    assert started == runs


async def test_the_arguments_of_a_fork_reach_its_step(bought: Any) -> None:
    api, origin = bought
    body = {"args": {"charge": {"cents": 7}}}
    answer = await api.post(f"{RUNS}/{origin}/actions/fork", json=body)
    with pytest.raises(RunFailed, match="7 declined"):
        await (await api.engine.get_run(answer.json["data"]["id"])).result(timeout=30)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"at": 99}, "there is no record 99"),
        ({"at": 0}, "there is no record 0"),
        ({"at": "ship"}, "the run's history has no step 'ship'"),
        ({"args": {"charge": {"euros": 1}}}, "step 0/charge#0 has no parameter 'euros'"),
        ({"args": {"charge": {"cents": "a few"}}}, "'cents'"),
        ({"args": {"charge": {"cents": 1}}} | BY_HAND, "both an outcome and arguments"),
    ],
)
async def test_a_fork_of_what_is_not_there_is_refused(bought: Any, body: Any, says: str) -> None:
    api, origin = bought
    answer = await api.post(f"{RUNS}/{origin}/actions/fork", json=body)
    assert answer.status == 400, answer.text
    assert answer.error["code"] == "invalid_input"
    assert says in answer.error["detail"]
    assert len(await api.engine.list_runs()) == 1


@workflow("buy")
async def buy_otherwise(cents: int) -> str:
    await asyncio.sleep(1)
    return await charge(cents)


async def test_an_answer_can_wait_for_the_end(api: Any) -> None:
    short = await api.engine.start("nap", 0.05)
    answer = await api.get(f"{RUNS}/{short.id}?wait=30")
    assert answer.json["data"]["attributes"]["output"] == "awake"
    long = await api.engine.start("nap")
    answer = await api.get(f"{RUNS}/{long.id}?wait=0.01")
    assert answer.json["data"]["attributes"]["status"] == "RUNNING"
    answer = await api.get(f"{RUNS}/{long.id}?wait=soon")
    assert answer.error["detail"] == "wait is 'soon'; it is a number of seconds"
    assert (await api.get(f"{RUNS}/nobody?wait=30")).status == 404


async def test_a_fork_that_does_not_fit_the_code_is_a_conflict(launch: Any, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    async with Engine(store, workflows=[buy]) as before:
        run = await before.start(buy, 5)
        with pytest.raises(RunFailed):
            await run.result(timeout=30)
    api = await launch(Engine(store, workflows=[buy_otherwise]))
    answer = await api.post(f"{RUNS}/{run.id}/actions/fork", json={})
    assert (answer.status, answer.error["code"]) == (409, "nondeterminism")
    assert f"run '{run.id}' cannot be forked at record" in answer.error["detail"]
    assert (await api.post(f"{RUNS}/{run.id}/actions/fork", json={"at": 1})).status == 201, "before that it does"


async def test_a_rerun_may_begin_at_a_step(bought: Any) -> None:
    api, origin = bought
    answer = await api.post(f"{RUNS}/{origin}/actions/rerun", json={"from_step": "charge"})
    assert answer.status == 201, answer.text
    data = answer.json["data"]
    assert (data["attributes"]["trigger"], data["attributes"]["origin"]) == ("RERUN", origin)
    again = await api.engine.get_run(data["id"])
    with pytest.raises(RunFailed, match="5 declined"):
        await again.result(timeout=30)
    history = await again.history()
    assert [each.record["name"] for each in history if each.type == "outcome.given"] == ["price"]
    assert [each.name for each in history if each.type == "attempt.started"] == ["charge"]


# -- runs that go on as others


@workflow
async def count_down(left: int) -> str:
    if left:
        continue_as_new(left - 1)
    return "done"


async def test_who_waits_is_told_of_the_run_that_it_goes_on_as(launch: Any) -> None:
    api = await launch(Engine("memory://", workflows=[count_down], drain_timeout=0))
    made = await ended(api, "count_down", input={"left": 2}, run_id="first")
    assert (made["id"], made["attributes"]["output"]) == ("first", None)
    outputs: list[Any] = []
    while (heir := made["attributes"]["continued_to"]) is not None:
        outputs.append(made["attributes"]["output"])
        made = (await api.get(f"{RUNS}/{heir}")).json["data"]
    assert outputs == [None, None]
    assert (made["attributes"]["status"], made["attributes"]["output"]) == ("SUCCEEDED", "done"), "it was waited for"
