"""Two histories side by side: aligned by what a record is about, not by its number or its time."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from difflib import SequenceMatcher
from typing import Any, TypeGuard

from msgspec import Struct

from durably.engine.log.history import History, HistoryRecord
from durably.engine.values.differences import Difference, differences

__all__ = ["Pair", "Strand", "diff"]

KEYS = ("step", "timer", "wait", "child", "send", "message", "patch")
"""Fields that say what a record is about. `waits` too, of which there may be several."""

INPUTS = frozenset(
    {"step.succeeded", "step.failed", "timer.fired", "event.received", "signal.received"}
    | {"child.succeeded", "child.failed", "child.canceled"}
)
"""What happened to a run: the order of these is the order of everything."""

VOLATILE = frozenset(
    {"seq", "at", "type", "line", "digest", "seed", "due_at", "retry_at", "until", "since", "sent_at", "start"}
    | {"run", "origin", "parent", "continued_to"}
)
"""Fields that two runs never share, or that repeat what others say."""

VOLATILE_INSIDE = {"event": frozenset({"id", "ts"}), "error": frozenset({"traceback", "cause", "group", "types"})}


class Pair(Struct, frozen=True):
    """A record of one side, and the one of the other side that is about the same; None where there is none."""

    type: str
    before: HistoryRecord | None
    after: HistoryRecord | None
    before_s: float
    after_s: float
    """When it came, in seconds from the run's creation; of no meaning where there is no record."""
    changes: tuple[Difference, ...] = ()

    @property
    def same(self) -> bool:
        """Whether both sides have it, and say the same."""
        return self.before is not None and self.after is not None and not self.changes


class Strand(Struct, frozen=True):
    """All records about one thing: a step, a timer, a wait, a child; with an empty key, the run itself."""

    key: str
    name: str
    pairs: tuple[Pair, ...]
    moved: bool = False
    """Whether its outcome came at another point among those of the others."""

    @property
    def same(self) -> bool:
        """Whether there is nothing to tell of it."""
        return not self.moved and all(pair.same for pair in self.pairs)


def diff(before: History, after: History) -> list[Strand]:
    """What differs: all strands of both histories, in the order in which they began. Times are no difference."""
    ours, theirs = _strands(before), _strands(after)
    moved = _moved(before, after)
    return [
        Strand(
            key,
            _name(key, [*ours.get(key, ()), *theirs.get(key, ())]),
            tuple(_pairs(ours.get(key, []), theirs.get(key, []), before, after)),
            key in moved,
        )
        for key in _merged(list(ours), list(theirs))
    ]


def _strands(history: History) -> dict[str, list[HistoryRecord]]:
    strands: dict[str, list[HistoryRecord]] = {"": []}
    for record in history:
        for key in _keys(record):
            strands.setdefault(key, []).append(record)
    return strands


def _keys(record: HistoryRecord) -> Sequence[str]:
    if record.get("waits"):
        return tuple(record.waits)
    return (next((str(record.get(name)) for name in KEYS if record.get(name)), ""),)


def _name(key: str, records: Iterable[HistoryRecord]) -> str:
    if not key:
        return "the run"
    wanted = ("name", "workflow", "event", "signal")
    found = (each.get(name) for each in records for name in wanted)
    return next((name for name in found if isinstance(name, str)), key.rpartition("/")[2].partition("#")[0])


def _merged(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[str]:
    """The keys of both, each once, those of one side only beside their neighbours."""
    common = set(ours) & set(theirs)
    rest = iter(theirs)
    for key in ours:
        if key in common:
            yield from _until(key, rest, common)
        yield key
    yield from (key for key in rest if key not in common)


def _until(key: str, rest: Iterator[str], common: set[str]) -> Iterator[str]:
    """Those of the other side that come before `key` there, unless that has gone by."""
    for each in rest:
        if each == key:
            return
        if each not in common:
            yield each


def _moved(before: History, after: History) -> frozenset[str]:
    """What came at another point: the outcomes that are not in the longest common order."""
    ours, theirs = (
        [key for record in history if record.type in INPUTS for key in _keys(record)] for history in (before, after)
    )
    both = Counter(ours) & Counter(theirs)
    ours, theirs = ([key for key in each if key in both] for each in (ours, theirs))
    matched = SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
    in_order = {key for block in matched for key in ours[block.a : block.a + block.size]}
    return frozenset(both) - in_order


# -- records


def _identities(records: Iterable[HistoryRecord]) -> list[tuple[str, int | None, int]]:
    """What tells each record from the others of its strand: type, attempt, and how many-th of those."""
    seen: Counter[tuple[str, int | None]] = Counter()
    found: list[tuple[str, int | None, int]] = []
    for record in records:
        kind = record.type, record.get("attempt") if record.type.startswith("attempt.") else None
        found.append((*kind, seen[kind]))
        seen[kind] += 1
    return found


def _pairs(
    ours: Sequence[HistoryRecord], theirs: Sequence[HistoryRecord], before: History, after: History
) -> Iterator[Pair]:
    matcher = SequenceMatcher(None, _identities(ours), _identities(theirs), autojunk=False)
    for tag, start, end, other_start, other_end in matcher.get_opcodes():
        if tag == "equal":
            for one, other in zip(ours[start:end], theirs[other_start:other_end], strict=True):
                changes = tuple(differences(_content(one), _content(other)))
                yield Pair(one.type, one, other, _seconds(one, before), _seconds(other, after), changes)
        else:
            for one in ours[start:end]:
                yield Pair(one.type, one, None, _seconds(one, before), 0)
            for other in theirs[other_start:other_end]:
                yield Pair(other.type, None, other, 0, _seconds(other, after))


def _seconds(record: HistoryRecord, history: History) -> float:
    return (record.at - history.records[0].at).total_seconds()


def _content(record: HistoryRecord) -> dict[str, Any]:
    """What a record says, without what two runs never share."""
    return {
        name: _without(value, VOLATILE_INSIDE.get(name, frozenset()))
        for name, value in record.to_dict().items()
        if name not in VOLATILE
    }


def _without(value: Any, names: AbstractSet[str]) -> Any:
    return {name: each for name, each in value.items() if name not in names} if _is_object(value) else value


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)
