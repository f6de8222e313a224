"""What a server says of itself: what it runs and where to look, that it stops, and why it cannot go on."""

import inspect
import os
import shlex
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.text import Text

from durably import DurablyError, Engine
from durably.api.client.remote import DEFAULT_URL
from durably.api.commands.command import show_error
from durably.api.commands.feed import Feed
from durably.api.server import HttpServer
from durably.api.target import Definition, Target
from durably.store import StoreFailure

__all__ = ["Announcer"]

SAMPLES = {"int": 1, "float": 1.0, "bool": True, "str": "…"}


class Announcer:
    """Tells of one server, for people or in lines of JSON; what becomes of runs is told by `feed`."""

    def __init__(self, target: Target, engine: Engine, feed: Feed, watched: Path | None = None) -> None:
        self._target = target
        self._engine = engine
        self._feed = feed
        self._watched = watched

    def ready(self, server: HttpServer) -> None:
        """Say what runs where, what to try first, and, from now on, what happens."""
        self._engine.core.executor.observers.append(self._feed.observe)
        if self._feed.as_json:
            self._feed.write_json(self._facts(server.url))
        else:
            self._feed.write(Text("\n").join(self._welcome(server.url)))

    def leaving(self) -> None:
        """Say what is waited for."""
        running = self._engine.core.executor.attempts.running
        if not running:
            self._feed.announce("stopping", "stopping")
            return
        steps = "the step that runs" if running == 1 else f"the {running:,} steps that run"
        self._feed.announce(
            "stopping",
            f"stopping: {steps} may take {self._engine.settings.drain_timeout:g} s to end. "
            "A second signal (Ctrl-C) stops at once; nothing is lost.",
        )

    def failed(self, reason: BaseException) -> None:
        """Say why the engine cannot go on."""
        self._feed.flush()
        if not isinstance(reason, DurablyError | StoreFailure):
            traceback.print_exception(reason)
        show_error(reason)

    # -- the beginning

    def _facts(self, url: str) -> dict[str, Any]:
        return {
            "kind": "serving",
            "url": url,
            "pid": os.getpid(),
            "store": self._engine.core.store.location,
            "workflows": [
                {"name": each.name, "version": each.version, "on": _events(each)} for each in self._target.workflows
            ],
        }

    def _welcome(self, url: str) -> Iterator[Text]:
        workflows = self._target.workflows
        yield Text.assemble(("durably", "bold green"), f" serves {self._target.name}, process {os.getpid()}")
        for index, each in enumerate(workflows):
            yield _fact("runs" if index == 0 else "", _described(each))
        yield _fact("store", Text(self._engine.core.store.location))
        yield _fact("look at", Text(f"{url}/  ·  {url}/api/v1/workflow-runs"))
        yield _fact("", Text(f"durably runs{_option(url)}  ·  durably show RUN{_option(url)}"))
        if workflows:
            yield _fact("try", Text(_first_thing(workflows, url), "cyan"))
        if self._watched is not None:
            yield _fact("reloads", Text(f"when a Python file in {self._watched} changes"))


def _fact(name: str, value: Text) -> Text:
    return Text.assemble((f"  {name:<9}", "dim"), value)


def _described(definition: Definition) -> Text:
    version = f" version {definition.version}" if definition.version > 1 else ""
    events = _events(definition)
    on = f"  on {', '.join(events)}" if events else ""
    at = f"  at {', '.join(each.key for each in definition.crons)}" if definition.crons else ""
    return Text.assemble((definition.name, "bold"), (version, "dim"), (on + at, "dim"))


def _events(definition: Definition) -> list[str]:
    return [trigger.name for trigger in definition.triggers]


def _option(url: str) -> str:
    return "" if url == DEFAULT_URL else f" --url {url}"


def _first_thing(workflows: tuple[Definition, ...], url: str) -> str:
    """A line that starts the first workflow that no event starts; else one for curl, whose data is to be filled in."""
    for each in workflows:
        if not _events(each):
            given = msgspec.json.encode(_sample(each)).decode()
            return f"durably start {shlex.quote(each.name)} {shlex.quote(given)}{_option(url)}"
    body = msgspec.json.encode({"name": _events(workflows[0])[0].replace("*", "example"), "data": {}}).decode()
    return f"curl {url}/e/dev -d {shlex.quote(body)}"


def _sample(definition: Definition) -> dict[str, Any]:
    """What has to be given, in the right shape where parameters are simple; null stands for what is to be filled in."""
    parameters = inspect.signature(definition.fn).parameters.values()
    needed = {each.name: each.annotation for each in parameters if each.default is each.empty}
    return {name: SAMPLES.get(getattr(kind, "__name__", kind)) for name, kind in needed.items()}
