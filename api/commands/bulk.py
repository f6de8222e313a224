"""`durably bulk`: cancel many runs, or run them again, with a look beforehand and a progress bar."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import click
import msgspec
from msgspec import Struct
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from durably.api.bulk import PATH, BulkAttributes, PreviewAttributes
from durably.api.client.remote import DEFAULT_URL, Remote
from durably.api.client.transport import Transport
from durably.api.commands.arguments import since as a_time
from durably.api.commands.command import Command, option, print_json, put, say
from durably.api.commands.source import Server, changing
from durably.api.console import error_console, one_line
from durably.engine.bulk.request import Action
from durably.engine.bulk.workflow import PROGRESS
from durably.engine.bulk.workflow import Progress as Done
from durably.engine.log.records import from_us
from durably.engine.retries.retry import RetryPolicy
from durably.store.runtime import SystemClock, SystemRandomness

__all__ = ["bulk"]

F = TypeVar("F", bound=Callable[..., Any])
STATUSES = click.Choice(["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED"], case_sensitive=False)


class _Resource(Struct):
    id: str
    attributes: msgspec.Raw


class _Document(Struct):
    data: _Resource


@click.group()
def bulk() -> None:
    """Do one thing to many runs: see what it would be with --preview, then do it at a rate.

    The server carries it out, over restarts too: this command only watches, and may be left with Ctrl-C.
    """


def _choosing(command: F) -> F:
    """The options that say which runs, and how."""
    options = [
        option("--workflow", multiple=True, metavar="NAME", help="Only of this workflow; several times."),
        option("--status", multiple=True, type=STATUSES, help="Only of this status; several times."),
        option("--event", multiple=True, metavar="NAME", help="Only started by this event; several times."),
        option("--since", callback=a_time, metavar="TIME", help="Only created since: 15m, 2h, 7d, or a time."),
        option("--until", callback=a_time, metavar="TIME", help="Only created before that."),
        option("--rate", type=click.FloatRange(0.01, 1000), default=10.0, show_default=True, help="Runs a second."),
        option("--preview", is_flag=True, help="Count them, name some, and do nothing."),
    ]
    for each in reversed(options):
        command = each(command)
    return command


@bulk.command(cls=Command)
@_choosing
@changing
async def cancel(*, server: Server, as_json: bool, preview: bool, **chosen: Any) -> None:
    """Cancel runs: all that are open, unless options say which."""
    await _carry_out("cancel", _fields(**chosen), server, preview=preview, as_json=as_json)


@bulk.command(cls=Command)
@_choosing
@option("--version", type=click.Choice(["current", "original"]), default="current", show_default=True, help="The code.")
@changing
async def rerun(*, server: Server, as_json: bool, preview: bool, version: str, **chosen: Any) -> None:
    """Run runs again, each with its input: all that have failed, unless options say which."""
    fields = {**_fields(**chosen), "version": version}
    await _carry_out("rerun", fields, server, preview=preview, as_json=as_json)


def _fields(
    *,
    workflow: Sequence[str],
    status: Sequence[str],
    event: Sequence[str],
    since: int | None,
    until: int | None,
    rate: float,
) -> dict[str, Any]:
    """What the API is asked for."""
    wanted = {
        "workflow": workflow,
        "status": status,
        "event": event,
        "created_from": None if since is None else from_us(since),
        "created_until": None if until is None else from_us(until),
    }
    return {"filter": {name: value for name, value in wanted.items() if value}, "rate": rate}


async def _carry_out(
    action: Action, fields: Mapping[str, Any], server: Server, *, preview: bool, as_json: bool
) -> None:
    body = {"data": {"type": "bulk_operation", "attributes": {"action": action, **fields}}}
    url = server.url or DEFAULT_URL
    async with Transport(url, server.api_key, SystemClock(), SystemRandomness()) as transport:
        if preview:
            answer = transport.decode(
                await transport.ask("POST", f"{PATH}/actions/preview", body, retry=RetryPolicy.NEVER), _Document
            )
            _show_preview(action, transport.decode(answer.data.attributes, PreviewAttributes), as_json=as_json)
            return
        answer = transport.decode(await transport.ask("POST", PATH, body, retry=RetryPolicy.NEVER), _Document)
        begun = transport.decode(answer.data.attributes, BulkAttributes)
        async with Remote(url, server.api_key) as remote:
            await _watch(remote, answer.data.id, begun)
        path = f"{PATH}/{quote(answer.data.id, safe='')}"
        answer = transport.decode(await transport.ask("GET", path, retry=RetryPolicy.NEVER), _Document)
        ended = transport.decode(answer.data.attributes, BulkAttributes)
    if as_json:
        print_json({"id": answer.data.id, **msgspec.to_builtins(ended)})
    else:
        put(answer.data.id)
        say(_summary(ended))
    if ended.failed or ended.status != "SUCCEEDED":
        raise click.exceptions.Exit(1)


def _show_preview(action: Action, found: PreviewAttributes, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for run_id in found.runs:
        put(run_id)
    more = f", of which {len(found.runs)} are listed" if found.total > len(found.runs) else ""
    say(f"{action} would be done to {found.total:,} runs{more}; nothing was done")


async def _watch(remote: Remote, run_id: str, begun: BulkAttributes) -> None:
    """Draw how far it is, until it has ended."""
    columns = (
        TextColumn(begun.action),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}", style="red"),
    )
    console = error_console()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(begun.action, total=begun.total, failed="")
        following: str | None = run_id
        while following is not None:
            async for message in remote.messages(following, PROGRESS, 0):
                done = msgspec.convert(message.data, Done)
                failed = f"{done.failed:,} failed" if done.failed else ""
                bar.update(task, completed=done.done + done.skipped + done.failed, failed=failed)
            following = (await remote.run(following)).continued_to


def _summary(ended: BulkAttributes) -> str:
    parts = [f"{ended.action}: {ended.done:,} of {ended.total:,} runs"]
    if ended.skipped:
        parts.append(f"{ended.skipped:,} had ended before their turn")
    if ended.failed:
        parts.append(f"{ended.failed:,} failed, the last with: {one_line(ended.last_error or '')}")
    if ended.status != "SUCCEEDED":
        parts.append(f"the operation itself is {ended.status}")
    return "; ".join(parts)
