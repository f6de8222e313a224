"""What lies in a run's inbox until it is for the run."""

from typing import Any

from msgspec import Raw

from durably.engine.execution.inbox import ChildItem, SignalItem
from durably.engine.execution.kept import KeptItems
from durably.engine.log.records import NOTHING, ChildStarted, ChildSucceeded, SignalAwaited, SignalReceived, from_us
from durably.engine.log.state import fold

CHILD = ChildItem(ChildSucceeded(child="c", output=NOTHING), "run")


def signal(name: str, number: int) -> SignalItem:
    return SignalItem(name, Raw(b"%d" % number), number)


def state_after(*records: Any) -> Any:
    return fold((at, record) for at, record in enumerate(records, 1))


def received(name: str, number: int) -> SignalReceived:
    return SignalReceived(wait=name, signal=name, data=Raw(b"%d" % number), sent_at=from_us(number))


def test_the_oldest_that_is_for_the_run_is_taken() -> None:
    kept = KeptItems()
    for number, name in enumerate("abab", 1):
        kept.put(number, signal(name, number))
    kept.put(5, CHILD)
    a, b = (SignalAwaited(wait=name, signal=name) for name in "ab")
    child = ChildStarted(child="c", run="r", workflow="w", version=1, input=NOTHING)
    assert kept.take("run", state_after(child), ()) is None, "nobody has asked for any of them yet"
    assert kept.take("run", state_after(b, child), ()) == (2, received("b", 2))
    assert kept.take("run", state_after(b, a, child), ()) == (1, received("a", 1)), "the older one, not the first wait"
    assert list(kept) == [3, 4, 5]
    assert kept.take("run", state_after(child), ("c",)) == (5, CHILD.outcome)
    assert kept.take("run", state_after(b, child), ()) == (4, received("b", 4))
    assert kept.take("run", state_after(b, child), ()) is None
    assert (list(kept), 3 in kept, 4 in kept) == ([3], True, False)


def test_what_is_no_use_any_more_is_taken_out() -> None:
    kept = KeptItems()
    kept.put(1, CHILD)
    assert kept.take("run", state_after(), ()) == (1, None)
    assert not kept
