"""Is this a job? Strict checks of what a client writes (the vendor's API, DESIGN section 5)."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec import structs

from durably.engine.jobs.flaws import Flaw, Flaws, Invalid, converted, escape, fields_of, is_object
from durably.engine.jobs.model import (
    LEAVES,
    NOW,
    Configuration,
    JobFields,
    Kind,
    Overlay,
    instant_us,
    kind_of,
)
from durably.engine.jobs.request_checks import request_flaws
from durably.engine.schedules.cron import CronExpression, find_zone

__all__ = ["READ_ONLY", "World", "check_job"]

READ_ONLY = frozenset({"kind", "created_at", "updated_at", "deleted_at", "version"})
"""Attributes that a client sends back as it has read them; they change nothing."""
MAX_ENVIRONMENTS = 100


class World(NamedTuple):
    """What a job may refer to."""

    has_environment: Callable[[str], bool]
    has_policy: Callable[[str], bool]
    now_us: int
    only: str | None = None
    """The one environment that whoever writes it can see; None: all of them."""


def check_job(given: Mapping[str, Any], world: World, before: JobFields | None = None) -> JobFields:
    """The job that these attributes are, as it is stored. Raises `Invalid`.

    `before` is what it takes the place of: a one-off job's time may have passed, as long as it stays the same.
    """
    flaws: Flaws = []
    written = {name: value for name, value in given.items() if name not in READ_ONLY}
    if "retry_on" in written:
        del written["retry_on"]
        flaws.append(Flaw("/retry_on", "a job has no retry_on: name a retry policy in retry_policy"))
    values = fields_of(JobFields, written, "", flaws, elsewhere=("configuration", "environments"))
    settings = _configuration(written, flaws)
    overlays = _overlays(written.get("environments", {}), flaws)
    if not overlays and world.only is not None and kind_of(values.get("schedule")) == "one_off":
        overlays = {world.only: Overlay()}  # "a single-environment credential implies the one environment"
    # What is wrong already is left out here, so that the rest is judged too.
    judged: dict[str, Any] = {"name": "?", **values, "configuration": settings, "environments": overlays}
    fields = JobFields(**judged)
    flaws += request_flaws(fields.configuration, "/configuration", "/configuration/headers/")
    flaws += _reference_flaws(fields, world)
    if not any(flaw.pointer == "/schedule" for flaw in flaws):
        flaws += _schedule_flaws(fields, world, before)
    if flaws:
        raise Invalid(flaws)
    return _in_lower_case(fields)


def _in_lower_case(fields: JobFields) -> JobFields:
    """With classes of statuses as policies have them."""
    settings = fields.configuration
    overlays = {
        name: structs.replace(overlay, success_status=overlay.success_status.lower())
        for name, overlay in fields.environments.items()
        if isinstance(overlay.success_status, str)
    }
    return structs.replace(
        fields,
        configuration=structs.replace(settings, success_status=settings.success_status.lower()),
        environments={**fields.environments, **overlays},
    )


# -- the shape


def _configuration(written: Mapping[str, Any], flaws: Flaws) -> Configuration:
    given = written.get("configuration")
    settings: dict[str, Any] = {"url": "http://unknown"}
    if is_object(given):
        settings |= fields_of(Configuration, given, "/configuration", flaws)
    elif "configuration" in written:
        flaws.append(Flaw("/configuration", "configuration must be an object with a url"))
    return Configuration(**settings)


def _overlays(given: Any, flaws: Flaws) -> dict[str, Overlay]:
    if not is_object(given):
        flaws.append(Flaw("/environments", "environments must be an object, by the environments' names"))
        return {}
    if len(given) > MAX_ENVIRONMENTS:
        flaws.append(Flaw("/environments", f"environments has {len(given)} entries, more than {MAX_ENVIRONMENTS}"))
        return {}
    return {name: _overlay(value, f"/environments/{escape(name)}", flaws) for name, value in given.items()}


def _overlay(given: Any, at: str, flaws: Flaws) -> Overlay:
    """One environment's entry: flat, and only what differs from the job."""
    if not is_object(given):
        flaws.append(Flaw(at, "an environment's entry must be an object of what is different there"))
        return Overlay()
    types = {field.name: field.type for field in structs.fields(Overlay)}
    values: dict[str, Any] = {}
    headers: dict[str, str] = {}
    for name, value in given.items():
        pointer = f"{at}/{escape(name)}"
        group, _, header = name.partition(".")  # at the first dot: a header's name may have some
        if name == "next_run_at":
            continue  # read only
        if value is None:
            flaws.append(Flaw(pointer, f"{name} is null, and there is no null override: leave it out to inherit"))
        elif group == "headers" and header:
            headers.update(converted(header, value, str, pointer, flaws))
        elif name in LEAVES:
            values.update(converted(name, value, types[name], pointer, flaws))
        else:
            known = ", ".join(LEAVES)
            flaws.append(Flaw(pointer, f"an environment has no {name[:100]!r}; it has {known} and headers.<Name>"))
    return Overlay(**values, headers=headers)


# -- what it refers to, and when it runs


def _reference_flaws(fields: JobFields, world: World) -> Iterator[Flaw]:
    yield from _policy_flaws(fields.retry_policy, "", world)
    for name, overlay in fields.environments.items():
        at = f"/environments/{escape(name)}"
        if not world.has_environment(name):
            yield Flaw(at, f"there is no environment {name[:100]!r}; create it first")
        yield from request_flaws(overlay, at, f"{at}/headers.")
        yield from _policy_flaws(overlay.retry_policy, at, world)


def _policy_flaws(policy_id: object, at: str, world: World) -> Iterator[Flaw]:
    if isinstance(policy_id, str) and not world.has_policy(policy_id):
        yield Flaw(f"{at}/retry_policy", f"there is no retry policy {policy_id!r}; create it first")


def _schedule_flaws(fields: JobFields, world: World, before: JobFields | None) -> Iterator[Flaw]:
    kind, schedule = kind_of(fields.schedule), fields.schedule
    yield from _flaw_of(find_zone, fields.timezone, "/timezone")
    if kind == "recurring":
        yield from _flaw_of(CronExpression.parse, schedule, "/schedule")
        for name, overlay in fields.environments.items():
            at = f"/environments/{escape(name)}"
            yield from _flaw_of(CronExpression.parse, overlay.schedule, f"{at}/schedule")
            yield from _flaw_of(find_zone, overlay.timezone, f"{at}/timezone")
        return
    yield from _only_recurring(fields, kind)
    if kind == "one_off" and schedule is not None:
        if not fields.environments:
            yield Flaw("/environments", "a one-off job runs once in each environment it names, and names none")
        if schedule != NOW and (before is None or schedule != before.schedule):
            yield from _instant_flaws(schedule, world.now_us)


def _flaw_of(check: Callable[[str], object], value: object, pointer: str) -> Iterator[Flaw]:
    if isinstance(value, str):
        try:
            check(value)
        except ValueError as error:
            yield Flaw(pointer, str(error))


def _only_recurring(fields: JobFields, kind: Kind) -> Iterator[Flaw]:
    why = f"a {kind.replace('_', '-')} job has none: only a recurring one, whose schedule is a cron expression"
    if fields.timezone is not None:
        yield Flaw("/timezone", f"timezone: {why}")
    for name, overlay in fields.environments.items():
        for leaf in ("schedule", "timezone"):
            if isinstance(getattr(overlay, leaf), str):
                yield Flaw(f"/environments/{escape(name)}/{leaf}", f"{leaf}: {why}")


def _instant_flaws(schedule: str, now_us: int) -> Iterator[Flaw]:
    try:
        if instant_us(schedule) < now_us:
            yield Flaw("/schedule", f"schedule {schedule!r} has passed; {NOW!r} is at once")
    except ValueError as error:
        yield Flaw("/schedule", f"schedule {error}")
