"""`/api/v1/destinations`."""

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from durably import Engine, NonRetriableError, RunFailed, workflow
from durably.engine.notifications.email import Email
from durably.engine.notifications.webhook import Webhook
from tests.engine.notifications.real_receivers import Receiver, listening

if TYPE_CHECKING:
    from conftest import Api, Launch

pytestmark = pytest.mark.anyio

DESTINATIONS = "/api/v1/destinations"


@workflow
async def at_once() -> None:
    raise NonRetriableError("no")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with listening() as found:
        yield found


@pytest.fixture
async def api(launch: "Launch", receiver: Receiver) -> "Api":
    notify = [
        Webhook(receiver.url, name="pager"),
        Email("ops@example.com", sender="durably@example.com", smtp_url="smtp://u:hunter2@mail.example"),
    ]
    return await launch(Engine("memory://", [at_once], notify=notify, http_allow=["127.0.0.0/8"], drain_timeout=5))


async def fail(api: "Api") -> None:
    """A run has failed, and its messages have had their first attempt."""
    run = await api.engine.start(at_once)
    with pytest.raises(RunFailed):
        await run.result()


async def attributes(api: "Api", name: str = "pager") -> Mapping[str, Any]:
    answer = await api.get(f"{DESTINATIONS}/{name}")
    assert answer.status == 200
    found: Mapping[str, Any] = answer.json["data"]["attributes"]
    return found


async def test_destinations_and_how_they_stand(api: "Api", receiver: Receiver) -> None:
    answer = await api.get(DESTINATIONS)
    webhook, email = answer.json["data"]
    host = receiver.url.removesuffix("/hooks/s3cr3t")
    assert webhook == {
        "type": "destination",
        "id": "pager",
        "attributes": {
            "kind": "webhook",
            "address": f"{host}/…",
            "enabled": True,
            "disabled_at": None,
            "failures": 0,
            "reason": None,
            "pending": 0,
        },
    }
    assert email["id"].startswith("email-")
    assert (email["attributes"]["kind"], email["attributes"]["address"]) == ("email", "ops@example.com")
    assert "s3cr3t" not in answer.text
    assert "hunter2" not in answer.text


async def test_pages(api: "Api") -> None:
    answer = await api.get(f"{DESTINATIONS}?page[size]=1&page[number]=2&meta[total]=true")
    assert [each["attributes"]["kind"] for each in answer.json["data"]] == ["email"]
    assert answer.json["meta"]["pagination"]["total"] == 2


async def test_one_that_was_switched_off_is_switched_on_again(api: "Api", receiver: Receiver) -> None:
    receiver.answers = [410, 200]
    await fail(api)
    while (await attributes(api))["enabled"]:
        pass
    found = await attributes(api)
    assert found["failures"] == 1
    assert found["disabled_at"] is not None
    assert "answered 410" in found["reason"]

    answer = await api.post(f"{DESTINATIONS}/pager/actions/enable")
    assert answer.status == 200
    assert answer.json["data"]["attributes"] == await attributes(api)
    assert (await attributes(api))["enabled"]
    assert (await attributes(api))["failures"] == 0
    await fail(api)
    while len(receiver.received) < 2:
        await attributes(api)


async def test_switching_on_what_is_on_changes_nothing(api: "Api") -> None:
    before = await attributes(api)
    assert (await api.post(f"{DESTINATIONS}/pager/actions/enable")).json["data"]["attributes"] == before


async def test_a_test_message_and_what_became_of_it(api: "Api", receiver: Receiver) -> None:
    receiver.answers = [500, 200]
    failed = (await api.post(f"{DESTINATIONS}/pager/actions/test")).json["data"]
    assert (failed["type"], failed["attributes"]["destination"]) == ("destination_test", "pager")
    assert failed["attributes"]["delivered"] is False
    assert "answered 500" in failed["attributes"]["error"]
    assert "s3cr3t" not in str(failed)

    delivered = (await api.post(f"{DESTINATIONS}/pager/actions/test")).json["data"]
    assert delivered["attributes"] == {"destination": "pager", "delivered": True, "error": None}
    assert delivered["id"] == receiver.ids[-1]
    assert (await attributes(api))["failures"] == 0


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "nobody"), ("POST", "nobody/actions/enable"), ("POST", "nobody/actions/test")]
)
async def test_unknown_ones(api: "Api", method: str, path: str) -> None:
    answer = await api(method, f"{DESTINATIONS}/{path}")
    assert answer.status == 404
    assert "has pager, email-" in answer.error["detail"]


async def test_without_notify_there_are_none(launch: "Launch") -> None:
    api = await launch()
    assert (await api.get(DESTINATIONS)).json["data"] == []
