"""The options of `@step` and `@workflow`: each is checked where it is given, and kept in one form."""

import inspect
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias, TypedDict, cast

from durably.engine.declare.events import Cron, Trigger
from durably.engine.errors import NotBuilt
from durably.engine.retries.retry import RetryPolicy, check_retries
from durably.engine.values.durations import Duration

__all__ = [
    "On",
    "OnLost",
    "Options",
    "Schedule",
    "check_key",
    "check_on_lost",
    "check_retry",
    "check_version",
    "name_of",
    "refuse_unbuilt",
    "to_crons",
    "to_triggers",
]

On: TypeAlias = str | Trigger | Sequence[str | Trigger]
"""What starts runs: an event's name, a `Trigger`, or several of either."""
Schedule: TypeAlias = str | Cron | Sequence[str | Cron]
"""When runs start: a cron expression, a `Cron`, or several of either."""
OnLost: TypeAlias = Literal["retry", "fail"]
"""What becomes of an attempt whose process died: it is started again, or the step fails."""


class Options(TypedDict, total=False):
    """What steps and workflows are both declared with."""

    on: On | None
    cron: Schedule | None
    retries: int | None
    retry: RetryPolicy | str | None
    timeout: Duration | None
    on_failure: object
    version: int


def name_of(fn: object, name: str | None, decorator: str) -> str:
    """The name that a declaration gives to `fn`, if that is a function that can be declared."""
    kind = fn.__class__
    if kind in (staticmethod, classmethod):
        raise TypeError(f"put @{kind.__name__} above @{decorator}, not below it")
    if not (inspect.isfunction(fn) or inspect.ismethod(fn)):
        raise TypeError(f"@{decorator} is for functions, not for {fn!r}: write one that calls it")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(f"{decorator} {fn.__name__}() is a generator; it must return one value")
    return _check_name(fn.__name__ if name is None else name, f"the name of a {decorator}")


_NAME = re.compile(r"[^#]{1,255}")
_PATH = re.compile(r"\d*/")


def _check_name(name: object, what: str) -> str:
    """A name fit for a step's identity, `<asyncio-task path>/<name>#<n>`, whose path is made of numbers."""
    if not isinstance(name, str):
        raise TypeError(f"{what} is {name!r}; it must be text")
    if not (_NAME.fullmatch(name) and name.isprintable()) or _PATH.match(name):
        raise ValueError(
            f"{what} is {name!r}; it must have 1 to 255 printable characters, no '#', "
            "and not begin with '/' or with a number and '/'"
        )
    return name


def check_key(key: str) -> str:
    """A step's key: a name or, with a leading `/`, a whole identity."""
    if not key.startswith("/"):
        return _check_name(key, "key")
    if not (_NAME.fullmatch(key[1:]) and key.isprintable()):
        raise ValueError(f"key is {key!r}; after the '/' it must have 1 to 255 printable characters, no '#'")
    return key


def check_on_lost(on_lost: OnLost) -> OnLost:
    """What `on_lost=` says."""
    if on_lost not in ("retry", "fail"):
        raise ValueError(f"on_lost is {on_lost!r}; it must be 'retry' or 'fail'")
    return on_lost


def check_version(version: object) -> int:
    """What `version=` says."""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"version is {version!r}; it must be an int, 1 or more")
    return version


def check_retry(retry: object, retries: int | None) -> RetryPolicy | str | None:
    """What `retry=` says: a policy, or a stored one's id. `retries=`, which goes without it only, is checked too."""
    if retries is not None:
        check_retries(retries, "retries")
        if retry is not None:
            raise TypeError("retries and retry are both given: retries=n is the default policy with n retries")
    if retry is not None and not isinstance(retry, RetryPolicy | str):
        raise TypeError(
            f"retry is {retry!r}; it must be a RetryPolicy or the id of a stored one; a number of retries is retries="
        )
    if retry == "":
        raise ValueError("retry is empty; it must be a RetryPolicy or the id of a stored one")
    return retry


def to_triggers(on: On | None) -> tuple[Trigger, ...]:
    """What `on=` says."""
    if on is None:
        return ()
    if isinstance(on, str | Trigger):
        on = (on,)
    if not isinstance(cast("object", on), Sequence):
        raise TypeError(f"on is {on!r}; it must be an event's name, a Trigger, or several of them")
    return tuple(each if isinstance(each, Trigger) else Trigger(each) for each in on)


def to_crons(cron: Schedule | None) -> tuple[Cron, ...]:
    """What `cron=` says. The same schedule twice would be one, and is refused."""
    if cron is None:
        return ()
    if isinstance(cron, str | Cron):
        cron = (cron,)
    if not isinstance(cast("object", cron), Sequence):
        raise TypeError(f"cron is {cron!r}; it must be a cron expression, a Cron, or several of them")
    crons = tuple(each if isinstance(each, Cron) else Cron(each) for each in cron)
    keys = [each.key for each in crons]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise ValueError(f"cron {crons[index].expr!r} is given twice for time zone {crons[index].timezone}")
    return crons


def refuse_unbuilt(function: str, **given: object) -> None:
    """Refuse options of the contract that nothing carries out yet."""
    for name, value in given.items():
        if value is not None:
            raise NotBuilt(f"{function}({name}=…)")
