"""`durably usage`: the tasks and runs that were used, day by day."""

from collections.abc import Collection, Sequence
from urllib.parse import urlencode, urljoin

import click
from msgspec import Struct, field
from rich.table import Table
from rich.text import Text

from durably.api.client.remote import DEFAULT_URL
from durably.api.client.transport import Transport
from durably.api.commands.arguments import since as a_time
from durably.api.commands.command import Command, option, print_json, say
from durably.api.commands.source import Server, prefers_server, reader_of, reading
from durably.api.console import clean, output_console
from durably.api.usage import LAST_DAY, TASK_USAGE_PATH, TaskUsage, task_usage
from durably.engine.execution.usage import DAY_US
from durably.engine.log.records import from_us
from durably.engine.retries.retry import RetryPolicy
from durably.store.runtime import SystemClock, SystemRandomness

__all__ = ["usage"]


@click.command(cls=Command)
@option("--workflow", multiple=True, metavar="NAME", help="Only this workflow; may be given several times.")
@option("--environment", multiple=True, metavar="NAME", help="Only this environment; may be given several times.")
@option("--since", callback=a_time, metavar="TIME", help="Only days since then, in UTC: 7d, or a time.")
@reading
async def usage(
    *, workflow: Sequence[str], environment: Sequence[str], since: int | None, server: Server, as_json: bool
) -> None:
    """Show how many runs began and how many tasks they used, by day, environment and workflow, newest first.

    A task is a step, however many attempts it took. Runs of jobs are those of the workflow durably.job.
    """
    from_day = 0 if since is None else since // DAY_US
    if server.store is not None and not prefers_server(server):
        found = await _stored(server.store, workflow, environment, from_day)
    else:
        found = await _asked(server, workflow, environment, from_day)
    if as_json:
        print_json(found)
    elif found:
        output_console().print(_table(found), soft_wrap=True)
    else:
        say("nothing was used")


async def _stored(
    url: str, workflows: Collection[str], environments: Collection[str], from_day: int
) -> list[TaskUsage]:
    async with reader_of(url) as reader:
        rows = [
            row
            for row in await reader.usage(from_day, LAST_DAY)
            if (not workflows or row.workflow in workflows) and (not environments or row.environment in environments)
        ]
    newest_first = sorted(rows, key=lambda row: row.day, reverse=True)
    return [task_usage(row) for row in newest_first]


class _Resource(Struct):
    attributes: TaskUsage


class _Links(Struct):
    next: str | None = None


class _Page(Struct):
    data: list[_Resource]
    links: _Links = field(default_factory=_Links)


async def _asked(
    server: Server, workflows: Collection[str], environments: Collection[str], from_day: int
) -> list[TaskUsage]:
    query = {"filter[workflow]": ",".join(workflows), "filter[environment]": ",".join(environments)}
    if from_day:
        query["filter[day]"] = f"[{from_us(from_day * DAY_US):%Y-%m-%d},*)"
    path: str | None = f"{TASK_USAGE_PATH}?{urlencode({name: value for name, value in query.items() if value})}"
    found: list[TaskUsage] = []
    url = server.url or DEFAULT_URL
    async with Transport(url, server.api_key, SystemClock(), SystemRandomness()) as transport:
        while path is not None:
            page = transport.decode(await transport.ask("GET", path, retry=RetryPolicy.NEVER), _Page)
            found += [each.attributes for each in page.data]
            path = None if page.links.next is None else urljoin(path, page.links.next)
    return found


def _table(found: Sequence[TaskUsage]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, show_footer=True, footer_style="bold")
    table.add_column("day", "total")
    table.add_column("environment")
    table.add_column("workflow")
    table.add_column("runs", f"{sum(used.runs for used in found):,}", justify="right")
    table.add_column("tasks", f"{sum(used.tasks for used in found):,}", justify="right")
    for used in found:
        cells = (f"{used.day}", clean(used.environment), clean(used.workflow), f"{used.runs:,}", f"{used.tasks:,}")
        table.add_row(*map(Text, cells))
    return table
