"""Where keys and environments are administered: in a store, also beside the server that has it open, or by a server."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, Protocol
from urllib.parse import quote

from msgspec import Struct

from durably.api.client.transport import Transport
from durably.api.commands.command import option
from durably.api.commands.source import Server, prefers_server, with_server
from durably.api.environments import EnvironmentAttributes
from durably.api.environments import attributes_of as shown_environment
from durably.api.keys import KeyAttributes
from durably.api.keys import attributes_of as shown_key
from durably.engine.access.administration import Administration
from durably.engine.access.keys import Scope
from durably.engine.log.records import from_us
from durably.engine.retries.retry import RetryPolicy
from durably.store import Administration as Writer
from durably.store import DocumentRow, NotAStore, SqliteStore, administer, open_url
from durably.store.runtime import SystemClock, SystemRandomness

__all__ = ["Administrator", "administering", "open_administrator"]

DEFAULT_STORE = "sqlite:///durably.db"
KEYS, ENVIRONMENTS = "/api/v1/keys", "/api/v1/environments"
MOST = 1_000
"""What is listed on one page."""


class ListedKey(Struct):
    """A key as it is listed."""

    id: str
    attributes: KeyAttributes


class Administrator(Protocol):
    """Keys and environments. Raises `DurablyError`, or `StoreFailure`."""

    async def keys(self) -> list[ListedKey]: ...
    async def create_key(self, name: str, scope: Scope, environment: str, expires_us: int | None) -> ListedKey: ...
    async def revoke_key(self, which: str) -> None: ...
    async def environments(self) -> list[EnvironmentAttributes]: ...
    async def create_environment(self, name: str) -> None: ...
    async def delete_environment(self, name: str) -> None: ...


def administering(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command about keys or environments, as its `server`."""
    text = f"The store; a server may have it open.  [default: {DEFAULT_STORE}]"
    return with_server(option("--store", metavar="URL", help=text), command, server="none")


@asynccontextmanager
async def open_administrator(server: Server, *, make: bool = False) -> AsyncGenerator[Administrator]:
    """The store or the server that is meant. A store that is not there is made if `make` says so."""
    if server.url is not None and (server.store is None or prefers_server(server)):
        async with Transport(server.url, server.api_key, SystemClock(), SystemRandomness()) as transport:
            yield OfServer(transport)
        return
    url = server.store or DEFAULT_STORE
    store = open_url(url)
    if not make and isinstance(store, SqliteStore) and not store.path.exists():
        raise NotAStore(f"{url}: there is no such store. Name one with --store, or a server with --url.")
    async with administer(url) as writer:
        yield OfStore(writer)


# -- of a store


class _Documents:
    """A store's documents, as `Administration` wants them."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def load(self, kind: str) -> list[DocumentRow]:
        return await self._writer.documents(kind)

    async def save(self, row: DocumentRow) -> None:
        await self._writer.save(row)


class OfStore:
    """An `Administrator` of a store."""

    def __init__(self, writer: Writer) -> None:
        self._administration = Administration(_Documents(writer), SystemClock().wall_us, SystemRandomness())

    async def keys(self) -> list[ListedKey]:
        return [ListedKey(key.id, shown_key(key)) for key in await self._administration.keys()]

    async def create_key(self, name: str, scope: Scope, environment: str, expires_us: int | None) -> ListedKey:
        key, text = await self._administration.create_key(name, scope, environment, expires_us)
        return ListedKey(key.id, shown_key(key, text))

    async def revoke_key(self, which: str) -> None:
        await self._administration.revoke_key(which)

    async def environments(self) -> list[EnvironmentAttributes]:
        return [shown_environment(each) for each in await self._administration.environments()]

    async def create_environment(self, name: str) -> None:
        await self._administration.create_environment(name)

    async def delete_environment(self, name: str) -> None:
        await self._administration.delete_environment(name)


# -- of a server


class _Keys(Struct):
    data: list[ListedKey]


class _Key(Struct):
    data: ListedKey


class _Environment(Struct):
    attributes: EnvironmentAttributes


class _Environments(Struct):
    data: list[_Environment]


class OfServer:
    """An `Administrator` that asks a server, with a key of scope admin."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def keys(self) -> list[ListedKey]:
        return self._transport.decode(await self._ask("GET", f"{KEYS}?page[size]={MOST}"), _Keys).data

    async def create_key(self, name: str, scope: Scope, environment: str, expires_us: int | None) -> ListedKey:
        attributes: dict[str, Any] = {"name": name, "scope": scope, "environment": environment}
        if expires_us is not None:
            attributes["expires_at"] = from_us(expires_us)
        answer = await self._ask("POST", KEYS, {"data": {"type": "key", "attributes": attributes}})
        return self._transport.decode(answer, _Key).data

    async def revoke_key(self, which: str) -> None:
        await self._ask("DELETE", f"{KEYS}/{quote(which, safe='')}")

    async def environments(self) -> list[EnvironmentAttributes]:
        answer = await self._ask("GET", f"{ENVIRONMENTS}?page[size]={MOST}")
        return [each.attributes for each in self._transport.decode(answer, _Environments).data]

    async def create_environment(self, name: str) -> None:
        await self._ask("POST", ENVIRONMENTS, {"data": {"type": "environment", "attributes": {"name": name}}})

    async def delete_environment(self, name: str) -> None:
        await self._ask("DELETE", f"{ENVIRONMENTS}/{quote(name, safe='')}")

    async def _ask(self, method: Literal["GET", "POST", "DELETE"], path: str, body: object = None) -> bytes:
        return await self._transport.ask(method, path, body, retry=RetryPolicy.NEVER)
