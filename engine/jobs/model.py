"""What a job is (the third seed and its vendor's API): an HTTP request, when it is sent, and what differs where.

Everything here is a function of values. A job's `environments` are sparse overlays: what an entry leaves out it
inherits from the job.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from durably.engine.log.records import to_us
from durably.engine.policies.model import StatusPattern
from durably.store import DocumentRow

__all__ = [
    "MAX_BODY",
    "MAX_TIMEOUT_S",
    "NOW",
    "Cadence",
    "CatchUp",
    "Configuration",
    "Job",
    "JobFields",
    "Kind",
    "Overlay",
    "cadence",
    "configuration",
    "instant_us",
    "is_enabled",
    "kind_of",
    "retry_policy",
]

MAX_TIMEOUT_S = 3_600
"""The most seconds that a job's request may take. The vendor's own limit depends on the plan."""
MAX_BODY = 1024 * 1024
"""The most bytes of a request's body, in UTF-8."""
MAX_CERTIFICATES = 65_536
NOW = "now"
"""The schedule of a job that runs once, as soon as possible."""

Kind: TypeAlias = Literal["recurring", "manual", "one_off"]
CatchUp: TypeAlias = Literal["once", "skip", "all"]
Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Url: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2048)]
Body: TypeAlias = Annotated[str, Meta(max_length=MAX_BODY)]
Timeout: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_TIMEOUT_S)]
Certificates: TypeAlias = Annotated[str, Meta(max_length=MAX_CERTIFICATES)]
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]


class Configuration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The request. `timeout` is in seconds, for all of it."""

    url: Url
    method: Method = "POST"
    headers: dict[str, str] = {}
    body: Body | None = None
    """Sent as it is, in UTF-8; None: an empty one."""
    success_status: StatusPattern = "2xx"
    timeout: Timeout = 30
    tls_verify: bool = True
    ca_cert: Certificates | None = None
    """PEM: trusted besides the system's authorities."""


class Overlay(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is different in one environment. Written flat: a header is `headers.<Name>`, one by one."""

    enabled: bool | UnsetType = UNSET
    schedule: Text | UnsetType = UNSET
    timezone: Text | UnsetType = UNSET
    retry_policy: Text | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    method: Method | UnsetType = UNSET
    timeout: Timeout | UnsetType = UNSET
    body: Body | UnsetType = UNSET
    success_status: StatusPattern | UnsetType = UNSET
    tls_verify: bool | UnsetType = UNSET
    ca_cert: Certificates | UnsetType = UNSET
    headers: dict[str, str] = {}

    def flat(self) -> dict[str, Any]:
        """As it is written: only what it has."""
        leaves = {name: value for name in LEAVES if (value := getattr(self, name)) is not UNSET}
        return leaves | {f"headers.{name}": value for name, value in self.headers.items()}


LEAVES = tuple(name for name in Overlay.__struct_fields__ if name != "headers")
REQUEST_LEAVES = tuple(name for name in LEAVES if name in Configuration.__struct_fields__)


class JobFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields that a client writes, as they are stored."""

    name: Text
    description: Annotated[str, Meta(max_length=2000)] | None = None
    type: Literal["http"] = "http"
    schedule: Text | None = None
    """None: manual; a cron expression of five fields: recurring; a time in ISO 8601 or "now": one-off."""
    timezone: Text | None = None
    """Of the cron expression; None: UTC."""
    configuration: Configuration
    environments: dict[str, Overlay] = {}
    concurrency_policy: Literal["ALLOW"] = "ALLOW"
    retry_policy: Text | None = None
    catch_up: CatchUp = "once"
    """What becomes of times that passed while no engine ran: one run for the last of them, none, or one for each."""


class Job(Struct, frozen=True):
    """A job as it is stored."""

    row: DocumentRow
    fields: JobFields

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def born_us(self) -> int:
        """When it was created: what tells it from a deleted one that had its id."""
        return self.row.created_us

    @property
    def kind(self) -> Kind:
        return kind_of(self.fields.schedule)


class Cadence(NamedTuple):
    """When a job runs in one environment. None: when it is told to."""

    schedule: str | None
    timezone: str = "UTC"


_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d")


def kind_of(schedule: str | None) -> Kind:
    """How a job runs, which its own schedule tells; no environment changes it."""
    if schedule is None:
        return "manual"
    return "one_off" if schedule == NOW or _INSTANT.match(schedule) else "recurring"


def instant_us(schedule: str) -> int:
    """The time that a one-off job's schedule says, if it is not `NOW`; one without an offset is UTC.

    Raises `ValueError` when it says none.
    """
    try:
        at = datetime.fromisoformat(schedule)
        return to_us((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC))
    except (ValueError, OverflowError):
        raise ValueError(
            f"{schedule!r} is no time; write it as 2026-01-31T09:30:00Z, with Z or an offset from UTC"
        ) from None


def is_enabled(fields: JobFields, environment: str) -> bool:
    """Whether a job runs there. A one-off job does wherever it is named; others where they are enabled."""
    overlay = fields.environments.get(environment)
    if overlay is None:
        return False
    return kind_of(fields.schedule) == "one_off" or overlay.enabled is True


def cadence(fields: JobFields, environment: str) -> Cadence:
    """When the job runs there."""
    overlay = fields.environments.get(environment, Overlay())
    schedule = fields.schedule if overlay.schedule is UNSET else overlay.schedule
    timezone = fields.timezone if overlay.timezone is UNSET else overlay.timezone
    return Cadence(schedule, timezone or "UTC")


def retry_policy(fields: JobFields, environment: str) -> str | None:
    """The id of the policy that holds there: "omitted inherits the job's base", and no base is no retry."""
    overlay = fields.environments.get(environment, Overlay())
    return fields.retry_policy if overlay.retry_policy is UNSET else overlay.retry_policy


def configuration(fields: JobFields, environment: str) -> Configuration:
    """The request as it is sent there."""
    base, overlay = fields.configuration, fields.environments.get(environment, Overlay())
    changes = {leaf: value for leaf in REQUEST_LEAVES if (value := getattr(overlay, leaf)) is not UNSET}
    return structs.replace(base, headers=_merged(base.headers, overlay.headers), **changes)


def _merged(base: Mapping[str, str], overriding: Mapping[str, str]) -> dict[str, str]:
    """Headers by name, whose letters' case does not matter."""
    replaced = {name.lower() for name in overriding}
    return {name: value for name, value in base.items() if name.lower() not in replaced} | dict(overriding)
