"""`durably.Engine`: what users start, send to and ask."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from math import ceil
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeGuard, TypeVar, Unpack, cast, overload

from msgspec import Raw
from msgspec.structs import replace

from durably.engine.access.environments import check_environment
from durably.engine.bulk.request import BulkRequest
from durably.engine.bulk.workflow import WORKFLOW, Begun, BulkActions, Progress, run_bulk
from durably.engine.declare.definitions import Step, Workflow
from durably.engine.declare.event_content import event_content
from durably.engine.declare.events import Event
from durably.engine.declare.registry import Registered
from durably.engine.errors import DurablyError, InvalidInput, RunNotFound, StoreError
from durably.engine.execution.attempt import Perform
from durably.engine.execution.core import Core
from durably.engine.execution.intake import Intake
from durably.engine.execution.settings import Settings
from durably.engine.execution.watchdog import Watchdog
from durably.engine.handle import Run
from durably.engine.http.addresses import check_networks
from durably.engine.jobs.workflow import run_job
from durably.engine.listing import RunFilters, to_query
from durably.engine.log.info import RunInfo, describe_run
from durably.engine.log.records import NOTHING, RunCreated, from_us
from durably.engine.notifications.destination import Destination, check_destinations
from durably.engine.retries.retry import RetryPolicy
from durably.engine.serving import HttpServer, serve
from durably.engine.values.codec import decoder_for
from durably.engine.values.durations import Duration, to_seconds
from durably.store import RunQuery, RunRow, Store, StoreFailure, open_url
from durably.store.runtime import SECOND_US, Clock, Randomness, SystemClock, SystemRandomness
from durably.store.sealed import Codec, SealedStore

__all__ = ["Engine"]

P = ParamSpec("P")
T = TypeVar("T")
Lifespan = Callable[[], AbstractAsyncContextManager[Mapping[type[Any], Any] | None]]
MAX_RUN_ID = 255
DEFAULT_STORE = "sqlite:///durably.db"
BUILTIN = (run_job, run_bulk)
"""Workflows that every engine has, for jobs and for what is done to many runs at once."""


class Engine:
    """Runs workflows durably: `async with Engine("sqlite:///app.db", workflows=[…]) as engine`.

    Args:
        store: where runs live, as a URL: `sqlite:///relative.db`, `sqlite:////absolute.db`, `memory://`.
        workflows: workflows, and steps with a trigger or a schedule.
        environment: the environment that runs started here belong to.
        lifespan: an async context manager that yields resources by type, for `current().resource(T)` in steps.
        default_retry: the policy of steps and bodies that have none of their own.
        max_steps: bodies of steps that run at once; further steps wait.
        max_threads: bodies of sync steps that run at once, each in a thread.
        max_parked: waiting runs that stay in memory; others are rebuilt by replay. 0 evicts at every wait.
        max_lost: crashes in a row after which a step fails as `WorkerLost`.
        max_cpu: CPU time that a workflow may use between two waits, in seconds; a tenth of it is warned of in the log.
        drain_timeout: how long running steps may take to end when the engine stops, in seconds.
        notify: who is told of runs that have failed for good: `Email(…)` and `Webhook(…)`.
        http_allow: networks that HTTP steps and jobs may reach although they are not public, such as `"10.0.0.0/8"`.
        quota: how many runs of jobs there may be in a month; further ones fail as `QUOTA_EXCEEDED`.
        retention: how long ended runs, and events, are kept, in seconds or as a `timedelta`; None: for ever.
        codec: what users' data passes through on its way to the store and back, such as
            `durably.encryption.Encryption`.

    On entering, every run that has not ended goes on where it was. On leaving, no step starts any more, running ones
    are given `drain_timeout`; what then still runs is interrupted and starts again with the next engine.
    """

    def __init__(
        self,
        store: str = DEFAULT_STORE,
        workflows: Sequence[Workflow[..., Any] | Step[..., Any]] = (),
        *,
        environment: str = "production",
        lifespan: Lifespan | None = None,
        notify: Sequence[Destination] = (),
        default_retry: RetryPolicy = RetryPolicy.DEFAULT,
        max_steps: int = 10_000,
        max_threads: int = 32,
        max_parked: int = 10_000,
        max_lost: int = 3,
        max_cpu: Duration = 10,
        drain_timeout: Duration = 30,
        http_allow: Sequence[str] = (),
        quota: int | None = None,
        retention: Duration | None = None,
        codec: Codec | None = None,
    ) -> None:
        self.url = store
        self.workflows = tuple(workflows)
        self.lifespan = lifespan
        self.codec = codec
        self.settings = Settings(
            environment=check_environment(environment),
            default_retry=default_retry,
            max_steps=_at_least(1, max_steps=max_steps),
            max_threads=_at_least(1, max_threads=max_threads),
            max_parked=_at_least(0, max_parked=max_parked),
            max_lost=_at_least(1, max_lost=max_lost),
            max_cpu=to_seconds(max_cpu),
            drain_timeout=to_seconds(drain_timeout),
            notify=check_destinations(notify),
            http_allow=tuple(map(str, check_networks(http_allow))),
            quota=None if quota is None else _at_least(0, quota=quota),
            retention=None if retention is None else to_seconds(retention, "retention"),
        )
        self._core: Core | None = None
        self._intake: Intake | None = None
        self._exits = AsyncExitStack()
        self._resources: Mapping[type[Any], Any] = {}

    # -- what a test's engine puts in the place of the system

    def _open_store(self) -> Store:
        store = open_url(self.url)
        return store if self.codec is None else SealedStore(store, self.codec)

    def _make_clock(self) -> Clock:
        return SystemClock()

    def _make_randomness(self) -> Randomness:
        return SystemRandomness()

    def _make_perform(self) -> Perform | None:
        return None

    async def wait(self, what: Awaitable[T]) -> T:
        """Wait for something that a run does."""
        return await what

    # -- start and stop

    async def __aenter__(self) -> Self:
        if self._core is not None:
            raise DurablyError("this engine runs already; make another one for another store")
        async with AsyncExitStack() as exits:
            self._resources = {}
            if self.lifespan is not None:
                self._resources = _by_type(await exits.enter_async_context(self.lifespan()))
            try:
                core = self._make_core()
                await core.open()
            except StoreFailure as failure:
                raise StoreError(str(failure)) from failure
            exits.push_async_callback(core.close)
            watchdog = Watchdog(core.clock)
            exits.callback(watchdog.close)
            self._core, self._intake = core, Intake(core)
            self._exits = exits.pop_all()
        return self

    def _make_core(self) -> Core:
        return Core(
            self._open_store(),
            self.workflows,
            self.settings,
            self._make_clock(),
            self._make_randomness(),
            resources={BulkActions: self._bulk_actions(), **self._resources},
            builtin=BUILTIN,
            perform=self._make_perform(),
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._exits.aclose()
        finally:
            self._core = self._intake = None

    @property
    def core(self) -> Core:
        """The engine's inside: for the API that is served beside it, not for users."""
        if self._core is None:
            raise DurablyError("the engine is not running: use it inside `async with engine:`")
        return self._core

    @property
    def intake(self) -> Intake:
        """The way in, for the API."""
        if self._intake is None:
            raise DurablyError("the engine is not running: use it inside `async with engine:`")
        return self._intake

    def registered(self, name: str, version: int | None = None) -> Registered:
        """The workflow of that name, the newest version unless one is asked for."""
        registry = self.core.registry
        found = registry.newest(name) if version is None else registry.get(name, version)
        if found is None:
            known = ", ".join(sorted({each.name for each in registry.all()})) or "none"
            which = name if version is None else f"{name} version {version}"
            raise DurablyError(
                f"workflow {which!r} is not registered; this engine knows {known}. Pass it in Engine(workflows=[…])"
            )
        return found

    def reached_at(self, url: str) -> None:
        """Say where the API is reached, for links to runs, unless that is known."""
        self.settings = self.settings._replace(url=self.settings.url or url)
        if self._core is not None:
            self._core.url = self.settings.url

    async def serve_http(self, host: str = "127.0.0.1", port: int = 8484) -> HttpServer:
        """Serve the HTTP API beside this engine, in its process; it listens when this returns. Port 0 takes any.

        The server closes with the engine, before running steps are waited for; or earlier, with `close()` or `async
        with`. Raises `DurablyError` when the address is taken, or others can reach it and no key keeps them out.
        """
        _ = self.core  # it has to run
        server = await serve(self, host, port)
        self._exits.push_async_callback(server.close)
        return server

    # -- runs

    def _bulk_actions(self) -> BulkActions:
        """What bulk operations do to runs, one by one."""

        async def runs(query: RunQuery) -> Sequence[RunRow]:
            return await self.core.store.runs(query)

        async def cancel(run_id: str) -> bool:
            return await (await self.get_run(run_id)).cancel()

        async def rerun(run_id: str, version: str, new_id: str) -> None:
            run = await self.get_run(run_id)
            await run.rerun(version="original" if version == "original" else "current", run_id=new_id)

        return BulkActions(runs, cancel, rerun)

    async def start_bulk(self, request: BulkRequest, environment: str | None = None) -> Run[Progress]:
        """Do one thing to many runs, as a run of its own: how far it is it publishes under the topic `progress`."""
        core, total = self.core, await self.count_meant(request)
        begun = Begun(request=request, total=total, before=(core.clock.now_us(), core.store.new_run()))
        return await self.start(run_bulk.options(environment=environment), begun)

    async def count_meant(self, request: BulkRequest) -> int:
        """How many runs a bulk operation would be done to: of those that fit, all but bulk operations."""
        query = request.query()
        if query.workflow and WORKFLOW not in query.workflow:
            return await self.count_runs(query)
        spared = replace(query, workflow=(WORKFLOW,))
        return await self.count_runs(query) - await self.count_runs(spared)

    async def count_runs(self, query: RunQuery) -> int:
        """How many runs fit."""
        return sum(count for _, _, count in await self.core.store.tally(query, 0))

    @overload
    async def start(self, workflow: Workflow[P, T] | Step[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Run[T]: ...
    @overload
    async def start(
        self, workflow: Workflow[..., T] | Step[..., T], /, *args: Any, run_id: str, **kwargs: Any
    ) -> Run[T]: ...
    @overload
    async def start(self, workflow: str, /, *args: Any, run_id: str | None = None, **kwargs: Any) -> Run[Any]: ...
    async def start(self, workflow: Any, /, *args: Any, **kwargs: Any) -> Run[Any]:
        """Start a run; the handle comes back once its creation is durable.

        A known `run_id` with the same workflow and input gives the existing run. Raises `RunConflict` if it is
        another workflow or input, `InvalidInput` if the arguments miss their annotations, `StoreError` if nothing
        can be stored.
        """
        run_id: str | None = kwargs.pop("run_id", None)
        if isinstance(workflow, str):
            registered = self.registered(workflow)
        else:
            registered = self.registered(workflow.name, workflow.version)
        if isinstance(workflow, Workflow):
            options = cast("Workflow[..., Any]", workflow)
            run_id = run_id or options.run_id
            created = self.beginning(
                registered,
                args,
                kwargs,
                test=options.test,
                timeout=options.timeout,
                delay=options.delay,
                environment=options.environment,
            )
        else:
            created = self.beginning(registered, args, kwargs)
        return await self.start_created(registered, created, run_id)

    def beginning(
        self,
        registered: Registered,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        test: bool = False,
        timeout: float | None = None,
        delay: float | None = None,
        environment: str | None = None,
    ) -> RunCreated:
        """What a run begins with that is started by hand, here or through the API: `Workflow.options`, in seconds.

        Raises `InvalidInput` if the arguments miss their annotations.
        """
        event = _as_if_triggered(registered, args, kwargs)
        return RunCreated(
            workflow=registered.name,
            version=registered.version,
            input=NOTHING if event is not None else Raw(registered.signature.bind_input(args, kwargs).raw),
            trigger="MANUAL",
            event=NOTHING if event is None else Raw(event_content(event)),
            environment=environment or self.settings.environment,
            test=test,
            timeout=registered.timeout if timeout is None else timeout,
            due_at=None if delay is None else from_us(self.core.clock.now_us() + ceil(delay * SECOND_US)),
        )

    async def start_created(self, registered: Registered, created: RunCreated, run_id: str | None = None) -> Run[Any]:
        """Start a run whose beginning is put together already: for the API and for reruns."""
        if run_id is not None and not (0 < len(run_id) <= MAX_RUN_ID and run_id.isprintable()):
            raise InvalidInput(f"run_id {run_id[:80]!r} must be 1 to {MAX_RUN_ID} printable characters")
        number, run_id = await self.intake.start(registered, created, run_id)
        return Run(self, number, run_id, registered.definition.decode_result)

    @overload
    async def get_run(self, id: str) -> Run[Any]: ...
    @overload
    async def get_run(self, id: str, workflow: Workflow[..., T] | Step[..., T]) -> Run[T]: ...
    async def get_run(self, id: str, workflow: Any = None) -> Run[Any]:  # noqa: A002 - the contract's name
        """The run with this id; given its workflow, typed as that one's. Raises `RunNotFound`."""
        live = self.core.runs.by_id(id)
        row = await self.core.store.run(id)
        if row is None:
            if live is not None and live.stored is not None:
                await live.stored
                return await self.get_run(id, workflow)
            raise RunNotFound(id)
        registered = self.core.registry.get(row.workflow, row.version)
        definition = workflow or (registered.definition if registered is not None else None)
        return Run(self, row.run, row.id, decoder_for(Any) if definition is None else definition.decode_result)

    async def list_runs(self, **filters: Unpack[RunFilters]) -> list[RunInfo]:
        """Runs that fit all the filters, newest first."""
        return [info for _, info in await self.page(to_query(filters))]

    async def page(self, query: RunQuery) -> list[tuple[RunRow, RunInfo]]:
        """One page of runs, each with its row, by which a cursor finds the next page."""
        store = self.core.store
        rows = await store.runs(query)
        ended = [row.run for row in rows if row.phase is None]
        first, last = await store.first_records(ended), await store.last_records(ended)
        logs = await store.records([row.run for row in rows if row.phase is not None])
        logs.update((run, [first[run], last[run]]) for run in ended)
        return [(row, describe_run(row, logs[row.run])) for row in rows]

    async def send(self, *events: Event[Any]) -> list[str]:
        """Send events; their ids, once they and the runs they start are durable. All of them or none.

        An id seen in the last 24 h with the same content is acknowledged and starts nothing. Raises `EventConflict` for
        one with other content, `InvalidInput` over a limit. When the queue is full it waits.
        """
        return await self.intake.send(events)


def _as_if_triggered(registered: Registered, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Event[Any] | None:
    """The event that a triggered workflow is started with by hand: to the run it is the one that triggered it."""
    takes_event = registered.triggers or registered.signature.takes_event
    if takes_event and not kwargs and len(args) == 1 and _is_event(args[0]):
        registered.signature.bind_event(args[0])
        return args[0]
    return None


def _is_event(value: object) -> TypeGuard[Event[Any]]:
    return isinstance(value, Event)


def _at_least(least: int, **setting: int) -> int:
    [(name, value)] = setting.items()
    if value < least:
        raise ValueError(f"{name} is {value}; it must be {least} or more")
    return value


def _by_type(resources: object) -> Mapping[type[Any], Any]:
    """What a lifespan yielded: nothing, a mapping of types, or one resource that stands for its own type."""
    if resources is None:
        return {}
    if isinstance(resources, Mapping):
        return cast("Mapping[type[Any], Any]", resources)
    return {type(resources): resources}
