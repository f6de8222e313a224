"""CloudEvents as the published package sends them, in all three modes, and as nobody should."""

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

pytestmark = pytest.mark.anyio

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
ATTRIBUTES: dict[str, Any] = {
    "type": "app/user.created",
    "source": "/shop/orders",
    "id": "17",
    "time": AT,
    "dataschema": "https://shop.example/user.json",
    "subject": "größe 1 %",
    "traceparent": "00-4bf9-00f0-01",
}
EVERY_FIELD = {
    "name": "app/user.created",
    "id": "/shop/orders 17",
    "ts": "2026-01-31T09:30:00Z",
    "v": "https://shop.example/user.json",
}
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json; charset=utf-8"}
LEAST = {"specversion": "1.0", "type": "app/user.x", "source": "/s", "id": "1"}
HEADERS = {f"ce-{name}": value for name, value in LEAST.items()}


async def seen(api: Any) -> Any:
    """The one event that started a run, as the run sees it."""
    [run] = await api.engine.list_runs()
    return run.input["event"]


async def post(api: Any, message: HTTPMessage) -> Any:
    # without a Content-Type of aiohttp, which calls bytes application/octet-stream
    return await api.post("/e/k", data=message.body, headers=message.headers, skip_auto_headers=["Content-Type"])


@pytest.mark.parametrize("convert", [to_structured, to_binary])
async def test_an_event_of_the_published_package_arrives_whole(api: Any, convert: Any) -> None:
    event = CloudEvent(dict(ATTRIBUTES), {"email": "a@b.c"})
    answer = await post(api, convert(event, JSONFormat()))
    assert (answer.status, answer.json) == (200, {"ids": ["/shop/orders 17"], "status": 200})
    got = await seen(api)
    assert {name: got[name] for name in EVERY_FIELD} == EVERY_FIELD
    assert got["data"] == {"email": "a@b.c"}
    assert got["user"] == {
        "source": "/shop/orders",
        "id": "17",
        "subject": "größe 1 %",
        "traceparent": "00-4bf9-00f0-01",
    }


@pytest.mark.parametrize("convert", [to_structured, to_binary])
@pytest.mark.parametrize(
    ("media_type", "data", "arrives"),
    [
        ("application/json", {"a": [1]}, {"a": [1]}),
        ("application/vnd.shop.v1+json", {"a": 1}, {"a": 1}),
        ("text/plain; charset=utf-8", "größe", {"value": "größe"}),
        ("application/xml", "<a/>", {"value": "<a/>"}),
        ("application/soap+xml", "<a/>", {"value": "<a/>"}),
        ("application/octet-stream", b"\x00\xff", {"base64": "AP8="}),
        ("image/png", b"abc", {"base64": "YWJj"}),
        ("application/json", b'{"a":1}', {"a": 1}),  # bytes of JSON go out as data_base64, and are JSON all the same
        ("text/plain", b"abc", {"value": "abc"}),
        ("application/json", None, {}),
    ],
)
async def test_both_modes_give_the_same_data(api: Any, convert: Any, media_type: str, data: Any, arrives: Any) -> None:
    event = CloudEvent({**LEAST, "datacontenttype": media_type}, data)
    assert (await post(api, convert(event, JSONFormat()))).status == 200
    got = await seen(api)
    assert got["data"] == arrives
    assert got["user"]["datacontenttype"] == media_type


@pytest.mark.parametrize(
    ("data", "arrives"), [([1, 2], {"value": [1, 2]}), ("text", {"value": "text"}), (7, {"value": 7}), (None, {})]
)
async def test_data_that_is_no_object_is_under_value(api: Any, data: Any, arrives: Any) -> None:
    body = json.dumps({**LEAST, "data": data})
    assert (await api.post("/e/k", data=body, headers=STRUCTURED)).status == 200
    assert (await seen(api))["data"] == arrives


async def test_a_batch_is_taken_in_order_all_or_nothing(api: Any) -> None:
    batch = [{**LEAST, "id": str(n), "data": {"n": n}} for n in range(3)]
    answer = await api.post("/api/v1/events", data=json.dumps(batch), headers=BATCH)
    assert answer.json == {"ids": ["/s 0", "/s 1", "/s 2"], "status": 200}
    assert len(await api.engine.list_runs()) == 3

    bad = [{**LEAST, "id": "3"}, {**LEAST, "id": ""}]
    answer = await api.post("/api/v1/events", data=json.dumps(bad), headers=BATCH)
    assert (answer.status, answer.json["ids"]) == (400, [])
    assert answer.json["error"].startswith("event 1: this CloudEvent cannot be taken: attribute id")
    assert len(await api.engine.list_runs()) == 3
    assert (await api.post("/e/k", data="[]", headers=BATCH)).json["ids"] == []


async def test_one_id_of_two_sources_is_two_events(api: Any) -> None:
    for source in ("/one", "/two", "/one"):
        body = json.dumps({**LEAST, "source": source, "data": {"of": source}})
        assert (await api.post("/e/k", data=body, headers=STRUCTURED)).status == 200
    assert len(await api.engine.list_runs()) == 2


async def test_a_long_identity_is_a_digest(api: Any) -> None:
    source = "/" + "s" * 300
    for _ in range(2):
        answer = await api.post("/e/k", data=json.dumps({**LEAST, "source": source}), headers=STRUCTURED)
        [event_id] = answer.json["ids"]
        assert len(event_id) == 32
    assert (await seen(api))["user"] == {"source": source, "id": "1"}


async def test_a_header_may_be_quoted(api: Any) -> None:
    headers = {**HEADERS, "ce-subject": '"a \\"b\\" %41"'}
    assert (await api.post("/e/k", data=b"{}", headers=headers, skip_auto_headers=["Content-Type"])).status == 200
    assert (await seen(api))["user"]["subject"] == 'a "b" A'


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"specversion": "0.3"}, "specversion is not 1.0"),
        ({"specversion": None}, "specversion is not 1.0"),
        ({"type": None}, "attribute type"),
        ({"type": ""}, "attribute type"),
        ({"type": "t" * 513}, "1 to 512"),
        ({"source": 7}, "attribute source"),
        ({"source": "a b"}, "without spaces"),
        ({"id": None}, "attribute id"),
        ({"id": "a\nb"}, "attribute id"),
        ({"time": "yesterday"}, "RFC 3339"),
        ({"time": "2026-01-31T09:30:00"}, "time zone"),
        ({"time": True}, "RFC 3339"),
        ({"dataschema": 1}, "dataschema"),
        ({"my_own": "x"}, "'my_own'"),
        ({"own": {"x": 1}}, "attribute own"),
        ({"own": 1.5}, "attribute own"),
        ({"data": {}, "data_base64": ""}, "in the place of data"),
        ({"data_base64": "%"}, "not base64"),
        ({"data_base64": 1}, "in base64"),
        ({"data_base64": b64encode(b"{").decode(), "datacontenttype": "application/json"}, "cannot be taken"),
        ({"data_base64": b64encode(b"\xff").decode(), "datacontenttype": "text/plain"}, "not UTF-8"),
    ],
)
async def test_what_is_no_cloudevent_is_refused_with_a_reason(api: Any, change: Any, says: str) -> None:
    answer = await api.post("/e/k", data=json.dumps({**LEAST, **change}), headers=STRUCTURED)
    assert (answer.status, answer.json["ids"]) == (400, [])
    assert says in answer.json["error"]
    assert await api.engine.list_runs() == []


@pytest.mark.parametrize(
    ("headers", "body", "says"),
    [
        ({**HEADERS, "ce-id": ""}, b"", "attribute id"),
        ({**HEADERS, "ce-subject": "%ff"}, b"", "ce-subject is not percent-encoded"),
        ({**HEADERS, "ce-my-own": "x"}, b"", "'my-own'"),
        ({**HEADERS, "Content-Type": "application/json"}, b"{", "cannot be taken"),
        ({**STRUCTURED}, b"[]", "Expected `object`"),
        ({**STRUCTURED}, b"", "(byte 0)"),
        ({**BATCH}, b"{}", "Expected `array`"),
    ],
)
async def test_what_cannot_be_read_is_refused(api: Any, headers: Any, body: bytes, says: str) -> None:
    answer = await api.post("/e/k", data=body, headers=headers)
    assert (answer.status, answer.json["ids"]) == (400, [])
    assert says in answer.json["error"]


@pytest.mark.parametrize(
    "media_type", ["application/cloudevents+avro", "application/cloudevents", "application/cloudevents-batch"]
)
async def test_other_formats_are_refused(api: Any, media_type: str) -> None:
    answer = await api.post("/e/k", data=b"{}", headers={"Content-Type": media_type})
    assert (answer.status, answer.json["status"]) == (415, 415)
    assert "application/cloudevents+json" in answer.json["error"]


@pytest.mark.parametrize("headers", [STRUCTURED, HEADERS | {"Content-Type": "application/json"}])
async def test_an_event_may_take_512_kib(api: Any, headers: Any) -> None:
    body = json.dumps({**LEAST, "data": {"x": "y" * 512 * 1024}})
    assert (await api.post("/e/k", data=body, headers=headers)).status == 413
