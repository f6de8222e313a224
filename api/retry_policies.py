"""`/api/v1/retry-policies`: retry policies that jobs, steps and workflows name (the third seed)."""

from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from aiohttp import web
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from durably import Engine
from durably.api.availability import refuse_work
from durably.api.bodies import chosen_id, read_resource
from durably.api.errors import Problem, Problems
from durably.api.jsonapi import Resource, document, no_content, numbered
from durably.api.operations import Kind, Many, New, One, Operation
from durably.api.queries import BY_NUMBER, ListQuery, filter_by_part, in_order, sort_by
from durably.engine.log.records import from_us
from durably.engine.policies.model import PolicyFields
from durably.engine.policies.policies import Policies, PolicyInUse, PolicyNotFound, StoredPolicy

__all__ = ["RetryPolicies"]

PATH = "/api/v1/retry-policies"
SORTS = ("name", "created_at", "updated_at")


class PolicyAttributes(PolicyFields, frozen=True, kw_only=True):
    """A policy as it is shown: what clients write, and what the server knows of it."""

    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    version: int = 1
    """1, and one more with each change."""


class WrittenPolicy(PolicyFields, frozen=True, kw_only=True):
    """A policy as it is written. What only the server changes may be there too, and is ignored: "read the policy,
    change the fields you want, and PUT the full representation back"."""

    created_at: Any | UnsetType = UNSET
    updated_at: Any | UnsetType = UNSET
    deleted_at: Any | UnsetType = UNSET
    version: Any | UnsetType = UNSET


POLICY = Kind("retry_policy", PolicyAttributes)
WRITTEN = Kind("retry_policy", WrittenPolicy)


class RetryPolicies:
    """Stored policies, as resources of type `retry_policy` under the ids that clients give them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def _policies(self) -> Policies:
        return self._engine.core.policies

    def operations(self) -> list[Operation]:
        one = PATH + "/{id}"
        listing = (*BY_NUMBER, sort_by(SORTS, "name"), filter_by_part("name"))
        return [
            Operation("GET", PATH, self.list, "Retry policies", "read", query=listing, answers={200: Many(POLICY)}),
            Operation(
                "POST", PATH, self.create, "Create a policy", "write", body=New(WRITTEN), answers={201: One(POLICY)}
            ),
            Operation("GET", one, self.read, "A retry policy", "read", answers={200: One(POLICY)}),
            Operation(
                "PUT", one, self.replace, "Replace a policy", "write", body=One(WRITTEN), answers={200: One(POLICY)}
            ),
            Operation("DELETE", one, self.delete, "Delete a policy that no job names", "write", answers={204: None}),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Policies by name; `filter[name]` is a part of it, in any case."""
        query = ListQuery(request)
        part, orders = query.part("name"), query.sort(SORTS, "name")
        found = [each for each in self._policies.all() if part in each.fields.name.casefold()]
        return numbered(request, in_order(found, orders, _value), query.page(), _resource)

    async def create(self, request: web.Request) -> web.Response:
        """A new policy under the id that the client has chosen."""
        refuse_work(self._engine)
        given_id, written = await read_resource(request, WrittenPolicy, type=POLICY.type)
        policy_id = chosen_id(given_id, "policy")
        created = await self._policies.create(policy_id, _checked(written))
        headers = {"Location": f"{PATH}/{quote(policy_id, safe='')}"}
        return document(_resource(created), HTTPStatus.CREATED, headers)

    async def read(self, request: web.Request) -> web.Response:
        """One policy."""
        return document(_resource(self._find(request)))

    async def replace(self, request: web.Request) -> web.Response:
        """Another content for a policy: a field that is left out goes back to its default."""
        refuse_work(self._engine)
        policy_id = self._find(request).row.id
        _, written = await read_resource(request, WrittenPolicy, type=POLICY.type, id=policy_id)
        return document(_resource(await self._policies.replace(policy_id, _checked(written))))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a policy; 409 with `meta.referencing_jobs` while jobs name it."""
        refuse_work(self._engine)
        try:
            await self._policies.delete(self._find(request).row.id)
        except PolicyInUse as error:
            raise Problem(409, "conflict", str(error), meta={"referencing_jobs": error.jobs}) from None
        return no_content()

    def _find(self, request: web.Request) -> StoredPolicy:
        try:
            return self._policies.get(request.match_info["id"])
        except PolicyNotFound as error:
            raise Problem(404, "not_found", str(error)) from None


def _checked(written: WrittenPolicy) -> PolicyFields:
    if flaws := written.flaws():
        raise Problems(
            [Problem(400, "invalid_input", detail, pointer=f"/data/attributes/{name}") for name, detail in flaws]
        )
    return PolicyFields(**{name: getattr(written, name) for name in PolicyFields.__struct_fields__}).normalized()


def _value(policy: StoredPolicy, name: str) -> str | int:
    match name:
        case "created_at":
            return policy.row.created_us
        case "updated_at":
            return policy.row.updated_us
        case _:
            return policy.fields.name


def _resource(policy: StoredPolicy) -> Resource:
    row = policy.row
    attributes = PolicyAttributes(
        **asdict(policy.fields),
        created_at=from_us(row.created_us),
        updated_at=from_us(row.updated_us),
        deleted_at=None if row.deleted_us is None else from_us(row.deleted_us),
        version=row.version,
    )
    return POLICY.resource(row.id, attributes)
