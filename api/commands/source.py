"""Where a command finds runs: on a server, or, to read only, in a store beside one (CONTRACT section 4)."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, NamedTuple, Protocol, TypeAlias

import click
from click.core import ParameterSource

from durably import DurablyError, History, RunInfo, RunNotFound
from durably.api.commands.command import json_option, option
from durably.api.remote import DEFAULT_URL, NoServer, Remote, RunFilter
from durably.engine.log.info import describe_run
from durably.store import RunQuery, RunRow, SqliteReader, SqliteStore, open_url

__all__ = ["Server", "Source", "changing", "open_server", "open_source", "reading"]

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
CHUNK = 50
"""Runs whose logs are in memory at once."""


class Source(Protocol):
    """What can be read of runs. Raises `DurablyError`, such as `RunNotFound`, or `StoreFailure`."""

    async def runs(self, wanted: RunFilter, limit: int) -> list[RunInfo]: ...
    async def run(self, run_id: str) -> RunInfo: ...
    async def history(self, run_id: str) -> History: ...


class StoredRuns:
    """Runs read from a store, which a server may be using: nothing is locked, and nothing can be written."""

    def __init__(self, reader: SqliteReader) -> None:
        self._reader = reader

    async def runs(self, wanted: RunFilter, limit: int) -> list[RunInfo]:
        """Runs that fit, newest first."""
        found: list[RunInfo] = []
        before: int | None = None
        while len(found) < limit:
            query = RunQuery(
                status=tuple(wanted.status),
                phase=tuple(wanted.phase),
                workflow=tuple(wanted.workflow),
                created_from_us=wanted.since_us,
                before=before,
                limit=min(CHUNK, limit - len(found)),
            )
            rows = await self._reader.runs(query)
            if not rows:
                break
            logs = await self._reader.records([row.run for row in rows])
            found += [describe_run(row, logs[row.run]) for row in rows]
            before = rows[-1].run
        return found

    async def run(self, run_id: str) -> RunInfo:
        """One run at a glance."""
        row = await self._row(run_id)
        return describe_run(row, (await self._reader.records([row.run]))[row.run])

    async def history(self, run_id: str) -> History:
        """All records of a run."""
        row = await self._row(run_id)
        return History.of(row, (await self._reader.records([row.run]))[row.run])

    async def _row(self, run_id: str) -> RunRow:
        row = await self._reader.run(run_id)
        if row is None:
            raise RunNotFound(run_id)
        return row


class Server(NamedTuple):
    """Where the server is, and the store that is to be read in its place."""

    url: str | None
    api_key: str | None
    store: str | None = None


# -- options


def reading(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that only reads: `--url`, `--api-key`, `--store`; it gets them as `server`."""
    store = option("--store", metavar="URL", help="Read this store, sqlite:///app.db, instead of asking a server.")
    return _with_server(store, command)


def changing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that changes a run: `--url`, `--api-key`, and a word on `--store`."""
    # No environment variable: one that is set for other commands must not make this one fail.
    store: Decorator = click.option("--store", hidden=True, expose_value=False, callback=_refuse_store)
    return _with_server(store, command)


def _with_server(store: Decorator, command: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(command)
    def with_server(
        *, url: str | None, api_key: str | None, as_json: bool, store: str | None = None, **others: Any
    ) -> Any:
        return command(server=Server(url, api_key, store), as_json=as_json, **others)

    address = option("--url", metavar="URL", help=f"The server.  [default: {DEFAULT_URL}]")
    key = option("--api-key", metavar="KEY", help="The key to show it.")
    return address(key(store(json_option(with_server))))


def _refuse_store(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(
            f"`durably {ctx.info_name}` changes runs, which only the engine that has the store open may do: it "
            "needs a running server. Say where it is with --url.",
            ctx,
        )


# -- opening


@asynccontextmanager
async def open_server(server: Server) -> AsyncGenerator[Remote]:
    """The server that is meant."""
    async with Remote(server.url or DEFAULT_URL, server.api_key) as remote:
        yield remote


@asynccontextmanager
async def open_source(server: Server) -> AsyncGenerator[Source]:
    """The store or the server that is meant: what the command line says comes before the environment."""
    if server.store is not None and not _prefers_server(server):
        async with _reader(server.store) as reader:
            yield StoredRuns(reader)
        return
    async with open_server(server) as remote:
        try:
            yield remote
        except NoServer as error:
            raise NoServer(f"{error} To read a store without one, name it with --store.") from error


def _prefers_server(server: Server) -> bool:
    if server.url is None:
        return False
    ctx = click.get_current_context()
    given = [name for name in ("url", "store") if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if len(given) > 1:
        raise click.UsageError("--url and --store say two things: ask a server, or read a store", ctx)
    return given != ["store"]


def _reader(url: str) -> SqliteReader:
    store = open_url(url)
    if not isinstance(store, SqliteStore):
        raise DurablyError(f"{url} has nothing that another process could read. Name a store like sqlite:///app.db")
    return SqliteReader(store.path)
