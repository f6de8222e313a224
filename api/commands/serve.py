"""`durably serve` and `durably dev`."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from durably import Engine, NotBuilt
from durably.api import target as targets
from durably.api.commands.command import NO, Command, json_option, option, say, show_error
from durably.api.commands.feed import Feed
from durably.api.commands.process import Ending, EngineFailed, Stopping, end_process, host, run
from durably.api.commands.welcome import facts, welcome
from durably.api.console import output_console, set_up_logs
from durably.api.reload import Watch, execute_again
from durably.api.server import DEFAULT_HOST, DEFAULT_PORT, HttpServer
from durably.api.target import BrokenTarget, Target
from durably.store.runtime import SystemClock

__all__ = ["dev", "serve"]

F = TypeVar("F", bound=Callable[..., Any])
DEV_DRAIN_S = 1.0
"""How long `dev` lets steps run on when it stops: who edits does not want to wait, and they start again anyway."""


def _hosting(command: F) -> F:
    """The options of a process that serves a target."""
    options = [
        option("--store", metavar="URL", help="Where runs live.  [default: sqlite:///durably.db]"),
        option("--host", default=DEFAULT_HOST, show_default=True, help="The address to listen on."),
        option(
            "--port",
            type=click.IntRange(0, 65_535),
            default=DEFAULT_PORT,
            show_default=True,
            help="0 takes any.",
        ),
        option("--environment", metavar="NAME", help="The environment that runs belong to."),
        option("--max-parked", type=click.IntRange(0), help="Waiting runs kept in memory.  [default: 10000]"),
        option("--max-steps", type=click.IntRange(1), help="Steps that run at once.  [default: 10000]"),
        option("--max-threads", type=click.IntRange(1), help="Sync steps that run at once.  [default: 32]"),
        option("--max-lost", type=click.IntRange(1), help="Crashes after which a step fails.  [default: 3]"),
        option("--drain-timeout", type=click.FloatRange(0), help="Seconds that steps may run on at the end."),
        option("--http-allow", metavar="CIDR", multiple=True, help="(not built yet)"),
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
    as_json: bool
    quiet: bool

    @classmethod
    def of(  # noqa: PLR0913 - one for each group of options
        cls,
        *,
        store: str | None,
        host: str,
        port: int,
        http_allow: Sequence[str],
        quiet: bool,
        as_json: bool,
        **settings: Any,
    ) -> "Hosting":
        """From the parameters of a command."""
        if http_allow:
            raise NotBuilt("--http-allow")
        given = {name: value for name, value in settings.items() if value is not None}
        return cls(store, (host, port), given, as_json, quiet)

    def engine(self, target: Target, **defaults: Any) -> Engine:
        """The target's engine or a new one, with what the command line says of it."""
        engine = target.engine or Engine(workflows=target.workflows, **defaults)
        if self.store is not None:
            engine.url = self.store
        engine.settings = engine.settings._replace(**self.settings)
        return engine


@click.command(cls=Command)
@click.argument("target")
@_hosting
def serve(target: str, **options: Any) -> None:
    """Serve TARGET: run its workflows, and answer on the HTTP API.

    SIGTERM and Ctrl-C let running steps end (--drain-timeout, by default 30 s) and take no new work; a second one stops
    at once. Nothing is lost either way. Exit status 1 when the engine cannot go on, with the reason.
    """
    hosting = Hosting.of(**options)
    feed = _feed(hosting)
    found = targets.load(target)
    _finish(run(_serve(hosting, found, hosting.engine(found), feed)))


@click.command(cls=Command)
@click.argument("target")
@_hosting
def dev(target: str, **options: Any) -> None:
    """Serve TARGET while you work on it: when a Python file in its folder changes, the process executes itself again.

    Steps that run get a second to end (--drain-timeout) and start again with the new code. Code that cannot be imported
    is shown, and the next change waited for. Runs that no longer fit their code are shown, and wait.
    """
    hosting = Hosting.of(**options)
    feed = _feed(hosting)
    watch = Watch()
    sys.dont_write_bytecode = True  # two edits within a second can have the same .pyc: its time is in seconds
    try:
        found = targets.load(target)
    except BrokenTarget as error:
        show_error(error)
        say(f"process {os.getpid()} waits for a change in {error.folder}")
        _finish(run(_wait(watch.changed(error.folder))))
        return
    engine = hosting.engine(found, environment="development", drain_timeout=DEV_DRAIN_S)
    _finish(run(_serve(hosting, found, engine, feed, watch)))


def _feed(hosting: Hosting) -> Feed:
    feed = Feed(output_console(), SystemClock(), as_json=hosting.as_json, quiet=hosting.quiet)
    set_up_logs(as_json=hosting.as_json, tell=feed.take_over)
    return feed


async def _serve(
    hosting: Hosting, found: Target, engine: Engine, feed: Feed, watch: Watch | None = None
) -> Ending:
    stopping = Stopping(engine.settings.drain_timeout, say)

    def ready(server: HttpServer) -> None:
        engine.core.executor.observers.append(feed.observe)
        if hosting.as_json:
            feed.write_json(facts(found.workflows, engine.url, server.url, os.getpid()))
        else:
            console = output_console()
            for line in welcome(found.name, found.workflows, engine.url, server.url, os.getpid()):
                console.print(line, soft_wrap=True)

    if watch is not None:
        _reload_on(watch.changed(found.folder), stopping)
    stopping.asked.add_done_callback(lambda _: _say_farewell(engine))
    try:
        ending = await host(engine, hosting.address, stopping, ready)
    except EngineFailed as error:
        feed.flush()
        show_error(error)
        end_process(NO)
    feed.flush()
    stopping.status = 0
    return ending


def _say_farewell(engine: Engine) -> None:
    running = engine.core.executor.attempts.running
    steps = f"{running} steps are running and have" if running != 1 else "1 step is running and has"
    wait = (
        f"{steps} {engine.settings.drain_timeout:g} s to end; again to stop at once"
        if running
        else "no step is running"
    )
    say(f"stopping: {wait}")


def _reload_on(change: Awaitable[Sequence[Path]], stopping: Stopping) -> None:
    async def reload() -> None:
        changed = await change
        say(f"changed: {', '.join(file.name for file in changed)}")
        stopping.ask(Ending.RELOAD)

    watching = asyncio.ensure_future(reload())
    stopping.asked.add_done_callback(lambda _: watching.cancel())


async def _wait(change: Awaitable[Sequence[Path]]) -> Ending:
    stopping = Stopping(0, say)
    _reload_on(change, stopping)
    return await stopping.asked


def _finish(ending: Ending) -> None:
    """Leave nothing behind that could keep the process."""
    if ending is Ending.RELOAD:
        execute_again()
    end_process(0)
