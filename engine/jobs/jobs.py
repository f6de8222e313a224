"""The jobs of an engine, in memory: asked whenever one fires, changed through the store."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
import structlog
from msgspec.structs import replace

from durably.engine.access.environments import KIND as ENVIRONMENT
from durably.engine.access.environments import environments_in
from durably.engine.errors import DurablyError, ErrorInfo, RunConflict, StoreError
from durably.engine.execution.arrivals import run_row
from durably.engine.execution.documents import DocumentConflict, Documents, to_its_end
from durably.engine.execution.inbox import CancelItem, encode_item
from durably.engine.execution.journal import Journal
from durably.engine.jobs.beginnings import begin_again, begin_by_hand, begin_on_schedule, environment_for
from durably.engine.jobs.chain import successor, target_of, uuid_of
from durably.engine.jobs.checks import World, check_job
from durably.engine.jobs.model import (
    NOW,
    Configuration,
    Job,
    JobFields,
    cadence,
    configuration,
    instant_us,
    is_enabled,
    retry_policy,
)
from durably.engine.log.records import RunCreated
from durably.engine.policies.policies import Policies
from durably.engine.schedules.cron import CronExpression, CronTimetable, OneTime, Timetable, find_zone
from durably.engine.schedules.schedules import Schedule, Schedules
from durably.store import DocumentRow, InboxRow, Operation, Put, Result, RunQuery, RunRow, Store, Written
from durably.store.runtime import Clock

__all__ = ["JobNotFound", "Jobs", "Plan"]

log = structlog.get_logger("durably.jobs")

KIND = "job"
PAGE = 1_000


class JobNotFound(DurablyError):  # noqa: N818 - named as the errors of the contract are
    """There is no job of that id, or it was deleted."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id!r}, or it was deleted: list them to see which there are")


class Plan(NamedTuple):
    """What a run that fires now is to do."""

    configuration: Configuration
    version: int
    """The job's."""


class Jobs:
    """All jobs. Changes come one after another, those of policies too, so that each sees what the one before has left.

    `look` is told of runs that have got something into their inbox.
    """

    def __init__(
        self,
        store: Store,
        journal: Journal,
        documents: Documents,
        policies: Policies,
        *,
        schedules: Schedules,
        clock: Clock,
        look: Callable[[Sequence[int]], None],
    ) -> None:
        self._store = store
        self._journal = journal
        self._documents = documents
        self._policies = policies
        self._schedules = schedules
        self._clock = clock
        self._look = look
        self._live: dict[str, Job] = {}
        self._changing = policies.changing

    async def load(self) -> None:
        """Read what is stored, and let schedules go on from where they were. What is known stays as it is."""
        async with self._changing:  # what is written meanwhile must not be taken back by what was read before
            for row in {row.id: row for row in await self._documents.load(KIND)}.values():
                known = self._live.get(row.id)
                if known is None or known.row != row:
                    self._take(row)

    # -- asking

    def find(self, job_id: str) -> Job | None:
        """The job of that id, unless it was deleted."""
        return self._live.get(job_id)

    def get(self, job_id: str) -> Job:
        """The same. Raises `JobNotFound`."""
        job = self._live.get(job_id)
        if job is None:
            raise JobNotFound(job_id)
        return job

    def all(self) -> list[Job]:
        """Those that are not deleted, by id."""
        return [job for _, job in sorted(self._live.items())]

    def referencing(self, policy_id: str) -> list[str]:
        """Ids of the jobs that name a retry policy, for themselves or in an environment."""
        return [job.id for job in self.all() if policy_id in _policies_of(job.fields)]

    def next_runs_us(self, job: Job) -> dict[str, int]:
        """When its schedules fire next, by environment; those where they do not are left out."""
        if job.kind == "manual":
            return {}
        owner, fields = _owner(job.id), job.fields
        found = {
            name: self._schedules.next_due_us(owner, _name(fields, name))
            for name in fields.environments
            if is_enabled(fields, name)
        }
        return {name: due_us for name, due_us in found.items() if due_us is not None}

    def enabled_in(self, job: Job) -> list[str]:
        """Where it may be run. A one-off job disables itself where it has fired."""
        if job.kind == "one_off":
            return list(self.next_runs_us(job))
        return [name for name in job.fields.environments if is_enabled(job.fields, name)]

    # -- changing

    @to_its_end
    async def create(self, job_id: str, attributes: Mapping[str, Any], scope: str | None = None) -> Job:
        """A new job. Raises `DocumentConflict` when there is one of that id, `Invalid` when it is none.

        `scope` is the only environment that whoever writes it sees; None: all of them.
        """
        async with self._changing:
            if job_id in self._live:
                raise DocumentConflict(f"job {job_id!r} exists already: PUT replaces it")
            world = await self._world(scope)
            fields = check_job(attributes, world)
            row = DocumentRow(
                kind=KIND, id=job_id, body=_encode(fields), created_us=world.now_us, updated_us=world.now_us
            )
            return await self._save(row)

    @to_its_end
    async def replace(self, job_id: str, attributes: Mapping[str, Any], scope: str | None = None) -> Job:
        """Another content for a job: what is left out goes back to its default.

        Environments out of the writer's sight stay as they are. Retries that wait in an environment where the job does
        not run any more are canceled.
        """
        async with self._changing:
            before = self.get(job_id)
            world = await self._world(scope)
            fields = check_job(attributes, world, before.fields)
            unseen = {name: each for name, each in before.fields.environments.items() if scope not in (None, name)}
            if unseen:  # what is written has to go with what is there besides
                entries = {name: each.flat() for name, each in {**unseen, **fields.environments}.items()}
                fields = check_job({**attributes, "environments": entries}, await self._world(None), before.fields)
            row = replace(before.row, body=_encode(fields), version=before.row.version + 1, updated_us=world.now_us)
            return await self._save(row, await self._cancels(job_id, fields))

    @to_its_end
    async def delete(self, job_id: str) -> None:
        """Delete a job, and cancel its runs that have not begun. Its history stays, and its id can be taken again."""
        async with self._changing:
            row = self.get(job_id).row
            now_us = self._clock.now_us()
            deleted = replace(row, version=row.version + 1, updated_us=now_us, deleted_us=now_us)
            await self._save(deleted, await self._cancels(job_id, None))

    async def _world(self, scope: str | None) -> World:
        environments = environments_in(await self._documents.load(ENVIRONMENT))
        seen = environments if scope is None else {scope}
        policies = {policy.row.id for policy in self._policies.all()}
        return World(seen.__contains__, policies.__contains__, self._clock.now_us(), scope)

    async def _cancels(self, job_id: str, fields: JobFields | None) -> list[Operation]:
        """Cancels for the runs that must not begin any more, once the job is this; None: once it is deleted."""
        query = RunQuery(status=("PENDING",), job=(job_id,), limit=PAGE)
        cancels: list[Operation] = []
        while rows := await self._store.runs(query):
            cancels += [Put(self._cancel(row.run)) for row in rows if fields is None or _is_stopped(row, fields)]
            query = replace(query, before=(rows[-1].created_us, rows[-1].run))
        return cancels

    async def _save(self, row: DocumentRow, cancels: Sequence[Operation] = ()) -> Job:
        result = await self._documents.save(row, *cancels)
        self._take(row)
        self._look(_woken(result))
        return _stored(row)

    def _take(self, row: DocumentRow) -> None:
        """From now on this is the job."""
        if row.deleted_us is None:
            self._live[row.id] = _stored(row)
        else:
            self._live.pop(row.id, None)
        self._schedule(row.id, row.updated_us)

    # -- schedules

    def _schedule(self, job_id: str, since_us: int) -> None:
        """Let the job's schedules be those that it says. One that it had already goes on as it was."""
        job = self._live.get(job_id)
        schedules = [] if job is None or job.kind == "manual" else list(self._schedules_of(job))
        # A one-off job's time may be that of the change itself; a recurring one begins behind it.
        once = job is not None and job.kind == "one_off"
        self._schedules.set(_owner(job_id), schedules, since_us - 1 if once else since_us)

    def _schedules_of(self, job: Job) -> Iterator[Schedule]:
        catch_up = job.fields.catch_up if job.kind == "recurring" else "once"
        for environment in job.fields.environments:
            if is_enabled(job.fields, environment):
                try:
                    timetable = _timetable(job, environment)
                except ValueError as error:  # the store has come to where the time zone is not known
                    log.error("job.unschedulable", job=job.id, environment=environment, reason=str(error))
                    continue
                fire = partial(self._fire, job.id, environment)
                yield Schedule(_name(job.fields, environment), timetable, fire, catch_up)

    def _fire(self, job_id: str, environment: str, run_id: str, scheduled_us: int) -> tuple[RunRow, RunCreated] | None:
        job = self._live.get(job_id)
        created = None if job is None else begin_on_schedule(job, environment, scheduled_us)
        if created is None:
            return None
        return run_row(self._store.new_run(), uuid_of(run_id), created, self._clock.now_us()), created

    # -- runs

    def by_hand(self, job_id: str, asked: str | None, scope: str | None = None) -> RunCreated:
        """How a MANUAL run begins. Raises `JobNotFound` or `JobConflict`."""
        job = self.get(job_id)
        enabled = self.enabled_in(job)
        return begin_by_hand(job, environment_for(job, enabled, asked, scope))

    def again(self, source: str, created: RunCreated) -> RunCreated:
        """How a RERUN of a run begins. Raises `RunConflict` when its job was deleted."""
        job = self._job_of(created)
        if job is None:
            raise RunConflict(f"run {source!r} cannot be run again: its job was deleted")
        return begin_again(job, created.environment, source)

    def next_try(self, run_id: str, created: RunCreated, error: ErrorInfo, finished_us: int) -> RunCreated | None:
        """The RETRY run that follows a failed one, if any."""
        return successor(created, run_id, error, finished_us, jobs=self.find, policies=self._policies.lookup)

    def plan(self, created: RunCreated) -> Plan | None:
        """What a run that fires now is to do; None: nothing, its job was deleted or switched off meanwhile."""
        job = self._job_of(created)
        if job is None or (created.trigger in _AUTOMATIC and not is_enabled(job.fields, created.environment)):
            return None
        return Plan(configuration(job.fields, created.environment), job.row.version)

    async def withdraw(self, run_id: str) -> None:
        """Cancel the run that calls this from a step: it waits for the cancel to interrupt it, and goes no further."""
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def stored(result: Result | StoreError) -> bool:
            if isinstance(result, StoreError) and not failed.done():
                failed.set_exception(result)
            elif isinstance(result, Written):
                self._look(result.woken)
            return not failed.done()

        self._journal.add(Put(self._cancel(0), to=run_id, after=stored))
        await failed

    def _cancel(self, number: int) -> InboxRow:
        return InboxRow(number, self._clock.now_us(), encode_item(CancelItem()))

    def _job_of(self, created: RunCreated) -> Job | None:
        """The job that a run was made for, and not another one that has its id now."""
        if created.job is None:  # somebody has started the workflow as one of theirs
            return None
        target = target_of(created)
        job = self._live.get(target.job)
        return job if job is not None and job.born_us == target.born_us else None


_AUTOMATIC = frozenset({"SCHEDULE", "RETRY"})
"""Triggers of runs that nobody asked for at that moment."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(JobFields).decode


def _stored(row: DocumentRow) -> Job:
    return Job(row, _decode(row.body))


def _policies_of(fields: JobFields) -> Iterable[str | None]:
    return {fields.retry_policy, *(retry_policy(fields, name) for name in fields.environments)}


def _is_stopped(row: RunRow, fields: JobFields) -> bool:
    return row.trigger in _AUTOMATIC and not is_enabled(fields, row.environment)


def _woken(result: Result) -> list[int]:
    if not isinstance(result, Written):
        return []
    return [number for each in (result, *result.also) if isinstance(each, Written) for number in each.woken]


def _owner(job_id: str) -> str:
    return f"job/{job_id}"


def _name(fields: JobFields, environment: str) -> str:
    """What a schedule is called: under the same name it goes on from where it was, under another one it is new."""
    schedule, timezone = cadence(fields, environment)
    return " ".join(f"{environment} {schedule} {timezone}".split())


def _timetable(job: Job, environment: str) -> Timetable:
    schedule, timezone = cadence(job.fields, environment)
    assert schedule is not None
    if job.kind == "recurring":
        return CronTimetable(CronExpression.parse(schedule), find_zone(timezone))
    return OneTime(job.row.updated_us if schedule == NOW else instant_us(schedule))
