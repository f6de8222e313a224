"""docs/asyncio.md, made of what the tests of this folder check: `python -m tests.primitives.page` writes it."""

from tests.primitives.programs import GUARDED, PRIMITIVES, REFUSED, Guarded, Primitive, Refused
from tests.primitives.pythons import ROOT

__all__ = ["PAGE", "render"]

PAGE = ROOT / "docs/asyncio.md"

HEAD = """\
# asyncio and anyio in workflows

Write ordinary asyncio: a run's code lives on an event loop of its own, on which these primitives work as written, wait
for as long as they have to, across deploys and `kill -9`, and do the same on every replay. What reaches out of the run
(sockets, files, threads, processes) belongs in a step, and says so before it does anything.

Each row is a small workflow in `tests/primitives/`, and each cell a test that runs it; the page is written by
`python -m tests.primitives.page`. Checked on CPython 3.11, 3.12 and 3.13 with anyio 4.4 to 4.16.

## What works

| primitive | works | durable: its wait is in the log | replays | survives `kill -9` while waiting | other Pythons |
|---|---|---|---|---|---|
"""

COLUMNS = """
- **works**: it gives what it gives on asyncio's own loop, and leaves the same history whether the run stays in memory
  or is evicted at every wait.
- **durable**: while it waits, the log holds the timer with its delay, or the step that it waits for.
- **replays**: its history replays equal in other processes, with other hash seeds and other addresses.
- **survives**: killed with each commit in turn it comes to the same result; and on SQLite, after a real `kill -9` of a
  process in which it waits, another process brings it to its end.
- **other Pythons**: a history written by one version replays equal on the others. Where asyncio's own code differs, as
  in `wait_for`, a run that began on 3.11 is blocked on 3.12 with a message that says where; it never goes wrong.
"""

REFUSED_HEAD = """
## What is refused, always

The run fails at once with an error that names the call and is not retried. No function has run by then, and no thread,
process or connection was begun.

| call | the error names | and says |
|---|---|---|
"""

GUARDED_HEAD = """
## What the guard stops, in `durably dev` and in tests

These go around asyncio, so no event loop sees them. The guard is an audit hook, which costs too much for production;
`durably check` finds most of them in the code.

| call | stopped on |
|---|---|
"""

TAIL = """
## Good to know

- **Sets of futures.** asyncio keeps what `asyncio.wait` is given in sets. Asyncio tasks and `loop.create_future()` have
  the same place in a set everywhere, so its results may be iterated over. What `asyncio.gather()` and
  `asyncio.Future()` give stands there by its address: `asyncio.wait` of such a one and others is refused. Wrap the
  `gather` in an async function and make a task of it.
- **`asyncio.as_completed`** takes tasks. Of bare coroutines it makes tasks in the order of a set, which no replay could
  repeat: use `durably.as_completed`, which takes both, as `async for result in …` or as `for next_one in …: result =
  await next_one`. An error is raised in the place of its result; leaving the loop early cancels nothing.
- **Sets of your own** of other objects are in another order in each process. Sort them before they decide anything.
- **Endless loops.** An activation, which is what the code does between two waits, may run 100,000 callbacks; then the
  run fails as `Spin`, with the asyncio task and its stack. A second of CPU time gives a warning in the log, ten end the
  run; replay does not count. A loop without any `await` cannot be stopped from inside its process: the watchdog names
  the line in the log, until somebody stops it.
"""


def render() -> str:
    """The page."""
    return "".join(
        [
            HEAD,
            *map(_row, sorted(PRIMITIVES, key=_is_anyio)),
            COLUMNS,
            REFUSED_HEAD,
            *map(_refused_row, sorted(REFUSED, key=_is_anyio)),
            GUARDED_HEAD,
            *map(_guarded_row, GUARDED),
            TAIL,
        ]
    )


def _is_anyio(each: Primitive | Refused) -> bool:
    return each.name.startswith("anyio.")


def _row(each: Primitive) -> str:
    works = "yes" if each.since == (3, 11) else f"yes, {_since(each.since)}"
    pythons = "equal" if each.across_3_11 else "equal from 3.12 on; 3.11 apart, blocked"
    match each.waits:
        case None:
            durable = survives = "does not wait"
        case "step":
            durable, survives = "yes: the step", "yes"
        case _:
            durable, survives = "yes: the timer", "yes"
    return f"| {each.name} | {works} | {durable} | yes | {survives} | {pythons} |\n"


def _refused_row(each: Refused) -> str:
    return f"| {each.name} | {each.names} | {each.instead or '(an error of its own)'} |\n"


def _guarded_row(each: Guarded) -> str:
    return f"| {each.name} | {'every Python' if each.since == (3, 11) else _since(each.since)} |\n"


def _since(version: tuple[int, int]) -> str:
    return f"since {version[0]}.{version[1]}"


if __name__ == "__main__":
    PAGE.write_text(render())
