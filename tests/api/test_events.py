"""`POST /e/{key}` and `POST /api/v1/events`."""

import asyncio
import json
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from durably import Engine, Event, Trigger, workflow

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("path", ["/e/any-key", "/api/v1/events"])
CREATED = {"name": "app/user.created", "data": {"email": "a@b.c"}}


async def runs(api: Any, **filters: Any) -> Any:
    return await api.engine.list_runs(**filters, limit=100)


@BOTH
async def test_one_event_is_acknowledged_with_its_id_and_starts_its_run(api: Any, path: str) -> None:
    answer = await api.post(path, json=CREATED)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    [run] = await runs(api)
    assert answer.json == {"ids": [run.event_id], "status": 200}
    assert (run.workflow, run.trigger, run.event) == ("onboard", "EVENT", "app/user.created")
    assert await (await api.engine.get_run(run.id)).result(timeout=30) == {"email": "a@b.c"}


@BOTH
async def test_an_array_is_acknowledged_in_order(api: Any, path: str) -> None:
    events = [{"name": "app/user.created", "id": f"e{n}", "data": {"n": n}} for n in range(3)]
    answer = await api.post(path, json=[*events, {"name": "nobody/listens"}])
    assert answer.status == 200
    assert answer.json["ids"][:3] == ["e0", "e1", "e2"]
    assert len(answer.json["ids"]) == 4
    assert {run.event_id for run in await runs(api)} == {"e0", "e1", "e2"}


async def test_no_events_are_acknowledged_too(api: Any) -> None:
    assert (await api.post("/e/k", data="[]")).json == {"ids": [], "status": 200}


async def test_every_field_arrives(api: Any) -> None:
    event = CREATED | {"id": "e", "ts": 1_767_225_600_123, "user": {"id": 7}, "v": "2026-01-01"}
    await api.post("/e/k", json=event)
    [run] = await runs(api)
    seen = run.input["event"]
    assert seen["ts"] == "2026-01-01T00:00:00.123000Z"
    assert {name: seen[name] for name in ("name", "data", "id", "user", "v")} == {
        name: event[name] for name in ("name", "data", "id", "user", "v")
    }


@pytest.mark.parametrize(
    ("ts", "seen"),
    [
        (1_767_225_600_000, datetime(2026, 1, 1, tzinfo=UTC)),
        (1_767_225_600_000.5, datetime(2026, 1, 1, 0, 0, 0, 500, UTC)),
        ("2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T02:00:00+02:00", datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
async def test_ts_is_milliseconds_or_rfc_3339(api: Any, ts: Any, seen: datetime) -> None:
    assert (await api.post("/e/k", json=CREATED | {"ts": ts})).status == 200
    [run] = await runs(api)
    assert datetime.fromisoformat(run.input["event"]["ts"]) == seen


@workflow(on=[Trigger("shop/order", where="event.data.cents >= 100"), Trigger("shop/order", where="event.data.vip")])
async def greet_in_person(event: Event) -> int:
    return int(event.data["cents"])


@pytest.mark.parametrize(
    ("data", "starts"),
    [
        ({"cents": 100, "vip": False}, 1),
        ({"cents": 99, "vip": False}, 0),
        ({"cents": 99, "vip": True}, 1),
        ({"cents": 100, "vip": True}, 1),
        ({"vip": True}, 1),
        ({"cents": "many"}, 0),
        ({}, 0),
    ],
)
async def test_an_event_that_misses_the_condition_starts_nothing(launch: Any, data: Any, starts: int) -> None:
    """Nor does one for which the condition cannot be judged. Both are stored, and acknowledged as any other."""
    api = await launch(Engine("memory://", workflows=[greet_in_person], drain_timeout=0))
    answer = await api.post("/e/k", json={"name": "shop/order", "data": data, "id": "e1"})
    assert (answer.status, answer.json) == (200, {"ids": ["e1"], "status": 200})
    assert [(run.workflow, run.event_id) for run in await runs(api)] == [("greet_in_person", "e1")] * starts
    assert [row.condition for row in await api.engine.core.store.triggers()] == [
        "event.data.cents >= 100",
        "event.data.vip",
    ]


@pytest.mark.parametrize("data", [{}, {"data": None}, {"data": {}}])
async def test_data_is_an_empty_object_by_default(api: Any, data: Any) -> None:
    await api.post("/e/k", json={"name": "app/user.left"} | data)
    [run] = await runs(api)
    assert run.input["event"]["data"] == {}


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_json_is_taken_whatever_it_is_called(api: Any, content_type: str | None) -> None:
    """curl -d calls everything a form."""
    headers = {"Content-Type": content_type} if content_type else {}
    body = json.dumps(CREATED).encode()
    assert (await api.post("/e/k", data=body, headers=headers, skip_auto_headers=["Content-Type"])).status == 200


# -- idempotency


async def test_the_same_id_with_the_same_content_starts_nothing_again(api: Any) -> None:
    event = CREATED | {"id": "once"}
    for _ in range(3):
        answer = await api.post("/e/k", json=event)
        assert (answer.status, answer.json) == (200, {"ids": ["once"], "status": 200})
    assert len(await runs(api)) == 1


async def test_the_same_id_with_other_content_is_a_conflict(api: Any) -> None:
    await api.post("/e/k", json=CREATED | {"id": "once"})
    answer = await api.post("/e/k", json=CREATED | {"id": "once", "data": {"email": "x@y.z"}})
    assert answer.status == 409
    assert (answer.json["ids"], answer.json["status"]) == ([], 409)
    assert "'once'" in answer.json["error"]
    assert len(await runs(api)) == 1


@pytest.mark.parametrize("store", ["memory://", "sqlite:///{}/store.db"])
async def test_a_thousand_posts_of_one_id_start_one_run(launch: Any, tmp_path: Path, store: str) -> None:
    api = await launch(store=store.format(tmp_path))
    event = CREATED | {"id": "once"}
    answers = await asyncio.gather(*(api.post("/e/k", json=event) for _ in range(1_000)))
    assert {(answer.status, answer.text) for answer in answers} == {(200, '{"ids":["once"],"status":200}')}
    assert len(await runs(api)) == 1


async def test_what_was_acknowledged_is_in_the_file(sqlite_api: Any) -> None:
    answer = await sqlite_api.post("/e/k", json=CREATED)
    [event_id] = answer.json["ids"]
    row = await sqlite_api.engine.core.store.event(event_id)
    assert json.loads(row.body)["data"] == {"email": "a@b.c"}


# -- refusals


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "(byte 0)"),
        (b"  ", "(byte 2)"),
        (b"nonsense", "(byte 4)"),
        (b'{"name":"a" "b"}', "(byte 12)"),
        (b'{"name":"a"} {}', "trailing characters (byte 14)"),
        (b'{"name":"a', "(byte 10)"),
        (b'{"name":"a","data":{"x":NaN}}', "(byte 24)"),
        (b'{"name":"a","data":{"x":1e999}}', "out of range"),
        (b'{"name":"a\xff"}', "not UTF-8 (byte 10)"),
        (b'{"name":"\\ud800"}', "(byte"),
        (b'"text"', "Expected `object`"),
        (b"17", "Expected `object`"),
        (b"null", "Expected `object`"),
        (b"{}", "`name`"),
        (b'{"name":1}', "Expected `str`, got `int` at name"),
        (b'{"name":""}', "1 to 512"),
        (b'{"name":"%s"}' % (b"n" * 513), "1 to 512"),
        (b'{"name":"a\\u0000"}', "control characters"),
        (b'{"name":"a","data":[]}', "at data"),
        (b'{"name":"a","data":"text"}', "at data"),
        (b'{"name":"a","dta":{}}', "unknown field `dta`"),
        (b'{"name":"a","id":7}', "at id"),
        (b'{"name":"a","id":""}', "1 to 255"),
        (b'{"name":"a","id":"%s"}' % (b"i" * 256), "1 to 255"),
        (b'{"name":"a","id":"a\\nb"}', "printable"),
        (b'{"name":"a","v":1}', "at v"),
        (b'{"name":"a","ts":"yesterday"}', "RFC3339"),
        (b'{"name":"a","ts":"2026-01-01T00:00:00"}', "time zone"),
        (b'{"name":"a","ts":1767225600}', "milliseconds"),  # seconds
        (b'{"name":"a","ts":-1}', "milliseconds"),
        (b'{"name":"a","ts":1e300}', "milliseconds"),
        (b'{"name":"a","ts":true}', "at ts"),
        (b'{"name":"a","data":{"x":' + b"[" * 63 + b"]" * 63 + b"}}", "64 arrays and objects"),
        (b'{"name":"a","data":' + b'{"x":' * 50_000 + b"1" + b"}" * 50_000 + b"}", "64 arrays and objects"),
        (b"[" * 100_000, "64 arrays and objects"),
    ],
)
async def test_what_is_no_event_is_refused_with_a_reason(api: Any, body: bytes, says: str) -> None:
    answer = await api.post("/e/k", data=body)
    assert (answer.status, answer.json["status"], answer.json["ids"]) == (400, 400, [])
    assert says in answer.json["error"]


async def test_64_levels_are_taken(api: Any) -> None:
    nested = b"[" * 62 + b"]" * 62  # in data, in the event: 64 levels
    assert (await api.post("/e/k", data=b'{"name":"a","data":{"x":%s}}' % nested)).status == 200


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"name": 1},
        {"name": ""},
        {"name": "a", "data": []},
        {"name": "a", "ts": 1},
        {"name": "a", "x": 1},
        17,
    ],
)
async def test_an_array_with_a_bad_event_is_refused_whole_and_names_it(api: Any, bad: Any) -> None:
    answer = await api.post("/e/k", json=[CREATED, CREATED, bad, CREATED])
    assert (answer.status, answer.json["ids"]) == (400, [])
    assert answer.json["error"].startswith("event 2: ")
    assert await runs(api) == []


async def test_an_array_with_a_conflict_is_refused_whole(api: Any) -> None:
    await api.post("/e/k", json=CREATED | {"id": "once"})
    answer = await api.post("/e/k", json=[CREATED | {"id": "new"}, CREATED | {"id": "once", "data": {}}])
    assert answer.status == 409
    assert len(await runs(api)) == 1


# -- limits


async def test_a_batch_of_5000_is_taken(api: Any) -> None:
    events = [{"name": "nobody/listens", "id": f"e{n}"} for n in range(5_000)]
    answer = await api.post("/e/k", json=events)
    assert answer.status == 200
    assert answer.json["ids"] == [event["id"] for event in events]


async def test_a_batch_of_5001_is_refused(api: Any) -> None:
    answer = await api.post("/e/k", json=[{"name": "nobody/listens"}] * 5_001)
    assert answer.status == 413
    assert "5,001 events at once are more than 5,000" in answer.json["error"]


def event_of(size: int) -> bytes:
    """An event of exactly so many bytes."""
    head, tail = b'{"name":"nobody/listens","data":{"x":"', b'"}}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (event_of(511 * 1024), 200),  # the engine counts the fields that are left out, too
        (event_of(512 * 1024 + 1), 413),
        (b"[%s,%s]" % (event_of(400_000), event_of(400_000)), 200),
        (b"[%s,%s]" % (event_of(100), event_of(512 * 1024 + 1)), 413),
        (event_of(16 * 1024 * 1024 + 1), 413),
    ],
)
async def test_an_event_may_take_512_kib(api: Any, body: bytes, status: int) -> None:
    answer = await api.post("/e/k", data=BytesIO(body))
    assert (answer.status, answer.json["status"]) == (status, status)


async def test_an_event_that_is_too_large_is_named_in_its_array(api: Any) -> None:
    body = b"[%s,%s]" % (event_of(100), event_of(512 * 1024 + 1))
    assert (await api.post("/e/k", data=body)).json["error"].startswith("event 1: the event takes 524,289 bytes")


@pytest.mark.parametrize("media_type", ["multipart/form-data; boundary=x", "Multipart/Mixed"])
async def test_forms_with_parts_are_refused(api: Any, media_type: str) -> None:
    answer = await api.post("/e/k", data=b"{}", headers={"Content-Type": media_type})
    assert (answer.status, answer.json["status"], answer.json["ids"]) == (415, 415, [])
    assert "send application/json" in answer.json["error"]


# -- when nothing can be taken in


async def test_a_full_queue_refuses_with_retry_after_and_loses_nothing(stubborn_api: Any) -> None:
    api, store = stubborn_api, stubborn_api.engine.stubborn
    store.held = True
    batch = [CREATED] * 4_200  # one run each, more than the queue's 4,096
    under_way = [asyncio.create_task(api.post("/e/k", json=[CREATED]))]
    while not store._waiting:
        await checkpoint()
    under_way.append(asyncio.create_task(api.post("/e/k", json=batch)))
    while not api.engine.intake.full:
        await checkpoint()

    refused = await api.post("/e/k", json=CREATED)
    assert (refused.status, refused.json["status"]) == (503, 503)
    assert int(refused.headers["Retry-After"]) >= 1
    assert "full" in refused.json["error"]

    store.release()
    answers = await asyncio.gather(*under_way)
    assert [(answer.status, len(answer.json["ids"])) for answer in answers] == [(200, 1), (200, 4_200)]
    assert (await api.post("/e/k", json=CREATED)).status == 200


async def test_nothing_is_acknowledged_before_it_is_stored(stubborn_api: Any) -> None:
    api, store = stubborn_api, stubborn_api.engine.stubborn
    store.held = True
    posted = asyncio.create_task(api.post("/e/k", json=CREATED))
    while not store._waiting:
        await checkpoint()
    for _ in range(100):  # health goes round the same loop
        assert (await api.get("/health/live")).status == 200
    assert not posted.done()
    store.release()
    assert (await posted).status == 200


async def test_a_failing_store_refuses_with_retry_after(stubborn_api: Any) -> None:
    api, store = stubborn_api, stubborn_api.engine.stubborn
    store.failing = True
    first = await api.post("/e/k", json=CREATED)
    assert (first.status, first.headers["Retry-After"]) == (503, "1")
    assert "not known" in first.json["error"]
    second = await api.post("/e/k", json=CREATED)
    assert (second.status, second.headers["Retry-After"]) == (503, "1")
    assert "the disk is full" in second.json["error"]
