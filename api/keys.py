"""`/api/v1/keys`: API keys, for who has one of scope admin."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from durably import Engine
from durably.api.access import administration_of
from durably.api.availability import refuse_work
from durably.api.bodies import read_resource
from durably.api.errors import Problem
from durably.api.jsonapi import Resource, document, no_content, numbered
from durably.api.operations import Kind, Many, One, Operation
from durably.api.queries import BY_NUMBER, ListQuery
from durably.engine.access.administration import MAX_NAME, NotThere
from durably.engine.access.keys import Key, Scope
from durably.engine.log.records import from_us, to_us

__all__ = ["ApiKeys", "KeyAttributes", "attributes_of"]

PATH = "/api/v1/keys"


class KeyAttributes(Struct, frozen=True, kw_only=True):
    """A key as it is shown."""

    name: str
    scope: Scope
    environment: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    key: str | UnsetType = UNSET
    """The key itself: in the answer to its creation, and nowhere else."""


class WrittenKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key as it is asked for."""

    name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
    scope: Scope
    environment: str = "production"
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    """None: never."""


KEY = Kind("key", KeyAttributes)
WRITTEN = Kind("key", WrittenKey)


class ApiKeys:
    """Keys, as resources of type `key` under their public ids."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def operations(self) -> list[Operation]:
        one, shown = PATH + "/{id}", One(KEY)
        return [
            Operation("GET", PATH, self.list, "API keys", "admin", query=BY_NUMBER, answers={200: Many(KEY)}),
            Operation("POST", PATH, self.create, "Create an API key", "admin", One(WRITTEN), answers={201: shown}),
            Operation("GET", one, self.read, "An API key", "admin", answers={200: shown}),
            Operation("DELETE", one, self.revoke, "Revoke an API key", "admin", answers={204: None}),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """All keys, the oldest first, revoked ones too."""
        page = ListQuery(request).page()
        return numbered(request, await administration_of(self._engine).keys(), page, _resource)

    async def create(self, request: web.Request) -> web.Response:
        """A new key. The answer is the only place where it can be read: what is stored is a digest."""
        refuse_work(self._engine)
        given_id, written = await read_resource(request, WrittenKey, type=KEY.type)
        if given_id is not None:
            detail = "a key's id is a part of the key, and is made here; leave it out"
            raise Problem(403, "forbidden", detail, pointer="/data/id")
        expires_us = None if written.expires_at is None else to_us(written.expires_at)
        administration = administration_of(self._engine)
        try:
            key, text = await administration.create_key(written.name, written.scope, written.environment, expires_us)
        except NotThere as error:
            raise Problem(400, "invalid_input", str(error), pointer="/data/attributes/environment") from None
        return document(_resource(key, text), HTTPStatus.CREATED, {"Location": f"{PATH}/{key.id}"})

    async def read(self, request: web.Request) -> web.Response:
        """One key."""
        wanted = request.match_info["id"]
        for key in await administration_of(self._engine).keys():
            if key.id == wanted:
                return document(_resource(key))
        raise Problem(404, "not_found", f"there is no key {wanted[:100]!r}")

    async def revoke(self, request: web.Request) -> web.Response:
        """Let a key, named by its id or by a name that no other has, be good for nothing from the next request on."""
        refuse_work(self._engine)
        await administration_of(self._engine).revoke_key(request.match_info["id"])
        return no_content()


def attributes_of(key: Key, text: str | UnsetType = UNSET) -> KeyAttributes:
    """What is shown of a key; with its text when it was just made."""
    return KeyAttributes(
        name=key.name,
        scope=key.scope,
        environment=key.environment,
        created_at=from_us(key.created_us),
        expires_at=None if key.expires_us is None else from_us(key.expires_us),
        revoked_at=None if key.revoked_us is None else from_us(key.revoked_us),
        key=text,
    )


def _resource(key: Key, text: str | UnsetType = UNSET) -> Resource:
    return KEY.resource(key.id, attributes_of(key, text))
