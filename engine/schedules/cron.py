"""Cron expressions, and the instants at which they are due in a time zone. Nothing here reads a clock.

`cronsim` says which local times an expression means; it is what Healthchecks runs on. It sees local time without a
zone only, so that what becomes of the hours that daylight saving leaves out or doubles is decided here and nowhere
else: a local time that is missing is due at the gap's end, a doubled one once, at the first (DESIGN section 5).
"""

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol, final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from durably.store.runtime import SECOND_US

__all__ = ["CronExpression", "CronTimetable", "OneTime", "Timetable", "find_zone"]

MAX_EXPRESSION = 255
"""The most characters of an expression."""
FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the local time of no zone, as all that cronsim is given
UTC_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Timetable(Protocol):
    """A rule that says at which instants something is due."""

    def next_after(self, after_us: int) -> int | None:
        """The first instant later than `after_us`; None when there is none any more."""
        ...


@final
class CronExpression:
    """Five fields: minute, hour, day of month, month, day of week.

    Each is `*`, a number, a range `1-5`, a list `1,15`, any of them with a step `*/15`, or the name of a month or a
    weekday. Sunday is 0 and 7. `L` is the month's last day, `LW` its last weekday, `FRI#2` the second Friday, `5L` the
    last one. `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` are what they are everywhere. When both days are
    restricted either is enough, as in every cron.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text
        """As it was written, with one space between fields."""

    @classmethod
    def parse(cls, text: str) -> "CronExpression":
        """Read an expression. `ValueError` says which field is wrong, or that it never comes."""
        _check_text(text, "a cron expression", "0 2 * * *")
        fields = text.split()
        expression = cls(" ".join(fields))
        _check_form(expression.text, fields)
        try:
            first = next(expression.after(EPOCH), None)
        except CronSimError as error:
            raise ValueError(f"cron expression {text!r}: {_explain(error, expression.fields)}") from None
        if first is None:
            raise ValueError(f"cron expression {text!r} never comes: no day is all that it asks for")
        return expression

    def __str__(self) -> str:
        return self.text

    @property
    def fields(self) -> str:
        """The five fields, of a nickname too."""
        return NICKNAMES.get(self.text.lower(), self.text)

    def after(self, local: datetime) -> Iterator[datetime]:
        """The local times later than `local`, which has no zone either. They end where 50 years have none."""
        try:
            yield from CronSim(self.fields, local)
        except OverflowError:  # the year 9999
            return


def _check_text(value: object, what: str, example: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{what} is {value!r}; it must be text, like {example!r}")


def _check_form(text: str, fields: list[str]) -> None:
    if len(text) > MAX_EXPRESSION or not text.isascii():
        raise ValueError(f"cron expression {text[:80]!r} must have at most {MAX_EXPRESSION} characters, all ASCII")
    if text.startswith("@"):
        if text.lower() not in NICKNAMES:
            raise ValueError(f"cron expression {text!r} is unknown; of that form there are {', '.join(NICKNAMES)}")
    elif text.upper().startswith(("TZ=", "CRON_TZ=")):
        raise ValueError(f"cron expression {text!r} begins with a time zone; write Cron('…', timezone='…')")
    elif len(fields) != len(FIELDS):
        hint = "; there is no field for seconds" if len(fields) == len(FIELDS) + 1 else ""
        raise ValueError(
            f"cron expression {text!r} has {len(fields)} fields; it must have {len(FIELDS)}: {', '.join(FIELDS)}{hint}"
        )


def _explain(error: CronSimError, text: str) -> str:
    """cronsim says which field is bad, and nothing else."""
    field = str(error).removeprefix("Bad ")
    if field not in FIELDS:
        return str(error)
    perhaps = ", or none that its months have" if field == "day-of-month" else ""
    return f"{text.split()[FIELDS.index(field)]!r} is no {field}{perhaps}"


def find_zone(name: str) -> ZoneInfo:
    """The time zone of that IANA name. `ValueError` when there is none."""
    _check_text(name, "a time zone", "Europe/Berlin")
    with suppress(KeyError, ValueError, OSError):  # OSError: "America" is a folder
        if name[:1].isupper():  # "localtime" is another zone on each machine
            return ZoneInfo(name)
    raise ValueError(f"time zone {name[:80]!r} is unknown; use an IANA name, like 'Europe/Berlin'")


@final
class CronTimetable:
    """An expression in a time zone.

    A time is due at the first instant at which the zone's clocks show it or are past it. So a missing one is due
    at the gap's end, together with all others that are missing, and a doubled one at its first occurrence. Instants
    only grow: none comes twice.
    """

    __slots__ = ("expression", "zone")

    def __init__(self, expression: CronExpression, zone: ZoneInfo) -> None:
        self.expression = expression
        self.zone = zone

    def next_after(self, after_us: int) -> int | None:
        """The first instant later than `after_us`; None in the year 9999."""
        after_s = after_us // SECOND_US
        for local in self.expression.after(self._wall(after_s)):
            due_us = self._instant(local) * SECOND_US
            if due_us > after_us:  # else it was due when the hour came for the first time
                return due_us
        return None

    def _wall(self, second: int) -> datetime:
        """What the zone's clocks show at that second since the epoch."""
        return (UTC_EPOCH + second * SECOND).astimezone(self.zone).replace(tzinfo=None)

    def _instant(self, local: datetime) -> int:
        """The first second since the epoch at which the zone's clocks show `local`, or are past it."""
        shown = local.replace(tzinfo=self.zone)
        latest = (shown - UTC_EPOCH) // SECOND
        if self._wall(latest) == local:
            return latest
        # In a gap: `fold` 0 and 1 reckon with the offsets before and after it, and its end lies between.
        earliest = (shown.replace(fold=1) - UTC_EPOCH) // SECOND
        return earliest + bisect_left(range(earliest, latest), local, key=self._wall)


@final
class OneTime:
    """A single instant."""

    __slots__ = ("at_us",)

    def __init__(self, at_us: int) -> None:
        self.at_us = at_us

    def next_after(self, after_us: int) -> int | None:
        """That instant, while it lies ahead."""
        return self.at_us if self.at_us > after_us else None
