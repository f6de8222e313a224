"""`/api/v1/environments`: the names that keep runs, events and keys apart."""

from datetime import datetime
from http import HTTPStatus

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from durably import Engine
from durably.api.access import administration_of
from durably.api.availability import refuse_work
from durably.api.bodies import read_resource
from durably.api.errors import Problem
from durably.api.jsonapi import Resource, document, no_content, numbered
from durably.api.operations import Kind, Many, New, One, Operation
from durably.api.queries import BY_NUMBER, ListQuery
from durably.engine.access.environments import Environment
from durably.engine.log.records import from_us

__all__ = ["EnvironmentAttributes", "Environments", "attributes_of"]

PATH = "/api/v1/environments"


class EnvironmentAttributes(Struct, frozen=True, kw_only=True):
    """An environment as it is shown."""

    name: str
    """The same as its id."""
    created_at: datetime | None
    """None: it exists from the start, and cannot be deleted."""


class WrittenEnvironment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An environment as it is written: its name here, or as the resource's id."""

    name: str | UnsetType = UNSET


ENVIRONMENT = Kind("environment", EnvironmentAttributes)
WRITTEN = Kind("environment", WrittenEnvironment)


class Environments:
    """Environments, as resources of type `environment` under their names."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def operations(self) -> list[Operation]:
        one, shown = PATH + "/{id}", One(ENVIRONMENT)
        listed = {200: Many(ENVIRONMENT)}
        return [
            Operation("GET", PATH, self.list, "Environments", "read", query=BY_NUMBER, answers=listed),
            Operation("POST", PATH, self.create, "Create an environment", "admin", New(WRITTEN), answers={201: shown}),
            Operation("GET", one, self.read, "An environment", "read", answers={200: shown}),
            Operation("DELETE", one, self.delete, "Delete an unused environment", "admin", answers={204: None}),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Those that exist from the start, then the others by name."""
        page = ListQuery(request).page()
        return numbered(request, await administration_of(self._engine).environments(), page, _resource)

    async def create(self, request: web.Request) -> web.Response:
        """A new environment; 409 when there is one of that name."""
        refuse_work(self._engine)
        given_id, written = await read_resource(request, WrittenEnvironment, type=ENVIRONMENT.type)
        name = given_id if written.name is UNSET else written.name
        if name is None or given_id not in (None, name):
            detail = "an environment needs a name; the resource's id, if there is one, is the same"
            raise Problem(400, "invalid_input", detail, pointer="/data/attributes/name")
        created = await administration_of(self._engine).create_environment(name)
        return document(_resource(created), HTTPStatus.CREATED, {"Location": f"{PATH}/{created.name}"})

    async def read(self, request: web.Request) -> web.Response:
        """One environment."""
        found = await administration_of(self._engine).environment(request.match_info["id"])
        return document(_resource(found))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete an environment; 409 while jobs or keys name it. What ran in it stays."""
        refuse_work(self._engine)
        await administration_of(self._engine).delete_environment(request.match_info["id"])
        return no_content()


def attributes_of(environment: Environment) -> EnvironmentAttributes:
    """What is shown of an environment."""
    created_at = None if environment.created_us is None else from_us(environment.created_us)
    return EnvironmentAttributes(name=environment.name, created_at=created_at)


def _resource(environment: Environment) -> Resource:
    return ENVIRONMENT.resource(environment.name, attributes_of(environment))
