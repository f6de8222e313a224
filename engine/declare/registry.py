"""The workflows an engine runs, by name and version, and what each needs to be run."""

from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from durably.engine.declare.definitions import Step, Workflow
from durably.engine.declare.events import Event, TriggerIndex
from durably.engine.declare.fingerprint import fingerprint
from durably.engine.errors import DurablyError, ErrorInfo, InvalidInput
from durably.engine.log.records import RunCreated
from durably.engine.notifications.failure import RunFailure
from durably.engine.retries.retry import RetryPolicy
from durably.engine.values.codec import Decode

__all__ = ["Registered", "Registry"]


EXAMPLE = RunFailure("run", "workflow", ErrorInfo("Error", ("Error",), "what was wrong"), {})
"""What handlers of failures are tried with: a run without arguments."""
LookUpPolicy: TypeAlias = Callable[[str], RetryPolicy | None]
"""What the stored policy of an id is; None if there never was one."""


def _whatever(_: str) -> RetryPolicy:
    """Where nothing is retried, as in a replay, no stored policy needs to be known."""
    return RetryPolicy.DEFAULT


class Registered:
    """A workflow as this engine runs it: the policy resolved, the code's fingerprint taken.

    A step with a trigger is an implicit workflow of its name that awaits it once (DESIGN section 3).
    """

    __slots__ = (
        "_default",
        "_inherited",
        "_own",
        "_stored",
        "code",
        "definition",
        "fn",
        "name",
        "registry",
        "signature",
        "timeout",
        "triggers",
        "version",
    )

    def __init__(
        self, definition: Workflow[..., Any] | Step[..., Any], default: RetryPolicy, stored: LookUpPolicy
    ) -> None:
        self.definition = definition
        self.name = definition.name
        self.version = definition.version
        self.triggers = definition.triggers
        self.fn = definition.fn
        self.signature = definition.signature
        self.timeout = definition.timeout if isinstance(definition, Workflow) else None
        """Seconds that a whole run may take; a step's limit is that of an attempt."""
        self.registry: Registry | None = None
        definition.signature.check()
        self.code = fingerprint(definition.fn)
        is_step = isinstance(definition, Step)
        # The implicit workflow around a step has nothing of its own to retry.
        self._own = RetryPolicy.NEVER if is_step else definition.policy(default)
        self._default = default
        self._inherited = default if is_step else self._own
        self._stored = stored

    @property
    def decode_result(self) -> Decode:
        """From the JSON of a result to what the function is annotated to return."""
        return self.definition.decode_result

    def knows(self, name: str, version: int) -> bool:
        """Whether a workflow that the body calls is registered with the same engine."""
        return self.registry is not None and self.registry.get(name, version) is not None

    @property
    def newest(self) -> int:
        """The version that a new run of this workflow starts with."""
        newest = None if self.registry is None else self.registry.newest(self.name)
        return self.version if newest is None else newest.version

    @property
    def retry(self) -> RetryPolicy:
        """The body's policy, as it stands."""
        return self._resolve(self._own)

    def step_policy(self, step: Step[..., Any]) -> RetryPolicy:
        """The policy of a step that is called in this workflow, as it stands."""
        return self._resolve(step.policy(self._default, self._inherited))

    def _resolve(self, policy: RetryPolicy | str) -> RetryPolicy:
        """A stored policy is what it is at the moment, and never unknown once a run has got as far as to need it."""
        if isinstance(policy, RetryPolicy):
            return policy
        found = self._stored(policy)
        assert found is not None, "missing_policy() was asked before"
        return found

    def missing_policy(self, named: Sequence[str]) -> str | None:
        """The first stored policy that is needed, by the body or by steps that name one, and was never stored."""
        own = (self._own,) if isinstance(self._own, str) else ()
        if not own and not named:
            return None  # nearly always, and asked at every activation
        return next((name for name in (*own, *named) if self._stored(name) is None), None)

    def body(self, created: RunCreated, event: Event[Any] | None) -> Coroutine[Any, Any, Any]:
        """The body, called with a run's recorded input. Raises `InvalidInput` when that misses its annotations."""
        if event is not None:
            args, kwargs = self.signature.bind_event(event)
        else:
            args, kwargs = self.signature.decode(created.input)
        if isinstance(self.definition, Step):
            return self.definition(*args, **kwargs)
        coroutine: Coroutine[Any, Any, Any] = self.fn(*args, **kwargs)
        return coroutine


def _with_handlers(
    definitions: Iterable[Workflow[..., Any] | Step[..., Any]],
) -> Iterator[Workflow[..., Any] | Step[..., Any]]:
    """The workflows, and what is run on their failures: that needs no registration of its own."""
    seen: set[int] = set()
    left = deque(definitions)
    while left:
        definition = left.popleft()
        if id(definition) not in seen:
            seen.add(id(definition))
            yield definition
            if definition.on_failure is not None:
                left.append(definition.on_failure)


class Registry:
    """All registered workflows."""

    def __init__(
        self,
        definitions: Iterable[Workflow[..., Any] | Step[..., Any]],
        default: RetryPolicy,
        stored: LookUpPolicy = _whatever,
        *,
        builtin: Sequence[Workflow[..., Any]] = (),
    ) -> None:
        self._known: dict[tuple[str, int], Registered] = {}
        self._builtin = {each.name for each in builtin}
        for definition in _with_handlers([*builtin, *definitions]):
            registered = Registered(definition, default, stored)
            key = (registered.name, registered.version)
            other = self._known.get(key)
            if other is not None and other.definition is not definition:
                raise DurablyError(
                    f"two workflows are called {registered.name!r} in version {registered.version}: "
                    "rename one, or give the newer one a higher version="
                )
            registered.registry = self
            self._known[key] = registered
        for registered in self._known.values():
            self._check_handler(registered)
        self._triggers = TriggerIndex(self._known.values())

    def _check_handler(self, registered: Registered) -> None:
        """Refuse an `on_failure` that could not be started, here and not when something has failed."""
        definition = registered.definition.on_failure
        handler = None if definition is None else self.get(definition.name, definition.version)
        if handler is None:
            return
        try:
            handler.signature.bind_input((EXAMPLE,), {})
        except InvalidInput as error:
            raise DurablyError(
                f"on_failure of {registered.name!r} cannot be {handler.name!r}, which takes no RunFailure: {error}"
            ) from None

    def get(self, name: str, version: int) -> Registered | None:
        """The workflow that a run was started with."""
        return self._known.get((name, version))

    def newest(self, name: str) -> Registered | None:
        """The workflow that a new run of that name starts with: the highest version."""
        versions = [version for known, version in self._known if known == name]
        return self._known[name, max(versions)] if versions else None

    def matching(self, name: str, event: Callable[[], Mapping[str, Any]]) -> list[Registered]:
        """The workflows that an event starts. `event` gives it as decoded from JSON, if a condition asks."""
        return self._triggers.matching(name, event)

    def all(self) -> list[Registered]:
        """Every workflow in every version, by name and version, but for those that are built in."""
        return [self._known[key] for key in sorted(self._known) if key[0] not in self._builtin]
