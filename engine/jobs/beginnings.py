"""How runs of jobs begin: by a schedule, by hand, again. What a retry begins with is `chain`'s business."""

from durably.engine.errors import DurablyError
from durably.engine.jobs.chain import WORKFLOW, Target
from durably.engine.jobs.model import Job, is_enabled
from durably.engine.log.records import NOTHING, JobRun, RunCreated, from_us

__all__ = ["JobConflict", "begin_again", "begin_by_hand", "begin_on_schedule", "environment_for"]

VERSION = 1
"""Of the built-in workflow."""


class JobConflict(DurablyError):  # noqa: N818 - named as the errors of the contract are
    """What was asked does not fit the job as it is."""


def environment_for(job: Job, enabled: list[str], asked: str | None, implied: str | None) -> str:
    """Where a job that is run by hand runs: where it is told to, or else where it must be.

    `enabled` are the environments in which it may be run; `implied` is the one that a key belongs to. Raises
    `JobConflict`.
    """
    if asked is None:
        if len(enabled) == 1:
            return enabled[0]
        if implied not in enabled:
            where = f"it is enabled in {', '.join(enabled)}" if enabled else "it is enabled in none"
            raise JobConflict(f'job {job.id!r}: say in which environment, as {{"environment": "…"}}: {where}')
        return implied
    if asked not in enabled:
        raise JobConflict(f"job {job.id!r} is not enabled in environment {asked[:100]!r}: enable it there first")
    return asked


def begin_by_hand(job: Job, environment: str) -> RunCreated:
    """A MANUAL run."""
    return _created(job, environment, "MANUAL", JobRun(job=job.id, version=job.row.version))


def begin_again(job: Job, environment: str, source: str) -> RunCreated:
    """A RERUN of the run `source`: with the job as it is now, and a chain of retries of its own."""
    return _created(job, environment, "RERUN", JobRun(job=job.id, version=job.row.version, rerun_of=source), source)


def begin_on_schedule(job: Job, environment: str, scheduled_us: int) -> RunCreated | None:
    """The run of a time that is due; None where the job does not run any more."""
    if not is_enabled(job.fields, environment):
        return None
    of = JobRun(job=job.id, version=job.row.version)
    return _created(job, environment, "SCHEDULE", of, scheduled_us=scheduled_us)


def _created(
    job: Job, environment: str, trigger: str, of: JobRun, origin: str | None = None, *, scheduled_us: int | None = None
) -> RunCreated:
    return RunCreated(
        workflow=WORKFLOW,
        version=VERSION,
        input=Target(job.id, job.born_us).raw(),
        trigger=trigger,
        event=NOTHING,
        environment=environment,
        test=False,
        origin=origin,
        scheduled_for=None if scheduled_us is None else from_us(scheduled_us),
        job=of,
    )
