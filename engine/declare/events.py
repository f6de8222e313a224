"""Events, what they trigger, and how one is matched with the other. Nothing here reads a clock or a store."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, final, get_args
from typing import TypeVar as PlainTypeVar

from typing_extensions import TypeVar

from durably.engine.declare.where import Where
from durably.engine.schedules.catch_up import CatchUp
from durably.engine.schedules.cron import CronExpression, CronTimetable, find_zone
from durably.engine.values.durations import Duration, to_seconds

__all__ = ["MAX_EVENT_NAME", "Cron", "Event", "Signal", "Trigger", "TriggerIndex", "Triggered", "matches"]

MAX_EVENT_NAME = 512
"""The most characters of an event's name."""

D = TypeVar("D", default=Any)  # with a default, so that a bare `Event` is no error under mypy strict


# -- values


@final
@dataclass(frozen=True, init=False)  # with slots, Event[Order](…) is a TypeError before Python 3.13
class Event(Generic[D]):
    """Something named that happened. It triggers runs and wakes those that wait for it.

    `data` is a JSON object, `{}` by default. Annotate a parameter `Event[Order]`, and `data` is decoded to an
    `Order`: a dataclass, a msgspec struct, a pydantic model or a `TypedDict`. `user` and `v`, the version of
    the data's schema, are whatever the sender says.

    Raises:
        ValueError: the name is empty, too long or has control characters in it, or `ts` has no time zone.
        TypeError: `data` is not an object.
    """

    name: str
    data: D
    if TYPE_CHECKING:  # whoever is given an event can count on both; who makes one may leave them to the engine
        id: str
        ts: datetime
    else:
        id: str | None = None
        """Events with one id within 24 h are one event. None until the event is sent."""
        ts: datetime | None = None
        """When it happened or, unless the sender says, when it arrived. None until the event is sent."""
    user: Any = None
    v: str | None = None

    def __init__(
        self,
        name: str,
        data: D | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the contract's name
        ts: datetime | None = None,
        user: Any = None,
        v: str | None = None,
    ) -> None:
        fields: dict[str, Any] = {"name": name, "data": data, "id": id, "ts": ts, "user": user, "v": v}
        if data is None:
            fields["data"] = {}
        for field, value in fields.items():
            object.__setattr__(self, field, value)  # frozen: there is no other way to set a field
        self.__post_init__()

    def __post_init__(self) -> None:
        """The checks; msgspec calls them too when it decodes an event."""
        _check_name(self.name)
        _check_ts(self.name, self.ts)
        if isinstance(self.data, _NO_OBJECTS):
            raise TypeError(f"data of event {self.name!r} is {self.data!r}; it must be an object, like {{'id': 1}}")


@final
@dataclass(frozen=True)
class Signal(Generic[D]):
    """Something sent to one run. It wakes one waiter, and is kept if none waits."""

    name: str
    data: D
    at: datetime


@final
@dataclass(frozen=True, slots=True)
class Trigger:
    """Which events start runs: those of a name or, with a trailing `*` after a `/` or a `.`, of a beginning.

    `app/user.*` is every event of a user, `app/*` every event of the app. `where` is a condition on `event` in CEL,
    `event.data.amount > 100`; `Where` says what it can use.

    Raises:
        ValueError: the name is empty, too long or has a `*` in a wrong place, or `where` does not compile.
        ModuleNotFoundError: `where` needs `pip install 'durably[cel]'`.
    """

    name: str
    where: str | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        literal = self.name[:-1] if self.name.endswith(("/*", ".*")) else self.name
        if "*" in literal:
            raise ValueError(
                f"trigger {self.name!r} has a * in a place where it matches nothing; "
                "it may only be the last character, after a / or a ."
            )
        self._condition()

    def wants(self, event: Callable[[], Mapping[str, Any]]) -> bool:
        """Whether an event whose name matches is one it asks for. `event` gives it as decoded from JSON, if needed."""
        condition = self._condition()
        return condition is None or condition.holds(event())

    def _condition(self) -> Where | None:
        return None if self.where is None else Where(self.where, ("event",))  # compiled once, and kept there


@final
@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule: a cron expression of five fields, in the local time of an IANA time zone.

    A run's body begins up to `jitter` later than its time, each run another while later; `current().scheduled_for` is
    the time itself. After missed times `catch_up="once"` gives one run for the last one, `"all"` one each in order,
    `"skip"` none.

    Raises:
        ValueError: a field of the expression is wrong, no time is ever as it says, or the zone is unknown.
    """

    expr: str
    timezone: str = "UTC"
    jitter: Duration = 0
    catch_up: CatchUp = "once"

    def __post_init__(self) -> None:
        to_seconds(self.jitter, "jitter")
        if self.catch_up not in get_args(CatchUp):
            raise ValueError(f"catch_up is {self.catch_up!r}; it must be 'once', 'skip' or 'all'")
        _ = self.timetable

    @property
    def timetable(self) -> CronTimetable:
        """When it is due."""
        return CronTimetable(CronExpression.parse(self.expr), find_zone(self.timezone))

    @property
    def key(self) -> str:
        """What makes it another schedule when it is changed."""
        return f"{CronExpression.parse(self.expr)} {self.timezone}"


_NO_OBJECTS: tuple[type, ...] = (str, bytes, int, float, list, tuple, set, frozenset, type(None))
"""What Python has for JSON's texts, numbers, arrays and null."""


def _check_ts(name: str, ts: datetime | None) -> None:
    if ts is not None and ts.tzinfo is None:
        raise ValueError(f"ts of event {name!r} is {ts}, without a time zone; use datetime.now(UTC)")


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"an event's name is {name!r}; it must be text, like 'app/user.created'")
    if not 0 < len(name) <= MAX_EVENT_NAME:
        raise ValueError(f"an event's name has {len(name)} characters; it must have 1 to {MAX_EVENT_NAME}")
    if not name.isprintable():
        raise ValueError(f"the event name {name!r} has control characters in it; it must be printable text")


# -- matching


def matches(pattern: str, name: str) -> bool:
    """Whether an event of that name is one that a trigger asks for."""
    prefix = _prefix(pattern)
    if prefix is None:
        return pattern == name
    return len(name) > len(prefix) and name.startswith(prefix)


def _prefix(pattern: str) -> str | None:
    """What names begin with that a wildcard matches; None when the pattern is a name."""
    return pattern[:-1] if pattern.endswith(("/*", ".*")) else None


class Triggered(Protocol):
    """What is looked up by event: a workflow, a step with a trigger, or what a store keeps of them."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def triggers(self) -> Sequence[Trigger]: ...


T = PlainTypeVar("T", bound=Triggered)


class TriggerIndex(Generic[T]):
    """Which workflows an event starts, at the cost of the name's length and not of the number of triggers."""

    def __init__(self, definitions: Iterable[T]) -> None:
        self._by_name: defaultdict[str, list[T]] = defaultdict(list)
        self._by_prefix: defaultdict[str, list[T]] = defaultdict(list)
        self._conditional = False
        for definition in definitions:
            for trigger in definition.triggers:
                self._conditional |= trigger.where is not None
                prefix = _prefix(trigger.name)
                if prefix is None:
                    self._by_name[trigger.name].append(definition)
                else:
                    self._by_prefix[prefix].append(definition)

    def matching(self, name: str, event: Callable[[], Mapping[str, Any]]) -> list[T]:
        """What an event of that name starts, sorted by name: each once, however many of its triggers match.

        Of two versions that match by name the higher one starts (DESIGN section 5). It alone decides: what its
        conditions turn away, the lower one does not get.

        `event` gives the event as decoded from JSON; it is called once at most, and only if a condition asks.
        """
        highest: dict[str, T] = {}
        for definition in self._candidates(name):
            other = highest.get(definition.name)
            if other is None or definition.version > other.version:
                highest[definition.name] = definition
        found = [highest[workflow] for workflow in sorted(highest)]
        if not self._conditional:
            return found
        once = cache(event)
        return [each for each in found if any(matches(t.name, name) and t.wants(once) for t in each.triggers)]

    def _candidates(self, name: str) -> Iterator[T]:
        yield from self._by_name.get(name, ())
        if self._by_prefix:
            for end in range(1, len(name)):
                if name[end - 1] in "/.":
                    yield from self._by_prefix.get(name[:end], ())
