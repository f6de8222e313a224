"""What an inbox item is to a run: a pure decision."""

from typing import Any

import pytest
from msgspec import Raw

from durably.engine.execution.inbox import (
    CancelItem,
    ChildItem,
    EventItem,
    Item,
    KnownChildItem,
    LookBackItem,
    SignalItem,
    awaited_by,
    claim,
    decode_item,
    encode_item,
    is_had,
)
from durably.engine.log.records import (
    NOTHING,
    ChildCanceled,
    ChildCancelRequested,
    ChildStarted,
    ChildSucceeded,
    EventAwaited,
    EventReceived,
    Record,
    RunCreated,
    RunStarted,
    SignalAwaited,
    SignalReceived,
    WaitCanceled,
    from_us,
)
from durably.engine.log.state import RunState, fold

CREATED = RunCreated(
    workflow="w",
    version=1,
    input=NOTHING,
    trigger="EVENT",
    event=Raw(b'{"id":"t","name":"begin","data":{"n":7}}'),
    environment="production",
    test=False,
)
STARTED = RunStarted(code="c", python="3", anyio="4", engine="1", seed=1)


def state_after(*records: Record) -> RunState:
    return fold((at, record) for at, record in enumerate([CREATED, STARTED, *records], 1))


def event(number: int = 1, name: str = "made", identity: str = "e") -> Raw:
    return Raw(b'{"id":"%s","name":"%s","data":{"n":%d}}' % (identity.encode(), name.encode(), number))


def wait(key: str, **fields: Any) -> EventAwaited:
    return EventAwaited(wait=key, event="made", **fields)


WAITS = (
    wait("any"),
    wait("one", match=Raw(b'{"data.n":1}')),
    wait("seven", where="event.data.n == trigger.data.n"),
    wait("more", where="event.data.n > vars.x", vars=Raw(b'{"x":5}')),
    SignalAwaited(wait="signal", signal="made"),
)


@pytest.mark.parametrize(
    ("given", "waits"),
    [
        (event(1), ("any", "one")),
        (event(7), ("any", "seven", "more")),
        (event(6), ("any", "more")),
        (event(1, name="other"), ()),
    ],
)
def test_an_event_is_for_every_wait_it_fits(given: Raw, waits: tuple[str, ...]) -> None:
    state = state_after(*WAITS)
    assert awaited_by(given, state) == waits
    claimed = claim(EventItem(given), "run", state, ())
    assert claimed == (EventReceived(waits=waits, event=given) if waits else False)


def test_no_event_is_for_a_run_twice() -> None:
    state = state_after(wait("a"), EventReceived(waits=("a",), event=event(identity="had")), wait("b"))
    assert is_had(event(identity="had"), state)
    assert is_had(event(identity="t"), state), "what started the run"
    assert not is_had(event(identity="e"), state)
    assert claim(EventItem(event(identity="had")), "run", state, ()) is False


def test_a_signal_is_for_the_wait_that_asked_first_and_kept_without_one() -> None:
    a, b = SignalAwaited(wait="a", signal="ok"), SignalAwaited(wait="b", signal="ok")
    item = SignalItem("ok", Raw(b"1"), 5)
    received = SignalReceived(wait="a", signal="ok", data=Raw(b"1"), sent_at=from_us(5))
    assert claim(item, "run", state_after(a, b), ()) == received
    assert claim(item, "run", state_after(b, a), ()) != received
    assert claim(item, "run", state_after(a, WaitCanceled(wait="a")), ()) is True
    assert claim(SignalItem("other", Raw(b"1"), 5), "run", state_after(a, b), ()) is True


CHILD = ChildStarted(child="c", run="r", workflow="w", version=1, input=NOTHING)
DONE = ChildSucceeded(child="c", output=NOTHING)


@pytest.mark.parametrize(
    ("records", "pending", "parent", "claimed"),
    [
        ((CHILD,), ("c",), "run", DONE),
        ((CHILD,), (), "run", True),
        ((CHILD, ChildCancelRequested(child="c")), (), "run", False),
        ((CHILD, ChildCancelRequested(child="c")), ("c",), "run", DONE),
        ((CHILD, ChildCanceled(child="c")), (), "run", False),
        ((), (), "run", False),
        ((CHILD,), ("c",), "the run before", False),
    ],
    ids=["awaited", "not asked for yet", "given up", "canceled and awaited", "had", "unknown", "of another run"],
)
def test_a_childs_end_is_for_the_parent_that_waits(
    records: tuple[Record, ...], pending: tuple[str, ...], parent: str, claimed: Any
) -> None:
    assert claim(ChildItem(DONE, parent), "run", state_after(*records), pending) == claimed


ITEMS: list[Item] = [
    CancelItem(),
    EventItem(event()),
    LookBackItem("0/event#0"),
    SignalItem("ok", Raw(b'{"a":1}'), 5),
    ChildItem(DONE, "run"),
    KnownChildItem("0/pack#0"),
]


@pytest.mark.parametrize("item", ITEMS, ids=lambda each: type(each).__name__)
def test_items_come_back_as_they_were_put(item: Item) -> None:
    assert decode_item(encode_item(item)) == item
