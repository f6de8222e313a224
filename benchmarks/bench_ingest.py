"""Ingest: events over HTTP, acknowledged when they are on stable storage, beside a bare aiohttp echo.

32 connections post one event at a time to `/e/{key}` from a process of their own; the echo decodes the same
body, encodes it and sends it back, and knows no store. They take turns in one process. CPU time is that of
the serving process for each request, so it does not matter how fast the client is.

    event               an event that starts nothing: stored, and acknowledged
    event with a run    it starts a run of an empty workflow, which runs in the same process meanwhile
    100 events          an array of a hundred events in one request, for each event
"""

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from benchmarks.harness import run_alone, store_path, tune_process
from benchmarks.http_load import CONNECTIONS, WARM_UP_S
from benchmarks.report import Row, at_least, progress, publish
from durably import Engine, Event, workflow
from durably.api.server import serve

SHARE_GATE = 0.6
DATA = {"user": "u-1842", "items": [{"sku": "sku-9", "count": 3}], "note": "x" * 100}
EVENTS_AT_ONCE = 100


@workflow(on="bench/starts-a-run")
async def nothing(event: Event[Any]) -> None: ...


class Load(NamedTuple):
    """What one round came to."""

    per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


async def load(port: int, body: object, seconds: float) -> Load:
    """Post `body` from another process, and take the CPU time of this one."""
    arguments = str(port), "/e/bench", json.dumps(body), str(seconds)
    cpu_s = time.process_time()
    client = await asyncio.create_subprocess_exec(sys.executable, "-m", "benchmarks.http_load", *arguments, stdout=PIPE)
    output, _ = await client.communicate()
    cpu_s = time.process_time() - cpu_s
    found = json.loads(output)
    requests: int = found["requests"]
    measured_share = seconds / (seconds + WARM_UP_S)
    return Load(requests / seconds, cpu_s * measured_share / requests * 1e6, found["p50_ms"], found["p99_ms"])


async def load_echo(body: object, seconds: float) -> Load:
    """The floor: what HTTP and JSON cost in this server without anything behind it."""
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=encode(decode(await request.read())), content_type="application/json")

    app = web.Application()
    app.add_routes([web.post("/e/{key}", echo)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return await load(runner.addresses[0][1], body, seconds)
    finally:
        await runner.cleanup()


async def load_durably(body: object, seconds: float) -> Load:
    with store_path() as path:
        engine = Engine(f"sqlite:///{path}", workflows=[nothing])
        async with engine, await serve(engine, port=0) as server:
            return await load(server.port, body, seconds)


def rows(echo: Load, stored: Load, started: Load, many: Load) -> list[Row]:
    share = stored.per_s / echo.per_s
    return [
        Row("event", stored.per_s, "requests/s", None, {"echo": echo.per_s}),
        Row("share of the echo", share, "", at_least(SHARE_GATE)),
        Row("CPU", stored.cpu_us, "µs/request", None, {"echo": echo.cpu_us}),
        Row("p50", stored.p50_ms, "ms", None, {"echo": echo.p50_ms}),
        Row("p99", stored.p99_ms, "ms", None, {"echo": echo.p99_ms}),
        Row("event with a run", started.per_s, "requests/s"),
        Row("  CPU, the run included", started.cpu_us, "µs/request"),
        Row(f"{EVENTS_AT_ONCE} events", many.per_s * EVENTS_AT_ONCE, "events/s"),
        Row("  CPU", many.cpu_us / EVENTS_AT_ONCE, "µs/event"),
    ]


def main(*, quick: bool = False) -> None:
    tune_process()
    seconds, rounds = (1.0, 1) if quick else (2.0, 3)
    event = {"name": "bench/starts-nothing", "data": DATA}
    echoes: list[Load] = []
    stored: list[Load] = []
    with progress("ingest", 2 * rounds + 2) as step:
        for _ in range(rounds):
            echoes.append(run_alone(load_echo(event, seconds)))
            step()
            stored.append(run_alone(load_durably(event, seconds)))
            step()
        started = run_alone(load_durably({**event, "name": "bench/starts-a-run"}, seconds))
        step()
        many = run_alone(load_durably([event] * EVENTS_AT_ONCE, seconds))
        step()
    title = f"Events over HTTP, {CONNECTIONS} connections"
    publish("ingest", title, rows(middle(echoes), middle(stored), started, many))


def middle(loads: list[Load]) -> Load:
    """The round with the median rate."""
    return sorted(loads)[len(loads) // 2]


if __name__ == "__main__":
    main()
