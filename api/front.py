"""`/`: what this server is and where to look, until the dashboard is here."""

from aiohttp import web

from durably.api.operations import Media, Operation
from durably.api.responses import HTML, respond

__all__ = ["operations"]

PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Durably</title>
<h1>Durably</h1>
<p>This server runs durable workflows. There is no dashboard yet. Look here:</p>
<ul>
<li><a href="/api/v1/workflow-runs">/api/v1/workflow-runs</a>: runs, newest first;
  one under <code>/{id}</code>, its log under <code>/{id}/history</code>,
  as it grows under <code>/{id}/stream</code></li>
<li><a href="/api/v1/workflows">/api/v1/workflows</a>: what can be run,
  with <code>POST /{name}/actions/run</code></li>
<li><code>POST /e/{key}</code>: send events</li>
<li><a href="/api/v1/jobs">/api/v1/jobs</a>, <a href="/api/v1/runs">/api/v1/runs</a>: jobs and their runs,
  <a href="/api/v1/retry-policies">/api/v1/retry-policies</a>: how they are retried</li>
<li><a href="/api/v1/bulk-operations">/api/v1/bulk-operations</a>: what was done to many runs at once,
  <a href="/api/v1/task-usage">/api/v1/task-usage</a>: what was used</li>
<li><a href="/openapi.json">/openapi.json</a>: all that can be asked</li>
<li><a href="/health/ready">/health/ready</a>: whether this server takes work</li>
</ul>
<p>On the command line: <code>durably runs</code>, <code>durably show RUN</code>.</p>
</html>
"""


def operations() -> list[Operation]:
    """The one page."""
    return [Operation("GET", "/", _page, "Where to look", "read", answers={200: Media(HTML)})]


async def _page(_: web.Request) -> web.Response:
    return respond(PAGE, HTML)
