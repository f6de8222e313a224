"""`durably start` and `durably send`."""

import asyncio
from collections.abc import Mapping
from typing import Any

import click
import msgspec

from durably import RunInfo
from durably.api.client.errors import Away
from durably.api.client.remote import Remote
from durably.api.commands.arguments import json_object
from durably.api.commands.command import NO, Command, option, print_json, put, say
from durably.api.commands.source import Server, changing, open_server
from durably.api.console import how_long
from durably.store.runtime import SECOND_US, SystemClock, SystemRandomness

__all__ = ["send", "start", "until_end"]

AGAIN_US = SECOND_US // 2
"""How long `--wait` waits before it looks again for a server that has gone."""


@click.command(cls=Command)
@click.argument("workflow")
@click.argument("given", metavar="[JSON]", callback=json_object, default="{}")
@option(
    "--run-id",
    metavar="ID",
    help="The new run's id; one that exists with the same input is not started again.",
)
@option("--test", is_flag=True, help="Test mode: one attempt, no retry, sleeps do not wait.")
@option("--wait", is_flag=True, help="Wait for the end, and print what the run returned.")
@changing
async def start(
    *,
    workflow: str,
    given: Mapping[str, Any],
    run_id: str | None,
    test: bool,
    wait: bool,
    server: Server,
    as_json: bool,
) -> None:
    """Start a run of WORKFLOW. JSON is an object with the arguments by name; - reads it from standard input.

    Prints the run's id; with --wait what it returned, and the exit status is 1 if it did not succeed.
    """
    chosen = run_id or SystemRandomness().token()
    async with open_server(server) as remote:
        info = await remote.start(workflow, given, chosen, mode="test" if test else None)
        if wait:
            info = await until_end(remote, info)
    if as_json:
        print_json(info)
    elif wait:
        _report(info)
    else:
        put(info.id)
        say(f"`durably show {info.id}` tells how it goes")
    if wait and info.status != "SUCCEEDED":
        click.get_current_context().exit(NO)


async def until_end(remote: Remote, info: RunInfo) -> RunInfo:
    """Until the run has ended, or the one that it goes on as in the end."""
    run_id, told = info.id, False
    try:
        while info.finished_at is None or info.continued_to is not None:
            if info.continued_to is not None and info.id == run_id:
                say(f"run {info.id} goes on as {info.continued_to}")
                run_id = info.continued_to
            try:
                info = await remote.run(run_id, wait=True)
                told = False
            except Away as away:
                if not told:
                    say(f"run {run_id} is waited for, though the server has gone: {away}")
                told = True
                await _pause()
    except asyncio.CancelledError:
        say(f"run {run_id} goes on. `durably show {run_id}` tells how.")
        raise
    return info


async def _pause() -> None:
    clock = SystemClock()
    over = asyncio.Event()
    clock.call_at(clock.now_us() + AGAIN_US, over.set)
    await over.wait()


def _report(info: RunInfo) -> None:
    took = (
        "" if info.finished_at is None else f" after {how_long((info.finished_at - info.created_at).total_seconds())}"
    )
    say(f"run {info.id} of {info.workflow} {info.status}{took}")
    if info.status == "SUCCEEDED":
        put(msgspec.json.encode(info.output).decode())
    elif info.error is not None:
        say(f"{info.error}\n`durably show {info.id}` tells what it did.")


@click.command(cls=Command)
@click.argument("name")
@click.argument("data", metavar="[JSON]", callback=json_object, default="{}")
@option(
    "--id",
    "event_id",
    metavar="ID",
    help="The event's id; one that was seen in the last 24 h starts nothing.",
)
@changing
async def send(
    name: str,
    data: Mapping[str, Any],
    event_id: str | None,
    server: Server,
    as_json: bool,
) -> None:
    """Send the event NAME; JSON is its data, an object; - reads it from standard input. Prints the event's id."""
    # An id of our own: should the answer be lost, the same event can be sent again and starts nothing twice.
    event = {"name": name, "data": data, "id": event_id or SystemRandomness().token()}
    async with open_server(server) as remote:
        [sent] = await remote.send([event])
    if as_json:
        print_json({"ids": [sent]})
    else:
        put(sent)
