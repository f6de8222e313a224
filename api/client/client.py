"""`durably.Client`: the engine's methods from any process."""

from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack, overload

from msgspec import Raw

from durably.api.client.handle import ClientRun
from durably.api.client.remote import Remote
from durably.engine.declare.definitions import Step, Workflow
from durably.engine.declare.event_content import event_content
from durably.engine.declare.events import Event
from durably.engine.errors import InvalidInput
from durably.engine.listing import RunFilters, to_query
from durably.engine.log.info import RunInfo
from durably.engine.retries.retry import RetryPolicy
from durably.engine.values.codec import decode_json, encode
from durably.store.runtime import Clock, Randomness, SystemRandomness

__all__ = ["RETRY", "Client"]

P = ParamSpec("P")
T = TypeVar("T")

RETRY = RetryPolicy(4, delay=0.2, max_delay=5)
"""Four more attempts, after 0.2, 0.4, 0.8 and 1.6 s and up to a quarter more: a restart of the server, say."""


class Client:
    """The engine's methods for a process that does not run the engine: `async with Client("http://…") as client`.

    Args:
        url: where the server is, such as `http://127.0.0.1:8484`.
        api_key: the key to show it.
        retry: when to ask again while nobody answers, or the server cannot take anything. What may have been done
            already is not asked for again, unless a repeat is harmless: reading is, and so are `start` and `send`,
            because runs and events get their ids here.

    What the engine and its handles raise, these raise; besides that `NoServer`, when nothing answers at the address,
    and `NoAnswer`, when the connection broke first. At most 100 requests are under way at once, and 500 that wait for a
    run's end or follow one; further ones wait for their turn.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        retry: RetryPolicy = RETRY,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        self._randomness = randomness or SystemRandomness()
        self._remote = Remote(url, api_key, retry=retry, clock=clock, randomness=self._randomness)

    async def __aenter__(self) -> Self:
        await self._remote.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._remote.__aexit__(kind, error, traceback)

    @overload
    async def start(
        self, workflow: Workflow[P, T] | Step[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> ClientRun[T]: ...
    @overload
    async def start(
        self, workflow: Workflow[..., T] | Step[..., T], /, *args: Any, run_id: str, **kwargs: Any
    ) -> ClientRun[T]: ...
    @overload
    async def start(self, workflow: str, /, *args: Any, run_id: str | None = None, **kwargs: Any) -> ClientRun[Any]: ...
    async def start(self, workflow: Any, /, *args: Any, **kwargs: Any) -> ClientRun[Any]:
        """Start a run; the handle comes back once its creation is durable.

        A known `run_id` with the same workflow and input gives the existing run. To a workflow's name, whose parameters
        are not known here, arguments are given by name. Raises `RunConflict` if the run is of another workflow or
        input, `InvalidInput` if the arguments miss their annotations, `StoreError` if nothing can be stored.
        """
        run_id: str | None = kwargs.pop("run_id", None)
        if isinstance(workflow, str):
            given, options = _by_name(workflow, args, kwargs), dict[str, Any]()
            name, decode = workflow, decode_json
        else:
            given, options = Raw(workflow.signature.bind_input(args, kwargs).raw), _options(workflow)
            name, decode = workflow.name, workflow.decode_result
            run_id = run_id or getattr(workflow, "run_id", None)
        info = await self._remote.start(name, given, run_id or self._randomness.token(), **options)
        return ClientRun(self._remote, info.id, decode)

    @overload
    async def get_run(self, id: str) -> ClientRun[Any]: ...
    @overload
    async def get_run(self, id: str, workflow: Workflow[..., T] | Step[..., T]) -> ClientRun[T]: ...
    async def get_run(self, id: str, workflow: Any = None) -> ClientRun[Any]:  # noqa: A002 - the contract's name
        """The run with this id; given its workflow, typed as that one's, else of JSON's types. Raises `RunNotFound`."""
        info = await self._remote.run(id)
        return ClientRun(self._remote, info.id, decode_json if workflow is None else workflow.decode_result)

    async def list_runs(self, **filters: Unpack[RunFilters]) -> list[RunInfo]:
        """Runs that fit all the filters, newest first."""
        return await self._remote.runs(to_query(filters))

    async def send(self, *events: Event[Any]) -> list[str]:
        """Send events; their ids, once they and the runs they start are durable. All of them or none.

        An id seen in the last 24 h with the same content is acknowledged and starts nothing. Raises `EventConflict` for
        one with other content, `InvalidInput` over a limit, `StoreError` when nothing can be stored.
        """
        named = [event if event.id else replace(event, id=self._randomness.token()) for event in events]
        return await self._remote.send([Raw(event_content(event)) for event in named])


def _by_name(workflow: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Raw:
    if args:
        raise InvalidInput(
            f"the parameters of workflow {workflow!r} are not known to a client that has only its name: give its "
            "arguments by name, or the workflow itself"
        )
    return Raw(encode(kwargs))


def _options(definition: Workflow[..., Any] | Step[..., Any]) -> dict[str, Any]:
    """What a definition says of its runs, as the route that starts them has it."""
    options: dict[str, Any] = {"version": definition.version}
    if isinstance(definition, Workflow):
        options["mode"] = "test" if definition.test else None
        options["environment"] = definition.environment
        options["timeout"] = definition.timeout
        options["delay"] = definition.delay
    return options
