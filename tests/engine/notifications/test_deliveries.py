from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from durably import ErrorInfo
from durably.engine.notifications.deliveries import after_attempt, deliveries, message_id, wait_us
from durably.engine.notifications.destination import NotDelivered, Rejected
from durably.engine.notifications.webhook import Webhook
from durably.store.runtime import SECOND_US
from tests.engine.notifications.bare_post import failure_of

NOW_US = 1_767_225_600_000_000
HOOKS = (Webhook("https://a.example/hook"), Webhook("https://b.example/hook"))


def test_one_delivery_for_each_destination_due_at_once() -> None:
    rows = deliveries(failure_of(), HOOKS, NOW_US)
    assert [row.destination for row in rows] == [hook.id for hook in HOOKS]
    assert {(row.run_id, row.status, row.attempts, row.created_us, row.due_us) for row in rows} == {
        ("run-1", "PENDING", 0, NOW_US, NOW_US)
    }
    assert deliveries(failure_of(), (), NOW_US) == []


def test_a_message_has_the_same_id_whenever_it_is_made() -> None:
    assert deliveries(failure_of(), HOOKS, NOW_US)[0].message == deliveries(failure_of(), HOOKS, NOW_US + 1)[0].message
    ids = {message_id(run, hook) for run in ("a", "b", "ab") for hook in ("c", "bc")}
    assert len(ids) == 6
    assert message_id("a", "b") == "msg_" + message_id("a", "b")[4:].lower()


def test_what_is_recorded_is_what_is_sent() -> None:
    body = msgspec.json.decode(deliveries(failure_of(url="https://d.example/r"), HOOKS, NOW_US)[0].body)
    assert body["type"] == "run.failed"
    assert datetime.fromisoformat(body["timestamp"]) == datetime(2026, 1, 1, tzinfo=UTC)
    assert set(body["data"]) == {"run_id", "workflow", "error", "input", "url"}
    assert body["data"]["input"] == {"order_id": "o-1"}
    assert body["data"]["error"]["cause"]["type"] == "shop.CardDeclined"


@pytest.mark.parametrize(
    "changed",
    [
        {"input": {"blob": "x" * 300_000}},
        {"error": ErrorInfo("E", ("E",), "why", "x" * 20_000, group=(ErrorInfo("F", (), "", "y" * 20_000),) * 20)},
    ],
)
def test_a_message_stays_small(changed: dict[str, Any]) -> None:
    [row, _] = deliveries(failure_of(**changed), HOOKS, NOW_US)
    assert len(row.body) < 256 * 1024
    data = msgspec.json.decode(row.body)["data"]
    assert data["input"] is None
    assert data["run_id"] == "run-1"
    assert data["error"]["message"]
    assert not {"traceback", "cause", "group"} & set(data["error"])


def test_waits() -> None:
    waits = [wait_us(attempts) for attempts in range(1, 34)]
    seconds = [wait and wait // SECOND_US for wait in waits]
    assert seconds == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, *[3600] * 22, None]
    assert wait_us(1_000_000) is None


def test_after_an_attempt() -> None:
    [row, _] = deliveries(failure_of(), HOOKS, NOW_US)
    later = NOW_US + 7 * SECOND_US

    failed = after_attempt(row, NotDelivered("no"), later)
    assert (failed.status, failed.attempts, failed.due_us, failed.error) == ("PENDING", 1, later + 5 * SECOND_US, "no")
    assert (failed.message, failed.body) == (row.message, row.body)

    delivered = after_attempt(failed, None, later)
    assert (delivered.status, delivered.attempts, delivered.due_us, delivered.error) == ("DELIVERED", 2, None, None)

    rejected = after_attempt(row, Rejected("never"), later)
    assert (rejected.status, rejected.attempts, rejected.due_us, rejected.error) == ("FAILED", 1, None, "never")


@pytest.mark.parametrize(("asked", "waited"), [(0, 5), (4.5, 5), (60, 60), (0.0000001, 5), (86_400, 86_400)])
def test_a_destination_may_ask_for_more_time_and_not_for_less(asked: float, waited: int) -> None:
    [row, _] = deliveries(failure_of(), HOOKS, NOW_US)
    assert after_attempt(row, NotDelivered("busy", asked), NOW_US).due_us == NOW_US + waited * SECOND_US
