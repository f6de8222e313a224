"""`durably serve` and `durably dev`."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from durably import Engine, InvalidInput
from durably.api import target as targets
from durably.api.commands.announce import Announcer
from durably.api.commands.check import warn
from durably.api.commands.command import Command, codec_option, json_option, option, show_error
from durably.api.commands.feed import Feed
from durably.api.commands.process import Ending, Stopping, end_process, host, run_to_end
from durably.api.console import output_console, set_up_logs
from durably.api.reload import Watch, execute_again
from durably.api.server import DEFAULT_HOST, DEFAULT_PORT
from durably.api.target import BrokenTarget, Target
from durably.engine.access.environments import check_environment
from durably.engine.http.addresses import check_networks
from durably.engine.loop import guard
from durably.store.runtime import SystemClock

__all__ = ["dev", "serve"]

HTTP_ALLOW = "A network that HTTP steps and jobs may reach although it is not public, loopback too; several times."
RETENTION = "How long ended runs and events are kept, in days.  [default: for ever]"
PUBLIC_URL = "Where people reach this server, for links in messages.  [default: where it listens]"
F = TypeVar("F", bound=Callable[..., Any])
DEV_DRAIN_S = 1.0
"""How long `dev` lets steps run on when it stops: who edits does not want to wait, and they start again anyway."""


def _networks(_context: click.Context, _parameter: click.Parameter, given: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(map(str, check_networks(given, "--http-allow")))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _environment(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str | None:
    try:
        return None if name is None else check_environment(name)
    except InvalidInput as error:
        raise click.BadParameter(str(error)) from None


def _address(_context: click.Context, _parameter: click.Parameter, url: str | None) -> str | None:
    if url is not None and not url.startswith(("http://", "https://")):
        raise click.BadParameter(f"{url!r} is no address; give one like https://durably.example.com")
    return url


def _seconds(_context: click.Context, _parameter: click.Parameter, days: float | None) -> float | None:
    return None if days is None else days * 86_400


def _hosting(command: F) -> F:
    """The options of a process that serves a target."""
    options = [
        option("--store", metavar="URL", help="Where runs live.  [default: sqlite:///durably.db]"),
        codec_option,
        option("--host", default=DEFAULT_HOST, show_default=True, help="The address to listen on."),
        option("--port", type=click.IntRange(0, 65_535), default=DEFAULT_PORT, show_default=True, help="0: any."),
        option("--environment", metavar="NAME", callback=_environment, help="The environment that runs belong to."),
        option("--max-parked", type=click.IntRange(0), help="Waiting runs kept in memory.  [default: 10000]"),
        option("--max-steps", type=click.IntRange(1), help="Steps that run at once.  [default: 10000]"),
        option("--max-threads", type=click.IntRange(1), help="Sync steps that run at once.  [default: 32]"),
        option("--max-lost", type=click.IntRange(1), help="Crashes after which a step fails.  [default: 3]"),
        option("--drain-timeout", type=click.FloatRange(0), help="Seconds that steps may run on at the end."),
        option("--http-allow", metavar="CIDR", multiple=True, callback=_networks, help=HTTP_ALLOW),
        option("--retention", metavar="DAYS", type=click.FloatRange(min=0), callback=_seconds, help=RETENTION),
        option("--quota", type=click.IntRange(0), help="Runs of jobs in a month.  [default: no limit]"),
        option(
            "--public-url",
            "url",
            metavar="URL",
            callback=_address,
            help="Where people reach this server, for links in messages.",
        ),
        option("--quiet", is_flag=True, help="Do not tell what happens to runs."),
        json_option,
    ]
    for each in reversed(options):
        command = each(command)
    return command


class Hosting(NamedTuple):
    """What the command line says about serving."""

    store: str | None
    address: tuple[str, int]
    settings: Mapping[str, Any]
    """Of the engine, those that were given."""
    feed: Feed
    codec: str | None

    @classmethod
    def of(cls, options: dict[str, Any]) -> "Hosting":
        """From the parameters of a command. Logs go where these say from now on."""
        options["http_allow"] = options["http_allow"] or None
        as_json, quiet = options.pop("as_json"), options.pop("quiet")
        store, codec, address = options.pop("store"), options.pop("codec"), (options.pop("host"), options.pop("port"))
        feed = Feed(output_console(steadfast=True), SystemClock(), as_json=as_json, quiet=quiet)
        set_up_logs(as_json=as_json, tell=feed.take_over)
        return cls(store, address, {name: value for name, value in options.items() if value is not None}, feed, codec)

    def engine(self, target: Target, **defaults: Any) -> Engine:
        """The target's engine or a new one, with what the command line says of it."""
        engine = target.engine or Engine(workflows=target.workflows, **defaults)
        if self.store is not None:
            engine.url = self.store
        if self.codec is not None:
            engine.codec = targets.load_codec(self.codec)
        engine.settings = engine.settings._replace(**self.settings)
        return engine


@click.command(cls=Command)
@click.argument("target")
@_hosting
def serve(target: str, **options: Any) -> None:
    """Serve TARGET: run its workflows, and answer on the HTTP API.

    SIGTERM and Ctrl-C let running steps end (--drain-timeout, by default 30 s) and take no new work; a second one
    stops at once. Nothing is lost either way. Exit status 1 when the engine cannot go on, with the reason.
    """
    hosting = Hosting.of(options)
    found = targets.load(target)
    _warn_of_engines(found, hosting.feed)
    run_to_end(_serve(hosting, found, hosting.engine(found)), execute_again)


@click.command(cls=Command)
@click.argument("target")
@_hosting
def dev(target: str, **options: Any) -> None:
    """Serve TARGET while you work on it: when a Python file in its folder changes, the process reloads itself.

    Steps that run get a second to end (--drain-timeout) and start again with the new code. Code that cannot be
    imported is shown, and the next change waited for. Runs that no longer fit their code are shown, and wait. What
    `durably check` finds is shown at each start.
    """
    hosting = Hosting.of(options)
    watch = Watch()
    sys.dont_write_bytecode = True  # two edits within a second can have the same .pyc: its time is in seconds
    try:
        found = targets.load(target)
        guard.install()  # a workflow that opens a socket, a thread or a process is stopped before it does
        engine = hosting.engine(found, environment="development", drain_timeout=DEV_DRAIN_S)
        _warn_of_engines(found, hosting.feed)
        warn(found, hosting.feed)
    except BrokenTarget as error:
        show_error(error)
        run_to_end(_wait(hosting.feed, watch, error.folder), execute_again)
    run_to_end(_serve(hosting, found, engine, watch), execute_again)


def _warn_of_engines(found: Target, feed: Feed) -> None:
    """Who writes an Engine into a module means it to be served."""
    if found.unused:
        feed.announce(
            "unused",
            f"{found.name} has {', '.join(found.unused)}, whose settings are not used: to serve that engine say "
            f"{found.name}:{found.unused[0]}",
        )


async def _serve(hosting: Hosting, found: Target, engine: Engine, watch: Watch | None = None) -> Stopping:
    stopping = Stopping(engine.settings.drain_timeout)
    if watch is not None:
        _reload_on(watch.changed(found.folder), stopping, hosting.feed)
    watched = None if watch is None else found.folder
    await host(engine, hosting.address, stopping, Announcer(found, engine, hosting.feed, watched))
    hosting.feed.flush()
    if stopping.ending is Ending.ASKED:
        stopping.last_resort = lambda: end_process(0)  # all is stored and closed: whatever is left does not matter
    return stopping


async def _wait(feed: Feed, watch: Watch, folder: Path) -> Stopping:
    stopping = Stopping(0)
    _reload_on(watch.changed(folder), stopping, feed)
    feed.announce("waiting", f"process {os.getpid()} waits for a change in {folder}")
    await stopping.asked
    return stopping


def _reload_on(change: Awaitable[Sequence[Path]], stopping: Stopping, feed: Feed) -> None:
    async def reload() -> None:
        try:
            changed = await change
        except (OSError, RuntimeError) as error:  # the system's limit of watches, say
            feed.announce("unwatched", f"changes are not seen: {error}. Restart after a change.")
            return
        feed.announce("changed", f"{', '.join(file.name for file in changed)} changed")
        stopping.last_resort = execute_again
        stopping.ask(Ending.RELOAD)

    watching = asyncio.ensure_future(reload())
    stopping.asked.add_done_callback(lambda _: watching.cancel())
