"""Where a command finds runs: on a server, or, to read only, in a store beside one (CONTRACT section 4)."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, NamedTuple, Protocol, TypeAlias

import click
from click.core import ParameterSource
from msgspec.structs import replace

from durably import DurablyError, History, RunInfo, RunNotFound
from durably.api.client.errors import NoServer
from durably.api.client.remote import DEFAULT_URL, Remote
from durably.api.commands.command import codec_option, json_option, option
from durably.api.target import load_codec
from durably.encryption import Codec
from durably.engine.body.parked import ParkedTask
from durably.engine.log.info import describe_run
from durably.store import LogRow, RunQuery, RunRow, SqliteReader, SqliteStore, open_url
from durably.store.sealed import open_logs

__all__ = [
    "Server",
    "Source",
    "changing",
    "open_server",
    "open_source",
    "open_store",
    "prefers_server",
    "reader_of",
    "reading",
    "with_server",
]

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
CHUNK = 50
"""Runs whose logs are in memory at once."""
PAGE = 1_000
"""Runs whose numbers are."""


class Source(Protocol):
    """What can be read of runs. Raises `DurablyError`, such as `RunNotFound`, or `StoreFailure`."""

    async def runs(self, wanted: RunQuery) -> list[RunInfo]: ...
    async def run(self, run_id: str) -> RunInfo: ...
    async def history(self, run_id: str) -> History: ...
    async def stack(self, run_id: str) -> list[ParkedTask]: ...


class StoredRuns:
    """Runs read from a store, which a server may be using: nothing is locked, and nothing can be written."""

    def __init__(self, reader: SqliteReader, codec: Codec | None = None) -> None:
        self._reader = reader
        self._codec = codec

    async def runs(self, wanted: RunQuery) -> list[RunInfo]:
        """Runs that fit, newest first."""
        found: list[RunInfo] = []
        before: tuple[int, int] | None = None
        while len(found) < wanted.limit:
            rest = min(CHUNK, wanted.limit - len(found))
            rows = await self._reader.runs(replace(wanted, before=before, limit=rest))
            if not rows:
                break
            logs = await self._logs([row.run for row in rows])
            found += [describe_run(row, logs[row.run]) for row in rows]
            before = (rows[-1].created_us, rows[-1].run)
        return found

    async def run(self, run_id: str) -> RunInfo:
        """One run at a glance."""
        row = await self._row(run_id)
        return describe_run(row, (await self._logs([row.run]))[row.run])

    async def history(self, run_id: str) -> History:
        """All records of a run."""
        row = await self._row(run_id)
        return History.of(row, (await self._logs([row.run]))[row.run])

    async def stack(self, run_id: str) -> list[ParkedTask]:
        """Nothing: a store has no code."""
        del run_id
        return []

    async def count_open(self) -> int:
        """How many runs have not ended."""
        return sum([len(page) async for page in self._open_pages()])

    async def open_logs(self) -> AsyncGenerator[tuple[str, list[LogRow]]]:
        """Id and log of each run that has not ended, oldest first. One log is in memory at a time: it may be large."""
        async for page in self._open_pages():
            for run, run_id in (await self._reader.run_ids(page)).items():
                yield run_id, (await self._logs([run]))[run]

    async def _open_pages(self) -> AsyncGenerator[list[int]]:
        after = 0
        while page := [row.run for row in await self._reader.open_runs(after, PAGE)]:
            yield page
            after = page[-1]

    async def _logs(self, runs: Sequence[int]) -> dict[int, list[LogRow]]:
        logs = await self._reader.records(runs)
        return logs if self._codec is None else open_logs(self._codec, logs)

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
    codec: str | None = None
    """What the store's bodies are sealed with, as `pkg.mod:name`."""


# -- options


def reading(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that only reads: `--url`, `--api-key`, `--store`, `--codec`, as its `server`."""
    store = option("--store", metavar="URL", help="Read this store, sqlite:///app.db, instead of asking a server.")
    return codec_option(with_server(store, command))


def changing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that changes a run: `--url`, `--api-key`, and a word on `--store`."""
    # No environment variable: one that is set for other commands must not make this one fail.
    store: Decorator = click.option("--store", hidden=True, expose_value=False, callback=_refuse_store)
    return with_server(store, command)


def with_server(store: Decorator, command: Callable[..., Any], server: str = DEFAULT_URL) -> Callable[..., Any]:
    """The options that say where a server is, by default `server`, its key, `--json`, and this `--store`."""

    @wraps(command)
    def called(
        *,
        url: str | None,
        api_key: str | None,
        as_json: bool,
        store: str | None = None,
        codec: str | None = None,
        **others: Any,
    ) -> Any:
        return command(server=Server(url, api_key, store, codec), as_json=as_json, **others)

    address = option("--url", metavar="URL", help=f"The server.  [default: {server}]")
    key = option("--api-key", metavar="KEY", help="The key to show it.")
    return address(key(store(json_option(called))))


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
    if server.store is not None and not prefers_server(server):
        async with open_store(server.store, None if server.codec is None else load_codec(server.codec)) as stored:
            yield stored
        return
    async with open_server(server) as remote:
        try:
            yield remote
        except NoServer as error:
            raise NoServer(f"{error} To read a store without one, name it with --store.") from error


@asynccontextmanager
async def open_store(url: str, codec: Codec | None = None) -> AsyncGenerator[StoredRuns]:
    """A store, to be read: also beside the server that has it open."""
    async with reader_of(url) as reader:
        yield StoredRuns(reader, codec)


def prefers_server(server: Server) -> bool:
    """Whether it is the server that is meant, and not the store; bad use when the command line says both."""
    if server.url is None:
        return False
    ctx = click.get_current_context()
    given = [name for name in ("url", "store") if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if len(given) > 1:
        raise click.UsageError("--url and --store say two things: name a server, or a store", ctx)
    return given != ["store"]


def reader_of(url: str) -> SqliteReader:
    """What reads this store, once it is entered."""
    store = open_url(url)
    if not isinstance(store, SqliteStore):
        raise DurablyError(f"{url} has nothing that another process could read. Name a store like sqlite:///app.db")
    return SqliteReader(store.path)
