"""The built-in workflow that does one thing to many runs: a second's worth of them a step, and a nap in between.

Being a workflow it survives crashes and deploys, is canceled as any other, and tells how far it is as it goes. A step
that a crash has interrupted is done again: a rerun then finds the run that it has made, and a cancel asks once more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from durably.engine.body.context import current
from durably.engine.body.inside import continue_as_new, publish
from durably.engine.bulk.request import BulkRequest
from durably.engine.declare.definitions import step, workflow
from durably.engine.errors import DurablyError, RunNotFound, StoreError
from durably.engine.log.ids import derived_id
from durably.store import RunQuery, RunRow

__all__ = ["PROGRESS", "WORKFLOW", "Begun", "BulkActions", "Progress", "run_bulk"]

WORKFLOW = "durably.bulk"
PROGRESS = "progress"
LONG = 5_000
"""Records after which the operation goes on as a new run."""
MOST_AT_ONCE = 200
"""Runs in one step, however fast it is to go."""


class BulkActions(NamedTuple):
    """What the engine lets a bulk operation do."""

    runs: Callable[[RunQuery], Awaitable[Sequence[RunRow]]]
    cancel: Callable[[str], Awaitable[bool]]
    """Ask for a run to be canceled; False when it has ended."""
    rerun: Callable[[str, str, str], Awaitable[None]]
    """Run a run again, with that version of its workflow, under that id."""


class Progress(Struct, frozen=True, kw_only=True):
    """How far a bulk operation is."""

    done: int = 0
    skipped: int = 0
    """Runs that had ended meanwhile."""
    failed: int = 0
    """Runs that it could not be done to."""
    last_error: str | None = None


class Begun(Struct, frozen=True, kw_only=True):
    """A bulk operation as it is started: what is asked for, and how many runs fitted then."""

    request: BulkRequest
    total: int
    before: tuple[int, int]
    """The place in the list of runs, newest first, behind which they are meant."""
    progress: Progress = Progress()


class Batch(Struct, frozen=True):
    """What one step did, and where the next one begins; None: there are no more runs."""

    progress: Progress
    taken: int
    before: tuple[int, int] | None


@step("act")
async def act(begun: Begun) -> Batch:
    """Do it to the next few runs."""
    request, progress = begun.request, begun.progress
    actions = current().resource(BulkActions)
    at_once = min(max(round(request.rate), 1), MOST_AT_ONCE)
    rows = await actions.runs(replace(request.query(), before=begun.before, limit=at_once))
    for row in rows:
        if row.workflow != WORKFLOW:
            progress = await _act(actions, request, row, progress)
    last = rows[-1] if len(rows) == at_once else None
    return Batch(progress, len(rows), None if last is None else (last.created_us, last.run))


async def _act(actions: BulkActions, request: BulkRequest, row: RunRow, progress: Progress) -> Progress:
    try:
        if request.action == "rerun":
            await actions.rerun(row.id, request.version, derived_id(current().run_id, row.id))
        elif not await actions.cancel(row.id):
            return replace(progress, skipped=progress.skipped + 1)
    except RunNotFound:  # too old to be kept, since it was listed
        return replace(progress, skipped=progress.skipped + 1)
    except StoreError:  # nothing can be taken just now: the step is tried again
        raise
    except DurablyError as error:
        return replace(progress, failed=progress.failed + 1, last_error=f"run {row.id}: {error}"[:500])
    return replace(progress, done=progress.done + 1)


@workflow(WORKFLOW)
async def run_bulk(begun: Begun) -> Progress:
    """Do it to all of them."""
    while True:
        batch = await act(begun)
        await publish(batch.progress, PROGRESS)
        if batch.before is None:
            return batch.progress
        begun = replace(begun, before=batch.before, progress=batch.progress)
        await asyncio.sleep(batch.taken / begun.request.rate)
        if current().history_length > LONG:
            continue_as_new(begun)
